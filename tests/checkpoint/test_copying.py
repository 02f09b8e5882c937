"""Copies and listings of checkpoints on a local disk; those on gs:// are in test_gcs."""

import datetime
import pathlib

import jax
import numpy as np
import pytest

from tests.checkpoint.test_manager import make_meta
from tests.tiny import VOCAB_SIZE, tiny_config
from tinyjax.checkpoint import copying
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import MeshConfig
from tinyjax.errors import UserError
from tinyjax.parallel.sharding import make_mesh
from tinyjax.train.step import abstract_state, compile_init


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "muon", "adafactor", "lion"])
def test_every_optimizers_state_is_copied_and_checked(name: str, tiny_data, tmp_path, devices):
    """Written over 8 devices; the copy is read without knowing the optimizer, and then by it."""
    config = tiny_config(model__vocab_size=VOCAB_SIZE, optimizer__name=name)
    state = compile_init(config, make_mesh(MeshConfig(replica=1, fsdp=8), devices))()
    with checkpoints.open_for_writing(tmp_path / "run", keep_every=1) as writer:
        meta = make_meta(7, tiny_data.tokenizer)
        checkpoints.save(writer, state.params, state.opt_state, meta)
    copy = copying.copy(tmp_path / "run", tmp_path / "copy")
    target = abstract_state(config, make_mesh(MeshConfig(), devices[:1]))
    stored = checkpoints.read_state(copy, params=target.params, opt_state=target.opt_state)
    for item, tree in stored.items():
        jax.tree.map(np.testing.assert_array_equal, *jax.device_get((tree, getattr(state, item))))


def test_entries_tell_when_they_were_written(tiny_run: pathlib.Path):
    entries = copying.entries(tiny_run)
    assert [entry.step for entry in entries] == [50, 100, 150, 200]
    now = datetime.datetime.now(datetime.UTC)
    times = [entry.written for entry in entries if entry.written]
    assert times == sorted(times)
    assert len(times) == 4
    assert all(datetime.timedelta(0) < now - time < datetime.timedelta(hours=3) for time in times)


def test_where_there_are_none_it_says_so(tmp_path: pathlib.Path):
    with pytest.raises(UserError, match=r"there are no checkpoints in .*; give a run folder"):
        copying.entries(tmp_path)


def test_an_interrupted_copy_leaves_nothing(tiny_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch):
    def interrupt(folder):
        assert (folder / "params").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(copying, "verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        copying.copy(tiny_run, tmp_path / "copy")
    assert not list((tmp_path / "copy").iterdir())
