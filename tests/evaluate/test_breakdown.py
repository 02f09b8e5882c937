"""The loss of a set is what training logs, its parts add up to it, and any tokenizer is compared in bytes."""

import dataclasses
import itertools
import json
import math

import jax
import numpy as np
import pytest

from tests.tiny import little_stories, tiny_model
from tinyjax.config import MeshConfig
from tinyjax.data.loader import evaluation_batches
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.evaluate.breakdown import (
    Losses,
    Story,
    break_down,
    difference,
    in_int8,
    stories_of,
    story_losses,
)
from tinyjax.evaluate.loss import compile_scores, evaluate_loss
from tinyjax.evaluate.texts import Text
from tinyjax.interop.llama2c_tokenizer import read_tokenizer
from tinyjax.interop.reading import read
from tinyjax.model.decoder import Decoder
from tinyjax.model.parameters import abstract_params
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import Model, load_model
from tinyjax.tokenizer.training import train_tokenizer


@pytest.fixture(scope="module")
def mesh(devices):
    return make_mesh(MeshConfig(), devices[:1])


@pytest.fixture(scope="module")
def model(tiny_run) -> Model:
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def losses(model, tiny_data, mesh) -> Losses:
    return story_losses(model, stories_of(tiny_data, "validation", instructions=False), mesh)


def test_it_is_what_training_logs(losses, tiny_run, tiny_data):
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "validation/bits_per_byte" in line][-1]
    told = break_down(losses)
    assert told["bits_per_byte"]["value"] == pytest.approx(logged["validation/bits_per_byte"], abs=1e-4)
    assert told["nats_per_token"] == pytest.approx(logged["validation/nats_per_token"], abs=1e-4)
    assert losses.whole.tokens == logged["validation/tokens"]
    assert losses.whole.bytes == logged["validation/bytes"]
    assert losses.whole.stories == tiny_data.manifest["stories"]["validation"]["stories"]


@pytest.mark.slow
def test_after_instructions_only_the_story_counts_as_in_training(tmp_path, mesh):
    """The same instructions stand before each story, whose loss is that of windows with weights."""
    options = Options(context_length=128, vocab_size=320, instruct=True, hold_out="words+summary", seed=3)
    prepared = prepare("world:40", tmp_path / "data", options)
    config = tiny_model(vocab_size=prepared.tokenizer.vocab_size, context_length=128)
    params = Decoder(config).init(jax.random.key(0), np.zeros((1, 8), np.int32))["params"]
    model = Model(config, params, prepared.tokenizer, step=0, instruct=True)
    told = story_losses(model, stories_of(prepared, "train", instructions=True), mesh)
    scores = compile_scores(config, mesh, prepared.tokenizer)
    windows = prepared.windows("train", story_only=True)
    wanted = evaluate_loss(scores, jax.device_get(params), evaluation_batches(windows, 8), mesh)
    assert (told.whole.tokens, told.whole.bytes) == (wanted.tokens, wanted.bytes)
    assert told.whole.bits_per_byte == pytest.approx(wanted.bits_per_byte, rel=1e-5)
    alone = story_losses(model, stories_of(prepared, "train", instructions=False), mesh)
    assert alone.whole.bytes == pytest.approx(wanted.bytes, rel=0.01)  # a token may lie across the border
    assert alone.whole.bits_per_byte != told.whole.bits_per_byte


def test_a_model_with_a_tokenizer_of_its_own_is_measured_on_the_same_bytes(tiny_data, mesh):
    """One that guesses needs log2(V) bits for each of its own tokens."""
    tokenizer = train_tokenizer(little_stories(50), 290)
    config = tiny_model(vocab_size=tokenizer.vocab_size)
    params = jax.tree.map(lambda p: np.zeros(p.shape, np.float32), abstract_params(config))
    model = Model(config, params, tokenizer, step=0, instruct=False)
    texts = [record.text for record in tiny_data.stories("validation")]
    told = story_losses(model, stories_of(tiny_data, "validation", instructions=False), mesh)
    tokens = sum(len(tokenizer.encode(text)) + 1 for text in texts)
    assert tokenizer.sha256 != tiny_data.tokenizer.sha256
    assert told.whole.bytes == tiny_data.manifest["stories"]["validation"]["bytes"]
    assert told.whole.bits_per_byte == pytest.approx(
        tokens * math.log2(tokenizer.vocab_size) / told.whole.bytes, rel=1e-5
    )


