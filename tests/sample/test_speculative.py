"""With a draft, whatever it proposes, stories are the model's own: to the token if greedy, else by chance."""

import collections
import dataclasses
import itertools
import pathlib

import jax
import numpy as np
import pytest
import scipy.stats

from tests.conftest import make_stories
from tests.tiny import tiny_model
from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.decoder import Decoder
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample import speculative, stories
from tinyjax.sample.engine import Engine
from tinyjax.sample.model import Model, load_model
from tinyjax.sample.options import Options
from tinyjax.sample.score import score_ids
from tinyjax.sample.speculative import SpeculativeEngine, Statistics
from tinyjax.sample.stories import Completion, make_requests, tell_one
from tinyjax.tokenizer.training import train_tokenizer

PROMPTS = ["Lily", "Tom saw 3 kites and was", "", "Ben saw 7 boats and was happy. Lily"]
GREEDY = Options(temperature=0.0)
FREE = Options(temperature=1.0)
GPT_NEO = {"family": "gpt_neo", "window": 10, "num_layers": 3}
_forward = jax.jit(
    lambda config, params, rows: Decoder(config).apply({"params": params}, rows), static_argnums=0
)


@pytest.fixture(scope="module")
def model(tiny_run: pathlib.Path) -> Model:
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def draft(model: Model) -> Model:
    """One that is often right."""
    return disturbed(model, 0.03)


def disturbed(model: Model, by: float, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda p: p + np.float32(by) * rng.normal(size=p.shape).astype("f4"), model.params)
    return dataclasses.replace(model, params=params)


def random_model(like: Model, seed: int, config: ModelConfig) -> Model:
    """A model of the same tokenizer, with opinions of its own."""
    params = jax.jit(Decoder(config).init)(jax.random.key(seed), np.zeros((1, 2), np.int32))["params"]
    return disturbed(Model(config, params, like.tokenizer, 0, False), 0.1, seed)


def generate(*arguments, slots: int = 3, **options) -> tuple[list[Completion], Statistics]:
    """In as many slots by all tests, so that one program serves most of them; they are filled again."""
    return speculative.generate(*arguments, slots=slots, **options)


def told(stories: list[Completion]) -> list[tuple[str, str, list[int]]]:
    return [(story.text, story.finish, [token.id for token in story.tokens]) for story in stories]


@pytest.mark.parametrize("draft_tokens", [1, 4])
def test_greedy_stories_are_the_models_own(draft_tokens: int, model: Model, draft: Model):
    """Of unequal prompts, to the model's end or that of the context; more stories than slots."""
    wanted = stories.generate(model, PROMPTS, options=GREEDY)
    found, statistics = generate(model, draft, PROMPTS, draft_tokens=draft_tokens, options=GREEDY)
    assert told(found) == told(wanted)
    assert [story.prompt for story in found] == PROMPTS
    assert 0.2 < statistics.acceptance < 0.98  # so that there was something to take back
    assert statistics.tokens == sum(len(story.tokens) for story in found)
    assert 1 < statistics.tokens_per_step < draft_tokens + 1


@pytest.mark.slow
def test_a_model_of_the_other_family_and_size_can_propose(model: Model):
    """Even one that is never right: each step gives the model's own token."""
    other = random_model(model, 1, tiny_model(**GPT_NEO))
    for one, two in ((model, other), (other, model)):
        found, statistics = generate(one, two, PROMPTS, options=GREEDY)
        assert told(found) == told(stories.generate(one, PROMPTS, options=GREEDY))
        assert statistics.acceptance < 0.2


def test_a_draft_that_is_the_model_is_always_right(model: Model):
    for options in (GREEDY, FREE, Options(temperature=1.3, top_k=30, top_p=0.9, min_p=0.01)):
        found, statistics = generate(model, model, PROMPTS, num_samples=2, options=options)
        assert statistics.accepted == statistics.proposed > 0
        assert {story.finish for story in found} <= {"end", "length"}


# --- by chance ------------------------------------------------------------------------------------------
# Of a few tokens that a bias leaves, the story's end among them: few enough stories to know the
# probability of each one by the full forward.

TELLABLE, MOST = 5, 3  # different tokens, and how many a story has at most


def few_tokens(model: Model) -> list[int]:
    return [model.tokenizer.eos_id, *range(100, 100 + TELLABLE - 1)]


def biased(model: Model, **options) -> Options:
    bias = tuple((token, 40.0) for token in few_tokens(model))
    return Options(logit_bias=bias, max_tokens=MOST, **options)


