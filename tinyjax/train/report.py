"""What a run tells: metrics in the run folder (JSONL and TensorBoard), progress on the screen."""

import contextlib
import json
import sys
from collections.abc import Generator

from etils import epath
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from tensorboardX import SummaryWriter

from tinyjax.data.publish import write_file

METRICS = "metrics.jsonl"


class Report:
    """Writes metrics as they come; shows a bar on a terminal and plain lines elsewhere."""

    def __init__(self, folder: epath.Path, tensorboard: SummaryWriter, progress: Progress):
        """See `open_report`."""
        self._folder = folder
        self._tensorboard = tensorboard
        self._progress = progress
        self._task = progress.add_task("training", total=1.0, status="compiling ...")

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl and the same values to TensorBoard."""
        with (self._folder / METRICS).open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def progress(self, share: float, status: str) -> None:
        """Moves the bar to a share of the whole, or prints the status where there is no terminal."""
        self._progress.update(self._task, completed=share, status=status)
        if not self._progress.console.is_terminal:
            print(f"{share:4.0%} {status}", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def open_report(folder: epath.Path, step: int) -> Generator[Report]:
    """Opens the run folder's metrics to go on after `step`; lines beyond it are made again, so they go."""
    folder.mkdir(parents=True, exist_ok=True)
    _forget_after(folder / METRICS, step)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.percentage:3.0f}%"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
    )
    tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            yield Report(folder, tensorboard, progress)
    finally:
        tensorboard.close()


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
