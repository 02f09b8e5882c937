"""Causal attention within segments: one function, several implementations with the same result.

`reference` is the definition. `blockwise` never holds more than one block of scores, recomputes them in
its own backward pass, and skips blocks after the diagonal or before the window: it is what makes CPUs fast.
`fused` and `splash` do the same on TPUs, by kernels: ours for windows that fit on the chip, JAX's for any.
Axes: B batch, T query positions, S source positions, H query heads, G key/value heads, R = H // G query
heads per key/value head, K head width.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from tinyjax.errors import UserError
from tinyjax.model import fused, splash
from tinyjax.model.fused import MIXED
from tinyjax.parallel.chips import platform
from tinyjax.parallel.sharding import partition_spec

BLOCK = 64  # query positions per block: 64 x 512 float32 scores of a few heads stay in a core's cache
MASKED = -1e30  # a score that softmax turns into exactly 0; finite, so that no NaN arises


def attention(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    segments_BT: jax.Array,
    implementation: str = "auto",
    *,
    scale: float | None = None,
    window: int | None = None,
    local: jax.Array | bool = True,
) -> jax.Array:
    """Returns each position's mix of the values at or before it in its own segment.

    Softmax is in float32; segment 0 is padding like any other segment.

    Args:
      q_BTHK: queries.
      k_BTGK: keys.
      v_BTGK: values.
      segments_BT: numbers of the segments.
      implementation: "auto" chooses by the platform: see `choose`.
      scale: multiplies the logits; default 1/sqrt(K).
      window: the number of positions, its own included, that a query sees at most; default: all.
      local: scalar; where false, `window` doesn't count. It may be traced: layers of both kinds share a scan.

    Returns:
      [B, T, H, K] in the dtype of `q_BTHK`.

    Raises:
      UserError: kernels were asked for that can't be had here; see `choose`.
    """
    window = None if window is None or window >= q_BTHK.shape[1] else window
    implementation = choose(implementation, q_BTHK.shape[1])
    if implementation == "reference":
        mask_BTS = causal_segment_mask(segments_BT, window, local)
        return checkpoint_name(masked_attention(q_BTHK, k_BTGK, v_BTGK, mask_BTS, scale), MIXED)
    scale = _default_scale(q_BTHK) if scale is None else scale
    function = {"blockwise": _blockwise, "fused": fused.fused, "splash": splash.splash}[implementation]
    run = _per_device(functools.partial(function, scale, window))
    return run(q_BTHK, k_BTGK, v_BTGK, segments_BT, jnp.asarray(local))


def choose(implementation: str, length: int) -> str:
    """Returns the implementation for windows of this length on the present platform.

    "auto" is blockwise on CPUs; on TPUs fused, or else splash, or else reference; elsewhere reference.

    Raises:
      UserError: kernels were asked for that can't be had.
    """
    if implementation in ("reference", "blockwise"):
        return implementation
    on = platform()
    why_not = {
        name: module.refusal(length) if on == "tpu" else f"it runs on TPUs, not on '{on}'"
        for name, module in (("fused", fused), ("splash", splash))
    }
    if implementation == "auto":
        can = [name for name, reason in why_not.items() if not reason]
        return "blockwise" if on == "cpu" else (*can, "reference")[0]
    if why_not[implementation]:
        raise UserError(
            f"config.model.attention is '{implementation}', but {why_not[implementation]}; leave it at 'auto'"
        )
    return implementation


def causal_segment_mask(
    segments_BT: jax.Array, window: int | None = None, local: jax.Array | bool = True
) -> jax.Array:
    """Returns the mask [B, T, T]: the source is not after the query, in its segment, and in its window."""
    index_T = jnp.arange(segments_BT.shape[-1])
    mask_TT = causal_mask(index_T[:, None], index_T, window, local)
    return mask_TT & (segments_BT[:, :, None] == segments_BT[:, None, :])


def causal_mask(
    query: jax.Array, source: jax.Array, window: int | None = None, local: jax.Array | bool = True
) -> jax.Array:
    """Tells of positions, which broadcast, whether the source is not after the query, and in its window."""
    mask = query >= source
    return mask if window is None else mask & ((query - source < window) | jnp.logical_not(local))


def masked_attention(
    q_BTHK: jax.Array,
    k_BSGK: jax.Array,
    v_BSGK: jax.Array,
    mask_BTS: jax.Array,
    scale: float | None = None,
) -> jax.Array:
    """Returns softmax attention of queries to the sources that `mask_BTS` allows: [B, T, H, K]."""
    return mix(attention_pattern(q_BTHK, k_BSGK, mask_BTS, scale), v_BSGK)


def attention_pattern(
    q_BTHK: jax.Array, k_BSGK: jax.Array, mask_BTS: jax.Array, scale: float | None = None
) -> jax.Array:
    """Returns how much each query of each head takes from each source: float32 [B, H, T, S]."""
    q_BTGRK = _group(q_BTHK, k_BSGK.shape[-2])
    scores_BGRTS = jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK, preferred_element_type=jnp.float32)
    scores_BGRTS *= _default_scale(q_BTHK) if scale is None else scale
    p_BGRTS = jax.nn.softmax(jnp.where(mask_BTS[:, None, None], scores_BGRTS, MASKED), axis=-1)
    return p_BGRTS.reshape(len(q_BTHK), q_BTHK.shape[2], *p_BGRTS.shape[3:])


def mix(p_BHTS: jax.Array, v_BSGK: jax.Array) -> jax.Array:
    """Returns what heads take of the values by their pattern: [B, T, H, K]."""
    rows, heads, queries, sources = p_BHTS.shape
    kv_heads, width = v_BSGK.shape[2:]
    p_BGRTS = p_BHTS.astype(v_BSGK.dtype).reshape(rows, kv_heads, -1, queries, sources)
    mixed_BTGRK = jnp.einsum("bgrts,bsgk->btgrk", p_BGRTS, v_BSGK)
    return mixed_BTGRK.reshape(rows, queries, heads, width)


def _default_scale(q: jax.Array) -> float:
    return 1 / math.sqrt(q.shape[-1])


def _group(q_THK: jax.Array, kv_heads: int) -> jax.Array:
    """[..., H, K] -> [..., G, R, K]: neighbouring query heads share a key/value head."""
    *lead, heads, width = q_THK.shape
    return q_THK.reshape(*lead, kv_heads, heads // kv_heads, width)


def _per_device(function):
    """Runs `function` on each device's own rows and heads: a loop over a sharded axis would gather it."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function
    heads = partition_spec(("batch", None, "heads", None))
    rows = partition_spec(("batch", None))
    specs = (heads, heads, heads, rows, PartitionSpec())
    return jax.shard_map(function, in_specs=specs, out_specs=heads, check_vma=False)


