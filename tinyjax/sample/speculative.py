"""Speculative decoding: a small model proposes some tokens, and the large one reads them all at once.

Algorithm 1 of Leviathan et al. (2023, arXiv 2211.17192), for all slots at a time: proposals x ~ q of the
draft are taken from the left as long as u < p(x) / q(x), p being the model's; in the place of the first one
that is refused comes a draw from max(p - q, 0), and after all of them one from p. So tokens are distributed
as the model's own; at temperature 0, where p and q are all on one token, they are the model's own.
Temperature, filters and bias make the p and q of the algorithm.
Every chance has a key of its own, folded from the story's, the position and what it is for, so that a story
does not depend on what else is told beside it.
Axes: B slots, P prompts, T prompt positions, X proposals, U = X + 1 tokens read at once, V vocabulary.
"""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.cached import Cache, Prefix
from tinyjax.model.pages import Pages, empty_pages, extend, lay_out, resize
from tinyjax.sample.choosing import Past, Rules, adjust, draw, keep, likeliest
from tinyjax.sample.engine import (
    Engine,
    Request,
    Slots,
    Token,
    begin,
    bucket,
    logits,
    place_weights,
    prefill,
    take,
)
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.rules import make_past, make_rules
from tinyjax.sample.stories import SLOTS, Completion, make_requests, tell_whole

DRAFT_TOKENS = 4  # proposals for each step of the model

_PROPOSE, _ACCEPT, _REST = range(3)  # what a chance is for


class Statistics(NamedTuple):
    """How it went; what was proposed after the end of a story doesn't count."""

    proposed: int = 0
    accepted: int = 0
    tokens: int = 0  # drawn, proposed or not
    steps: int = 0  # of the model, those of each story by themselves

    @property
    def acceptance(self) -> float:
        """The share of proposals that was accepted."""
        return self.accepted / max(self.proposed, 1)

    @property
    def tokens_per_step(self) -> float:
        """Tokens for each step of the model; without a draft, 1."""
        return self.tokens / max(self.steps, 1)


class Reading(NamedTuple):
    """What the two models have read of the stories in the slots."""

    pages: Pages  # of the model
    draft_pages: Pages  # the same tokens
    newest_B: jax.Array  # the token after them, which no one has read yet


Thing = TypeVar("Thing")


class Pair(NamedTuple, Generic[Thing]):
    """Something of the model, and the same of its draft."""

    target: Thing
    draft: Thing


Configs = Pair[ModelConfig]
Weights = Pair[dict]


def generate(
    model: Model,
    draft: Model,
    prompts: Sequence[str],
    *,
    draft_tokens: int = DRAFT_TOKENS,
    num_samples: int = 1,
    seed: int = 0,
    options: Options | None = None,
    slots: int = SLOTS,
    mesh: Mesh | None = None,
) -> tuple[list[Completion], Statistics]:
    """Continues prompts as `tinyjax.sample.stories.generate` does, with other draws; tells how it went too.

    Args:
      model: from `load_model`.
      draft: a smaller one of the same tokenizer.
      prompts: texts to continue; an empty one starts a story.
      draft_tokens: proposals for each step of the model.
      num_samples: continuations of each.
      seed: of all draws.
      options: how tokens are chosen, and when a story ends.
      slots: how many stories are told at a time, at most.
      mesh: devices; the first one of this process by default.

    Raises:
      UserError: a prompt leaves no room, the draft doesn't fit, or options depend on what was drawn before.
    """
    options = options or Options()
    requests = [
        (prompt, request)
        for prompt in prompts
        for request in make_requests(model, prompt, num_samples, seed=seed, options=options)
    ]
    longest = max((len(request.prompt) for _, request in requests), default=1)
    length = bucket(longest + (options.max_tokens or model.config.context_length))
    slots = min(slots, max(len(requests), 1))
    engine = SpeculativeEngine(model, draft, draft_tokens, slots, length, mesh)
    told = dict(tell_whole(engine, model.tokenizer, dict(enumerate(requests))))
    return [told[number] for number in range(len(requests))], engine.statistics


