"""Evaluation: the numbers are those of each story alone, whatever the batches and their padding."""

import math
import pathlib

import jax
import numpy as np
import pytest
import scipy.special

from tests.tiny import VOCAB_SIZE, tiny_model
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.data.loader import evaluation_batches
from tinyjax.evaluate.loss import Evaluation, compile_scores, evaluate_loss, story_sums, summarise
from tinyjax.model.decoder import Decoder
from tinyjax.model.parameters import abstract_params
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import load_model
from tinyjax.stories import examples


@pytest.fixture(scope="module")
def model(tiny_run):
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def texts(tiny_data) -> list[str]:
    """The validation stories as they were written."""
    shards = sorted(pathlib.Path(tiny_data.path).glob("stories/**/*-validation*"))
    return [text for shard in shards for text in examples.read_texts(shard)]


def evaluate(model, prepared, batch_size: int, devices) -> Evaluation:
    mesh = make_mesh(MeshConfig(), devices)
    batches = evaluation_batches(prepared.windows("validation"), batch_size)
    scores = compile_scores(model.config, mesh, prepared.tokenizer)
    return evaluate_loss(scores, jax.device_get(model.params), batches, mesh)


def nats_of_text(config: ModelConfig, params: dict, tokenizer, text: str) -> list[float]:
    """NumPy's sum over the story's targets; a longer story is cut where a window ends, as in training."""
    ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
    sums = []
    for start in range(0, len(ids) - 1, config.context_length):
        piece = ids[start : start + config.context_length + 1]
        row = np.zeros((1, config.context_length), np.int32)
        row[0, : len(piece) - 1] = piece[:-1]
        logits = np.asarray(_forward(config, params, row), np.float64)[0, : len(piece) - 1]
        log_p = scipy.special.log_softmax(logits, axis=-1)
        sums.append(-log_p[np.arange(len(piece) - 1), piece[1:]].sum())
    return sums


_forward = jax.jit(
    lambda config, params, row: Decoder(config).apply({"params": params}, row), static_argnums=0
)


def test_bits_per_byte_are_those_of_each_story_alone(model, tiny_data, tiny_run, texts, devices):
    result = evaluate(model, tiny_data, 8, devices)
    pieces = [nats_of_text(model.config, model.params, model.tokenizer, text) for text in texts]
    nats = sum(map(sum, pieces))
    num_bytes = sum(len(text.encode()) for text in texts)
    assert len(texts) == tiny_data.manifest["stories"]["validation"]["stories"] >= 5
    assert result.bytes == num_bytes == tiny_data.manifest["stories"]["validation"]["bytes"]
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    assert result.tokens == sum(len(model.tokenizer.encode(text)) + 1 for text in texts)
    assert result.nats_per_token == pytest.approx(nats / result.tokens, rel=1e-5)
    assert result.stories == sum(map(len, pieces))
    assert checkpoints.find(tiny_run).name == "200"


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_nothing(batch_size: int, model, tiny_data, devices):
    """One window at a time, a last batch that is padded, all in one batch."""
    wanted = evaluate(model, tiny_data, 8, devices)
    result = evaluate(model, tiny_data, batch_size, devices[:1])
    assert (result.tokens, result.bytes, result.stories) == (wanted.tokens, wanted.bytes, wanted.stories)
    assert result.bits_per_byte == pytest.approx(wanted.bits_per_byte, rel=1e-6)
    assert result.standard_error == pytest.approx(wanted.standard_error, rel=1e-5)


def test_padding_counts_for_nothing():
    nll = np.array([[1.0, 2, 4, 8], [16, 32, 64, 128]])
    num_bytes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    segments = np.array([[1, 1, 2, 0], [1, 2, 2, 0]])
    nats, sizes, tokens = story_sums(nll, num_bytes, segments)
    assert nats.tolist() == [3, 4, 16, 96]
    assert sizes.tolist() == [3, 3, 5, 13]
    assert tokens.tolist() == [2, 1, 1, 2]


def test_a_batch_of_padding_alone_has_no_stories():
    zeros = np.zeros((2, 4), np.int32)
    assert [len(column) for column in story_sums(zeros.astype(float), zeros, zeros)] == [0, 0, 0]


def test_the_standard_error_is_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    num_bytes = rng.integers(50, 800, 400)
    nats = num_bytes * rng.gamma(20, 0.03, 400)  # stories differ in length and in difficulty
    tokens = num_bytes // 4
    drawn = rng.integers(0, 400, (4000, 400))
    bootstrap = nats[drawn].sum(1) / num_bytes[drawn].sum(1) / math.log(2)
    assert summarise(nats, num_bytes, tokens).standard_error == pytest.approx(bootstrap.std(), rel=0.05)


def test_totals_by_hand():
    result = summarise(np.array([2.0, 4.0]), np.array([4, 8]), np.array([1, 3]))
    assert result.nats_per_token == 1.5
    assert result.bits_per_byte == pytest.approx(0.5 / math.log(2))
    assert result.standard_error == 0.0  # both stories are equally hard
    assert (result.tokens, result.bytes, result.stories) == (4, 12, 2)


def test_an_untrained_model_needs_the_bits_of_a_uniform_guess(tiny_data, devices):
    """log2(V) bits for each token, as long as logits are near 0."""
    config = tiny_model()
    params = jax.tree.map(lambda p: np.zeros(p.shape, np.float32), abstract_params(config))
    mesh = make_mesh(MeshConfig(), devices)
    batches = evaluation_batches(tiny_data.windows("validation"), 8)
    result = evaluate_loss(compile_scores(config, mesh, tiny_data.tokenizer), params, batches, mesh)
    assert result.nats_per_token == pytest.approx(math.log(VOCAB_SIZE), rel=1e-6)