def test_parts_add_up_to_the_whole(losses):
    told = break_down(losses)
    whole = losses.whole
    positions = told["by_position"]
    assert [band["from"] for band in positions] == [0, *(16 * 2**k for k in range(len(positions) - 1))]
    assert all(band["to"] == after["from"] for band, after in itertools.pairwise(positions))
    assert positions[0]["tokens"] == np.minimum(losses.tokens_N, 16).sum()
    assert sum(band["tokens"] for band in positions) == whole.tokens
    nats = sum(band["nats_per_token"] * band["tokens"] for band in positions)
    assert nats == pytest.approx(whole.nats_per_token * whole.tokens)
    lengths = told["by_length"]
    assert sum(band["stories"] for band in lengths) == whole.stories
    assert all(band["bits_per_byte"]["count"] == band["stories"] for band in lengths)


def by_hand() -> Losses:
    return Losses(
        nats_N=np.array([1.0, 2.0, 30.0, 4.0]) * math.log(2),
        bytes_N=np.array([10, 256, 300, 255]),
        tokens_N=np.array([1, 2, 3, 4]),
        sources=("GPT-4", "GPT-3.5", "GPT-4", "unknown"),
        nats_P=np.array([37.0, *[0.0] * 31]),
        tokens_P=np.array([10, *[0] * 31]),
    )


def test_lengths_and_sources_by_hand():
    told = break_down(by_hand())
    assert [(band["from"], band["to"], band["stories"]) for band in told["by_length"]] == [
        (0, 256, 2),
        (256, 512, 2),
    ]
    short, long = (band["bits_per_byte"]["value"] for band in told["by_length"])
    assert short == pytest.approx(5 / 265)
    assert long == pytest.approx(32 / 556)
    assert list(told["by_source"]) == ["GPT-3.5", "GPT-4", "unknown"]
    assert told["by_source"]["GPT-4"]["stories"] == 2
    assert told["by_source"]["GPT-4"]["bits_per_byte"]["value"] == pytest.approx(31 / 310)
    assert told["by_position"] == [{"from": 0, "to": 16, "nats_per_token": 3.7, "tokens": 10}]
    error = told["standard_error"]
    figure = told["bits_per_byte"]
    assert figure["high"] - figure["value"] == pytest.approx(1.96 * error, rel=1e-4)
    json.dumps(told)


@pytest.mark.slow
def test_int8_is_the_loss_of_rounded_weights_and_its_difference_is_paired(model, losses, tiny_data, mesh):
    rounded = in_int8(model)
    plain = dataclasses.replace(
        model,
        params=jax.tree.map(
            lambda w: w.astype(np.float32), rounded.params, is_leaf=lambda w: hasattr(w, "scale")
        ),
    )
    told, wanted = (
        story_losses(m, stories_of(tiny_data, "validation", instructions=False), mesh)
        for m in (rounded, plain)
    )
    np.testing.assert_allclose(told.nats_N, wanted.nats_N, rtol=1e-5)
    found = difference(told, losses)
    assert found.value == pytest.approx(told.whole.bits_per_byte - losses.whole.bits_per_byte)
    assert found.count == losses.whole.stories
    assert found.low < found.value < found.high
    assert 0 < found.high - found.low < losses.whole.standard_error


@pytest.mark.slow
def test_the_260k_model_has_the_loss_it_was_published_with(shared_data, mesh):
    """1.297 nats/token on llama2.c's own validation set, as its README says."""
    folder = shared_data / "llama2c"
    found = read(folder / "stories260K.bin", read_tokenizer(folder / "tok512.bin"))
    config = dataclasses.replace(found.config, compute_dtype="float32").freeze()
    model = Model(config, jax.device_put(found.params), found.tokenizer, step=0, instruct=False)
    texts = (shared_data / "tinystories" / "valid-sample.txt").read_text().split("<|endoftext|>")[:100]
    told = story_losses(model, [Story(Text(text.strip()), "") for text in texts], mesh)
    assert told.whole.nats_per_token == pytest.approx(1.297, abs=0.05)
