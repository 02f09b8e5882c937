"""Stories from a checkpoint: what the model says, for each prompt as if it were alone."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest

from tests.tiny import tiny_model
from tinyjax.errors import UserError
from tinyjax.model.decoder import Decoder
from tinyjax.sample.engine import bucket
from tinyjax.sample.model import Model, load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Completion, generate

GREEDY = Options(temperature=0.0)
FREE = Options(temperature=1.0)
PROMPTS = ["Lily", "Tom saw 3 kites and was", "", "Ben saw 7 boats and was happy. Lily"]
_forward = jax.jit(
    lambda config, params, row: Decoder(config).apply({"params": params}, row), static_argnums=0
)


@pytest.fixture(scope="module")
def model(tiny_run: pathlib.Path) -> Model:
    return load_model(tiny_run)


def argmax_continuation(model: Model, prompt: str, limit: int = 64) -> tuple[str, str]:
    """Greedy decoding by a full forward for every token, without a cache."""
    tokenizer, context = model.tokenizer, model.config.context_length
    ids = [tokenizer.bos_id, *map(int, tokenizer.encode(prompt))]
    start = len(ids)
    while len(ids) < min(context, start + limit):
        row = np.zeros((1, context), np.int32)
        row[0, : len(ids)] = ids
        logits = np.array(_forward(model.config, model.params, row)[0, len(ids) - 1])
        logits[[tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id]] = -np.inf
        ids.append(int(np.argmax(logits[: tokenizer.vocab_size])))
        if ids[-1] == tokenizer.eos_id:
            return tokenizer.decode(ids[start:-1]), "end"
    return tokenizer.decode(ids[start:]), "length"


def told(stories: list[Completion]) -> list[tuple[str, str, list[int]]]:
    """What stories have in common however they were told; log-probabilities may differ in the last bits."""
    return [(story.text, story.finish, [token.id for token in story.tokens]) for story in stories]


def test_greedy_is_the_argmax_of_the_full_forward(model: Model):
    for prompt, story in zip(PROMPTS, generate(model, PROMPTS, options=GREEDY), strict=True):
        assert (story.text, story.finish) == argmax_continuation(model, prompt)
        assert story.prompt == prompt


@pytest.mark.parametrize(
    "options", [GREEDY, Options(temperature=1.0), Options(temperature=1.2, top_k=40, top_p=0.9)]
)
def test_a_story_does_not_depend_on_what_else_is_in_its_batch(options: Options, model: Model):
    together = generate(model, PROMPTS, num_samples=2, options=options, seed=3)
    for i, prompt in enumerate(PROMPTS):
        alone = generate(model, [prompt], num_samples=2, options=options, seed=3)
        assert told(alone) == told(together[2 * i : 2 * i + 2])
    backwards = generate(model, PROMPTS[::-1], num_samples=1, options=options, seed=3)
    assert told(backwards[::-1]) == told(together[::2])


def test_the_seed_decides(model: Model):
    def stories(seed: int) -> list[str]:
        return [
            s.text
            for s in generate(model, ["Lily saw"], num_samples=4, seed=seed, options=Options(temperature=1.5))
        ]

    assert stories(1) == stories(1)
    assert not set(stories(1)) & set(stories(2))
    assert len(set(stories(1))) == 4  # samples of a prompt differ


def test_samples_stand_together_and_more_of_them_change_none(model: Model):
    two, five = (generate(model, PROMPTS[:2], num_samples=n, options=FREE) for n in (2, 5))
    assert [s.prompt for s in five] == [PROMPTS[0]] * 5 + [PROMPTS[1]] * 5
    assert told(five[:2] + five[5:7]) == told(two)


@pytest.mark.parametrize("max_tokens", [1, 5])
def test_max_tokens_is_kept(max_tokens: int, model: Model):
    for story in generate(model, PROMPTS, options=Options(temperature=1.0, max_tokens=max_tokens)):
        assert len(story.tokens) == max_tokens or (story.finish == "end" and len(story.tokens) < max_tokens)
    limited = generate(model, PROMPTS[1:2], options=Options(temperature=0.0, max_tokens=max_tokens))[0]
    assert (limited.text, limited.finish) == argmax_continuation(model, PROMPTS[1], max_tokens)


def test_without_max_tokens_the_context_is_the_limit(model: Model):
    """A model that never ends its story fills all positions."""
    ends_never = with_bias(model, {model.tokenizer.eos_id: -1e3})
    (story,) = generate(ends_never, ["Lily"], options=FREE)
    prompt_tokens = 1 + len(model.tokenizer.encode("Lily"))
    assert (story.finish, len(story.tokens)) == ("length", 64 - prompt_tokens)


def with_bias(model: Model, bias: dict[int, float]) -> Model:
    """Adds to the logits of some ids: the untied head reads a last dimension that is always about 1."""
    config = tiny_model(tie_embeddings=False)
    embedding = np.array(model.params["embedding"])
    embedding[:, 0] = 100.0  # larger than all else, so that the final norm makes it the same everywhere
    head = np.random.default_rng(0).normal(size=embedding.shape).astype(np.float32)
    for token, value in bias.items():
        head[token, 0] = value
    scale = np.array(model.params["final_norm"])
    scale[0] = 1.0
    params = model.params | {"embedding": embedding, "head": head, "final_norm": scale}
    return dataclasses.replace(model, config=config, params=params)


@pytest.mark.parametrize("name", ["pad_id", "bos_id", "unk_id"])
def test_control_ids_are_never_drawn(name: str, model: Model):
    """Even where the model is all but certain of one."""
    token = getattr(model.tokenizer, name)
    for temperature in (0.0, 1.0):
        options = Options(temperature=temperature, max_tokens=20)
        (story,) = generate(with_bias(model, {token: 50.0}), ["Lily"], options=options)
        assert len(story.tokens) == 20 or story.finish == "end"
        assert len(story.text) > 0  # a control id stands for no text


def test_rows_that_pad_the_vocabulary_are_never_drawn(model: Model):
    """Logits of rows beyond the tokenizer's pieces are the largest here."""
    rows = np.concatenate([model.params["embedding"], np.ones((64, 32), np.float32)])
    config = tiny_model(vocab_size=384, tie_embeddings=False)
    head = np.zeros_like(rows)
    head[320:] = 100.0 * np.sign(np.random.default_rng(0).normal(size=(64, 32)))
    wider = dataclasses.replace(model, config=config, params=model.params | {"embedding": rows, "head": head})
    for temperature in (0.0, 5.0):
        options = Options(temperature=temperature, max_tokens=10)
        stories = generate(wider, ["Lily"], num_samples=4, options=options)
        assert all(len(story.tokens) > 0 for story in stories)  # an id beyond the pieces could not be decoded


