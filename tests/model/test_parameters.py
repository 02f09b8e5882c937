"""The declaration is the parameters: shapes, initial values, counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import tiny_model
from tinyjax.model.decoder import Decoder
from tinyjax.model.parameters import abstract_params, count, declare, is_parameter


def initialised(config) -> dict:
    tokens = jnp.zeros((1, 2), jnp.int32)
    return jax.jit(Decoder(config).init)(jax.random.key(0), tokens)["params"]


@pytest.mark.parametrize(
    "changes", [{}, {"qk_norm": True, "tie_embeddings": False}, {"family": "gpt_neo", "window": 8}]
)
def test_what_is_declared_is_what_is_initialised(changes: dict):
    config = tiny_model(**changes)
    params, declared = initialised(config), declare(config)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), params)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), abstract_params(config))
    for path, parameter in jax.tree.leaves_with_path(declared, is_leaf=is_parameter):
        assert len(parameter.axes) == len(parameter.shape)
        value = np.asarray(_at(params, path))
        if parameter.role in ("norm", "bias"):
            np.testing.assert_array_equal(value, float(parameter.role == "norm"))
        else:
            assert value.std() == pytest.approx(parameter.stddev, rel=0.1), path
            assert abs(value.mean()) < 0.1 * parameter.stddev
    assert ("head" in params) == (not config.tie_embeddings)
    assert ("query_norm" in params["layers"]) == config.qk_norm


def test_gpt_neo_starts_as_the_released_models_did():
    """Everything that is drawn has a standard deviation of 0.02, whatever its size."""
    declared = jax.tree.leaves(declare(tiny_model(family="gpt_neo")), is_leaf=is_parameter)
    assert {p.stddev for p in declared if p.role in ("matrix", "embedding")} == {0.02}


def test_layers_start_different():
    query = initialised(tiny_model())["layers"]["query"]
    assert abs(np.corrcoef(query[0].ravel(), query[1].ravel())[0, 1]) < 0.1


def test_count_by_hand():
    # Per layer: query and output 32 x 32 each, key and value 32 x 16 each, MLP 3 x 32 x 64, two norms.
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
    assert count(tiny_model()) == {
        "body": 2 * layer + 32,
        "embedding": 320 * 32,
        "total": 2 * layer + 32 + 320 * 32,
    }
    assert count(tiny_model(tie_embeddings=False))["embedding"] == 2 * 320 * 32


def _at(tree: dict, path: tuple):
    for entry in path:
        tree = tree[entry.key]
    return tree
