"""Causal attention within segments: one function, several implementations with the same result.

`reference` is the definition. `blockwise` never holds more than one block of scores, recomputes them in
its own backward pass, and skips blocks after the diagonal: it is what makes CPUs fast.
Axes: B batch, T query positions, S source positions, H query heads, G key/value heads, R = H // G query
heads per key/value head, K head width.
"""

import functools
import math

import jax
import jax.numpy as jnp

from tinyjax.parallel.sharding import partition_spec

BLOCK = 64  # query positions per block: 64 x 512 float32 scores of a few heads stay in a core's cache
MASKED = -1e30  # a score that softmax turns into exactly 0; finite, so that no NaN arises


def attention(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    segments_BT: jax.Array,
    implementation: str = "auto",
) -> jax.Array:
    """Returns each position's mix of the values at or before it in its own segment.

    Logits are scaled by 1/sqrt(K); softmax is in float32; segment 0 is padding like any other segment.

    Returns:
      [B, T, H, K] in the dtype of `q_BTHK`.
    """
    if implementation == "auto":
        implementation = "blockwise" if jax.default_backend() == "cpu" else "reference"
    if implementation == "reference":
        mask_BTS = causal_segment_mask(segments_BT)
        return masked_attention(q_BTHK, k_BTGK, v_BTGK, mask_BTS)
    return _per_device(_blockwise)(q_BTHK, k_BTGK, v_BTGK, segments_BT)


def causal_segment_mask(segments_BT: jax.Array) -> jax.Array:
    """Returns the boolean mask [B, T, T]: the source is not after the query and in its segment."""
    T = segments_BT.shape[-1]
    return jnp.tril(jnp.ones((T, T), bool)) & (segments_BT[:, :, None] == segments_BT[:, None, :])


def masked_attention(
    q_BTHK: jax.Array, k_BSGK: jax.Array, v_BSGK: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
    """Returns softmax attention of queries to the sources that `mask_BTS` allows: [B, T, H, K]."""
    q_BTGRK = _group(q_BTHK, k_BSGK.shape[-2])
    scores_BGRTS = jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK, preferred_element_type=jnp.float32)
    scores_BGRTS = jnp.where(mask_BTS[:, None, None], scores_BGRTS * _scale(q_BTHK), MASKED)
    p_BGRTS = jax.nn.softmax(scores_BGRTS, axis=-1).astype(v_BSGK.dtype)
    return jnp.einsum("bgrts,bsgk->btgrk", p_BGRTS, v_BSGK).reshape(q_BTHK.shape)


def _scale(q: jax.Array) -> float:
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
    return jax.shard_map(function, in_specs=(heads, heads, heads, rows), out_specs=heads, check_vma=False)


# --- blockwise -----------------------------------------------------------------------------------------
# Rows are taken one at a time, in head-major layout, so that a block's scores are a few hundred kB.


@jax.custom_vjp
def _blockwise(q_BTHK, k_BTGK, v_BTGK, segments_BT):
    return _blockwise_forward(q_BTHK, k_BTGK, v_BTGK, segments_BT)[0]


def _blockwise_forward(q_BTHK, k_BTGK, v_BTGK, segments_BT):
    out_BTHK, lse_BGRT = jax.lax.map(lambda row: _row_forward(*row), (q_BTHK, k_BTGK, v_BTGK, segments_BT))
    return out_BTHK, (q_BTHK, k_BTGK, v_BTGK, segments_BT, out_BTHK, lse_BGRT)


def _blockwise_backward(saved, dout_BTHK):
    dq, dk, dv = jax.lax.map(lambda row: _row_backward(*row), (*saved, dout_BTHK))
    return dq, dk, dv, None


