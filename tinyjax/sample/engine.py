"""The sampling engine: a fixed number of slots, each with a story being told; a free slot takes the next one.

Prompts are read in buckets of lengths, each different one once; then one jitted loop draws tokens for all
slots until some have ended. Every draw's key is folded from (seed, prompt, sample index, position), so that a
story does not depend on what else is told beside it.
Axes: B slots, P prompts, T prompt positions, N new tokens, A alternatives, V vocabulary, S cached positions.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.model.cached import RING_AXES, Cache, Prefix, empty_cache, insert, read_prompts, resize, step
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.parallel.sharding import constrain, make_mesh, named_sharding
from tinyjax.sample.choosing import EXCLUDED, Past, Rules, choose, remember
from tinyjax.sample.model import Model, decoding_weights
from tinyjax.sample.options import Options
from tinyjax.sample.rules import make_past, make_rules
from tinyjax.tokenizer import Tokenizer

SMALLEST_BUCKET = 32  # prompts are padded to this, twice this, ...: few programs read all lengths
SMALLEST_CACHE = 128  # positions; it grows to twice this, ..., as stories do: all of it is read at every step
PROMPTS_AT_ONCE = 8  # so many prompts are read by one program, or a single one by another


@dataclasses.dataclass(frozen=True)
class Request:
    """A story to be told."""

    prompt: tuple[int, ...]  # token ids, the first of all stories' included
    options: Options
    seed: int = 0
    sample: int = 0  # which of several stories of this prompt
    attempt: int = 0  # which try at it


class Token(NamedTuple):
    """A token that was drawn."""

    id: int
    logprob: float  # of the model itself: before temperature, penalties and filters
    alternatives: tuple[tuple[int, float], ...]  # the likeliest tokens, with their log-probabilities


class Slots(NamedTuple):
    """What the decoding loop carries."""

    cache: Cache
    logits_BV: jax.Array  # float32, of the next token
    past: Past
    keys_B: jax.Array
    limit_B: jax.Array  # so many new tokens at most
    drawn_B: jax.Array  # so many new tokens so far
    done_B: jax.Array  # ended, or never begun
    tokens_BN: jax.Array  # the new tokens
    logprobs_BN: jax.Array  # and their log-probabilities
    other_tokens_BNA: jax.Array  # the likeliest tokens in the place of each
    other_logprobs_BNA: jax.Array


@dataclasses.dataclass
class _Telling:
    """What is told in a slot."""

    request: Request
    fetched: int = 0  # tokens handed out so far


class Engine:
    """Tells up to `slots` stories at a time."""

    def __init__(
        self,
        model: Model,
        slots: int,
        length: int,
        mesh: Mesh | None = None,
        alternatives: int = 0,
        int8: bool = False,
    ):
        """Lays out weights and cache.

        Args:
          model: from `load_model`.
          slots: how many stories at a time; rounded up to what the mesh divides.
          length: tokens of the longest story, prompt included; at most the model's context.
          mesh: devices; the first one of this process by default.
          alternatives: how many of the likeliest tokens to tell beside each drawn one.
          int8: whether to round weights to int8, by channel.
        """
        self._model = model
        self._mesh = mesh or make_mesh(MeshConfig(), jax.local_devices()[:1])
        slots = self._divisible(slots)
        self.length = min(length, model.config.context_length)
        self._tellings: list[_Telling | None] = [None] * slots
        with jax.set_mesh(self._mesh):
            self._weights = place_weights(model, self._mesh, int8)
            self._slots = _make_slots(model.config, self._mesh, slots, self.length, alternatives)
        self._time, self._size = 0, SMALLEST_CACHE  # of the cache; see `_fit`
        self._blocked_V = _blocked(model.config.vocab_size, model.tokenizer)
        self._rules: Rules | None = None

    def _divisible(self, rows: int) -> int:
        """Returns the number of rows, rounded up to what the mesh divides."""
        shards = self._mesh.shape["replica"] * self._mesh.shape["fsdp"]
        return -(-rows // shards) * shards

    @property
    def free(self) -> list[int]:
        """The slots that nothing is told in."""
        return [number for number, telling in enumerate(self._tellings) if telling is None]

    @property
    def in_use(self) -> list[int]:
        """The slots that a story is told in."""
        return [number for number, telling in enumerate(self._tellings) if telling is not None]

    def admit(self, requests: Sequence[Request]) -> list[int]:
        """Begins stories in free slots, and returns these; equal prompts are read once.

        The caller sees to it that there are slots, and that each prompt leaves room for a token.
        """
        slots = self.free[: len(requests)]
        for slot, request in zip(slots, requests, strict=True):
            self._tellings[slot] = _Telling(request)
        begun = dict(zip(slots, requests, strict=True))
        by_width: dict[int, dict[tuple[int, ...], list[int]]] = {}
        for slot, request in begun.items():
            width = min(self._model.config.context_length, bucket(len(request.prompt)))
            by_width.setdefault(width, {}).setdefault(request.prompt, []).append(slot)
        self._renew_rules(begun)
        self._fit(begun)
        for width, prompts in by_width.items():
            entries = list(prompts.items())
            for start in range(0, len(entries), PROMPTS_AT_ONCE):
                self._read(width, dict(entries[start : start + PROMPTS_AT_ONCE]))
        return slots

    def _renew_rules(self, begun: dict[int, Request]) -> None:
        """Works out what all slots ask for, and what they have read, which may now be of other shapes."""
        drawn = self._drawn()
        requests = [None if telling is None else telling.request for telling in self._tellings]
        options = [request.options if request else None for request in requests]
        read = [
            (request.prompt if request else (), () if slot in begun else drawn[slot])
            for slot, request in enumerate(requests)
        ]
        size, tokenizer = self._model.config.vocab_size, self._model.tokenizer
        self._rules = make_rules(options, tokenizer, size)
        self._slots = self._slots._replace(past=make_past(read, self._rules, size))

    def _size_for(self, tokens: int) -> int:
        """Returns the size of a cache in which another token can come after so many."""
        return min(self.length, max(SMALLEST_CACHE, 1 << tokens.bit_length()))

    def _fit(self, begun: Mapping[int, Request]) -> None:
        """Makes the cache as large as it has to be for the stories in it, and for those that are begun."""
        going_on = [slot for slot in self.in_use if slot not in begun]
        lengths_B = jax.device_get(self._slots.cache.length_B)
        lengths = [len(request.prompt) for request in begun.values()]
        self._time = max([*lengths, *(int(lengths_B[slot]) for slot in going_on)])
        self._size = self._size_for(self._time)
        in_use_B = np.zeros(len(self._tellings), bool)
        in_use_B[going_on] = True
        with jax.set_mesh(self._mesh):
            cache = fit(self._model.config, self._slots.cache, in_use_B, np.int32(self._time), self._size)
        self._slots = self._slots._replace(cache=cache)

    def _drawn(self) -> list[tuple[int, ...]]:
        tokens_BN, drawn_B = jax.device_get((self._slots.tokens_BN, self._slots.drawn_B))
        return [tuple(row[:count].tolist()) for row, count in zip(tokens_BN, drawn_B, strict=True)]

    def _read(self, width: int, prompts: dict[tuple[int, ...], list[int]]) -> None:
        """Reads some prompts of one bucket, and puts them into their slots."""
        rows = self._divisible(1 if len(prompts) == 1 else PROMPTS_AT_ONCE)
        prompt_PT = np.full((rows, width), self._model.tokenizer.pad_id, np.int32)
        lengths_P = np.ones(rows, np.int32)
        source_B = np.full(len(self._tellings), -1, np.int32)
        for number, (prompt, slots) in enumerate(prompts.items()):
            prompt_PT[number, : len(prompt)] = prompt
            lengths_P[number] = len(prompt)
            source_B[slots] = number
        keys = [_key(telling.request) if telling else (0,) * 4 for telling in self._tellings]
        limits_B = np.array([self._limit(telling) for telling in self._tellings], np.int32)
        with jax.set_mesh(self._mesh):
            self._begin(prompt_PT, lengths_P, source_B, limits_B, np.array(keys, np.uint32))

    def _begin(
        self,
        prompt_PT: np.ndarray,
        lengths_P: np.ndarray,
        source_B: np.ndarray,
        limits_B: np.ndarray,
        keys_B4: np.ndarray,
    ) -> None:
        """Reads prompts, and begins the stories of the slots that a prompt is the source of; see `begin`."""
        prefixes, logits_PV = prefill(self._model.config, self._weights, prompt_PT, lengths_P)
        self._slots = begin(self._slots, prefixes, logits_PV, lengths_P, source_B, limits_B, keys_B4)

    def _limit(self, telling: _Telling | None) -> int:
        if telling is None:
            return 0
        room = self.length - len(telling.request.prompt)
        return min(telling.request.options.max_tokens or room, room)

    def advance(self, steps: int, wake: int = 1) -> dict[int, tuple[list[Token], bool]]:
        """Draws up to `steps` tokens in every slot; returns the new ones, and whether a story has ended.

        Args:
          steps: at most so many; fewer where the cache is full, to grow it at the next call.
          wake: returns before, when so many stories have ended; always when all have.
        """
        if self._time == self._size:
            self._fit({})
        steps = min(steps, self._size - self._time)
        with jax.set_mesh(self._mesh):
            self._slots = decode(
                self._model.config, self._weights, self._blocked_V, self._rules, self._slots, steps, wake
            )
        self._time = int(self._slots.cache.time)
        return self._fetch()

    def _fetch(self) -> dict[int, tuple[list[Token], bool]]:
        slots = self._slots
        arrays = (slots.tokens_BN, slots.logprobs_BN, slots.other_tokens_BNA, slots.other_logprobs_BNA)
        drawn_B, done_B, tokens, logprobs, other_tokens, other_logprobs = jax.device_get(
            (slots.drawn_B, slots.done_B, *arrays)
        )
        news = {}
        for slot, telling in enumerate(self._tellings):
            if telling is None:
                continue
            span = slice(telling.fetched, drawn_B[slot])
            others = zip(other_tokens[slot, span].tolist(), other_logprobs[slot, span].tolist(), strict=True)
            told = zip(tokens[slot, span].tolist(), logprobs[slot, span].tolist(), others, strict=True)
            new = [Token(t, p, tuple(zip(*other, strict=True))) for t, p, other in told]
            telling.fetched = int(drawn_B[slot])
            news[slot] = (new, bool(done_B[slot]))
            if done_B[slot]:
                self._tellings[slot] = None
        return news

    def drop(self, slot: int) -> None:
        """Ends the story in a slot."""
        self._tellings[slot] = None
        self._slots = self._slots._replace(done_B=self._slots.done_B.at[slot].set(True))


def bucket(length: int) -> int:
    """Returns the smallest allowed length of at least `length`: powers of two from SMALLEST_BUCKET."""
    return max(SMALLEST_BUCKET, 1 << (length - 1).bit_length())


def _key(request: Request) -> tuple[int, int, int, int]:
    """Returns the seed, and what is folded into its key."""
    digest = hashlib.sha256(np.array(request.prompt, np.int32).tobytes()).digest()
    return request.seed, int.from_bytes(digest[:4], "little"), request.sample, request.attempt


def place_weights(model: Model, mesh: Mesh, int8: bool) -> dict:
    """Puts the parameters on the devices of a mesh, as training does; returns them laid out for decoding."""
    params = jax.tree.map(
        lambda declared, value: jax.device_put(value, named_sharding(mesh, declared.axes)),
        declare(model.config),
        model.params,
        is_leaf=is_parameter,
    )
    return jax.jit(decoding_weights, static_argnums=(0, 2))(model.config, params, int8)


def _blocked(size: int, tokenizer: Tokenizer) -> np.ndarray:
    """Returns what is added to logits, so that padding of the vocabulary and control ids are never drawn.

    The end of the story, which may be a control id, is.
    """
    blocked_V = np.zeros(size, np.float32)
    blocked_V[tokenizer.vocab_size :] = EXCLUDED
    blocked_V[sorted({tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id} - {tokenizer.eos_id})] = EXCLUDED
    return blocked_V


def empty_slots(config: ModelConfig, rows: int, length: int, alternatives: int) -> Slots:
    """Returns slots in which nothing is told yet, with a cache for stories of up to `length` tokens."""
    return Slots(
        cache=empty_cache(config, rows, min(length, SMALLEST_CACHE)),
        logits_BV=jnp.zeros((rows, config.vocab_size), jnp.float32),
        past=Past(*(jnp.zeros((rows, 0), dtype) for dtype in (bool, jnp.int32, jnp.int32))),
        keys_B=jax.vmap(jax.random.key)(jnp.zeros(rows, jnp.uint32)),
        limit_B=jnp.zeros(rows, jnp.int32),
        drawn_B=jnp.zeros(rows, jnp.int32),
        done_B=jnp.ones(rows, bool),
        tokens_BN=jnp.zeros((rows, length), jnp.int32),
        logprobs_BN=jnp.zeros((rows, length), jnp.float32),
        other_tokens_BNA=jnp.zeros((rows, length, alternatives), jnp.int32),
        other_logprobs_BNA=jnp.zeros((rows, length, alternatives), jnp.float32),
    )


def _make_slots(config: ModelConfig, mesh: Mesh, rows: int, length: int, alternatives: int) -> Slots:
    """Returns empty slots, each device with its own rows and heads."""
    make = functools.partial(empty_slots, config, rows, length, alternatives)

    def sharding(leaf: jax.Array) -> jax.sharding.NamedSharding:
        axes = RING_AXES if leaf.ndim == 4 else ("batch", None, None)[: leaf.ndim]
        return named_sharding(mesh, axes)

    return jax.jit(make, out_shardings=jax.tree.map(sharding, jax.eval_shape(make)))()


@functools.partial(jax.jit, static_argnums=(0, 4))
def fit(config: ModelConfig, cache: Cache, in_use_B: jax.Array, time: jax.Array, length: int) -> Cache:
    """Compiled `tinyjax.model.cached.resize`."""
    return resize(config, cache, in_use_B, time, length)


@functools.partial(jax.jit, static_argnums=0)
def prefill(
    config: ModelConfig, weights: dict, prompt_PT: jax.Array, lengths_P: jax.Array
) -> tuple[tuple[Prefix, ...], jax.Array]:
    """Reads prompts, padded to one length; returns their keys and values, and logits after each [P, V]."""
    hidden_PTD, prefixes = read_prompts(config, weights, prompt_PT)
    last_P1D = jnp.take_along_axis(hidden_PTD, (lengths_P - 1)[:, None, None], axis=1)
    return prefixes, logits(weights, last_P1D[:, 0])


@functools.partial(jax.jit, donate_argnums=0)
def begin(
    slots: Slots,
    prefixes: tuple[Prefix, ...],
    logits_PV: jax.Array,
    lengths_P: jax.Array,
    source_B: jax.Array,
    limits_B: jax.Array,
    keys_B4: jax.Array,
) -> Slots:
    """Returns the slots with those begun whose prompt `source_B` is, where not negative.

    `keys_B4` holds seeds, and what is folded into their keys.
    """
    begun_B = source_B >= 0

    def key(numbers_4: jax.Array) -> jax.Array:
        return functools.reduce(jax.random.fold_in, numbers_4[1:], jax.random.key(numbers_4[0]))

    return slots._replace(
        cache=insert(slots.cache, prefixes, source_B, lengths_P),
        logits_BV=jnp.where(begun_B[:, None], logits_PV[source_B], slots.logits_BV),
        keys_B=jnp.where(begun_B, jax.vmap(key)(keys_B4), slots.keys_B),
        limit_B=jnp.where(begun_B, limits_B, slots.limit_B),
        drawn_B=jnp.where(begun_B, 0, slots.drawn_B),
        done_B=jnp.where(begun_B, limits_B < 1, slots.done_B),
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def decode(
    config: ModelConfig,
    weights: dict,
    blocked_V: jax.Array,
    rules: Rules,
    slots: Slots,
    max_steps: jax.Array,
    wake: jax.Array,
) -> Slots:
    """Draws tokens in every slot: `max_steps`, or until `wake` slots have ended, or all."""
    before = slots.done_B

    def goes_on(carry: tuple[jax.Array, Slots]) -> jax.Array:
        steps, slots = carry
        ended = (slots.done_B & ~before).sum()
        return (steps < max_steps) & (ended < wake) & ~slots.done_B.all()

    def draw(carry: tuple[jax.Array, Slots]) -> tuple[jax.Array, Slots]:
        steps, slots = carry
        return steps + 1, draw_tokens(config, weights, blocked_V, rules, slots)

    return jax.lax.while_loop(goes_on, draw, (jnp.int32(0), slots))[1]


def draw_tokens(
    config: ModelConfig, weights: dict, blocked_V: jax.Array, rules: Rules, slots: Slots
) -> Slots:
    """Draws the next token of every slot, and reads it."""
    keys_B = jax.vmap(jax.random.fold_in)(slots.keys_B, slots.cache.length_B)
    tokens_B = choose(slots.logits_BV + blocked_V, keys_B, rules, slots.past, slots.drawn_B)
    hidden_BD, cache = step(config, weights, tokens_B, slots.cache)
    length_B = jnp.where(slots.done_B, slots.cache.length_B, cache.length_B)
    return take(rules, slots, tokens_B)._replace(
        cache=cache._replace(length_B=length_B),
        logits_BV=logits(weights, hidden_BD),
        past=remember(slots.past, tokens_B),
    )


def take(rules: Rules, slots: Slots, tokens_B: jax.Array) -> Slots:
    """Returns the slots with a token more in each story that goes on, some of which may end by it."""
    drawn_B = slots.drawn_B + ~slots.done_B
    ended_B = (tokens_B[:, None] == rules.ends_BE).any(1) | (drawn_B >= slots.limit_B)
    return _note(slots, tokens_B)._replace(drawn_B=drawn_B, done_B=slots.done_B | ended_B)


def _note(slots: Slots, tokens_B: jax.Array) -> Slots:
    """Writes down the tokens drawn, what the model thought of them, and what else it thought of."""
    rows, length = slots.tokens_BN.shape
    at = (jnp.arange(rows), jnp.where(slots.done_B, length, slots.drawn_B))  # beyond the end: not at all
    total_B = jax.nn.logsumexp(slots.logits_BV, axis=1)
    chosen_B = jnp.take_along_axis(slots.logits_BV, tokens_B[:, None], axis=1)[:, 0]
    slots = slots._replace(
        tokens_BN=slots.tokens_BN.at[at].set(tokens_B, mode="drop"),
        logprobs_BN=slots.logprobs_BN.at[at].set(chosen_B - total_B, mode="drop"),
    )
    if not (alternatives := slots.other_tokens_BNA.shape[2]):
        return slots
    others_BA, other_tokens_BA = jax.lax.top_k(slots.logits_BV, alternatives)
    return slots._replace(
        other_tokens_BNA=slots.other_tokens_BNA.at[at].set(other_tokens_BA, mode="drop"),
        other_logprobs_BNA=slots.other_logprobs_BNA.at[at].set(others_BA - total_B[:, None], mode="drop"),
    )


def logits(weights: dict, hidden_BXD: jax.Array) -> jax.Array:
    """Returns float32 logits [B, ..., V], by weights from `place_weights`."""
    head_DV = weights["head_DV"].astype(hidden_BXD.dtype)
    logits_BXV = jnp.einsum("b...d,dv->b...v", hidden_BXD, head_DV, preferred_element_type=jnp.float32)
    return constrain(logits_BXV, ("batch", *[None] * (logits_BXV.ndim - 2), "vocab"))