def chances(logits: np.ndarray, options: Options, drawn: int) -> np.ndarray:
    """The probabilities of the few tokens by their logits: no end too early, temperature, top-p."""
    scaled = np.where((np.arange(len(logits)) == 0) & (drawn < options.min_tokens), -np.inf, logits)
    scaled = scaled / options.temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p)
    kept = order[: 1 + np.searchsorted(np.cumsum(p[order]), options.top_p)]
    p = np.where(np.isin(np.arange(len(p)), kept), p, 0)
    return p / p.sum()


def probabilities(model: Model, prompt: str, options: Options) -> dict[tuple[int, ...], float]:
    """Of every story that can be told, by the full forward."""
    start, few = make_requests(model, prompt, options=options)[0].prompt, few_tokens(model)
    going, ended = {(): 1.0}, {}
    for drawn in range(MOST):
        logits = np.asarray(_forward(model.config, model.params, np.array([[*start, *s] for s in going])))
        going = {
            (*story, token): p * chance
            for (story, p), of_few in zip(going.items(), logits[:, -1, few].astype(float), strict=True)
            for token, chance in zip(few, chances(of_few, options, drawn).tolist(), strict=True)
        }
        ended |= {story: p for story, p in going.items() if story[-1] == few[0]}
        going = {story: p for story, p in going.items() if story not in ended}
    return ended | going


def chance_of_being_so_far_off(found: list[Completion], wanted: dict[tuple[int, ...], float]) -> float:
    """The p-value of Pearson's chi-squared test, stories that are rare taken together."""
    counts = collections.Counter(tuple(token.id for token in story.tokens) for story in found)
    if any(not wanted[story] for story in counts):
        return 0.0
    common = [story for story, p in wanted.items() if p * len(found) >= 8]
    observed, expected = ([of[story] for story in common] for of in (counts, wanted))
    observed.append(len(found) - sum(observed))
    expected.append(1 - sum(expected))
    if not observed[-1]:
        observed.pop(), expected.pop()
    return scipy.stats.chisquare(observed, np.array(expected) / sum(expected) * len(found)).pvalue


@pytest.mark.parametrize(
    ("options", "draft_tokens", "changes"),
    [
        ({"temperature": 1.0}, 2, {}),
        ({"temperature": 1.6, "top_p": 0.85}, 4, GPT_NEO),
        pytest.param({"temperature": 0.7, "min_tokens": 2}, 1, {}, marks=pytest.mark.slow),
    ],
)
def test_stories_are_as_likely_as_without_a_draft(
    options: dict, draft_tokens: int, changes: dict, model: Model
):
    one, two = (random_model(model, seed, tiny_model(**changes)) for seed in (1, 2))
    asked = biased(model, **options)
    found, statistics = generate(
        one, two, ["Lily"], draft_tokens=draft_tokens, options=asked, num_samples=4000, slots=4000
    )
    assert 0.1 < statistics.acceptance < 0.9
    wanted = probabilities(one, "Lily", asked)
    assert sum(wanted.values()) == pytest.approx(1)
    assert chance_of_being_so_far_off(found, wanted) > 0.01
    assert chance_of_being_so_far_off(found, probabilities(two, "Lily", asked)) < 1e-9


# --- as stories without a draft -------------------------------------------------------------------------


def test_a_story_does_not_depend_on_what_else_is_in_its_batch(model: Model, draft: Model):
    together, _ = generate(model, draft, PROMPTS, num_samples=2, options=FREE, seed=3)
    alone = [generate(model, draft, [p], num_samples=2, options=FREE, seed=3, slots=1)[0] for p in PROMPTS]
    assert told(list(itertools.chain(*alone))) == told(together)
    backwards, _ = generate(model, draft, PROMPTS[::-1], options=FREE, seed=3)
    assert told(backwards[::-1]) == told(together[::2])
    assert len({story.text for story in together}) == 8
    other, _ = generate(model, draft, PROMPTS, num_samples=2, options=FREE, seed=4)
    assert not {story.text for story in other} & {story.text for story in together}


def test_stories_end_as_they_do_without_a_draft(model: Model, draft: Model):
    """At the model's end, the context's, the most tokens asked for; and not before the fewest."""
    found, _ = generate(model, draft, PROMPTS, num_samples=4, options=FREE)
    assert {story.finish for story in found} == {"end", "length"}
    for story in found:
        ids = [token.id for token in story.tokens]
        assert model.tokenizer.eos_id not in ids[:-1]
        assert (ids[-1] == model.tokenizer.eos_id) == (story.finish == "end")
        if story.finish == "length":
            prompt = make_requests(model, story.prompt, options=FREE)[0].prompt
            assert len(prompt) + len(ids) == model.config.context_length
    options = dataclasses.replace(FREE, min_tokens=20, max_tokens=22)
    found, statistics = generate(model, draft, PROMPTS, num_samples=4, options=options)
    assert all(20 <= len(story.tokens) <= 22 for story in found)
    assert statistics.tokens == sum(len(story.tokens) for story in found)


