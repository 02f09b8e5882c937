"""Small language models that write coherent stories, in JAX (TinyStories, Eldan & Li 2023)."""

__version__ = "0.1.0"