# --- blockwise -----------------------------------------------------------------------------------------
# Rows are taken one at a time, in head-major layout, so that a block's scores are a few hundred kB.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _blockwise(scale, window, q_BTHK, k_BTGK, v_BTGK, segments_BT, local):
    return _blockwise_forward(scale, window, q_BTHK, k_BTGK, v_BTGK, segments_BT, local)[0]


def _blockwise_forward(scale, window, q_BTHK, k_BTGK, v_BTGK, segments_BT, local):
    arrays = (q_BTHK, k_BTGK, v_BTGK, segments_BT)
    results = _map_rows(functools.partial(_row_forward, scale), window, local, arrays)
    out_BTHK, lse_BGRT = (checkpoint_name(x, MIXED) for x in results)
    return out_BTHK, (local, *arrays, out_BTHK, lse_BGRT)


def _blockwise_backward(scale, window, saved, dout_BTHK):
    local, *arrays = saved
    run = functools.partial(_row_backward, scale)
    dq, dk, dv = _map_rows(run, window, local, (*arrays, dout_BTHK))
    return dq, dk, dv, None, None


_blockwise.defvjp(_blockwise_forward, _blockwise_backward)


def _map_rows(function, window, local, arrays):
    """Maps `function(window, *row)` over rows; with another program for layers that aren't `local`."""

    def run(window: int | None, *arrays: jax.Array):
        return jax.lax.map(lambda row: function(window, *row), arrays)

    if window is None:
        return run(None, *arrays)
    return jax.lax.cond(local, functools.partial(run, window), functools.partial(run, None), *arrays)


