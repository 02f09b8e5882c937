"""Checkpoints: Orbax, with everything a reader needs beside the parameters."""
