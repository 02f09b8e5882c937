"""Model FLOPs: the floating-point operations of products of matrices that a model asks for, by its sizes.

Counted as by Chowdhery et al. 2022 (PaLM, appendix B): a multiplication and an addition are two, looking up
an embedding none, the backward pass twice the forward one, and what remat recomputes none. But for attention:
PaLM takes each position's products with all T positions, while here they are with those that it may see, in a
window that one segment fills. So utilisation is never flattered by what attention skips, and is a little
lower than by PaLM's count. Norms, softmax, activations and the optimizer don't count.
"""

import math

import jax

from tinyjax.config import ModelConfig
from tinyjax.model.parameters import declare, is_parameter


def forward_flops(config: ModelConfig) -> float:
    """Returns the FLOPs of the forward pass for each token of a whole window, the output head's included."""
    return matrix_flops(config) + attention_flops(config) + head_flops(config)


def training_flops(config: ModelConfig) -> float:
    """Returns the FLOPs of a training step, forward and backward, for each token of a whole window."""
    return 3 * forward_flops(config)


def matrix_flops(config: ModelConfig) -> float:
    """Returns the FLOPs of a token's products with the matrices of all blocks: two for each element."""
    declared = jax.tree.leaves(declare(config), is_leaf=is_parameter)
    return 2.0 * sum(math.prod(p.shape) for p in declared if p.role == "matrix")


def head_flops(config: ModelConfig) -> float:
    """Returns the FLOPs of a token's logits, for every row of the embedding, the padding ones too."""
    return 2.0 * config.vocab_size * config.d_model


def attention_flops(config: ModelConfig) -> float:
    """Returns the FLOPs of a token's scores and of mixing the values by them, in all blocks, on average."""
    length = config.context_length
    local = config.num_layers // 2 if config.family == "gpt_neo" else 0  # see decoder.local_layers
    seen = (config.num_layers - local) * mean_seen(length, length) + local * mean_seen(length, config.window)
    return 4.0 * config.num_heads * config.head_dim * seen


def mean_seen(length: int, window: int) -> float:
    """Returns how many positions one sees on average, its own included, of `length` and at most `window`."""
    window = min(window, length)
    return window - window * (window - 1) / (2 * length)