def _blocks(length: int, window: int | None) -> list[tuple[slice, slice]]:
    """Returns the blocks of queries, each with the blocks of sources that it may see."""
    blocks = [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
    seen = length if window is None else window
    firsts = [max(0, rows.start - seen + 1) // BLOCK * BLOCK for rows in blocks]
    return [(rows, slice(first, rows.stop)) for rows, first in zip(blocks, firsts, strict=True)]


def _block_scores(scale, window, q_GRtK: jax.Array, k_GsK: jax.Array, segments_T, rows: slice, seen: slice):
    """Scores [G, R, rows, seen] in float32 of a block of queries to the sources it may see."""
    scores = jnp.einsum("grtk,gsk->grts", q_GRtK, k_GsK, preferred_element_type=jnp.float32) * scale
    query, source = jnp.arange(rows.start, rows.stop)[:, None], jnp.arange(seen.start, seen.stop)
    same = segments_T[rows, None] == segments_T[None, seen]
    return jnp.where(causal_mask(query, source, window) & same, scores, MASKED)


def _row_forward(scale, window, q_THK, k_TGK, v_TGK, segments_T):
    q_GRTK = jnp.moveaxis(_group(q_THK, k_TGK.shape[1]), 0, 2)
    k_GTK, v_GTK = jnp.swapaxes(k_TGK, 0, 1), jnp.swapaxes(v_TGK, 0, 1)
    outs, lses = [], []
    for rows, seen in _blocks(q_THK.shape[0], window):
        scores = _block_scores(scale, window, q_GRTK[:, :, rows], k_GTK[:, seen], segments_T, rows, seen)
        top = scores.max(-1, keepdims=True)
        p = jnp.exp(scores - top)
        total = p.sum(-1, keepdims=True)
        out = jnp.einsum(
            "grts,gsk->grtk",
            p.astype(v_GTK.dtype),
            v_GTK[:, seen],
            preferred_element_type=jnp.float32,
        )
        outs.append((out / total).astype(q_THK.dtype))
        lses.append((top + jnp.log(total))[..., 0])
    out_GRTK = jnp.concatenate(outs, axis=2)
    return jnp.moveaxis(out_GRTK, 2, 0).reshape(q_THK.shape), jnp.concatenate(lses, axis=-1)


def _row_backward(scale, window, q_THK, k_TGK, v_TGK, segments_T, out_THK, lse_GRT, dout_THK):
    """Gradients of one row; the softmax is recomputed from its log-sum-exp (Dao et al. 2022, appendix B)."""
    kv_heads, dtype = k_TGK.shape[1], q_THK.dtype
    q_GRTK, dout_GRTK = (jnp.moveaxis(_group(x, kv_heads), 0, 2) for x in (q_THK, dout_THK))
    k_GTK, v_GTK = jnp.swapaxes(k_TGK, 0, 1), jnp.swapaxes(v_TGK, 0, 1)
    delta_THK = (out_THK.astype(jnp.float32) * dout_THK.astype(jnp.float32)).sum(-1, keepdims=True)
    delta_GRT1 = jnp.moveaxis(_group(delta_THK, kv_heads), 0, 2)
    dqs = []
    dk_GTK, dv_GTK = jnp.zeros(k_GTK.shape, jnp.float32), jnp.zeros(v_GTK.shape, jnp.float32)
    einsum = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    for rows, seen in _blocks(q_THK.shape[0], window):
        scores = _block_scores(scale, window, q_GRTK[:, :, rows], k_GTK[:, seen], segments_T, rows, seen)
        p = jnp.exp(scores - lse_GRT[:, :, rows, None])
        dout = dout_GRTK[:, :, rows]
        dp = einsum("grtk,gsk->grts", dout, v_GTK[:, seen])
        ds = (p * (dp - delta_GRT1[:, :, rows]) * scale).astype(dtype)
        dqs.append(einsum("grts,gsk->grtk", ds, k_GTK[:, seen]).astype(dtype))
        dk_GTK = dk_GTK.at[:, seen].add(einsum("grts,grtk->gsk", ds, q_GRTK[:, :, rows]))
        dv_GTK = dv_GTK.at[:, seen].add(einsum("grts,grtk->gsk", p.astype(dtype), dout))
    dq_THK = jnp.moveaxis(jnp.concatenate(dqs, axis=2), 2, 0).reshape(q_THK.shape)
    return (
        dq_THK,
        jnp.swapaxes(dk_GTK, 0, 1).astype(dtype),
        jnp.swapaxes(dv_GTK, 0, 1).astype(dtype),
    )
