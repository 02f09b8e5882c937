"""Causal attention on TPUs by one kernel for each direction, made for many narrow heads and short windows.

A program of the grid holds a whole row's keys and values of one head on the chip, [K, T] each: positions lie
along a TPU's 128 lanes, so that narrow heads fill memory without padding, which `splash` has in its results
and its log-sum-exp. Scores are made transposed, [S, T], for a block of queries and the sources up to its end:
sums over sources then lie along the lanes as well. The backward kernel makes them again (Dao et al. 2022).
Axes: B batch, T query positions, S source positions, H query heads, G key/value heads, K head width.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

BLOCK = 256  # query positions whose scores are made at a time
LANES = 128
LONGEST = 2048  # positions; a block of scores of so many sources takes 2 MB
MASKED = -1e30  # a score that softmax turns into exactly 0
HEADS = "heads"  # the names that remat policies know the kernels' inputs
MIXED = "attention"  # and results by


def refusal(length: int) -> str | None:
    """Returns why the kernels can't be used for windows of this length, None where they can."""
    if length % LANES:
        return f"{length} positions aren't a multiple of {LANES}"
    if length > LONGEST:
        return f"{length} positions are more than {LONGEST}"
    return None


def fused(
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
      scale: multiplies the scores.
      window: positions that one sees at most; None: all.
      q_BTHK: queries.
      k_BTGK: keys.
      v_BTGK: values.
      segments_BT: numbers of the segments.
      local: scalar bool; where false, `window` doesn't count.
      interpret: runs the kernels by XLA, on any backend and slowly.
    """
    length = q_BTHK.shape[1]
    seen_1 = jnp.where(local, window or length, length).astype(jnp.int32).reshape(1)
    arrays = (checkpoint_name(x.transpose(0, 2, 3, 1), HEADS) for x in (q_BTHK, k_BTGK, v_BTGK))
    return _attend(scale, interpret, *arrays, segments_BT[:, None, :], seen_1).transpose(0, 3, 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(scale, interpret, q_BHKT, k_BGKT, v_BGKT, segments_B1T, seen_1):
    return _attend_forward(scale, interpret, q_BHKT, k_BGKT, v_BGKT, segments_B1T, seen_1)[0]


def _attend_forward(scale, interpret, q_BHKT, k_BGKT, v_BGKT, segments_B1T, seen_1):
    row_BH1T = jax.ShapeDtypeStruct((*q_BHKT.shape[:2], 1, q_BHKT.shape[3]), jnp.float32)
    results = _call(
        functools.partial(_forward_kernel, scale), (q_BHKT, k_BGKT, v_BGKT), (), (q_BHKT, row_BH1T), 0,
        segments_B1T, seen_1, interpret,
    )  # fmt: skip
    out_BHKT, lse_BH1T = (checkpoint_name(x, MIXED) for x in results)
    return out_BHKT, (q_BHKT, k_BGKT, v_BGKT, segments_B1T, seen_1, out_BHKT, lse_BH1T)


def _attend_backward(scale, interpret, saved, dout_BHKT):
    q_BHKT, k_BGKT, v_BGKT, segments_B1T, seen_1, out_BHKT, lse_BH1T = saved
    gradients = _call(
        functools.partial(_backward_kernel, scale), (q_BHKT, k_BGKT, v_BGKT), (out_BHKT, lse_BH1T, dout_BHKT),
        (q_BHKT, k_BGKT, v_BGKT), 2, segments_B1T, seen_1, interpret,
    )  # fmt: skip
    return *gradients, None, None


_attend.defvjp(_attend_forward, _attend_backward)


def _call(kernel, qkv, more, results, sums, segments_B1T, seen_1, interpret):
    """Runs a kernel for each row, key/value head and query head of it.

    Args:
      kernel: of (seen, segments, q, k, v, *more, *results, *sums), all of one row and head.
      qkv: queries, keys and values, [B, heads, K, T].
      more: arrays of query heads that it also reads.
      results: what it makes, of query or key/value heads.
      sums: how many float32 [K, T] it keeps over the query heads of a key/value head.
      segments_B1T: numbers of the segments.
      seen_1: how many positions one sees.
      interpret: runs it by XLA.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    rows, heads, head_dim, length = qkv[0].shape
    kv_heads = qkv[1].shape[1]
    repeats = heads // kv_heads

    def spec(array) -> pl.BlockSpec:
        block = (None, None, *array.shape[2:])
        if array.shape[1] == heads:
            return pl.BlockSpec(block, lambda b, g, r: (b, g * repeats + r, 0, 0))
        return pl.BlockSpec(block, lambda b, g, r: (b, g, 0, 0))

    return pl.pallas_call(
        kernel,
        grid=(rows, kv_heads, repeats),
        in_specs=[
            pl.BlockSpec(memory_space=pltpu.SMEM),
            pl.BlockSpec((None, 1, length), lambda b, g, r: (b, 0, 0)),
            *map(spec, (*qkv, *more)),
        ],
        out_specs=list(map(spec, results)),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in results],
        scratch_shapes=[pltpu.VMEM((head_dim, length), jnp.float32)] * sums,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=interpret,
    )(seen_1, segments_B1T, *qkv, *more)