def test_a_prompt_that_fills_the_context_is_refused(model: Model):
    prompt = "Lily saw a boat. " * 20
    with pytest.raises(UserError, match=r"has \d+ tokens but the model's context is 64; shorten it"):
        generate(model, ["Tom", prompt])


def test_a_prompt_of_one_less_than_the_context_gets_one_token(model: Model):
    ids = model.tokenizer.encode("Lily saw a boat. " * 20)
    prompt = next(
        text for n in range(62, 0, -1)
        if len(model.tokenizer.encode(text := model.tokenizer.decode(ids[:n]))) == 62
    )  # fmt: skip
    story, _ = generate(model, [prompt, "Tom"], options=Options(temperature=0.0, max_tokens=9))
    assert len(story.tokens) == 1


def test_text_of_any_kind_can_be_continued(model: Model):
    prompts = ["\n\n", "日本 🎈", "<s>", "a\u2581b"]
    assert [s.prompt for s in generate(model, prompts, options=Options(max_tokens=3))] == prompts


def test_only_the_checkpoint_is_needed(tiny_run: pathlib.Path, model: Model, tmp_path: pathlib.Path):
    """One step's folder, moved to a place where there is no data."""
    folder = shutil.copytree(tiny_run / "checkpoints" / "200", tmp_path / "elsewhere")
    moved = load_model(shutil.move(folder, tmp_path / "200"))
    assert told(generate(moved, ["Tom"], options=GREEDY)) == told(generate(model, ["Tom"], options=GREEDY))


def test_buckets_are_few():
    assert [bucket(n) for n in (1, 32, 33, 64, 65, 512)] == [32, 32, 64, 64, 128, 512]
    assert len({bucket(n) for n in range(1, 513)}) == 5
