"""The family of the paper's models, against a second implementation in NumPy that shares nothing with it.

`reference_logits` is written from the description of GPT-Neo: learned positions, LayerNorm before attention
and MLP, no biases on queries, keys and values, logits of attention as they are, a window in every second
layer, GELU by tanh, and the embedding as output head. Here positions count from the start of the story, and a
story sees itself only.
"""

import itertools

import jax
import numpy as np
import pytest

from tests.tiny import packed_rows, tiny_model
from tinyjax.config import ModelConfig, from_dict, resolve
from tinyjax.errors import UserError
from tinyjax.model.decoder import Decoder
from tinyjax.model.parameters import abstract_params, declare

LENGTH = 80  # more than a block of attention
SHAPES = {
    "1 layer": {"num_layers": 1, "d_model": 32, "num_heads": 4, "head_dim": 8, "window": 10},
    "2 layers, 16 heads": {"num_layers": 2, "d_model": 64, "num_heads": 16, "head_dim": 4, "window": 7},
    "3 layers, odd heads": {"num_layers": 3, "d_model": 24, "num_heads": 3, "head_dim": 5, "window": 1},
    "4 layers, 33 seen": {"num_layers": 4, "d_model": 32, "num_heads": 4, "head_dim": 8, "window": 33},
}


def make_config(shape: str, attention: str = "auto") -> ModelConfig:
    """Returns a model of the family, as `tiny_model` but for its shape."""
    sizes = SHAPES[shape]
    rest = {"num_kv_heads": sizes["num_heads"], "d_ff": 4 * sizes["d_model"], "context_length": LENGTH}
    return tiny_model(family="gpt_neo", attention=attention, **sizes, **rest)


def random_params(config: ModelConfig) -> dict:
    """Returns parameters none of which is 0 or 1, so that one that is left out is seen."""
    rng = np.random.default_rng(1)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        centre, spread = (1.0, 0.2) if name.endswith("norm") else (0.0, 0.2)
        return rng.normal(centre, spread, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, abstract_params(config))


def layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * scale + bias


def gelu_new(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attend(x: np.ndarray, layer: dict, heads: int, sees: int) -> np.ndarray:
    """Attention of one story, head by head and position by position; each sees the last `sees` positions."""
    out = np.zeros_like(x)
    for head in range(heads):
        q, k, v = (x @ layer[name][:, head] for name in ("query", "key", "value"))
        for i in range(len(x)):
            seen = slice(max(0, i + 1 - sees), i + 1)
            scores = k[seen] @ q[i]
            p = np.exp(scores - scores.max())
            out[i] += p / p.sum() @ v[seen] @ layer["output"][head]
    return out + layer["output_bias"]


def reference_story(config: ModelConfig, params: dict, tokens: np.ndarray) -> np.ndarray:
    """Returns the logits [T, V] of one story, in float64."""
    params = jax.tree.map(np.float64, params)
    eps = config.norm_eps
    x = params["embedding"][tokens] + params["position_embedding"][: len(tokens)]
    for number in range(config.num_layers):
        layer = {name: value[number] for name, value in params["layers"].items()}
        sees = config.window if number % 2 else len(tokens)
        normed = layer_norm(x, layer["attention_norm"], layer["attention_norm_bias"], eps)
        x = x + attend(normed, layer, config.num_heads, sees)
        normed = layer_norm(x, layer["mlp_norm"], layer["mlp_norm_bias"], eps)
        x = x + gelu_new(normed @ layer["up"] + layer["up_bias"]) @ layer["down"] + layer["down_bias"]
    return layer_norm(x, params["final_norm"], params["final_norm_bias"], eps) @ params["embedding"].T


def reference_logits(config: ModelConfig, params: dict, tokens_T: np.ndarray, segments_T: np.ndarray):
    """Returns the logits [T, V] of one row of stories side by side."""
    starts = [0, *(1 + np.flatnonzero(np.diff(segments_T))), len(tokens_T)]
    return np.concatenate(
        [reference_story(config, params, tokens_T[a:b]) for a, b in itertools.pairwise(starts)]
    )


@pytest.mark.parametrize("attention", ["reference", "blockwise"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_those_of_numpy(shape: str, attention: str):
    config = make_config(shape, attention)
    params, batch = random_params(config), packed_rows(2, LENGTH)
    batch["segments"][1] = 1  # one row of a single story, which fills the context
    got = jax.jit(Decoder(config).apply)({"params": params}, batch["inputs"], batch["segments"])
    for row in range(2):
        wanted = reference_logits(config, params, batch["inputs"][row], batch["segments"][row])
        assert np.abs(wanted).max() > 1
        np.testing.assert_allclose(got[row], wanted, rtol=1e-5, atol=1e-5)


def test_the_biases_are_those_of_gpt_neo():
    """None on queries, keys and values."""
    layers = declare(make_config("1 layer"))["layers"]
    assert {name for name, parameter in layers.items() if parameter.role == "bias"} == {
        "attention_norm_bias", "output_bias", "mlp_norm_bias", "up_bias", "down_bias"
    }  # fmt: skip


def test_more_tokens_than_learned_positions_are_refused():
    config = make_config("1 layer")
    params = random_params(config)
    with pytest.raises(
        UserError, match=r"81 positions were asked for, but config\.model\.context_length is 80"
    ):
        Decoder(config).apply({"params": params}, np.zeros((1, LENGTH + 1), np.int32))


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [("gpt_neo", "qk_norm", True), ("gpt_neo", "rope_theta", 5000.0), ("llama", "window", 128)],
)
def test_a_setting_of_the_other_family_is_refused(family: str, field: str, value: object):
    values = {"model": {"family": family, field: value}, "train": {"num_steps": 1}}
    with pytest.raises(UserError, match=rf"config\.model\.{field} is .*config\.model\.family is {family}"):
        resolve(from_dict(values))


@pytest.mark.parametrize(("field", "value"), [("family", "gpt2"), ("window", 0), ("dropout", 1.0)])
def test_an_illegal_value_names_the_field(field: str, value: object):
    values = {"model": {"family": "gpt_neo", field: value}, "train": {"num_steps": 1}}
    with pytest.raises(UserError, match=rf"config\.model\.{field} is {value!r}"):
        resolve(from_dict(values))
