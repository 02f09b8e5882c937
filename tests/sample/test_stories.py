"""Stories however many slots there are, on any mesh; their text as it comes; what the model thought of it."""

import collections
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from tests.tiny import tiny_model
from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.model.decoder import Decoder
from tinyjax.model.quantize import Int8, quantize
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.engine import Engine, Request, Token
from tinyjax.sample.model import Model, load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Completion, Text, generate, make_requests, missing, tell, tell_one

PROMPTS = ["Lily", "Tom saw 3 kites and was", "", "Ben saw 7 boats and was happy. Lily", "Tom"]
FREE = Options(temperature=1.0)
GREEDY = Options(temperature=0.0)


@pytest.fixture(scope="module")
def model(tiny_run: pathlib.Path) -> Model:
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def stories(model: Model) -> list[Completion]:
    """Ten, all told at once."""
    return generate(model, PROMPTS, num_samples=2, options=FREE, seed=3)


def told(stories: list[Completion]) -> list[tuple[str, str, list[int]]]:
    return [(story.text, story.finish, [token.id for token in story.tokens]) for story in stories]


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 3])
def test_more_stories_than_slots_are_told_as_slots_become_free(
    slots: int, model: Model, stories: list[Completion]
):
    assert told(generate(model, PROMPTS, num_samples=2, options=FREE, seed=3, slots=slots)) == told(stories)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"replica": 8}, {"replica": 2, "fsdp": 2, "tensor": 2}])
def test_stories_are_the_same_on_any_mesh(
    sizes: dict, model: Model, stories: list[Completion], devices: list[jax.Device]
):
    mesh = make_mesh(MeshConfig(**sizes), devices)
    assert told(generate(model, PROMPTS, num_samples=2, options=FREE, seed=3, mesh=mesh)) == told(stories)
    one = generate(model, PROMPTS[:1], num_samples=2, options=FREE, seed=3, mesh=mesh)
    assert told(one) == told(stories[:2])


@pytest.mark.slow
def test_a_model_with_windows_tells_the_same_in_any_slots():
    config = tiny_model(family="gpt_neo", window=10)
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    model = random_model(config, params)
    together, one_by_one = (generate(model, PROMPTS, options=FREE, slots=slots) for slots in (5, 1))
    assert told(together) == told(one_by_one)


def random_model(config: ModelConfig, params: dict) -> Model:
    from tests.conftest import make_stories
    from tinyjax.tokenizer.training import train_tokenizer

    return Model(config, params, train_tokenizer(make_stories(100), config.vocab_size), 0, False)


def test_log_probabilities_are_those_of_the_full_forward(model: Model):
    """Whatever temperature and filters: what the model itself thinks, and of the likeliest tokens too."""
    options = Options(temperature=1.5, top_k=20, repetition_penalty=1.3)
    (story,) = generate(model, ["Lily saw"], options=options, alternatives=3)
    ids = [*make_requests(model, "Lily saw", options=options)[0].prompt]
    start = len(ids)
    ids += [token.id for token in story.tokens]
    logits: Any = Decoder(model.config).apply({"params": model.params}, np.array([ids]))
    wanted = np.asarray(jax.nn.log_softmax(logits[0, start - 1 : -1]))
    for row, token in zip(wanted, story.tokens, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-4)
        likeliest, values = zip(*token.alternatives, strict=True)
        np.testing.assert_allclose(values, np.sort(row)[::-1][:3], atol=1e-4)
        np.testing.assert_allclose(row[list(likeliest)], values, atol=1e-4)
    assert story.logprob == pytest.approx(sum(token.logprob for token in story.tokens))


def test_a_story_ends_before_a_text_to_stop_at(model: Model):
    (whole,) = generate(model, ["Lily"], options=GREEDY)
    stop = whole.text[9:13]
    (story,) = generate(model, ["Lily"], options=Options(temperature=0.0, stop=("not there", stop)))
    assert (story.text, story.finish) == (whole.text[: whole.text.index(stop)], "stop")
    assert len(story.tokens) < len(whole.tokens)


