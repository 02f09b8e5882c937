"""A new run from the parameters of another: all of them, or all but those that were named."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from tests.binaries import CONFIG, assert_refused, finish, start
from tests.tiny import VOCAB_SIZE, tiny_config
from tinyjax.checkpoint import copying
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.partial import parameters_from
from tinyjax.config import MeshConfig
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.errors import UserError
from tinyjax.parallel.sharding import make_mesh
from tinyjax.train.loop import train
from tinyjax.train.step import compile_init


def fresh(devices: list[jax.Device], **changes: Any) -> dict:
    """Parameters of the tiny model, with fields changed, over a mesh of 2 x 4."""
    config = tiny_config(model__vocab_size=VOCAB_SIZE, train__seed=7, **changes)
    return compile_init(config, make_mesh(MeshConfig(replica=2, fsdp=4), devices))().params


@pytest.fixture(scope="module")
def stored(tiny_run: pathlib.Path) -> dict[str, np.ndarray]:
    folder = checkpoints.find(tiny_run)
    target = copying.on_one_device(folder, "params")
    params = checkpoints.read_state(folder, params=target)["params"]
    return jax.device_get(checkpoints.named_leaves(params))


def test_all_parameters_are_taken_sharded_as_here(tiny_run, tiny_data, devices, stored):
    here = fresh(devices)
    taken = parameters_from(str(tiny_run), here, tiny_data.tokenizer)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(checkpoints.named_leaves(taken)), stored)
    jax.tree.map(lambda a, b: a.sharding == b.sharding or pytest.fail("sharding"), taken, here)


def test_the_average_is_taken_where_there_is_one(tiny_data, devices, tmp_path: pathlib.Path):
    lengths = {"train__num_steps": 3, "train__eval_every": 100}
    train(tiny_config(data__path=str(tiny_data.path), train__ema_decay=0.9, **lengths), tmp_path)
    folder, here = checkpoints.find(tmp_path), fresh(devices)
    taken = parameters_from(str(folder), here, tiny_data.tokenizer)
    target = copying.on_one_device(folder, "ema")
    average = checkpoints.read_state(folder, ema=target)["ema"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(taken), jax.device_get(average))


def test_what_is_missing_and_misshapen_is_named(tiny_run, tiny_data, devices):
    here = fresh(devices, model__d_ff=96, model__qk_norm=True)
    with pytest.raises(UserError, match="does not fit this model") as error:
        parameters_from(str(tiny_run), here, tiny_data.tokenizer)
    message = str(error.value)
    assert "missing layers/key_norm (2, 8)" in message
    assert "layers/down has shape (2, 64, 32), expected (2, 96, 32)" in message
    assert "config.train.allow_missing=REGEX" in message
    assert "embedding" not in message


def test_what_was_named_starts_afresh(tiny_run, tiny_data, devices, stored):
    here = fresh(devices, model__d_ff=96, model__qk_norm=True)
    pattern = "layers/(up|gate|down|.*_norm)"
    taken = parameters_from(str(tiny_run), here, tiny_data.tokenizer, pattern)
    got, before = (jax.device_get(checkpoints.named_leaves(tree)) for tree in (taken, here))
    for name in ("layers/up", "layers/down", "layers/key_norm"):
        np.testing.assert_array_equal(got[name], before[name])
    for name in ("embedding", "layers/query", "layers/mlp_norm"):  # the last matches, and is there
        np.testing.assert_array_equal(got[name], stored[name])


@pytest.mark.parametrize("pattern", ["layers/(up|gate)", "down", ".*_norm"])
def test_a_regex_that_misses_one_is_not_enough(pattern: str, tiny_run, tiny_data, devices):
    here = fresh(devices, model__d_ff=96)
    with pytest.raises(UserError, match="layers/down has shape"):
        parameters_from(str(tiny_run), here, tiny_data.tokenizer, pattern)


def test_what_is_not_expected_is_named_whatever_may_be_missing(tiny_run, tiny_data, devices):
    here = fresh(devices)
    del here["final_norm"]
    with pytest.raises(UserError, match=r"not expected final_norm \(32,\)"):
        parameters_from(str(tiny_run), here, tiny_data.tokenizer, ".*")


def test_one_changed_number_is_seen(tiny_run, tiny_data, devices, monkeypatch):
    values = checkpoints.read_json(checkpoints.find(tiny_run))
    values["checksums"]["params"]["embedding"] += 1
    monkeypatch.setattr(checkpoints, "read_json", lambda folder: values)
    with pytest.raises(UserError, match="the numbers in 'params' are not those that were written"):
        parameters_from(str(tiny_run), fresh(devices), tiny_data.tokenizer)


# Whole runs.


@pytest.mark.slow
def test_a_run_begins_where_the_other_ended(tiny_run, tiny_data, tmp_path: pathlib.Path):
    changes: dict[str, Any] = {"train__num_steps": 4, "optimizer__learning_rate": 1e-9}
    config = tiny_config(data__path=str(tiny_data.path), train__init_from=str(tiny_run), **changes)
    began = train(config, tmp_path / "run")
    there = train(tiny_config(data__path=str(tiny_data.path)), tiny_run)  # is finished: only evaluates
    assert began.bits_per_byte == pytest.approx(there.bits_per_byte, rel=1e-4)
    meta = checkpoints.read_meta(checkpoints.find(tmp_path / "run"))
    assert (meta.step, meta.config.train.init_from) == (4, str(tiny_run))


def test_another_tokenizer_is_refused(tiny_run, stories_file, tmp_path, devices):
    prepare(str(stories_file), tmp_path / "data", Options(context_length=64, vocab_size=VOCAB_SIZE))
    from tinyjax.data.manifests import load_prepared

    other = load_prepared(tmp_path / "data").tokenizer
    with pytest.raises(UserError, match=r"another tokenizer \(sha256 \w{12}\) than the data \(\w{12}\)"):
        parameters_from(str(tiny_run), fresh(devices), other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config.train.init_from=nowhere"], "no checkpoint at 'nowhere'"),
        (["--config.train.allow_missing=x"], "config.train.allow_missing is 'x'; it must be empty without"),
        (["--config.train.init_from=x", "--config.train.allow_missing=("], "a regular expression"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(arguments, said, tiny_data, tmp_path):
    data = f"--config.data.path={tiny_data.path}"
    result = finish(start("train", CONFIG, data, f"--run_dir={tmp_path / 'run'}", *arguments))
    assert_refused(result, said)
