"""The config: mistakes are named with the field and the mend; a resolved one can't change."""

import dataclasses
import json
from typing import Any

import pytest

from configs.quickstart import get_config
from tests.tiny import tiny_config
from tinyjax.config import Config, ModelConfig, from_dict, resolve, to_dict, to_json
from tinyjax.errors import UserError


def changed(group: str, field: str, value: Any) -> dict[str, Any]:
    values = to_dict(Config())
    values["train"]["num_steps"] = 100
    values[group][field] = value
    return values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": {"d_modle": 3}}, "'config.model.d_modle' (did you mean 'd_model'?)"),
        ({"modle": {}}, "'config.modle' (did you mean 'model'?)"),
        ({"train": {"qwertz": 1}}, "unknown config key 'config.train.qwertz'; 'config.train' has: accum"),
    ],
)
def test_unknown_key_names_the_nearest(values: dict, said: str):
    with pytest.raises(UserError) as error:
        from_dict(values)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("group", "field", "value", "kind"),
    [
        ("model", "d_model", "256", "int"),
        ("model", "d_model", 256.0, "int"),
        ("model", "d_model", True, "int"),
        ("model", "qk_norm", 1, "bool"),
        ("optimizer", "learning_rate", "fast", "float"),
        ("data", "path", None, "str"),
    ],
)
def test_wrong_type_names_the_field(group: str, field: str, value: Any, kind: str):
    with pytest.raises(UserError, match=rf"config\.{group}\.{field} is .*must be of type {kind}"):
        from_dict(changed(group, field, value))


def test_a_whole_number_is_a_float_too():
    assert from_dict(changed("train", "minutes", 5)).train.minutes == 5.0


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("model", "d_model", 0),
        ("model", "num_layers", -1),
        ("model", "num_kv_heads", 3),
        ("model", "head_dim", 7),
        ("model", "context_length", 1),
        ("model", "vocab_size", -1),
        ("model", "norm_eps", -1e-5),
        ("model", "rope_theta", 0.0),
        ("model", "attention", "flash"),
        ("model", "compute_dtype", "float16"),
        ("model", "remat", "all"),
        ("data", "batch_size", 0),
        ("data", "grain_workers", -2),
        ("data", "loss", "instructions"),
        ("curriculum", "ramp", -0.1),
        ("curriculum", "ramp", 1.1),
        ("optimizer", "name", "sgd"),
        ("optimizer", "learning_rate", 0.0),
        ("optimizer", "learning_rate", float("nan")),
        ("optimizer", "muon_learning_rate", float("inf")),
        ("optimizer", "decay_share", 0.0),
        ("optimizer", "decay_share", 1.5),
        ("optimizer", "final_share", 1.5),
        ("optimizer", "beta1", 1.0),
        ("optimizer", "weight_decay", -0.1),
        ("optimizer", "warmup_steps", -1),
        ("optimizer", "clip_norm", 0.0),
        ("train", "num_steps", -1),
        ("train", "num_epochs", -1.0),
        ("train", "num_epochs", float("inf")),
        ("train", "minutes", -1.0),
        ("train", "log_every", 0),
        ("train", "checkpoint_minutes", -1.0),
        ("train", "seed", -1),
        ("train", "seed", 2**32),
    ],
)
def test_an_illegal_value_names_the_field(group: str, field: str, value: Any):
    with pytest.raises(UserError, match=rf"config\.{group}\.{field} is "):
        resolve(from_dict(changed(group, field, value)))


@pytest.mark.parametrize("sizes", [{"replica": -1, "fsdp": -1}, {"tensor": 0}, {"tensor": -2}])
def test_an_illegal_mesh_is_refused(sizes: dict[str, int]):
    with pytest.raises(UserError, match=r"config\.mesh is .*at most one -1"):
        resolve(from_dict({"mesh": sizes, "train": {"num_steps": 1}}))


@pytest.mark.parametrize(
    "length", [{"num_steps": 5}, {"num_epochs": 0.5}, {"num_epochs": 2}, {"minutes": 1.0}]
)
def test_one_of_three_says_how_long_to_train(length: dict[str, float]):
    ((name, value),) = length.items()
    assert getattr(resolve(from_dict({"train": length})).train, name) == value


@pytest.mark.parametrize(
    ("length", "said"),
    [
        ({}, "config.train.num_steps is 0, config.train.num_epochs is 0, config.train.minutes is 0; exactly"),
        (
            {"num_steps": 5, "minutes": 1.5},
            "config.train.num_steps is 5, config.train.minutes is 1.5; exactly",
        ),
        ({"num_steps": 1_500_000, "num_epochs": 2}, "num_steps is 1500000, config.train.num_epochs is 2;"),
        ({"num_epochs": 1, "minutes": 1}, "must be above 0: set the others to 0"),
    ],
)
def test_none_or_more_of_the_three_are_named(length: dict[str, float], said: str):
    with pytest.raises(UserError) as error:
        resolve(from_dict({"train": length}))
    assert said in str(error.value)


def test_the_experiments_choose_a_length_that_a_flag_may_change():
    """As README does: --config=configs/quickstart.py --config.train.num_steps=2000."""
    config = get_config()
    config.train.num_steps = 2000
    assert resolve(config).train.num_steps == 2000


def test_resolved_is_frozen_at_every_level():
    config = tiny_config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train = Config().train
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model.d_model = 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().freeze().d_model = 64


def test_resolving_leaves_the_original_as_it_was():
    original = get_config()
    resolve(original)
    original.model.d_model = 64  # flags assign in place
    assert resolve(original).model.d_model == 64


def test_json_round_trip():
    config = tiny_config(model__qk_norm=True, curriculum__ramp=0.5, mesh__fsdp=2)
    assert resolve(from_dict(json.loads(to_json(config)))) == config


def test_equal_configs_are_one_jit_argument():
    assert hash(tiny_config()) == hash(tiny_config())
    assert tiny_config() != tiny_config(model__d_ff=96)