def test_a_story_ends_at_a_token_to_stop_at(model: Model):
    (whole,) = generate(model, ["Lily"], options=GREEDY)
    token = whole.tokens[5].id
    (story,) = generate(model, ["Lily"], options=Options(temperature=0.0, stop_tokens=(token,)))
    assert story.finish == "stop"
    assert story.tokens[-1].id == token
    assert whole.text.startswith(story.text)


def test_a_story_does_not_end_before_its_least_length(model: Model):
    for story in generate(model, PROMPTS, options=Options(min_tokens=30, max_tokens=40)):
        assert len(story.tokens) >= 30


def test_forbidden_words_do_not_come(model: Model):
    """This model writes of nothing else."""
    names, options = ("Lily", "Tom"), Options(forbidden=("Lily", "Tom"))
    usual, without = (generate(model, [""] * 8, options=o) for o in (Options(), options))
    assert all(any(name in story.text for story in usual) for name in names)
    assert not any(name in story.text for story in without for name in names)


def test_pieces_are_the_story_as_it_comes(model: Model):
    (whole,) = generate(model, ["Lily"], options=GREEDY)
    engine = Engine(model, 1, 64)
    waiting = collections.deque(enumerate(make_requests(model, "Lily", options=GREEDY)))
    pieces = list(tell(engine, model.tokenizer, waiting, steps=1))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert all(len(piece.tokens) <= 1 for piece in pieces)
    assert [bool(piece.finish) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(engine.free) == 1


def test_characters_of_several_tokens_are_never_broken(model: Model):
    text = "a 🎈 and 日本, é"
    ids = list(map(int, model.tokenizer.encode(text)))
    assert len(ids) > len(text)  # in bytes
    telling = Text(model.tokenizer, Request((1, 2), Options()))
    pieces = [telling.add(0, [Token(token, 0.0, ())], False).text for token in ids]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert "" in pieces


def test_text_that_may_be_the_beginning_of_a_stop_is_held_back(model: Model):
    telling = Text(model.tokenizer, Request((1, 2), Options(stop=("END.",))))
    pieces = [
        telling.add(0, [Token(int(token), 0.0, ())], False)
        for token in model.tokenizer.encode("my EN END. more")
    ]
    upto = next(i for i, piece in enumerate(pieces) if piece.finish)
    assert "".join(piece.text for piece in pieces[: upto + 1]) == "my EN "


def test_stories_that_lack_a_word_are_told_again(model: Model):
    """Among many tries one has it; with a word that never comes, the last try counts."""
    words, short = ["kite"], Options(temperature=1.0, max_tokens=12)
    once, often = (generate(model, [""], num_samples=6, words=words, tries=n, options=short) for n in (1, 40))
    assert any(missing(words, story.text) for story in once)
    assert not any(missing(words, story.text) for story in often)
    unchanged = [i for i, story in enumerate(once) if not missing(words, story.text)]
    assert told([often[i] for i in unchanged]) == told([once[i] for i in unchanged])
    assert len(generate(model, ["Lily"], words=["xylophone"], tries=2, options=FREE)) == 1


def test_words_count_in_any_case_and_with_regular_endings():
    assert missing(["Dog", "jump", "red"], "Two dogs jumped over a hundredth.") == ["red"]


def test_weights_in_int8_tell_the_stories_of_the_rounded_weights(model: Model):
    quantized = quantize(model.config, model.params)
    is_int8 = lambda leaf: isinstance(leaf, Int8)  # noqa: E731
    params = jax.tree.map(lambda x: x.astype(np.float32) if is_int8(x) else x, quantized, is_leaf=is_int8)
    (wanted,) = generate(dataclasses.replace(model, params=params), ["Lily"], options=GREEDY)
    engine = Engine(model, 1, 64, int8=True)
    pieces = list(tell_one(engine, model.tokenizer, make_requests(model, "Lily", options=GREEDY)[0], 64))
    assert "".join(piece.text for piece in pieces) == wanted.text


def test_a_dropped_story_frees_its_slot(model: Model):
    engine = Engine(model, 2, 64)
    first, second = engine.admit(make_requests(model, "Lily", 2, options=FREE))
    engine.advance(3)
    engine.drop(first)
    assert engine.free == [first]
    assert list(engine.advance(2, 2)) == [second]