_blockwise.defvjp(_blockwise_forward, _blockwise_backward)


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _block_scores(q_GRTK: jax.Array, k_GTK: jax.Array, segments_T: jax.Array, rows: slice):
    """Scores [G, R, rows, rows.stop] in float32 of a block of queries to all sources up to its end."""
    scores = jnp.einsum(
        "grtk,gsk->grts",
        q_GRTK[:, :, rows],
        k_GTK[:, : rows.stop],
        preferred_element_type=jnp.float32,
    ) * _scale(q_GRTK)
    causal = jnp.arange(rows.start, rows.stop)[:, None] >= jnp.arange(rows.stop)
    same = segments_T[rows, None] == segments_T[None, : rows.stop]
    return jnp.where(causal & same, scores, MASKED)


def _row_forward(q_THK, k_TGK, v_TGK, segments_T):
    q_GRTK = jnp.moveaxis(_group(q_THK, k_TGK.shape[1]), 0, 2)
    k_GTK, v_GTK = jnp.swapaxes(k_TGK, 0, 1), jnp.swapaxes(v_TGK, 0, 1)
    outs, lses = [], []
    for rows in _blocks(q_THK.shape[0]):
        scores = _block_scores(q_GRTK, k_GTK, segments_T, rows)
        top = scores.max(-1, keepdims=True)
        p = jnp.exp(scores - top)
        total = p.sum(-1, keepdims=True)
        out = jnp.einsum(
            "grts,gsk->grtk",
            p.astype(v_GTK.dtype),
            v_GTK[:, : rows.stop],
            preferred_element_type=jnp.float32,
        )
        outs.append((out / total).astype(q_THK.dtype))
        lses.append((top + jnp.log(total))[..., 0])
    out_GRTK = jnp.concatenate(outs, axis=2)
    return jnp.moveaxis(out_GRTK, 2, 0).reshape(q_THK.shape), jnp.concatenate(lses, axis=-1)


def _row_backward(q_THK, k_TGK, v_TGK, segments_T, out_THK, lse_GRT, dout_THK):
    """Gradients of one row; the softmax is recomputed from its log-sum-exp (Dao et al. 2022, appendix B)."""
    kv_heads, dtype = k_TGK.shape[1], q_THK.dtype
    q_GRTK, dout_GRTK = (jnp.moveaxis(_group(x, kv_heads), 0, 2) for x in (q_THK, dout_THK))
    k_GTK, v_GTK = jnp.swapaxes(k_TGK, 0, 1), jnp.swapaxes(v_TGK, 0, 1)
    delta_THK = (out_THK.astype(jnp.float32) * dout_THK.astype(jnp.float32)).sum(-1, keepdims=True)
    delta_GRT1 = jnp.moveaxis(_group(delta_THK, kv_heads), 0, 2)
    dqs = []
    dk_GTK, dv_GTK = jnp.zeros(k_GTK.shape, jnp.float32), jnp.zeros(v_GTK.shape, jnp.float32)
    einsum = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    for rows in _blocks(q_THK.shape[0]):
        before = slice(0, rows.stop)
        scores = _block_scores(q_GRTK, k_GTK, segments_T, rows)
        p = jnp.exp(scores - lse_GRT[:, :, rows, None])
        dout = dout_GRTK[:, :, rows]
        dp = einsum("grtk,gsk->grts", dout, v_GTK[:, before])
        ds = (p * (dp - delta_GRT1[:, :, rows]) * _scale(q_THK)).astype(dtype)
        dqs.append(einsum("grts,gsk->grtk", ds, k_GTK[:, before]).astype(dtype))
        dk_GTK = dk_GTK.at[:, before].add(einsum("grts,grtk->gsk", ds, q_GRTK[:, :, rows]))
        dv_GTK = dv_GTK.at[:, before].add(einsum("grts,grtk->gsk", p.astype(dtype), dout))
    dq_THK = jnp.moveaxis(jnp.concatenate(dqs, axis=2), 2, 0).reshape(q_THK.shape)
    return (
        dq_THK,
        jnp.swapaxes(dk_GTK, 0, 1).astype(dtype),
        jnp.swapaxes(dv_GTK, 0, 1).astype(dtype),
    )
