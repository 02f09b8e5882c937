"""Checkpoints: read back equal on any mesh, kept and removed as said, and explained when damaged."""

import json
import pathlib
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

from tests.binaries import snapshot
from tests.tiny import VOCAB_SIZE, tiny_config
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import (
    Meta,
    meta_from_json,
    open_for_writing,
    read_meta,
    read_state,
    save,
    steps,
)
from tinyjax.config import MeshConfig
from tinyjax.errors import UserError
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import load_model
from tinyjax.train.loop import train
from tinyjax.train.step import abstract_state, compile_init

# What Orbax leaves behind when a read fails is collected later, and pytest would tell of it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = tiny_config(model__vocab_size=VOCAB_SIZE)


@pytest.fixture
def run(tiny_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the trained run that a test may damage."""
    return pathlib.Path(shutil.copytree(tiny_run, tmp_path / "run"))


def make_meta(step: int, tokenizer) -> Meta:
    return Meta(step, CONFIG, tokenizer, dataset="d1e2", num_steps=200, seconds=1.5, instruct=False)


def write_steps(folder: epath.PathLike, tokenizer, numbers: list[int], keep_every: int) -> None:
    params = {"w": np.arange(6.0).reshape(2, 3)}
    with open_for_writing(folder, keep_every) as writer:
        for step in numbers:
            save(writer, jax.tree.map(lambda x, s=step: x + s, params), params, make_meta(step, tokenizer))


def test_meta_comes_back_as_it_was(tiny_data, tmp_path):
    meta = make_meta(7, tiny_data.tokenizer)
    write_steps(tmp_path, tiny_data.tokenizer, [7], keep_every=10)
    assert read_meta(tmp_path / "7") == meta
    assert meta_from_json(json.loads(json.dumps(meta.to_json()))) == meta
    assert set(meta.to_json()["versions"]) >= {"jax", "flax", "orbax-checkpoint"}


def test_a_format_of_another_version_is_refused(tiny_data):
    values = make_meta(7, tiny_data.tokenizer).to_json() | {"format_version": 99}
    with pytest.raises(UserError, match="format version 99; this tinyjax reads version 2"):
        meta_from_json(values)


def test_permanent_ones_and_the_newest_stay(tiny_data, tmp_path):
    write_steps(tmp_path, tiny_data.tokenizer, [3, 10, 14, 20, 23, 27], keep_every=10)
    assert steps(tmp_path) == [10, 20, 27]
    write_steps(tmp_path, tiny_data.tokenizer, [28], keep_every=10)
    assert steps(tmp_path) == [10, 20, 28]
    for step in steps(tmp_path):
        target = {"w": jax.ShapeDtypeStruct((2, 3), np.float32)}
        stored = read_state(tmp_path / str(step), params=target)["params"]["w"]
        np.testing.assert_array_equal(stored, np.arange(6.0).reshape(2, 3) + step)


def test_no_folder_no_steps(tmp_path):
    assert steps(tmp_path / "nowhere") == []


# Finding.


def test_a_run_its_checkpoints_and_one_step_are_found(tiny_run: pathlib.Path):
    newest = tiny_run / "checkpoints" / "200"
    assert checkpoints.find(tiny_run) == checkpoints.find(tiny_run / "checkpoints") == newest
    assert checkpoints.find(newest) == newest
    assert checkpoints.find(tiny_run / "checkpoints" / "50").name == "50"


def test_where_there_is_none_it_says_so(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint at '.*nowhere': no such folder"):
        checkpoints.find(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no complete checkpoint in .*; give a run folder"):
        checkpoints.find(tmp_path)


# Other meshes.


@pytest.mark.slow
def test_from_mesh_to_mesh(tiny_data, tmp_path, devices):
    """Written over 8 x 1, read over 2 x 4, written, read by 1, written, read over 2 x 2 x 2: the same."""
    meshes = [
        make_mesh(MeshConfig(replica=1, fsdp=8), devices),
        make_mesh(MeshConfig(replica=2, fsdp=4), devices),
        make_mesh(MeshConfig(), devices[:1]),
        make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices),
    ]
    state = compile_init(CONFIG, meshes[0])()
    original = jax.device_get((state.params, state.opt_state))
    for number, mesh in enumerate(meshes[1:], 1):
        with open_for_writing(tmp_path, keep_every=1) as writer:
            save(writer, state.params, state.opt_state, make_meta(number, tiny_data.tokenizer))
        target = abstract_state(CONFIG, mesh)
        stored = read_state(tmp_path / str(number), params=target.params, opt_state=target.opt_state)
        state = state._replace(params=stored["params"], opt_state=stored["opt_state"])
        got = (state.params, state.opt_state)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), original)
        assert jax.tree.map(lambda x: x.sharding, state.params) == jax.tree.map(
            lambda x: x.sharding, target.params
        )


# Reading the parameters alone.


def test_the_sampler_reads_parameters_and_meta_only(run: pathlib.Path, tiny_run: pathlib.Path):
    shutil.rmtree(run / "checkpoints" / "200" / "opt_state")
    jax.tree.map(np.testing.assert_array_equal, load_model(run).params, load_model(tiny_run).params)


# Damage. Whatever is done to a checkpoint, it is one message, and the rest stays as it was.


def newest(run: pathlib.Path) -> pathlib.Path:
    return run / "checkpoints" / "200"


def array_files(run: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in (newest(run) / "params").glob("**/d/*") if path.is_file()]


def truncate_arrays(run: pathlib.Path) -> None:
    for file in array_files(run):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_bits_of_arrays(run: pathlib.Path) -> None:
    """Two in each file: TensorStore sees some of them and hands out the others as numbers."""
    for file in array_files(run):
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 0x10
        data[len(data) // 2] ^= 0x10
        file.write_bytes(data)


def empty_arrays(run: pathlib.Path) -> None:
    for file in array_files(run):
        file.write_bytes(b"")


def remove_manifest(run: pathlib.Path) -> None:
    (newest(run) / "params" / "manifest.ocdbt").unlink()


def remove_tree_metadata(run: pathlib.Path) -> None:
    (newest(run) / "params" / "_METADATA").unlink()


def garble_meta(run: pathlib.Path) -> None:
    file = newest(run) / "meta" / "metadata"
    file.write_bytes(file.read_bytes()[:100])


def garble_tokenizer(run: pathlib.Path) -> None:
    file = newest(run) / "meta" / "metadata"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"tokenizer": values["tokenizer"][:400]}))


def drop_a_key_of_meta(run: pathlib.Path) -> None:
    file = newest(run) / "meta" / "metadata"
    values = json.loads(file.read_text())
    del values["num_steps"]
    file.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "damage",
    [
        truncate_arrays, flip_bits_of_arrays, empty_arrays, remove_manifest, remove_tree_metadata,
        garble_meta, garble_tokenizer, drop_a_key_of_meta,
    ],
)  # fmt: skip
def test_damage_is_explained_and_nothing_changed(damage, run: pathlib.Path, tiny_data):
    damage(run)
    before = snapshot(run)
    with pytest.raises(UserError, match=r"checkpoint '.*200' can't be read .*copy it again, or move"):
        load_model(run)
    with pytest.raises(UserError, match=r"checkpoint '.*200' can't be read"):
        train(tiny_config(data__path=str(tiny_data.path)), run)
    assert snapshot(run) == before


def test_one_changed_number_is_seen_wherever_it_is(tiny_data, tmp_path):
    """Orbax itself writes the other numbers here, so its own checks have nothing to complain of."""
    for changed in np.ndindex(2, 3):
        folder = tmp_path / f"{changed}"
        write_steps(folder, tiny_data.tokenizer, [1], keep_every=1)
        other = np.arange(6.0, dtype=np.float32).reshape(2, 3) + 1
        other[changed] = np.nextafter(other[changed], np.inf)
        shutil.rmtree(folder / "1" / "params")
        with ocp.StandardCheckpointer() as writer:
            writer.save(folder / "1" / "params", {"w": other})
        target = {"w": jax.ShapeDtypeStruct((2, 3), np.float32)}
        with pytest.raises(UserError, match="numbers in 'params' are not those that were written"):
            read_state(folder / "1", params=target)


@pytest.mark.slow
def test_moved_away_as_the_message_says_it_goes_on_from_the_step_before(run: pathlib.Path, tiny_data, capsys):
    newest(run).rename(run / "damaged")
    train(tiny_config(data__path=str(tiny_data.path)), run)
    assert "going on after step 150" in capsys.readouterr().err
    assert steps(run / "checkpoints") == [50, 100, 150, 200]


def unfinished_name(run: pathlib.Path) -> None:
    newest(run).rename(run / "checkpoints" / "200.orbax-checkpoint-tmp")


def unfinished_item(run: pathlib.Path) -> None:
    (newest(run) / "params").rename(newest(run) / "params.orbax-checkpoint-tmp")
    newest(run).rename(run / "checkpoints" / "200.orbax-checkpoint-tmp")


@pytest.mark.slow
@pytest.mark.parametrize("leave", [unfinished_name, unfinished_item])
def test_a_half_written_step_is_ignored_and_written_again(leave, run: pathlib.Path, tiny_run, tiny_data):
    leave(run)
    assert checkpoints.find(run).name == "150"
    train(tiny_config(data__path=str(tiny_data.path)), run)
    assert checkpoints.find(run).name == "200"
    jax.tree.map(np.testing.assert_array_equal, load_model(run).params, load_model(tiny_run).params)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["100", "150", "200", "50"]


@pytest.mark.parametrize("item", ["params", "opt_state", "meta"])
def test_a_step_without_one_of_its_items_is_explained(item: str, run: pathlib.Path, tiny_data):
    shutil.rmtree(newest(run) / item)
    with pytest.raises(UserError, match=r"checkpoint '.*200' can't be read .*copied incompletely"):
        train(tiny_config(data__path=str(tiny_data.path)), run)


# Another model.


def test_what_is_missing_extra_or_misshapen_is_named(tiny_run: pathlib.Path, devices):
    other = tiny_config(model__vocab_size=VOCAB_SIZE, model__d_ff=96, model__qk_norm=True)
    target = abstract_state(other, make_mesh(MeshConfig(), devices))
    with pytest.raises(UserError) as error:
        read_state(checkpoints.find(tiny_run), params=target.params)
    message = str(error.value)
    assert "of another model" in message
    assert "layers/down has shape (2, 64, 32), expected (2, 96, 32)" in message
    assert "missing layers/key_norm" in message
    smaller = {"embedding": target.params["embedding"]}
    with pytest.raises(UserError, match=r"not expected final_norm \(32,\); .* and 5 more"):
        read_state(checkpoints.find(tiny_run), params=smaller)


# Saves that fail.


def test_a_save_that_fails_says_so(tiny_data, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"could not be written to .*the same command again"):
        write_steps(tmp_path / "file" / "checkpoints", tiny_data.tokenizer, [1], keep_every=1)
    assert (tmp_path / "file").read_text() == "mine"
