"""What a run tells beside its loss: speed, goodput, norms, stories, a profile, and W&B if it is asked to."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from wandb.proto import wandb_internal_pb2

from tests.conftest import ROOT
from tests.gcs import BUCKET, Gcs
from tests.tiny import packed_rows, tiny_config
from tests.train.test_loop import losses, metrics, read_params, stop_after
from tests.train.test_step import step_config
from tinyjax.bin.samples import go_on
from tinyjax.checkpoint import copying
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import Config, MeshConfig
from tinyjax.errors import Stopped, UserError
from tinyjax.model.flops import training_flops
from tinyjax.parallel.chips import V5E
from tinyjax.parallel.sharding import make_mesh, put_batch
from tinyjax.sample.model import load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate
from tinyjax.train import log, loop, report, validation
from tinyjax.train.goodput import Goodput, read_goodput
from tinyjax.train.log import Speed
from tinyjax.train.loop import train
from tinyjax.train.run import prepare_run
from tinyjax.train.step import compile_init, compile_step, gradients

PROMPTS = ["One day, Lily", ""]
KEY = "0123456789abcdef" * 2 + "01234567"  # as long as those of W&B


def full_config(tiny_data, **changes: Any) -> Config:
    """Everything on that tells more."""
    told = {
        "num_steps": 12, "eval_every": 6, "checkpoint_every": 6, "log_every": 2, "ema_decay": 0.9,
        "statistics_every": 5, "sample_prompts": "|".join(PROMPTS), "sample_tokens": 12,
        "profile_from": 2, "profile_steps": 2, "wandb": "stories",
    }  # fmt: skip
    told = {f"train__{name}": value for name, value in told.items()}
    return tiny_config(data__path=str(tiny_data.path), **(told | changes))


@pytest.fixture(scope="module")
def offline() -> Iterator[None]:
    """W&B keeps to this machine, but has a key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_API_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def full_run(tiny_data, offline, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run that was stopped after 8 steps or a few more, and finished."""
    folder = tmp_path_factory.mktemp("full") / "run"
    stop_after(folder, 8, full_config(tiny_data))
    train(full_config(tiny_data), folder, go_on)
    return folder


def updates(run: pathlib.Path) -> list[dict]:
    return [line for line in metrics(run) if "loss" in line]


# Speed.


@pytest.mark.slow
def test_flops_go_by_the_positions_and_cpus_have_no_mfu(full_run: pathlib.Path, tiny_data):
    config = checkpoints.read_meta(checkpoints.find(full_run)).config
    for line in (line for line in updates(full_run) if "tokens_per_second" in line):
        # Windows are nearly full, so that all positions are a little more than the tokens that count.
        counted = line["tokens_per_second"] * training_flops(config.model)
        assert counted <= line["flops_per_second"] < 1.3 * counted
        assert "mfu" not in line


def test_mfu_is_a_share_of_all_devices_peak(devices, monkeypatch):
    model, mesh = step_config().model, make_mesh(MeshConfig(), devices)
    assert Speed(model, mesh).metrics(1e6) == {"flops_per_second": 1e6 * training_flops(model)}
    monkeypatch.setattr(log, "find", {"cpu": V5E}.get)
    told = Speed(model, mesh).metrics(1e6)
    assert told["mfu"] == pytest.approx(told["flops_per_second"] / (8 * 197e12))


# Goodput.


def test_goodput_by_hand():
    """60 s of 100; 10 s more, lost by a kill; this start began 30 s ago, and made steps for 10 s."""
    lines = [
        {"step": 10, "goodput": 0.5, "wall_seconds": 50.0},
        {"step": 20, "goodput": 0.6, "wall_seconds": 100.0},
        {"step": 20, "validation/x": 1.0},
        {"step": 30, "goodput": 0.62, "wall_seconds": 110.0},
    ]
    goodput = read_goodput(lines, 20, time.monotonic() - 30)
    goodput.add(10)
    told = goodput.metrics()
    assert told["wall_seconds"] == pytest.approx(140, abs=1)
    assert told["goodput"] == pytest.approx(70 / 140, rel=0.02)
    assert Goodput(0, 0, time.monotonic() - 1).metrics()["goodput"] == 0


@pytest.mark.slow
@pytest.mark.alone
def test_time_that_makes_no_step_is_not_good(tiny_data, tmp_path: pathlib.Path, monkeypatch):
    """Steps wait two seconds for a checkpoint, and a second for each of two evaluations."""
    saves: list[float] = []
    monkeypatch.setattr(loop, "save", slowed(loop.save, 2.0, saves))
    monkeypatch.setattr(validation, "sums_of_stories", slowed(validation.sums_of_stories, 1.0, []))
    lengths = {"train__num_steps": 24, "train__checkpoint_every": 20, "train__eval_every": 10}
    train(tiny_config(data__path=str(tiny_data.path), **lengths), tmp_path)
    config, last = checkpoints.read_meta(checkpoints.find(tmp_path)).config, updates(tmp_path)[-1]
    flops = 8 * 64 * training_flops(config.model)  # of a step
    steps = sum(flops / line["flops_per_second"] for line in updates(tmp_path)[1:])  # the first one compiles
    useful = last["goodput"] * last["wall_seconds"]
    assert useful == pytest.approx(steps - saves[0], abs=0.2)
    assert last["wall_seconds"] > useful + 4.0


def slowed(function: Any, seconds: float, took: list[float]) -> Any:
    """The function, which waits first, and notes what each call took."""

    def run(*arguments: Any, **named: Any) -> Any:
        began = time.monotonic()
        time.sleep(seconds)
        result = function(*arguments, **named)
        took.append(time.monotonic() - began)
        return result

    return run


@pytest.mark.slow
def test_a_later_start_goes_on_in_the_same_books(full_run: pathlib.Path):
    walls = [line["wall_seconds"] for line in updates(full_run)]
    assert walls == sorted(walls)
    assert all(0 <= line["goodput"] < 1 for line in updates(full_run))
    useful = [line["goodput"] * line["wall_seconds"] for line in updates(full_run)]
    assert useful == sorted(useful)


# Norms of each layer.


@pytest.mark.slow
def test_statistics_are_those_of_the_update(devices):
    """Of the second of two, worked out here from its gradients and parameters; none of the first."""
    config = step_config(train__statistics_every=2)
    mesh = make_mesh(MeshConfig(replica=1, fsdp=2), devices[:2])
    state, step = compile_init(config, mesh)(), compile_step(config, mesh)
    batch = packed_rows(8, 64)
    state, told = step(state, put_batch(mesh, batch), 10)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(told.statistics))
    before, number = jax.device_get((state.params, state.step))
    rows: Any = batch
    grads = jax.device_get(jax.jit(lambda p: gradients(config, p, rows, number)[2])(before))
    state, told = step(state, put_batch(mesh, batch), 10)
    after, found = jax.device_get((state.params, told.statistics))

    def norms(tree: dict, name: str) -> Any:
        x = tree["layers"][name] if name in tree["layers"] else tree[name]
        return [np.linalg.norm(layer) for layer in x] if name in tree["layers"] else np.linalg.norm(x)

    for name in ("query", "down", "attention_norm", "embedding"):
        moved = jax.tree.map(np.subtract, after, before)
        np.testing.assert_allclose(norms_of(found["grad_norm"], name), norms(grads, name), rtol=1e-4)
        np.testing.assert_allclose(norms_of(found["param_norm"], name), norms(before, name), rtol=1e-5)
        ratio = np.divide(norms(moved, name), norms(before, name))
        np.testing.assert_allclose(norms_of(found["update_ratio"], name), ratio, rtol=1e-3)
    total = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(found["grad_norm"])))
    assert total == pytest.approx(float(told.grad_norm), rel=1e-5)


def norms_of(found: dict, name: str) -> Any:
    return found["layers"][name] if name in found["layers"] else found[name]


@pytest.mark.slow
def test_statistics_come_when_they_are_due_and_change_nothing(full_run: pathlib.Path, tiny_data, tmp_path):
    lines = [line for line in metrics(full_run) if "statistics/grad_norm/embedding" in line]
    assert [line["step"] for line in lines] == [5, 10]
    assert len(lines[0]["statistics/update_ratio/layers/query"]) == 2
    assert all(x > 0 for x in lines[0]["statistics/param_norm/layers/down"])
    plain = full_config(
        tiny_data, **dict.fromkeys(MORE, 0) | {"train__sample_prompts": "", "train__wandb": ""}
    )
    train(plain, tmp_path / "run")
    assert losses(tmp_path / "run")[12] == losses(full_run)[12]
    jax.tree.map(np.testing.assert_array_equal, read_params(tmp_path / "run"), read_params(full_run))


MORE = ("train__statistics_every", "train__profile_steps")


# Stories.


def samples(run: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (run / report.SAMPLES).read_text().splitlines()]


@pytest.mark.slow
def test_each_evaluation_tells_a_story_from_each_prompt(full_run: pathlib.Path):
    told = samples(full_run)
    assert [(line["step"], line["prompt"]) for line in told] == [(s, p) for s in (6, 12) for p in PROMPTS][
        -len(told) :
    ]
    assert all(line["story"].startswith(line["prompt"]) for line in told)


@pytest.mark.slow
def test_the_stories_are_those_of_the_checkpoint(full_run: pathlib.Path):
    """Its average of parameters, sampled with the run's seed; for each prompt what it gets alone."""
    wanted = generate(load_model(full_run), PROMPTS, seed=0, options=Options(max_tokens=12))
    told = [line["story"] for line in samples(full_run) if line["step"] == 12]
    assert told == [completion.prompt + completion.text for completion in wanted]


def test_a_prompt_that_fills_the_context_is_refused_at_the_start(tiny_data, tmp_path: pathlib.Path):
    config = full_config(tiny_data, train__sample_prompts="One day|" + "Lily " * 100, train__wandb="")
    with pytest.raises(UserError, match=r"sample_prompts: the one that begins 'Lily Lily.*shorten it"):
        train(config, tmp_path / "run", go_on)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_sigterm_while_stories_are_told_ends_in_a_checkpoint(tiny_data, tmp_path: pathlib.Path):
    """It comes with the first prompt of the first evaluation, and the second one is not told any more.

    The stories would have been by the average of the parameters.
    """
    told: list[str] = []
    params_told: list[dict] = []

    def signalled(run: Any, step: int, params: dict, prompt: str) -> str:
        told.append(prompt)
        params_told.append(jax.device_get(params))
        signal.raise_signal(signal.SIGTERM)
        return "."

    config = full_config(tiny_data, train__wandb="", train__profile_steps=0, train__eval_every=4)
    with pytest.raises(Stopped, match="after step 4; a checkpoint was written"):
        train(config, tmp_path / "run", signalled)
    assert told == PROMPTS[:1]
    assert checkpoints.steps(tmp_path / "run" / loop.CHECKPOINTS) == [4]
    folder = checkpoints.find(tmp_path / "run")
    average = checkpoints.read_state(folder, ema=copying.on_one_device(folder, "ema"))["ema"]
    jax.tree.map(np.testing.assert_array_equal, params_told[0], jax.device_get(average))


# A profile.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:builtin type event_stats")  # of JAX's reader
def test_a_profile_of_the_steps_asked_for_lies_in_the_run_folder(full_run: pathlib.Path):
    (trace,) = (full_run / "profile").glob("plugins/profile/*/*.xplane.pb")  # none of the second start
    profile = jax.profiler.ProfileData.from_file(str(trace))
    events = [
        stats["step_num"]
        for plane in profile.planes
        for line in plane.lines
        for event in line.events
        if event.name == "train"
        for stats in [dict(iter(event.stats))]
    ]
    assert set(events) == {3, 4}


# Weights & Biases.


def records(file: pathlib.Path) -> Iterator[Any]:
    """Reads a .wandb file: records in the layout of LevelDB's log, after a header of 7 bytes."""
    record_type: Any = vars(wandb_internal_pb2)["Record"]  # made when imported, which type checkers don't see
    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record_type.FromString(parts)
            parts = b""


@pytest.mark.slow
def test_wandb_is_told_the_same_in_one_run(full_run: pathlib.Path):
    files = sorted((full_run / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # the run was started twice
    told = [record for file in files for record in records(file)]
    runs = [record.run for record in told if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project) for run in runs} == {((full_run / "wandb.id").read_text(), "stories")}
    lines = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in told
        if record.WhichOneof("record_type") == "history"
    ]
    by_step = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert by_step == losses(full_run)
    assert any("statistics/grad_norm/layers/query/1" in line for line in lines)


@pytest.mark.slow
def test_the_key_of_wandb_is_nowhere(full_run: pathlib.Path):
    files = [file for file in full_run.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def test_without_the_package_its_extra_is_named(tiny_data, tmp_path: pathlib.Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = full_config(tiny_data, train__sample_prompts="")
    with pytest.raises(UserError, match=r"config.train.wandb is 'stories'.*pip install 'tinyjax\[wandb\]'"):
        train(config, tmp_path / "run")


REFUSED = """
import sys
from etils import epath
from tests.tiny import tiny_config
from tinyjax.train.tracking import tracking
with tracking(tiny_config(train__wandb="stories"), epath.Path(sys.argv[1]), epath.Path(sys.argv[1])):
    pass
"""


@pytest.mark.slow
def test_without_a_key_it_says_how_to_log_in(tmp_path: pathlib.Path):
    """In a process of its own, as W&B reads its environment once; no server is asked."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env |= {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", REFUSED, str(tmp_path)]
    result = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )
    (told,) = (line for line in result.stderr.splitlines() if line.startswith("tinyjax.errors.UserError"))
    assert "W&B refused the run of config.train.wandb 'stories' (No API key" in told
    assert "log in with `wandb login`, or keep its files here with WANDB_MODE=offline" in told


# What is no number.


def test_what_is_no_number_is_null_in_the_lines(tmp_path: pathlib.Path, tiny_data):
    run = prepare_run(tiny_config(data__path=str(tiny_data.path)), tmp_path)
    with report.open_report(run, 0, time.monotonic()) as told:
        told.metrics(1, {"loss": math.nan, "norms": [1.0, math.inf], "rate": 0.5})
    (line,) = (tmp_path / report.METRICS).read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 1, "loss": None, "norms": [1.0, None], "rate": 0.5
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # see tests/checkpoint/test_gcs
def test_stories_and_profile_are_on_gs_too(tiny_data, gcs: Gcs, bucket: str):
    config = full_config(tiny_data, train__num_steps=4, train__profile_from=1, train__wandb="")
    train(config, bucket, go_on)
    name = bucket.removeprefix(f"gs://{BUCKET}/")
    assert any(found.endswith(".xplane.pb") for found in gcs.names(f"{name}/profile/"))
    lines = (epath.Path(bucket) / report.SAMPLES).read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == PROMPTS
    train(config, bucket, go_on)  # is finished: evaluates again, and tells the same
    assert (epath.Path(bucket) / report.SAMPLES).read_text().splitlines() == lines
