"""Checkpoints of one process read by two, and the other way round: the same numbers to the bit."""

import os
import pathlib
import socket
import subprocess
import sys
import textwrap

import pytest

from tests.binaries import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.alone]

# Saves a state of random numbers, or reads it and compares; the mesh is fsdp over all devices.
PROGRAM = """
    import sys
    import jax
    count, index, port, folder, data, what = sys.argv[1:]
    if int(count) > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(index))
    import numpy as np
    from tests.tiny import VOCAB_SIZE, tiny_config
    from tinyjax.checkpoint.manager import Meta, find, open_for_writing, read_meta, read_state, save
    from tinyjax.config import MeshConfig
    from tinyjax.data.manifests import load_prepared
    from tinyjax.parallel.sharding import make_mesh
    from tinyjax.train.step import abstract_state, compile_init, init_state

    config = tiny_config(model__vocab_size=VOCAB_SIZE)
    mesh = make_mesh(MeshConfig(replica=1, fsdp=-1))
    assert jax.process_count() == int(count) and mesh.size == 8

    def filled(tree):  # the same numbers on any mesh; moments too
        return jax.tree.map(
            lambda x: np.random.default_rng(x.size).normal(size=x.shape).astype(x.dtype), tree
        )

    target = abstract_state(config, mesh)
    values = filled(jax.eval_shape(lambda: init_state(config)))
    if what == "save":
        state = jax.tree.map(
            lambda v, t: jax.make_array_from_callback(t.shape, t.sharding, lambda at: v[at]), values, target
        )
        meta = Meta(3, config, load_prepared(data).tokenizer, "d1e2", 200, 1.5, False)
        with open_for_writing(folder, 1) as writer:
            save(writer, state.params, state.opt_state, meta)
    else:
        step = find(folder)
        assert read_meta(step).step == 3
        stored = read_state(step, params=target.params, opt_state=target.opt_state)
        for tree, expected in ((stored["params"], values.params), (stored["opt_state"], values.opt_state)):
            for leaf, whole in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
                for shard in leaf.addressable_shards:
                    np.testing.assert_array_equal(shard.data, whole[shard.index])
    print("done")
"""


def run(count: int, folder: pathlib.Path, data: pathlib.Path, what: str) -> None:
    """Runs the program in `count` processes of 8 devices in all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(8 // count), "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM)]
            + [str(x) for x in (count, index, port, folder, data, what)],
            env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(count)
    ]  # fmt: skip
    for process in processes:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert out.endswith("done\n")


@pytest.mark.parametrize(("writers", "readers"), [(2, 1), (1, 2)])
def test_processes_read_what_others_wrote(writers: int, readers: int, tiny_data, tmp_path: pathlib.Path):
    run(writers, tmp_path / "checkpoints", tiny_data.path, "save")
    run(readers, tmp_path / "checkpoints", tiny_data.path, "read")
