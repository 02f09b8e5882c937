"""Weights in int8: near the weights, and the same function whether a matrix is stacked or not."""

import jax
import numpy as np

from tests.tiny import packed_rows, tiny_model
from tinyjax.model.decoder import Decoder, hidden_states
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.model.quantize import Int8, quantize


def test_a_weight_is_off_by_at_most_half_of_its_channels_step():
    config = tiny_model(tie_embeddings=False)
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    quantized = quantize(config, params)
    declared = declare(config)
    for group, weights in (("", params), ("layers", params["layers"])):
        for name, weight in weights.items():
            if name == "layers":
                continue
            parameter = (declared[group] if group else declared)[name]
            held = (quantized[group] if group else quantized)[name]
            assert is_parameter(parameter)
            assert isinstance(held, Int8) == (parameter.role in ("matrix", "embedding")), name
            if isinstance(held, Int8):
                assert held.values.dtype == np.int8
                assert (np.abs(held.astype(np.float32) - weight) <= held.scale / 2 + 1e-7).all()
                assert held.scale.size * 2 <= weight.size


def test_the_network_is_that_of_the_rounded_weights():
    config = tiny_model()
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    quantized, tokens = quantize(config, params), packed_rows(2, 64)["inputs"]
    is_int8 = lambda leaf: isinstance(leaf, Int8)  # noqa: E731
    rounded = jax.tree.map(lambda x: x.astype(np.float32) if is_int8(x) else x, quantized, is_leaf=is_int8)
    run = jax.jit(hidden_states, static_argnums=0)
    got, wanted = (np.asarray(run(config, p, tokens)) for p in (quantized, rounded))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    plain = np.asarray(run(config, params, tokens))
    assert 0 < np.abs(plain - wanted).max() < 0.2 * np.abs(plain).max()