class SpeculativeEngine(Engine):
    """Tells up to `slots` stories at a time, as `Engine` does, by what a draft proposes."""

    def __init__(
        self,
        model: Model,
        draft: Model,
        draft_tokens: int,
        slots: int,
        length: int,
        mesh: Mesh | None = None,
        alternatives: int = 0,
        int8: bool = False,
    ):
        """Lays out the weights of both models, and their pages.

        Args:
          model: from `load_model`.
          draft: a smaller one of the same tokenizer.
          draft_tokens: proposals for each step of the model.
          slots: as of `Engine`.
          length: as of `Engine`.
          mesh: as of `Engine`.
          alternatives: as of `Engine`.
          int8: whether to round the weights of both to int8, by channel.

        Raises:
          UserError: the draft has another tokenizer, or a context too short for these stories.
        """
        check_draft(model, draft, min(length, model.config.context_length))
        super().__init__(model, slots, length, mesh, alternatives, int8)
        self.statistics = Statistics()
        self._draft_tokens = draft_tokens
        self._configs = Pair(model.config, draft.config)
        self._blocked_V = self._blocked_V[: model.tokenizer.vocab_size]
        rows, size = len(self._tellings), min(self.length, self._size)
        with jax.set_mesh(self._mesh):
            self._both_weights = Pair(self._weights, place_weights(draft, self._mesh, int8))
            pages = (_empty(config, rows, size) for config in self._configs)
            self._reading = Reading(*pages, jnp.zeros(rows, jnp.int32))
        # What the slots have read stands in the pages.
        self._slots = self._slots._replace(cache=Cache((), jnp.int32(0), jnp.zeros(rows, jnp.int32)))

    def admit(self, requests: Sequence[Request]) -> list[int]:
        """Begins stories as `Engine.admit` does; UserError where options depend on what was drawn before."""
        for options in {request.options for request in requests}:
            check_options(options, self._model)
        return super().admit(requests)

    def advance(self, steps: int, wake: int = 1) -> dict[int, tuple[list[Token], bool]]:
        """Draws tokens as `Engine.advance` does, up to `draft_tokens` more than `steps`."""
        self._fit({})
        # Pages of full size need not grow: what is proposed beyond them is beyond the end of every story.
        furthest = self.length if self._size == self.length else self._size - self._draft_tokens - 1
        with jax.set_mesh(self._mesh):
            self._slots, self._reading, counts = speculate(
                self._configs, self._draft_tokens, self._both_weights, self._blocked_V, self._rules,
                self._slots, self._reading, steps, wake, furthest,
            )  # fmt: skip
        self.statistics = Statistics(*map(operator.add, self.statistics, counts.tolist()))
        return self._fetch()

    def _fit(self, begun: Mapping[int, Request]) -> None:
        """Makes the pages as large as they have to be, for the stories begun and for proposals to all."""
        lengths_B = jax.device_get(self._reading.pages.length_B)
        going_on = [int(lengths_B[slot]) for slot in self.in_use if slot not in begun]
        longest = max([*going_on, *(len(request.prompt) for request in begun.values())], default=0)
        size = self._size_for(longest + self._draft_tokens)
        if size != self._size:
            self._size = size
            with jax.set_mesh(self._mesh):
                self._reading = _resize(self._configs, self._reading, size)

    def _begin(
        self,
        prompt_PT: np.ndarray,
        lengths_P: np.ndarray,
        source_B: np.ndarray,
        limits_B: np.ndarray,
        keys_B4: np.ndarray,
    ) -> None:
        prompts = [
            prefill(config, weights, prompt_PT, lengths_P)
            for config, weights in zip(self._configs, self._both_weights, strict=True)
        ]
        prefixes, draft_prefixes = (prefixes for prefixes, _ in prompts)
        self._reading = _start(self._reading, prefixes, draft_prefixes, prompt_PT, lengths_P, source_B)
        self._slots = begin(self._slots, (), prompts[0][1], lengths_P, source_B, limits_B, keys_B4)


