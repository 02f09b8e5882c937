"""What a run tells: metrics in the run folder (JSONL and TensorBoard), progress on the screen."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Generator

import jax
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from tensorboardX import SummaryWriter

from tinyjax.checkpoint.remote import reached
from tinyjax.data.publish import write_file
from tinyjax.recordio import is_local
from tinyjax.textio import files_below

METRICS = "metrics.jsonl"


class Report:
    """Writes metrics as they come; shows a bar on a terminal and plain lines elsewhere."""

    def __init__(self, folder: epath.Path, local: epath.Path, tensorboard: SummaryWriter, progress: Progress):
        """See `open_report`."""
        self._folder = folder
        self._local = local
        self._tensorboard = tensorboard
        self._progress = progress
        self._task = progress.add_task("training", total=1.0, status="compiling ...")

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl and the same values to TensorBoard."""
        with (self._local / METRICS).open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def publish(self) -> None:
        """Copies what was written so far into a run folder elsewhere, such as on gs://.

        To be called after each checkpoint: what comes after the last one is made again anyway.
        """
        if self._local != self._folder:
            self._tensorboard.flush()
            with reached(self._folder):
                for path in files_below(self._local):
                    write_file(self._folder / path.relative_to(self._local), path.read_bytes())

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

    def __init__(self) -> None:
        """Has nothing to open."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Does nothing."""

    def progress(self, share: float, status: str) -> None:
        """Does nothing."""

    def publish(self) -> None:
        """Does nothing."""

    def say(self, line: str) -> None:
        """Does nothing."""


@contextlib.contextmanager
def open_report(folder: epath.Path, step: int) -> Generator[Report]:
    """Opens the run folder's metrics to go on after `step`; lines beyond it are made again, so they go."""
    if jax.process_index() > 0:
        yield _Silence()
        return
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.percentage:3.0f}%"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with _local(folder) as local:
        _forget_after(local / METRICS, step)
        tensorboard = SummaryWriter(str(local / "tensorboard"), purge_step=step + 1 if step else None)
        try:
            with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
                report = Report(folder, local, tensorboard, progress)
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
    with tempfile.TemporaryDirectory() as name:
        local = epath.Path(name)
        if (folder / METRICS).exists():
            (folder / METRICS).copy(local / METRICS)
        yield local


def _forget_after(file: epath.Path, step: int) -> None:
    if not file.exists():
        return
    text = file.read_text()
    kept = "".join(f"{line}\n" for line in text.splitlines() if _is_before(line, step))
    if kept != text:
        write_file(file, kept.encode())


def _is_before(line: str, step: int) -> bool:
    """Whether a line stays: updates up to `step`, evaluations before it; one cut off by a kill does not."""
    try:
        values = json.loads(line)
        return values["step"] < step or (values["step"] == step and "loss" in values)
    except (ValueError, KeyError, TypeError):
        return False
