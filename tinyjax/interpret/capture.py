"""Activations by name, and interventions on them, in the very blocks that train.

Names are "embedding", "final" (the residual stream after the last norm), "logits", and, of each block, as in
"block3/heads": residual, query, key, value (after RoPE), pattern, heads (what each takes, before the output
matrix), attention (what all add), middle (the residual stream between), mlp_input (the same after its norm),
gate and up (before the activation function), neurons (after it), mlp (what it adds).
Axes: B rows, T positions, S sources, D d_model, H heads, G key/value heads, K head width, F d_ff,
V vocabulary.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError, nearest
from tinyjax.interpret.edits import Edit, apply
from tinyjax.model.attention import attention_pattern, causal_segment_mask, mix
from tinyjax.model.cached import is_local, unstack
from tinyjax.model.decoder import (
    Attend,
    Layer,
    Tap,
    attention_scale,
    block,
    check_length,
    embed,
    logits,
    norm,
    rope_of,
    segment_positions,
    within_segments,
)
from tinyjax.sample.model import Model


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a run gave."""

    logits: jax.Array  # float32 [B, T, V]
    activations: dict[str, jax.Array]  # those asked for, by name, after interventions

    def __getitem__(self, name: str) -> jax.Array:
        """Returns an activation."""
        return self.activations[name]


def names(config: ModelConfig) -> list[str]:
    """Returns the names of all activations, in the order of computing."""
    mlp = ["gate", "up"] if config.family == "llama" else ["up"]
    of_block = [
        "residual", "query", "key", "value", "pattern", "heads", "attention", "middle", "mlp_input",
        *mlp, "neurons", "mlp",
    ]  # fmt: skip
    blocks = [f"block{number}/{name}" for number in range(config.num_layers) for name in of_block]
    return ["embedding", *blocks, "final", "logits"]


def look(
    model: Model,
    tokens_BT: np.ndarray | jax.Array,
    segments_BT: np.ndarray | jax.Array | None = None,
    *,
    capture: str | Sequence[str] = (),
    edits: Mapping[str, Edit] | None = None,
) -> Seen:
    """Runs the model, and returns its logits and the activations asked for.

    Without interventions and patterns it computes what the model computes, bit for bit; with patterns,
    attention is the reference implementation, which has them.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      tokens_BT: int32 token ids.
      segments_BT: stories packed side by side, numbered; default: one a row.
      capture: patterns of names, as in "block*/heads".
      edits: interventions by names, or patterns of them.

    Raises:
      UserError: a pattern matches no name.
    """
    config = model.config
    wanted = {name for pattern in _list(capture) for name in _match(config, pattern)}
    ordered = tuple(name for name in names(config) if name in wanted)
    by_name = {name: edit for pattern, edit in (edits or {}).items() for name in _match(config, pattern)}
    if segments_BT is None:
        segments_BT = np.ones(tokens_BT.shape, np.int32)
    logits_BTV, found = _look(config, ordered, model.params, tokens_BT, segments_BT, by_name)
    return Seen(logits_BTV, {name: found[name] for name in ordered})


def bare(config: ModelConfig, params: dict) -> Model:
    """Returns a model to look at inside of a jitted function, where only its numbers count."""
    tokenizer: Any = None
    return Model(config, params, tokenizer, step=0, instruct=False)


def stream(
    model: Model,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    capture: str | Sequence[str],
    edits: Mapping[str, Edit] | None = None,
) -> Iterator[Seen]:
    """Yields what `look` gives for each batch of tokens and segments; one is in memory at a time."""
    for tokens_BT, segments_BT in batches:
        yield look(model, tokens_BT, segments_BT, capture=capture, edits=edits)


def _list(patterns: str | Sequence[str]) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns


def _match(config: ModelConfig, pattern: str) -> list[str]:
    every = names(config)
    if found := fnmatch.filter(every, pattern):
        return found
    raise UserError(
        f"no activation is called '{pattern}'{nearest(pattern, every)}; names(config) lists them all"
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _look(
    config: ModelConfig,
    wanted: tuple[str, ...],
    params: dict,
    tokens_BT: jax.Array,
    segments_BT: jax.Array,
    edits: dict[str, Edit],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    found: dict[str, jax.Array] = {}

    def tap(name: str, activation: jax.Array) -> jax.Array:
        if name in edits:
            activation = apply(edits[name], activation)
        if name in wanted:
            found[name] = activation
        return activation

    tapped = {*wanted, *edits}
    check_length(config, tokens_BT.shape[1])
    positions_BT, layers = segment_positions(segments_BT), unstack(params)["layers"]
    rope = rope_of(config, positions_BT)
    x_BTD = tap("embedding", embed(config, params, tokens_BT, positions_BT))
    for number, layer in enumerate(layers):
        own = functools.partial(_own, tap, f"block{number}/")
        local = is_local(config, number) or None
        has_pattern = f"block{number}/pattern" in tapped
        attend = _attend(config, segments_BT, local, own if has_pattern else None)
        x_BTD, _ = block(config, Layer(layer, None, None), x_BTD, rope, attend, own)
    final_BTD = tap("final", norm(config, params, "final_norm", x_BTD))
    return tap("logits", logits(config, params, final_BTD)), found


def _own(tap: Tap, prefix: str, name: str, activation: jax.Array) -> jax.Array:
    return tap(prefix + name, activation)


def _attend(config: ModelConfig, segments_BT: jax.Array, local: bool | None, tap: Tap | None) -> Attend:
    """Returns attention as the model does it, or with a tap the reference, whose pattern is shown to it."""
    if tap is None:
        return functools.partial(within_segments, config, segments_BT, local)

    def attend(q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array) -> tuple[jax.Array, None]:
        mask_BTT = causal_segment_mask(segments_BT, config.window if local else None)
        p_BHTS = attention_pattern(q_BTHK, k_BTGK, mask_BTT, attention_scale(config))
        return mix(tap("pattern", p_BHTS), v_BTGK), None

    return attend