def check_draft(model: Model, draft: Model, length: int) -> None:
    """Raises UserError where a draft can't propose for stories of up to `length` tokens."""
    own, other = (m.tokenizer.sha256[:12] for m in (model, draft))
    if own != other:
        raise UserError(
            f"the draft's tokenizer (sha256 {other}) is not the model's ({own}); "
            "give a draft that was trained on data prepared with the same tokenizer"
        )
    if draft.config.context_length < length:
        raise UserError(
            f"the draft's context is {draft.config.context_length}, but stories may have {length} tokens; "
            "give a smaller max_tokens, or a draft with a longer context"
        )


def check_options(options: Options, model: Model) -> None:
    """Raises UserError for options by which a token's chances depend on those drawn before it."""
    size = model.config.vocab_size
    rules = make_rules([options], model.tokenizer, size)
    past = make_past([((), ())], rules, size)
    if past.drawn_BV.size or past.recent_BN.size:
        raise UserError(
            "with a draft there can be no repetition, frequency or presence penalty, and no forbidden words "
            "of several tokens, for they depend on what was drawn; leave them out, or do without a draft"
        )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _empty(config: ModelConfig, rows: int, size: int) -> Pages:
    return empty_pages(config, rows, size)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _resize(configs: Configs, reading: Reading, size: int) -> Reading:
    return reading._replace(
        pages=resize(configs.target, reading.pages, size),
        draft_pages=resize(configs.draft, reading.draft_pages, size),
    )


@functools.partial(jax.jit, donate_argnums=0)
def _start(
    reading: Reading,
    prefixes: tuple[Prefix, ...],
    draft_prefixes: tuple[Prefix, ...],
    prompt_PT: jax.Array,
    lengths_P: jax.Array,
    source_B: jax.Array,
) -> Reading:
    """Returns what was read with the slots begun whose prompt `source_B` is, where not negative.

    A prompt's last token is left to be read with the first proposals.
    """
    last_P = jnp.take_along_axis(prompt_PT, lengths_P[:, None] - 1, axis=1)[:, 0]
    return Reading(
        lay_out(reading.pages, prefixes, source_B, lengths_P - 1),
        lay_out(reading.draft_pages, draft_prefixes, source_B, lengths_P - 1),
        jnp.where(source_B < 0, reading.newest_B, last_P[source_B]),
    )


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(5, 6))
def speculate(
    configs: Configs,
    draft_tokens: int,
    weights: Weights,
    blocked_V: jax.Array,
    rules: Rules,
    slots: Slots,
    reading: Reading,
    max_tokens: jax.Array,
    wake: jax.Array,
    furthest: jax.Array,
) -> tuple[Slots, Reading, jax.Array]:
    """Draws tokens in every slot, until one has `max_tokens` more, `wake` have ended, or all.

    Also until a story is longer than `furthest`, and the pages have to grow before it goes on. Returns what
    was counted too, in the order of `Statistics`.
    """
    before = slots

    def goes_on(carry: tuple[Slots, Reading, jax.Array]) -> jax.Array:
        slots, reading, _ = carry
        drawn = (slots.drawn_B - before.drawn_B).max()
        ended = (slots.done_B & ~before.done_B).sum()
        longest = jnp.where(slots.done_B, 0, reading.pages.length_B).max()
        return (drawn < max_tokens) & (ended < wake) & (longest <= furthest) & ~slots.done_B.all()

    def go_on(carry: tuple[Slots, Reading, jax.Array]) -> tuple[Slots, Reading, jax.Array]:
        slots, reading, counts = carry
        slots, reading, news = draw_some(configs, draft_tokens, weights, blocked_V, rules, slots, reading)
        return slots, reading, counts + news

    return jax.lax.while_loop(goes_on, go_on, (slots, reading, jnp.zeros(len(Statistics()), jnp.int32)))