def _blocks(length: int) -> list[tuple[slice, slice]]:
    """Returns the blocks of queries, each with the sources up to its end."""
    starts = range(0, length, BLOCK)
    return [(slice(at, min(at + BLOCK, length)), slice(0, min(at + BLOCK, length))) for at in starts]


def _scores(scale, seen_ref, segments_ref, q_ref, k_ref, queries: slice, sources: slice) -> jax.Array:
    """Returns the masked scores [S, T] of a block, in float32."""
    k_SK, q_KT = k_ref[:, sources].T, q_ref[:, queries]
    scores_ST = scale * jnp.dot(k_SK, q_KT, preferred_element_type=jnp.float32)
    source_ST = jax.lax.broadcasted_iota(jnp.int32, scores_ST.shape, 0)
    query_ST = jax.lax.broadcasted_iota(jnp.int32, scores_ST.shape, 1) + queries.start
    segments_1T = segments_ref[:, queries]
    # One row of numbers along the sublanes: TPUs transpose whole tiles.
    segments_S1 = jnp.broadcast_to(segments_ref[:, sources], (8, sources.stop)).T[:, :1]
    seen = (source_ST <= query_ST) & (query_ST - source_ST < seen_ref[0]) & (segments_S1 == segments_1T)
    return jnp.where(seen, scores_ST, MASKED)


def _forward_kernel(scale, seen_ref, segments_ref, q_ref, k_ref, v_ref, out_ref, lse_ref):
    for queries, sources in _blocks(q_ref.shape[1]):
        scores_ST = _scores(scale, seen_ref, segments_ref, q_ref, k_ref, queries, sources)
        top_1T = scores_ST.max(axis=0, keepdims=True)
        p_ST = jnp.exp(scores_ST - top_1T)
        total_1T = p_ST.sum(axis=0, keepdims=True)
        out_KT = jnp.dot(v_ref[:, sources], p_ST.astype(v_ref.dtype), preferred_element_type=jnp.float32)
        out_ref[:, queries] = (out_KT / total_1T).astype(out_ref.dtype)
        lse_ref[:, queries] = top_1T + jnp.log(total_1T)


def _backward_kernel(
    scale, seen_ref, segments_ref, q_ref, k_ref, v_ref, out_ref, lse_ref, dout_ref,
    dq_ref, dk_ref, dv_ref, dk_sum_ref, dv_sum_ref,
):  # fmt: skip
    from jax.experimental import pallas as pl

    @pl.when(pl.program_id(2) == 0)
    def _():
        dk_sum_ref[...] = jnp.zeros_like(dk_sum_ref)
        dv_sum_ref[...] = jnp.zeros_like(dv_sum_ref)

    for queries, sources in _blocks(q_ref.shape[1]):
        scores_ST = _scores(scale, seen_ref, segments_ref, q_ref, k_ref, queries, sources)
        p_ST = jnp.exp(scores_ST - lse_ref[:, queries])
        dout_KT = dout_ref[:, queries]
        products_KT = out_ref[:, queries].astype(jnp.float32) * dout_KT.astype(jnp.float32)
        delta_1T = products_KT.sum(axis=0, keepdims=True)
        dp_ST = jnp.dot(v_ref[:, sources].T, dout_KT, preferred_element_type=jnp.float32)
        ds_ST = (p_ST * (dp_ST - delta_1T) * scale).astype(q_ref.dtype)
        dq_KT = jnp.dot(k_ref[:, sources], ds_ST, preferred_element_type=jnp.float32)
        dq_ref[:, queries] = dq_KT.astype(dq_ref.dtype)
        dk_sum_ref[:, sources] += _times_transposed(q_ref[:, queries], ds_ST)
        dv_sum_ref[:, sources] += _times_transposed(dout_KT, p_ST.astype(dout_KT.dtype))

    dk_ref[...] = dk_sum_ref[...].astype(dk_ref.dtype)
    dv_ref[...] = dv_sum_ref[...].astype(dv_ref.dtype)


def _times_transposed(a_KT: jax.Array, b_ST: jax.Array) -> jax.Array:
    """Returns a @ b.T, [K, S], in float32."""
    return jax.lax.dot_general(a_KT, b_ST, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
