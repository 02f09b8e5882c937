"""What is seen is what the model computes, and an intervention does what changed weights would do."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from tests.tiny import packed_rows, tiny_model
from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.errors import UserError
from tinyjax.interpret import Add, Replace, Scale, capture, look, names, stream
from tinyjax.model.decoder import Decoder
from tinyjax.parallel.sharding import make_mesh, put_batch
from tinyjax.sample.model import Model

FAMILIES = {"llama": {"num_kv_heads": 2}, "gpt_neo": {"family": "gpt_neo", "window": 8}}
families = pytest.mark.parametrize("family", FAMILIES)
BATCH = packed_rows(4, 40)
TOKENS, SEGMENTS = BATCH["inputs"], BATCH["segments"]


def make_model(config: ModelConfig) -> Model:
    tokenizer: Any = None
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    return Model(config, params, tokenizer, 0, False)


@functools.cache
def model_of(family: str, attention: str = "auto") -> Model:
    return make_model(tiny_model(attention=attention, **FAMILIES[family]))


@functools.partial(jax.jit, static_argnums=0)
def forward(config: ModelConfig, params: dict, tokens_BT, segments_BT):
    return Decoder(config).apply({"params": params}, tokens_BT, segments_BT)


def plain(model: Model) -> np.ndarray:
    return np.asarray(forward(model.config, model.params, TOKENS, SEGMENTS))


@families
def test_looking_changes_no_bit(family: str):
    model = model_of(family)
    without_patterns = [name for name in names(model.config) if not name.endswith("/pattern")]
    np.testing.assert_array_equal(
        look(model, TOKENS, SEGMENTS, capture=without_patterns).logits, plain(model)
    )
    with_patterns = model_of(family, "reference")
    seen = look(with_patterns, TOKENS, SEGMENTS, capture="*")
    np.testing.assert_array_equal(seen.logits, plain(with_patterns))
    assert list(seen.activations) == names(model.config) == list(dict.fromkeys(seen.activations))


@families
def test_the_residual_stream_is_the_sum_of_what_was_added(family: str):
    config = model_of(family).config
    seen = look(model_of(family), TOKENS, SEGMENTS, capture="*")
    for number in range(config.num_layers):
        before, block = seen[f"block{number}/residual"], f"block{number}/"
        np.testing.assert_allclose(before + seen[block + "attention"], seen[block + "middle"], atol=1e-5)
        after = seen[f"block{number + 1}/residual"] if number + 1 < config.num_layers else None
        if after is not None:
            np.testing.assert_allclose(seen[block + "middle"] + seen[block + "mlp"], after, atol=1e-5)


@families
def test_patterns_are_shares_of_what_a_query_may_see(family: str):
    model = model_of(family)
    for number in range(model.config.num_layers):
        p_BHTS = np.asarray(look(model, TOKENS, SEGMENTS, capture="*/pattern")[f"block{number}/pattern"])
        np.testing.assert_allclose(p_BHTS.sum(-1), 1, atol=1e-5)
        index = np.arange(TOKENS.shape[1])
        window = 8 if family == "gpt_neo" and number % 2 else len(index)
        distance_TS = index[:, None] - index
        may_BTS = (SEGMENTS[:, :, None] == SEGMENTS[:, None]) & (distance_TS >= 0) & (distance_TS < window)
        assert not p_BHTS[~np.broadcast_to(may_BTS[:, None], p_BHTS.shape)].any()


@families
def test_removing_a_head_equals_a_model_with_its_weights_zeroed(family: str):
    model = model_of(family)
    output = np.array(model.params["layers"]["output"])
    output[1, 2] = 0
    without = make_model(model.config)
    without.params["layers"]["output"] = output
    edit = {"block1/heads": Scale.without(heads=[2], of=model.config.num_heads)}
    np.testing.assert_array_equal(look(model, TOKENS, SEGMENTS, edits=edit).logits, plain(without))
    assert not np.allclose(plain(without), plain(model))


def test_patching_everything_from_another_run_gives_that_run():
    model = model_of("llama")
    other = np.roll(TOKENS, 1, axis=1)
    theirs = look(model, other, SEGMENTS, capture=["block1/residual", "block0/neurons"])
    patched = look(model, TOKENS, SEGMENTS, edits={"block1/residual": Replace(theirs["block1/residual"])})
    np.testing.assert_array_equal(patched.logits, theirs.logits)
    mixed = look(model, TOKENS, SEGMENTS, capture="block0/neurons", edits={
        "block0/neurons": Replace(theirs["block0/neurons"], where=np.arange(TOKENS.shape[1])[:, None] < 5)
    })["block0/neurons"]  # fmt: skip
    mine = look(model, TOKENS, SEGMENTS, capture="block0/neurons")["block0/neurons"]
    np.testing.assert_array_equal(mixed[:, :5], theirs["block0/neurons"][:, :5])
    np.testing.assert_array_equal(mixed[:, 5:], mine[:, 5:])


def test_a_direction_is_added_and_the_model_goes_on_with_it():
    model = model_of("llama")
    direction = np.linspace(-1, 1, model.config.d_model, dtype=np.float32)
    seen = look(model, TOKENS, SEGMENTS, capture="block1/residual", edits={"block1/residual": Add(direction)})
    before = look(model, TOKENS, SEGMENTS, capture="block1/residual")
    np.testing.assert_allclose(seen["block1/residual"], before["block1/residual"] + direction, atol=1e-6)
    assert not np.allclose(seen.logits, before.logits)


def test_other_numbers_in_an_intervention_compile_nothing(monkeypatch: pytest.MonkeyPatch):
    model = model_of("llama")
    look(model, TOKENS, SEGMENTS, edits={"block0/heads": Scale.without(heads=[0], of=4)})

    def trace_again(*arguments: object) -> None:
        raise AssertionError("it is traced anew")

    monkeypatch.setattr(capture, "embed", trace_again)
    look(model, TOKENS, SEGMENTS, edits={"block0/heads": Scale.without(heads=[1, 3], of=4)})


def test_a_stream_holds_a_batch_at_a_time():
    model = model_of("llama")
    batches = ((TOKENS[i : i + 1], SEGMENTS[i : i + 1]) for i in range(4))
    seen = [one["block0/heads"] for one in stream(model, batches, capture="block0/heads")]
    whole = look(model, TOKENS, SEGMENTS, capture="block0/heads")["block0/heads"]
    np.testing.assert_allclose(np.concatenate(seen), whole, atol=1e-5)


def test_the_same_on_a_mesh():
    model = model_of("llama")
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2))
    batch = put_batch(mesh, {"tokens": TOKENS, "segments": SEGMENTS})
    with jax.set_mesh(mesh):
        seen = look(model, batch["tokens"], batch["segments"], capture="*/pattern")
    alone = look(model, TOKENS, SEGMENTS, capture="*/pattern")
    np.testing.assert_allclose(seen["block1/pattern"], alone["block1/pattern"], atol=1e-5)


@pytest.mark.parametrize("pattern", ["block9/heads", "block0/haeds"])
def test_an_unknown_name_is_refused(pattern: str):
    with pytest.raises(UserError, match=f"no activation is called '{pattern}'"):
        look(model_of("llama"), TOKENS, capture=pattern)
    with pytest.raises(UserError, match="there is no head 4"):
        Scale.without(heads=[4], of=4)
