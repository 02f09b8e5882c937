"""The notebook, executed: by a kernel of this Python, at a small size, on the CPU and without a network."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.binaries import ROOT
from tinyjax.checkpoint import manager as checkpoints

pytestmark = pytest.mark.alone

NOTEBOOK = ROOT / "launch" / "notebook.ipynb"
SMALL = """
RUNS, STORIES, STEPS, EXPORT = {runs!r}, "world:300", 400, "gguf"
WIDTH, BLOCKS, CONTEXT = 64, 2, 128
"""


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def source(name: str) -> str:
    return next(cell.source for cell in read().cells if cell.id == name)


@contextlib.contextmanager
def kernel_here(folder: pathlib.Path) -> Generator[None]:
    """Makes `python3` this Python, for it may have no kernel installed; the code is found by the notebook."""
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    changes = {"JUPYTER_PATH": str(folder), "JAX_NUM_CPU_DEVICES": "2", "IPYTHONDIR": str(folder / "ipython")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        patch.delenv("PYTHONPATH", raising=False)
        yield


async def execute(notebook: nbformat.NotebookNode, run: pathlib.Path, *, interrupt: bool) -> None:
    """Executes all cells; with `interrupt`, stops training by the button, and executes that cell again."""
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    async with client.async_setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if interrupt and cell.id == "train":
                training = asyncio.create_task(client.async_execute_cell(cell, index))
                while len(read_metrics(run)) < 5:
                    assert not training.done(), cell.outputs
                    await asyncio.sleep(0.01)
                assert isinstance(client.km, AsyncKernelManager)
                await client.km.interrupt_kernel()
                with pytest.raises(CellExecutionError, match="stopped by SIGINT after step"):
                    await training
                notebook.metadata["interrupted"] = {"outputs": cell.outputs, "metrics": read_metrics(run)}
            await client.async_execute_cell(cell, index)


def read_metrics(run: pathlib.Path) -> list[dict[str, float]]:
    file = run / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("notebook") / "runs" / "first"


@pytest.fixture(scope="module")
def executed(run: pathlib.Path) -> list[nbformat.NotebookNode]:
    """The notebook twice: with the stop button pressed in training, and by a new kernel once it was done."""
    done = []
    for interrupt in (True, False):
        notebook = read()
        place = next(
            i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
        )
        small = nbformat.v4.new_code_cell(SMALL.format(runs=str(run.parent)))
        notebook.cells.insert(place + 1, small)
        with kernel_here(run.parent.parent / "jupyter"):
            asyncio.run(execute(notebook, run, interrupt=interrupt))
        done.append(notebook)
    return done


def shown(notebook: nbformat.NotebookNode, name: str) -> str:
    """All that stands below a cell, HTML as such."""
    cell = next(cell for cell in notebook.cells if cell.id == name)
    return told(cell.outputs)


def told(outputs: list[nbformat.NotebookNode]) -> str:
    data = (output.get("data", {}) for output in outputs)
    return "\n".join(
        output.get("text") or found.get("text/html") or found.get("text/plain", "")
        for output, found in zip(outputs, data, strict=True)
    )


@pytest.mark.slow
def test_a_reader_sees_devices_stories_and_a_window_in_which_two_stories_meet(executed):
    first, _ = executed
    assert "Jupyter with a CPU. All packages are here already." in shown(first, "packages")
    assert shown(first, "device").splitlines() == ["0 cpu", "1 cpu"]
    assert "300 embedded stories" in shown(first, "stories")
    assert shown(first, "stories").count("</div>") == 2
    window = shown(first, "window")
    assert window.count("<span") > 60
    assert len({part.split(";")[0] for part in window.split("3px solid ")[1:]}) == 2
    assert "'replica': 2" in shown(first, "model")


@pytest.mark.slow
def test_training_shows_its_progress_and_the_curve_in_place(executed):
    first, second = executed
    while_training = told(first.metadata["interrupted"]["outputs"])
    assert "step " in while_training
    assert "left</pre>" in while_training
    for outputs in (while_training, shown(first, "train"), shown(second, "train")):
        assert outputs.count("<polyline") == 1
    assert "tokens/s" not in shown(first, "train")
    assert "on unseen stories" in shown(first, "train")


@pytest.mark.slow
def test_stopped_it_goes_on_and_the_model_learns(executed, run: pathlib.Path):
    first, _ = executed
    before, metrics = first.metadata["interrupted"]["metrics"], read_metrics(run)
    assert metrics[: len(before)] == before
    assert "going on after step" in shown(first, "train")
    losses = [line["loss"] for line in metrics if "loss" in line]
    assert losses[-1] < 0.6 * losses[0]
    assert checkpoints.read_meta(checkpoints.find(run)).step == 400


@pytest.mark.slow
def test_executed_again_nothing_is_prepared_or_trained_and_the_same_is_told(executed):
    first, second = executed
    assert "all of it was there" in shown(second, "stories")
    assert "already trained, step 400" in shown(second, "train")
    assert "goodput" not in shown(second, "train")
    for name in ("tell", "together", "grade", "inside"):
        assert shown(second, name) == shown(first, name)


@pytest.mark.slow
def test_the_model_tells_stories_alone_and_together(executed):
    first, _ = executed
    stories = shown(first, "tell").split("<b>Once upon a time</b>")[1:]
    assert len(stories) == 3
    assert all(len(story) > 60 for story in stories)
    together = shown(first, "together")
    assert together.count("<b>") == 3
    answers = re.findall("</b>(.+?)<", together, re.DOTALL)
    assert len(answers) == 3
    for answer in answers:  # one sentence
        assert answer.endswith(".")
        assert answer.count(".") == 1


@pytest.mark.slow
def test_the_model_is_graded_with_an_interval_and_better_than_xz(executed):
    model, xz = shown(executed[0], "grade").splitlines()
    value, low, high = (float(model.split()[place].strip("(),")) for place in (1, 3, 5))
    assert low < value < high
    assert high < float(xz.split()[1])


@pytest.mark.slow
def test_the_map_of_a_head_shows_shares_of_each_token(executed):
    picture = shown(executed[0], "inside")
    assert picture.count("<rect") == 24 * 25 / 2
    assert "[start] looks at [start]: 100%" in picture
    assert "without the head: " in picture


@pytest.mark.slow
def test_the_model_is_exported_and_offered(executed, run: pathlib.Path):
    for notebook in executed:
        assert "read back by an independent reader" in shown(notebook, "export")
        assert "fork" not in shown(notebook, "export")
        assert shown(notebook, "download").strip() == str(run / "exports" / "gguf.zip")
    assert (run / "exports" / "gguf.zip").stat().st_size > 100_000


def test_it_is_a_valid_notebook_without_outputs_and_without_places_of_its_author():
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert len([cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]) == 1
    text = NOTEBOOK.read_text()
    places = (NOTEBOOK.parents[1], pathlib.Path.home(), tempfile.gettempdir())
    assert not any(str(place) in text for place in places)


def find_code(folder: pathlib.Path, repository: str) -> subprocess.CompletedProcess[str]:
    """Runs the cells that look for the code, by IPython in a folder."""
    script = folder / "cells.ipy"
    script.write_text(f"{source('settings')}\nREPOSITORY = {repository!r}\n{source('code')}")
    env = os.environ | {"IPYTHONDIR": str(folder / "ipython")}
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_without_the_code_and_an_address_it_says_what_to_do(tmp_path: pathlib.Path):
    result = find_code(tmp_path, "")
    assert "give its git address as REPOSITORY in the first cell" in result.stdout + result.stderr


def test_the_code_is_fetched_once(tmp_path: pathlib.Path):
    origin, here = tmp_path / "origin", tmp_path / "here"
    here.mkdir()
    (origin / "tinyjax" / "bin").mkdir(parents=True)
    for name in ("pyproject.toml", "tinyjax/bin/train.py"):
        (origin / name).touch()
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=origin, check=True)
    for _ in range(2):
        assert f"tinyjax is in {here / 'tinyjax'}" in find_code(here, f"file://{origin}").stdout
        (origin / ".git").rename(origin / "gone") if (origin / ".git").exists() else None
    assert (here / "tinyjax" / "pyproject.toml").exists()
