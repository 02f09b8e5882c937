"""Tiny models of every family, whose weights are large enough for each part of the network to matter."""

import dataclasses
import math
import pathlib

import jax
import numpy as np
import pytest

from tests.conftest import make_stories
from tests.tiny import tiny_data, tiny_model, tiny_run  # noqa: F401
from tests.tokenizer.test_byte_level import trained
from tinyjax.config import ModelConfig
from tinyjax.interop.model import Model, checked
from tinyjax.model.parameters import Parameter, declare, is_parameter
from tinyjax.tokenizer import Tokenizer, train_tokenizer

GOLDEN = pathlib.Path(__file__).parent / "golden"

SHAPES: dict[str, dict] = {
    "llama": {},
    "llama_untied": {"tie_embeddings": False, "num_kv_heads": 1, "rope_theta": 500000.0, "norm_eps": 1e-6},
    "qwen3": {"qk_norm": True, "head_dim": 12, "num_layers": 3},
    "gpt_neo": {"family": "gpt_neo", "num_kv_heads": 4, "num_layers": 3, "window": 5},
    "gpt_neo_16_heads": {
        "family": "gpt_neo", "d_model": 64, "num_heads": 16, "num_kv_heads": 16, "head_dim": 4, "window": 7,
        "num_layers": 1,
    },
}  # fmt: skip


def random_params(config: ModelConfig, seed: int = 0) -> dict:
    """Returns parameters under which attention attends, and norms and biases are not trivial."""
    rng = np.random.default_rng(seed)

    def draw(parameter: Parameter) -> np.ndarray:
        spread = 1.5 / math.sqrt(config.d_model) if parameter.role == "matrix" else 0.3
        centre = 1.0 if parameter.role == "norm" else 0.0
        return (centre + spread * rng.standard_normal(parameter.shape)).astype(np.float32)

    return jax.tree.map(draw, declare(config), is_leaf=is_parameter)


def random_model(tokenizer: Tokenizer, **changes: object) -> Model:
    config = tiny_model(**changes)
    return checked(Model(config, random_params(config), tokenizer), "a test")


def logits_of(model: Model, tokens_BT: np.ndarray) -> np.ndarray:
    """Returns our float32 logits, [B, T, V]."""
    from tinyjax.model.decoder import Decoder

    apply = jax.jit(lambda params, tokens_BT: Decoder(model.config).apply({"params": params}, tokens_BT))
    return np.asarray(apply(model.params, tokens_BT))


def assert_equal(a: Model, b: Model) -> None:
    """The same to the last bit; the dtype it is computed in is no part of a model that travels."""
    first, second = (dataclasses.replace(m.config, compute_dtype="auto") for m in (a, b))
    assert (first, a.tokenizer) == (second, b.tokenizer)
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Our own, of 300 pieces; the models have 320 rows."""
    return train_tokenizer(make_stories(60), 300)


@pytest.fixture(scope="session")
def byte_level() -> Tokenizer:
    """One of GPT-2's kind, of 300 tokens."""
    return Tokenizer(trained(vocab_size=300).to_str().encode())


@pytest.fixture(params=SHAPES, scope="session")
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Model:
    """A random model of each shape."""
    return random_model(tokenizer, **SHAPES[request.param])
