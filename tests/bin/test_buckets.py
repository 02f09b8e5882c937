"""From stories to graded stories on gs://, by the binaries on machines that keep nothing but a cache."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from etils import epath

from tests import binaries
from tests.binaries import CONFIG, ROOT, assert_refused, assert_same_stories, records
from tests.gcs import BUCKET, Gcs
from tests.interpret.report.findings import make
from tests.tiny import VOCAB_SIZE, tiny_config
from tests.train.test_loop import losses
from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.interop import exporting, reading
from tinyjax.interop.model import read_checkpoint
from tinyjax.interpret.report.writing import read_report, write_report
from tinyjax.train.loop import train

SOURCE = "world:300"
STEPS = {"num_steps": 60, "checkpoint_every": 25}
B = f"gs://{BUCKET}/buckets"
OPENINGS = "- Lily saw\n- One day, a cat\n"
EVALUATE = ("--parts=loss", "--parts=quality", "--num_samples=2", "--max_stories=20")


class Machine:
    """Home, cache, temporary files and working folder of a machine on which nothing is yet."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        places = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp", "PWD": "working"}
        for name in places.values():
            (folder / name).mkdir(parents=True)
        self.env = os.environ | {variable: str(folder / name) for variable, name in places.items()}
        self.env |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", f"tinyjax.bin.{name}", *arguments],
            env=self.env, cwd=self.env["PWD"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, name: str, *arguments: str) -> str:
        """Runs a binary to its end, and returns what it said on standard error."""
        result = binaries.finish(self.start(name, *arguments))
        assert result.returncode == 0, result.stderr
        return result.stderr

    def stray(self) -> list[pathlib.Path]:
        """Files outside of the cache."""
        files = (path for path in self.folder.rglob("*") if not path.is_dir())
        return [path for path in files if self.folder / "cache" / "tinyjax" not in path.parents]

    def kept(self) -> list[str]:
        """Lines of records that are in the cache, as no bucket has them yet."""
        files = list((self.folder / "cache" / "tinyjax" / "records").glob("*"))
        return [line for file in files for line in file.read_text().splitlines()[1:]]


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not happened():
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.002)


def result(path: str) -> dict:
    return json.loads(epath.Path(path).read_text())


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What comes of the same commands with local paths, undisturbed."""
    folder = tmp_path_factory.mktemp("local")
    prepare(SOURCE, folder / "data", Options(context_length=64, vocab_size=VOCAB_SIZE))
    changes = {f"train__{name}": value for name, value in STEPS.items()}
    train(tiny_config(data__path=str(folder / "data"), **changes), folder / "run")
    (folder / "openings.yaml").write_text(OPENINGS)
    for name, flags in {
        "sample": ("--max_tokens=16", "--num_samples=3", "--output=stories.jsonl"),
        "evaluate": ("--data=data", "--openings=openings.yaml", "--out=evaluation", *EVALUATE),
    }.items():
        ended = binaries.run(folder, name, "--checkpoint=run", *flags)
        assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def killed(gcs: Gcs, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that prepared the stories, began to train, and was killed after the first checkpoint."""
    machine = Machine(tmp_path_factory.mktemp("first"))
    machine.run("prepare", f"--source={SOURCE}", f"--data_dir={B}/data", "--context_length=64",
                f"--vocab_size={VOCAB_SIZE}")  # fmt: skip
    process = machine.start("train", *TRAIN)
    wait_for(lambda: gcs.has("buckets/run/checkpoints/25/commit_success.txt"), process)
    process.kill()
    assert binaries.finish(process).returncode == -signal.SIGKILL
    return machine


TRAIN = (CONFIG, f"--config.data.path={B}/data", f"--run_dir={B}/run",
         *(f"--config.train.{name}={value}" for name, value in STEPS.items()))  # fmt: skip
SAMPLE = (f"--checkpoint={B}/run", "--max_tokens=16", f"--output={B}/stories.jsonl")
EVALUATION = (f"--checkpoint={B}/run", f"--data={B}/data", f"--openings={B}/openings.yaml",
              f"--out={B}/evaluation", *EVALUATE)  # fmt: skip


