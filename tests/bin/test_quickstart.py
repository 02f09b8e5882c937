"""The main job end to end: stories in, a trained model and three new stories out."""

import json
import pathlib
import signal
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests import binaries
from tests.binaries import ROOT, assert_refused
from tests.tiny import little_stories
from tinyjax.checkpoint import manager as checkpoints

SMALL = [
    f"--config={ROOT / 'configs' / 'quickstart.py'}",
    "--config.model.d_model=32", "--config.model.num_layers=2", "--config.model.num_heads=2",
    "--config.model.num_kv_heads=1", "--config.model.head_dim=16", "--config.model.d_ff=64",
    "--config.model.context_length=64", "--config.data.batch_size=8", "--minutes=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[subprocess.CompletedProcess[str]]:
    """The same command three times: interrupted while it trains, left to end, and once more."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "mine.txt").write_text("\n<|endoftext|>\n".join(little_stories(300)))
    command = [
        *SMALL,
        "--config.train.log_every=1",
        f"--stories={folder / 'mine.txt'}",
        f"--run_dir={folder / 'run'}",
    ]
    process = binaries.start("quickstart", *command)
    metrics = folder / "run" / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 20):
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    ended = [binaries.finish(process)]
    metrics.rename(folder / "metrics-after-interrupt.jsonl")
    metrics.write_bytes((folder / "metrics-after-interrupt.jsonl").read_bytes())
    ended += [binaries.finish(binaries.start("quickstart", *command)) for _ in range(2)]
    return ended


@pytest.fixture(scope="module")
def run_dir(runs: list[subprocess.CompletedProcess[str]]) -> pathlib.Path:
    return pathlib.Path(next(a.split("=")[1] for a in runs[0].args if a.startswith("--run_dir=")))


def told(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The new stories that were printed."""
    text = result.stdout.split("three new stories\n")[1].split("\nDone in")[0]
    return [part.split("\n", 1)[1].strip() for part in text.split("--- ")[1:]]


@pytest.mark.slow
def test_interrupted_it_says_how_to_go_on(runs, run_dir: pathlib.Path):
    assert runs[0].returncode == 130
    assert "stopped by SIGINT after step" in runs[0].stderr
    assert "the same command goes on from there" in runs[0].stderr
    assert "Traceback" not in runs[0].stderr


@pytest.mark.slow
def test_called_again_it_goes_on_and_ends_with_three_stories(runs, run_dir: pathlib.Path):
    result = runs[1]
    assert result.returncode == 0, result.stderr
    assert "all of it was there" in result.stdout  # the data
    assert "going on after step" in result.stderr
    assert len(told(result)) == 3
    assert all(len(story) > 20 for story in told(result))
    assert "bits/byte on" in result.stdout
    assert "tinyjax.bin.sample --checkpoint=" in result.stdout
    for name in ("config.json", "metrics.jsonl", "tensorboard", "checkpoints", "data/prepared.json"):
        assert (run_dir / name).exists(), name


@pytest.mark.slow
def test_every_step_was_made_once_and_the_model_learned(runs, run_dir: pathlib.Path):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    updates = [line for line in lines if "loss" in line]
    assert [line["step"] for line in updates] == list(range(1, len(updates) + 1))
    assert updates[-1]["loss"] < 0.6 * updates[0]["loss"]
    before = (run_dir.parent / "metrics-after-interrupt.jsonl").read_text().splitlines()
    kept = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert kept[: len(before)] == before
    meta = checkpoints.read_meta(checkpoints.find(run_dir))
    assert meta.step == meta.num_steps == len(updates)


@pytest.mark.slow
def test_called_once_more_it_does_not_train_and_says_the_same(runs, run_dir: pathlib.Path):
    result = runs[2]
    assert result.returncode == 0, result.stderr
    assert "already trained" in result.stderr
    assert "tokens/s" not in result.stderr
    assert told(result) == told(runs[1])


# Each kind of stories at least reaches training, where a batch that does not divide ends it here.


def write_stories(folder: pathlib.Path, kind: str) -> str:
    stories = little_stories(60)
    if kind == "txt":
        (folder / "mine.txt").write_text("\n\n".join(stories))
    elif kind == "jsonl":
        (folder / "mine.jsonl").write_text("".join(json.dumps({"story": s}) + "\n" for s in stories))
    elif kind == "csv":
        (folder / "mine.csv").write_text("text\n" + "".join(f'"{s}"\n' for s in stories))
    elif kind == "parquet":
        pyarrow.parquet.write_table(pa.table({"text": stories}), folder / "mine.parquet")
    elif kind == "folder":
        (folder / "mine.folder").mkdir()
        for i in range(2):
            (folder / "mine.folder" / f"{i}.txt").write_text("\n<|endoftext|>\n".join(stories[i::2]))
    else:
        return kind
    return f"mine.{kind}"


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet", "folder", "world:60"])
def test_stories_of_each_kind(kind: str, tmp_path: pathlib.Path):
    stories = write_stories(tmp_path, kind)
    result = binaries.run(
        tmp_path, "quickstart", *SMALL, f"--stories={stories}", "--run_dir=run", "--config.data.batch_size=12"
    )
    assert_refused(result, "batch_size 12 does not divide over the 8")
    assert "Step 2 of 3" in result.stdout
    assert (
        json.loads((tmp_path / "run" / "data" / "prepared.json").read_text())["stories"]["train"]["stories"]
        > 40
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stories=nowhere.txt"], "nowhere.txt"),
        (["--stories=empty.txt"], "empty.txt"),
        (["--stories=empty.txt", "--minutes=0"], "minutes"),
        (["--config.model.d_modle=3"], "did you mean 'd_model'?"),
        (["--run_dir=empty.txt/run", "--stories=mine.txt"], "empty.txt"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, tmp_path: pathlib.Path):
    write_stories(tmp_path, "txt")
    (tmp_path / "empty.txt").touch()
    assert_refused(binaries.run(tmp_path, "quickstart", *SMALL, "--run_dir=run", *arguments), said)
    assert not (tmp_path / "run" / "data").exists()