def draw_some(
    configs: Configs,
    draft_tokens: int,
    weights: Weights,
    blocked_V: jax.Array,
    rules: Rules,
    slots: Slots,
    reading: Reading,
) -> tuple[Slots, Reading, jax.Array]:
    """Draws one to `draft_tokens` + 1 tokens in every slot: Algorithm 1, once; see `speculate`."""
    chances = functools.partial(distribution, blocked_V, rules, slots.past)
    read_BU, q_BXV, draft_pages = _propose(
        configs.draft, draft_tokens, weights.draft, chances, slots, reading
    )
    hidden_BUD, pages = extend(configs.target, weights.target, read_BU, reading.pages)
    logits_BUV = logits(weights.target, hidden_BUD)
    number_BU = jnp.broadcast_to(jnp.arange(draft_tokens + 1), read_BU.shape)
    p_BUV = jax.vmap(chances, in_axes=1, out_axes=1)(slots.drawn_B[:, None] + number_BU, logits_BUV)

    next_B = reading.pages.length_B + 1  # the position of the first token to be drawn
    uniform_BX = _uniform(slots.keys_B, next_B, draft_tokens)
    accepted_B = count_accepted(p_BUV, q_BXV, read_BU[:, 1:], uniform_BX)
    rest_BV = rest(p_BUV, q_BXV, accepted_B)
    last_B = draw(jnp.log(rest_BV), _fold(slots.keys_B, next_B + accepted_B, _REST))
    is_proposal_BU = number_BU < accepted_B[:, None]
    tokens_BU = jnp.where(is_proposal_BU, jnp.roll(read_BU, -1, axis=1), last_B[:, None])

    told = _take(rules, slots, tokens_BU, logits_BUV, accepted_B + 1)
    count_B = told.drawn_B - slots.drawn_B
    newest_B = jnp.take_along_axis(tokens_BU, jnp.maximum(count_B - 1, 0)[:, None], axis=1)[:, 0]
    length_B = reading.pages.length_B + count_B
    taken_back = (x._replace(length_B=length_B) for x in (pages, draft_pages))
    return told, Reading(*taken_back, newest_B), _count(draft_tokens, accepted_B, count_B)


def distribution(
    blocked_V: jax.Array, rules: Rules, past: Past, drawn_B: jax.Array, logits_BV: jax.Array
) -> jax.Array:
    """Returns the probabilities [B, V] that `tinyjax.sample.choosing.choose` draws by.

    Args:
      blocked_V: added to the logits, for tokens that are never drawn. The two models may have more logits,
        each so many as padding of its own.
      rules: what the rows ask for.
      past: of the rows.
      drawn_B: how many tokens each has drawn.
      logits_BV: of the next token.
    """
    size = len(blocked_V)
    rules = rules._replace(bias_BV=rules.bias_BV[:, :size])
    logits_BV = adjust(logits_BV[:, :size] + blocked_V, rules, past, drawn_B)
    likeliest_BV = jax.nn.one_hot(likeliest(logits_BV), size)
    greedy_B1 = rules.temperature_B[:, None] <= 0

    def by_temperature() -> jax.Array:
        scaled_BV = logits_BV / jnp.where(greedy_B1, 1.0, rules.temperature_B[:, None])
        return jnp.where(greedy_B1, likeliest_BV, jax.nn.softmax(keep(scaled_BV, rules)))

    return jax.lax.cond(greedy_B1.all(), lambda: likeliest_BV, by_temperature)