@pytest.fixture(scope="module")
def second(killed: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Another machine, that went on from there to the end."""
    machine = Machine(tmp_path_factory.mktemp("second"))
    epath.Path(f"{B}/openings.yaml").write_text(OPENINGS)
    assert "going on after step " in machine.run("train", *TRAIN)
    machine.run("sample", *SAMPLE, "--num_samples=2")
    machine.run("evaluate", *EVALUATION)
    return machine


@pytest.mark.slow
def test_it_ends_as_with_local_paths(second: Machine, local: pathlib.Path):
    assert load_data(f"{B}/data", second).manifest == load_prepared(local / "data").manifest
    of_run = {line["step"]: line["loss"] for line in records(f"{B}/run/metrics.jsonl") if "loss" in line}
    assert of_run == losses(local / "run")
    assert len(of_run) == STEPS["num_steps"]
    for part in ("loss", "quality"):
        assert result(f"{B}/evaluation/{part}.json") == result(f"{local}/evaluation/{part}.json")
    told, told_here = (records(f"{of}/evaluation/stories.jsonl") for of in (B, local))
    assert_same_stories([line | {"checkpoint": "run"} for line in told], told_here)
    assert "<svg" in epath.Path(f"{B}/evaluation/report.html").read_text()


def load_data(path: str, machine: Machine) -> Prepared:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", machine.env["XDG_CACHE_HOME"])
        return load_prepared(path)


@pytest.mark.slow
def test_the_first_machine_finds_what_the_second_did_and_adds_to_it(
    killed: Machine, second: Machine, local: pathlib.Path
):
    assert f"{B}/stories.jsonl has 2 of them" in killed.run("sample", *SAMPLE, "--num_samples=3")
    told = [line | {"checkpoint": "run"} for line in records(f"{B}/stories.jsonl")]
    assert [line["sample"] for line in told[2:]] == [2]
    assert_same_stories(told, records(f"{local}/stories.jsonl"))
    for machine in (killed, second):
        assert machine.stray() == []
        assert machine.kept() == []


@pytest.mark.slow
def test_stories_survive_a_kill_and_a_stop(second: Machine):
    file, flags = f"{B}/many.jsonl", (f"--checkpoint={B}/run", "--max_tokens=8", "--num_samples=5000")
    process = second.start("sample", *flags, f"--output={file}")
    wait_for(lambda: len(second.kept()) > 8, process)
    process.kill()
    process.wait()
    kept = second.kept()
    assert not set(kept) & set(epath.Path(file).read_text().splitlines())
    process = second.start("sample", *flags, f"--output={file}")
    wait_for(lambda: len(second.kept()) > 8 and kept[0] not in second.kept(), process)
    process.send_signal(signal.SIGTERM)
    stopped = binaries.finish(process)
    assert stopped.returncode == 42, stopped.stderr
    assert "stopped by SIGTERM; the same command goes on from there" in stopped.stderr
    there = epath.Path(file).read_text().splitlines()
    assert there[: len(kept)] == kept
    assert len(kept) + 8 < len(set(there)) == len(there)
    assert second.kept() == []


@pytest.mark.slow
def test_reports_and_exports_go_there(second: Machine, local: pathlib.Path, tmp_path: pathlib.Path):
    write_report(make("other"), f"{B}/other")
    second.run("interpret", f"--checkpoint={B}/run", f"--data={B}/data", f"--out={B}/inside",
               "--num_tokens=200", f"--compare={B}/other")  # fmt: skip
    assert read_report(f"{B}/inside")["corpus"]["source"] == "data, validation"
    assert '<section id="models">' in epath.Path(f"{B}/inside/report.html").read_text()
    second.run("export", f"--checkpoint={B}/run", "--format=hf", f"--out={B}/exported")
    exporting.export(read_checkpoint(local / "run"), tmp_path / "hf", exporting.How("hf"))
    for file in (tmp_path / "hf").iterdir():
        if file.name != "README.md":
            assert epath.Path(f"{B}/exported/{file.name}").read_bytes() == file.read_bytes()
    assert second.stray() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", exporting.FORMATS)
def test_every_format_is_written_and_read_there_also_after_a_kill(
    name: str, bucket: str, local: pathlib.Path
):
    epath.Path(f"{bucket}/.unfinished").write_text("by one that was killed")
    epath.Path(f"{bucket}/{reading.GGUF}").write_text("half a model")
    model = read_checkpoint(local / "run")
    done = exporting.export(model, bucket, exporting.How(name))
    assert done.difference < 1e-4
    assert not epath.Path(f"{bucket}/.unfinished").exists()
    assert reading.read(epath.Path(bucket)).config.d_model == model.config.d_model


@pytest.mark.slow
def test_what_is_not_there_or_forbidden_is_told_in_a_line(gcs: Gcs, bucket: str, local: pathlib.Path):
    prompts = (f"--checkpoint={local / 'run'}", f"--prompts={bucket}/my prompts.txt")
    missing = binaries.finish(binaries.start("sample", *prompts))
    assert_refused(missing, f"no such file or bucket: '{bucket}/my prompts.txt'")
    epath.Path(f"{bucket}/my prompts.txt").write_text("Lily saw")
    with gcs.forbidding("^read .*prompts"):
        refused = binaries.finish(binaries.start("sample", *prompts))
    assert_refused(refused, f"no permission at '{bucket}/my prompts.txt'", "storage.objectAdmin")
