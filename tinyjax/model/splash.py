"""Causal attention on TPUs by JAX's splash kernels, which keep scores on the chip.

The kernels skip blocks that the mask leaves empty, and recompute scores in their backward pass. Heads
narrower than a TPU's 128 lanes are kept with positions along the lanes: memory isn't filled with padding.
Axes: B batch, T positions, H query heads, G key/value heads, K head width.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tinyjax.model.fused import MIXED

LANES = 128  # of a TPU's vector registers
LARGEST_BLOCK = 512  # positions, of queries and of sources, whose scores are on the chip at a time


def refusal(length: int) -> str | None:
    """Returns why the kernels can't be used for windows of this length, None where they can."""
    return f"{length} positions aren't a multiple of {LANES}" if length % LANES else None


def splash(
    scale: float,
    window: int | None,
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    segments_BT: jax.Array,
    local: jax.Array,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Returns attention [B, T, H, K] of this device's rows and heads; see `tinyjax.model.attention`.

    Args:
      scale: multiplies the queries, in float32.
      window: positions that one sees at most; None: all.
      q_BTHK: queries.
      k_BTGK: keys.
      v_BTGK: values.
      segments_BT: numbers of the segments.
      local: scalar bool; where false, `window` doesn't count.
      interpret: runs the kernels' own programs by XLA, on any backend and slowly.
    """
    scaled_BTHK = (q_BTHK.astype(jnp.float32) * scale).astype(q_BTHK.dtype)
    q_BHTK, k_BGTK, v_BGTK = (x.swapaxes(1, 2) for x in (scaled_BTHK, k_BTGK, v_BTGK))
    heads, length, head_dim = q_BHTK.shape[1:]

    def run(window: int | None, *arrays: jax.Array) -> jax.Array:
        return _kernel(heads, length, head_dim, window, interpret)(*arrays)

    arrays = (q_BHTK, k_BGTK, v_BGTK, segments_BT)
    if window is None:
        return run(None, *arrays).swapaxes(1, 2)
    both = (functools.partial(run, window), functools.partial(run, None))
    return jax.lax.cond(local, *both, *arrays).swapaxes(1, 2)


def _kernel(
    heads: int, length: int, head_dim: int, window: int | None, interpret: bool
) -> Callable[..., jax.Array]:
    """Returns the function of (q_BHTK, k_BGTK, v_BGTK, segments_BT) for one mask."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    before = None if window is None else window - 1
    mask = masks.LocalMask((length, length), (before, 0), 0)
    block = next(size for size in (LARGEST_BLOCK, 256, LANES) if length % size == 0)
    layout = kernels.QKVLayout.SEQ_MINOR if head_dim % LANES else kernels.QKVLayout.HEAD_DIM_MINOR
    run = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * heads),
        block_sizes=kernels.BlockSizes(
            block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block, use_fused_bwd_kernel=True,
            q_layout=layout, k_layout=layout, v_layout=layout,
        ),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=MIXED,
        interpret=interpret,
    )  # fmt: skip
    return jax.vmap(lambda q, k, v, segments: run(q, k, v, kernels.SegmentIds(segments, segments)))