def _propose(
    config: ModelConfig,
    draft_tokens: int,
    weights: dict,
    chances: Callable[[jax.Array, jax.Array], jax.Array],
    slots: Slots,
    reading: Reading,
) -> tuple[jax.Array, jax.Array, Pages]:
    """Returns the newest token and the proposals [B, U], what these were drawn by [B, X, V], and pages.

    The pages have the last proposal too, for the case that all are accepted.
    """

    def propose(carry: tuple[jax.Array, Pages], number: jax.Array):
        tokens_B, pages = carry
        hidden_B1D, pages = extend(config, weights, tokens_B[:, None], pages)
        q_BV = chances(slots.drawn_B + number, logits(weights, hidden_B1D[:, 0]))
        proposed_B = draw(jnp.log(q_BV), _fold(slots.keys_B, pages.length_B, _PROPOSE))
        return (proposed_B, pages), (tokens_B, q_BV)

    start = (reading.newest_B, reading.draft_pages)
    (last_B, pages), (read_XB, q_XBV) = jax.lax.scan(propose, start, jnp.arange(draft_tokens))
    _, pages = extend(config, weights, last_B[:, None], pages)
    return jnp.concatenate([read_XB.T, last_B[:, None]], axis=1), jnp.swapaxes(q_XBV, 0, 1), pages


def count_accepted(
    p_BUV: jax.Array, q_BXV: jax.Array, proposed_BX: jax.Array, uniform_BX: jax.Array
) -> jax.Array:
    """Returns how many proposals of each row are taken before the first one that is refused: int32 [B]."""

    def of_proposed(x_BXV: jax.Array) -> jax.Array:
        return jnp.take_along_axis(x_BXV, proposed_BX[..., None], axis=2)[..., 0]

    taken_BX = uniform_BX * of_proposed(q_BXV) < of_proposed(p_BUV[:, :-1])
    return jnp.cumprod(taken_BX.astype(jnp.int32), axis=1).sum(1)


def rest(p_BUV: jax.Array, q_BXV: jax.Array, accepted_B: jax.Array) -> jax.Array:
    """Returns what a row's token after those accepted is drawn by, not normalised: [B, V]."""
    q_BUV = jnp.pad(q_BXV, ((0, 0), (0, 1), (0, 0)))  # after all proposals there is none to be refused
    p_BV, q_BV = (jnp.take_along_axis(x, accepted_B[:, None, None], axis=1)[:, 0] for x in (p_BUV, q_BUV))
    rest_BV = jnp.maximum(p_BV - q_BV, 0)
    # Where both are the same but for rounding, a refusal can leave nothing.
    return jnp.where(rest_BV.sum(1, keepdims=True) > 0, rest_BV, p_BV)


def _take(
    rules: Rules, slots: Slots, tokens_BU: jax.Array, logits_BUV: jax.Array, count_B: jax.Array
) -> Slots:
    """Returns the slots with the first `count_B` tokens of each story, or as many as come before its end."""
    for number in range(tokens_BU.shape[1]):
        done_B = slots.done_B
        waits_B = number >= count_B
        slots = slots._replace(logits_BV=logits_BUV[:, number], done_B=done_B | waits_B)
        slots = take(rules, slots, tokens_BU[:, number])
        slots = slots._replace(done_B=jnp.where(waits_B, done_B, slots.done_B))
    return slots


def _count(draft_tokens: int, accepted_B: jax.Array, count_B: jax.Array) -> jax.Array:
    """Returns the `Statistics` of a step, by the proposals accepted and the tokens that came of it: [4]."""
    looked_at_B = jnp.where(count_B <= accepted_B, count_B, draft_tokens)  # fewer where the story ends
    accepted_B = jnp.minimum(accepted_B, count_B)
    return jnp.stack([x_B.sum() for x_B in (looked_at_B, accepted_B, count_B, count_B > 0)])


def _fold(keys_B: jax.Array, positions_B: jax.Array, purpose: int) -> jax.Array:
    """Returns the keys of rows' chances at positions."""

    def fold(key: jax.Array, position: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, position), purpose)

    return jax.vmap(fold)(keys_B, positions_B)


def _uniform(keys_B: jax.Array, first_B: jax.Array, count: int) -> jax.Array:
    """Returns what decides on proposals at `count` positions from `first_B`: [B, X] in [0, 1)."""
    columns = (_fold(keys_B, first_B + number, _ACCEPT) for number in range(count))
    return jnp.stack([jax.vmap(jax.random.uniform)(keys_B) for keys_B in columns], axis=1)