def test_a_story_ends_before_a_text_to_stop_at(model: Model, draft: Model):
    wanted = stories.generate(model, PROMPTS, options=GREEDY)
    options = Options(temperature=0.0, stop=("not there", wanted[0].text[9:13]))
    found, _ = generate(model, draft, PROMPTS, options=options)
    assert told(found) == told(stories.generate(model, PROMPTS, options=options))
    assert found[0].finish == "stop"


def test_log_probabilities_are_the_models_own(model: Model, draft: Model):
    """Whatever temperature and filters, and of the likeliest tokens too."""
    (request,) = make_requests(model, "Lily saw", options=Options(temperature=1.5, top_k=20))
    engine = SpeculativeEngine(model, draft, 3, 1, 64, alternatives=2)
    tokens = [token for piece in tell_one(engine, model.tokenizer, request, 1) for token in piece.tokens]
    (wanted,) = score_ids(model, [[*request.prompt, *(token.id for token in tokens)]], alternatives=2)
    for token, right in zip(tokens, wanted[len(request.prompt) - 1 :], strict=True):
        assert token.logprob == pytest.approx(right.logprob, abs=1e-4)
        np.testing.assert_allclose(token.alternatives, right.alternatives, atol=1e-4)


def test_a_story_comes_in_pieces(model: Model, draft: Model):
    """Of as many tokens as a step of the model gives; a dropped one makes room."""
    engine = SpeculativeEngine(model, draft, 4, 1, 64)
    (request,) = make_requests(model, "Lily", options=GREEDY)
    pieces = list(tell_one(engine, model.tokenizer, request, 1))
    whole, *_ = stories.generate(model, PROMPTS, options=GREEDY)
    assert whole.prompt == "Lily"
    assert "".join(piece.text for piece in pieces) == whole.text
    assert all(1 <= len(piece.tokens) <= 5 for piece in pieces)
    (slot,) = engine.admit([request])
    engine.advance(1)
    engine.drop(slot)
    assert engine.free == [slot]


@pytest.mark.slow
def test_pages_grow_with_the_stories(model: Model, draft: Model, monkeypatch: pytest.MonkeyPatch):
    wanted, _ = generate(model, draft, PROMPTS, num_samples=2, options=FREE)
    monkeypatch.setattr("tinyjax.sample.engine.SMALLEST_CACHE", 16)
    found, _ = generate(model, draft, PROMPTS, num_samples=2, options=FREE)
    assert told(found) == told(wanted)


@pytest.mark.slow
def test_stories_are_the_same_on_any_mesh(model: Model, draft: Model, devices: list[jax.Device]):
    wanted, _ = generate(model, draft, PROMPTS, num_samples=2, options=FREE)
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)
    found, _ = generate(model, draft, PROMPTS, num_samples=2, options=FREE, mesh=mesh)
    assert told(found) == told(wanted)


@pytest.mark.slow
def test_weights_in_int8_tell_their_own_stories(model: Model, draft: Model):
    (request,) = make_requests(model, "Lily", options=GREEDY)
    engines = (Engine(model, 1, 64, int8=True), SpeculativeEngine(model, draft, 4, 1, 64, int8=True))
    own, found = ("".join(p.text for p in tell_one(e, model.tokenizer, request, 64)) for e in engines)
    assert found == own


# --- what can't be --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        Options(repetition_penalty=1.2),
        Options(frequency_penalty=0.1),
        Options(presence_penalty=0.1),
        Options(forbidden=("a word",)),
    ],
)
def test_options_that_depend_on_what_was_drawn_are_refused(options: Options, model: Model):
    with pytest.raises(UserError, match="leave them out, or do without a draft"):
        generate(model, model, ["Lily"], options=options)


def test_a_draft_of_another_tokenizer_or_with_too_short_a_context_is_refused(model: Model):
    other = dataclasses.replace(model, tokenizer=train_tokenizer(make_stories(30), 300))
    with pytest.raises(UserError, match="trained on data prepared with the same tokenizer"):
        generate(model, other, ["Lily"])
    short = dataclasses.replace(model, config=dataclasses.replace(model.config, context_length=32).freeze())
    with pytest.raises(UserError, match="the draft's context is 32, but stories may have 64 tokens"):
        generate(model, short, ["Lily"])
