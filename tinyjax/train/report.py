"""What a run tells: metrics in the run folder (JSONL and TensorBoard), progress on the screen."""

import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from typing import Any

import jax
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from tensorboardX import SummaryWriter

from tinyjax.cache import cache_folder
from tinyjax.checkpoint.remote import reached
from tinyjax.data.publish import write_file
from tinyjax.recordio import is_local
from tinyjax.textio import files_below
from tinyjax.train.goodput import Goodput, read_goodput
from tinyjax.train.run import Run
from tinyjax.train.tracking import Track, tracking

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"

Values = Mapping[str, float | list[float]]  # a list has one for each layer


class Report:
    """Writes metrics as they come; shows a bar on a terminal and plain lines elsewhere."""

    speaks = True  # whether it is the one that tells

    def __init__(
        self,
        folder: epath.Path,
        local: epath.Path,
        goodput: Goodput,
        tensorboard: SummaryWriter,
        progress: Progress,
        track: Track,
    ):
        """See `open_report`."""
        self.local = local  # folder of this machine, in which files can grow
        self.goodput = goodput
        self._folder = folder
        self._tensorboard = tensorboard
        self._progress = progress
        self._track = track
        self._published: dict[epath.Path, Any] = {}  # file -> its size and time when it was copied
        self._task = progress.add_task("training", total=1.0, status="compiling ...")

    def metrics(self, step: int, values: Values) -> None:
        """Appends a line to metrics.jsonl, with null for what is no number; tells TensorBoard and W&B."""
        self._append(METRICS, {"step": step} | {name: _strict(value) for name, value in values.items()})
        numbers = {name: x for name, x in _single(values).items() if math.isfinite(x)}
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, step)
        self._track(step, numbers)

    def story(self, step: int, number: int, prompt: str, text: str) -> None:
        """Appends a story, told by prompt `number`, to samples.jsonl, and shows it in TensorBoard."""
        self._append(SAMPLES, {"step": step, "prompt": prompt, "story": text})
        self._tensorboard.add_text(f"samples/{number}", text, step)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self.local / name).open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def publish(self) -> None:
        """Copies what was written so far into a run folder elsewhere, such as on gs://.

        To be called after each checkpoint: what comes after the last one is made again anyway.
        """
        if self.local == self._folder:
            return
        self._tensorboard.flush()
        with reached(self._folder):
            for path in files_below(self.local):
                found = path.stat()
                if self._published.get(path) != found:
                    write_file(self._folder / path.relative_to(self.local), path.read_bytes())
                    self._published[path] = found

    def progress(self, share: float, status: str) -> None:
        """Moves the bar to a share of the whole, or prints the status where there is no terminal."""
        self._progress.update(self._task, completed=share, status=status)
        if not self._progress.console.is_terminal:
            print(f"{share:4.0%} {status}", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Silence(Report):
    """Tells nothing: of several processes, the first one tells it all."""

    speaks = False

    def __init__(self, folder: epath.Path) -> None:
        """Has nothing to open."""
        self.local = folder
        self.goodput = Goodput(0, 0, time.monotonic())

    def metrics(self, step: int, values: Values) -> None:
        """Does nothing."""

    def story(self, step: int, number: int, prompt: str, text: str) -> None:
        """Does nothing."""

    def progress(self, share: float, status: str) -> None:
        """Does nothing."""

    def publish(self) -> None:
        """Does nothing."""

    def say(self, line: str) -> None:
        """Does nothing."""


def _single(values: Values) -> dict[str, float]:
    """Returns each number by a name of its own."""
    return {
        key: x
        for name, value in values.items()
        for key, x in (
            [(f"{name}/{i}", x) for i, x in enumerate(value)] if isinstance(value, list) else [(name, value)]
        )
    }


def _strict(value: float | list[float]) -> Any:
    """Returns what JSON has a word for: infinity and what is no number become null."""
    if isinstance(value, list):
        return [_strict(x) for x in value]
    return value if math.isfinite(value) else None


@contextlib.contextmanager
def open_report(run: Run, step: int, began: float) -> Generator[Report]:
    """Opens the run folder's metrics to go on after `step`; lines beyond it are made again, so they go.

    `began` is when this start did, by `time.monotonic`.
    """
    folder = run.folder
    if jax.process_index() > 0:
        yield _Silence(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.percentage:3.0f}%"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with _local(folder) as local:
        goodput = read_goodput(_lines(local / METRICS), step, began)
        for name in (METRICS, SAMPLES):
            _forget_after(local / name, step)
        tensorboard = SummaryWriter(str(local / "tensorboard"), purge_step=step + 1 if step else None)
        bar = Progress(*columns, console=console, disable=not console.is_terminal)
        try:
            with tracking(run.config, folder, local) as track, bar as progress:
                report = Report(folder, local, goodput, tensorboard, progress, track)
                yield report
            report.publish()
        finally:
            tensorboard.close()


@contextlib.contextmanager
def _local(folder: epath.Path) -> Generator[epath.Path]:
    """Yields the folder where files can grow: itself, or a passing one, as those on gs:// can't."""
    if is_local(folder):
        yield folder
        return
    cache = cache_folder("runs")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as passing:
        local = epath.Path(passing)
        for name in (METRICS, SAMPLES):
            if (folder / name).exists():
                (folder / name).copy(local / name)
        yield local


def _lines(file: epath.Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl, but for one that was cut off by a kill."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [values for line in lines if (values := _parse(line))]


def _parse(line: str) -> dict[str, Any]:
    """Returns what a line holds; {} where it is no whole line of ours."""
    try:
        values = json.loads(line)
        return values if isinstance(values, dict) and isinstance(values["step"], int) else {}
    except (ValueError, KeyError):
        return {}


def _forget_after(file: epath.Path, step: int) -> None:
    if not file.exists():
        return
    text = file.read_text()
    kept = "".join(f"{line}\n" for line in text.splitlines() if _is_before(_parse(line), step))
    if kept != text:
        write_file(file, kept.encode())


def _is_before(values: dict[str, Any], step: int) -> bool:
    """Whether a line stays: updates up to `step`, evaluations before it; one cut off by a kill does not."""
    if not values or values["step"] > step:
        return False
    of_evaluation = any(name == "story" or name.startswith("validation/") for name in values)
    return values["step"] < step or not of_evaluation
