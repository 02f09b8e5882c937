"""The sampling engine: one prefill and one jitted loop for a batch of prompts of unequal lengths.

The key of every draw is folded from (seed, prompt, sample index, position), so a story does not depend
on what else is in its batch.
Axes: B rows, P prompt positions, S positions in all, V vocabulary.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.decoder import KVCache, hidden_states, init_cache, logits
from tinyjax.model.parameters import abstract_params
from tinyjax.sample.options import EXCLUDED, Options, choose
from tinyjax.tokenizer import Tokenizer

SMALLEST_BUCKET = 32  # prompts are padded to this, twice this, ...: few programs serve all lengths


@dataclasses.dataclass(frozen=True)
class Model:
    """What telling stories needs of a checkpoint."""

    config: ModelConfig
    params: dict
    tokenizer: Tokenizer
    step: int
    instruct: bool  # trained on stories that come after instructions


@dataclasses.dataclass(frozen=True)
class Completion:
    """A continuation of a prompt."""

    prompt: str
    text: str  # without the prompt
    finish: str  # "end": the model ended the story; "length": it ran into max_tokens or the context
    tokens: int


class State(NamedTuple):
    """What the decoding loop carries."""

    tokens_BS: jax.Array  # prompt and what was drawn so far
    position_B: jax.Array  # where the next token goes
    done_B: jax.Array
    logits_BV: jax.Array  # of the next token
    cache: KVCache | None  # never None here; what `hidden_states` returns


def load_model(checkpoint: epath.PathLike, ema: bool = True) -> Model:
    """Reads parameters, config and tokenizer of a checkpoint: a run folder or one of its steps.

    Args:
      checkpoint: where it is.
      ema: whether to read the moving average of the parameters where the run kept one, not the newest.
    """
    folder = checkpoints.find(checkpoint)
    meta = checkpoints.read_meta(folder)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract_params(meta.config.model),
    )
    item = "ema" if ema and meta.config.train.ema_decay else "params"
    params = checkpoints.read_state(folder, **{item: target})[item]
    return Model(meta.config.model, params, meta.tokenizer, meta.step, meta.instruct)


def generate(
    model: Model,
    prompts: Sequence[str],
    *,
    num_samples: int = 1,
    max_tokens: int = 0,
    seed: int = 0,
    options: Options | None = None,
) -> list[Completion]:
    """Continues every prompt `num_samples` times, all in one batch; samples of a prompt stand together.

    Args:
      model: from `load_model`.
      prompts: texts to continue; an empty one starts a story.
      num_samples: continuations of each.
      max_tokens: at most so many new tokens; 0: as many as the context holds.
      seed: of all draws.
      options: how tokens are chosen.

    Raises:
      UserError: a prompt leaves no room in the model's context.
    """
    tokenizer, context = model.tokenizer, model.config.context_length
    ids = [[tokenizer.bos_id, *map(int, tokenizer.encode(prompt))] for prompt in prompts]
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) >= context:
            raise UserError(
                f"the prompt that begins {prompt[:40]!r} has {len(row)} tokens but the model's context is "
                f"{context}; shorten it to leave room for a story"
            )
    longest = max(map(len, ids))
    width = min(context, bucket(longest))
    length = min(context, bucket(longest + (max_tokens or context)))
    rows = [row for row in ids for _ in range(num_samples)]
    starts_B = np.array([len(row) for row in rows], np.int32)
    prompt_BP = np.full((len(rows), width), tokenizer.pad_id, np.int32)
    for target, row in zip(prompt_BP, rows, strict=True):
        target[: len(row)] = row
    keys_B = jnp.stack([_key(seed, row, sample) for row in ids for sample in range(num_samples)])
    limits_B = np.minimum(starts_B + (max_tokens or context), length)
    state = decode(
        model.config, length, tokenizer.vocab_size, tokenizer.eos_id, _never_drawn(tokenizer),
        model.params, prompt_BP, starts_B, limits_B, keys_B, options or Options(),
    )  # fmt: skip
    out_BS, ends_B = jax.device_get((state.tokens_BS, state.position_B))
    spans = zip(out_BS, starts_B, ends_B, strict=True)
    return [
        _completion(tokenizer, prompts[i // num_samples], row[start:end])
        for i, (row, start, end) in enumerate(spans)
    ]


def bucket(length: int) -> int:
    """Returns the smallest allowed length of at least `length`: powers of two from SMALLEST_BUCKET."""
    return max(SMALLEST_BUCKET, 1 << (length - 1).bit_length())


def _key(seed: int, prompt_ids: Sequence[int], sample: int) -> jax.Array:
    digest = hashlib.sha256(np.array(prompt_ids, np.int32).tobytes()).digest()
    key = jax.random.fold_in(jax.random.key(seed), int.from_bytes(digest[:4], "little"))
    return jax.random.fold_in(key, sample)


def _never_drawn(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Control ids that stand for no text; the end of the story, which may be one of them, may be drawn."""
    return tuple(sorted({tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id} - {tokenizer.eos_id}))


def _completion(tokenizer: Tokenizer, prompt: str, new_ids: np.ndarray) -> Completion:
    ended = len(new_ids) > 0 and new_ids[-1] == tokenizer.eos_id
    text = tokenizer.decode(map(int, new_ids[:-1] if ended else new_ids), start=not prompt)
    return Completion(prompt, text, "end" if ended else "length", len(new_ids))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def decode(
    config: ModelConfig,
    length: int,
    vocab_size: int,
    eos_id: int,
    never_drawn: tuple[int, ...],
    params: dict,
    prompt_BP: jax.Array,
    starts_B: jax.Array,
    limits_B: jax.Array,
    keys_B: jax.Array,
    options: Options,
) -> State:
    """Runs the prompts through the model, then draws tokens until each row has ended or is at its limit."""
    rows, width = prompt_BP.shape
    positions_BP = jnp.broadcast_to(jnp.arange(width), (rows, width))
    cache = init_cache(config, rows, length)
    hidden_BPD, cache = hidden_states(config, params, prompt_BP, None, positions_BP, cache)
    last_B1D = jnp.take_along_axis(hidden_BPD, (starts_B - 1)[:, None, None], axis=1)
    state = State(
        tokens_BS=jnp.zeros((rows, length), jnp.int32).at[:, :width].set(prompt_BP),
        position_B=starts_B,
        done_B=starts_B >= limits_B,
        logits_BV=logits(config, params, last_B1D)[:, 0],
        cache=cache,
    )

    def advance(state: State) -> State:
        logits_BV = state.logits_BV[:, :vocab_size]  # rows that only pad the vocabulary are never drawn
        logits_BV = logits_BV.at[:, never_drawn].set(EXCLUDED)
        draw_keys_B = jax.vmap(jax.random.fold_in)(keys_B, state.position_B)
        new_B = jax.vmap(choose, (0, 0, None))(logits_BV, draw_keys_B, options)
        at = (jnp.arange(rows), state.position_B)
        new_B = jnp.where(state.done_B, state.tokens_BS[at], new_B)
        hidden_B1D, cache = hidden_states(
            config, params, new_B[:, None], None, state.position_B[:, None], state.cache
        )
        position_B = state.position_B + ~state.done_B
        return State(
            tokens_BS=state.tokens_BS.at[at].set(new_B),
            position_B=position_B,
            done_B=state.done_B | (new_B == eos_id) | (position_B >= limits_B),
            logits_BV=logits(config, params, hidden_B1D)[:, 0],
            cache=cache,
        )

    return jax.lax.while_loop(lambda state: ~state.done_B.all(), advance, state)
