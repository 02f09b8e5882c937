"""Progress that is shown in place, below a cell that works."""

import contextlib
import html
import io
import pathlib
import re
import sys
import time
from collections.abc import Callable, Generator

from IPython.display import HTML, DisplayHandle

from launch.notebook.pictures import curve, metrics

_PROGRESS = re.compile(r" *\d+% ")  # how lines begin that tell how far training is
_SECONDS = 0.5  # between two drawings


@contextlib.contextmanager
def preparing() -> Generator[Callable[[str, int, int], None]]:
    """Yields what `prepare` tells its progress to, and shows the newest stage."""
    handle = _handle()

    def report(stage: str, done: int, total: int) -> None:
        share = f" {done / total:.0%}" if total else ""
        handle.update(HTML(_line(f"{stage}{share}")))

    yield report
    handle.update(HTML(""))


@contextlib.contextmanager
def training(run: pathlib.Path) -> Generator[None]:
    """Shows how far training is, in words and as the curve of its loss."""
    handle = _handle()
    drawn = 0.0

    def show(line: str) -> None:
        nonlocal drawn
        if time.monotonic() - drawn > _SECONDS:
            handle.update(HTML(_line(line) + curve(metrics(run))))
            drawn = time.monotonic()

    with contextlib.redirect_stderr(_Lines(show)):
        yield
    handle.update(HTML(curve(metrics(run))))


class _Lines(io.TextIOBase):
    """Hands on lines of progress, and passes all else to stderr."""

    def __init__(self, progress: Callable[[str], None]):
        self._progress = progress
        self._rest = ""
        self._stderr = sys.stderr

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if _PROGRESS.match(line):
                self._progress(line.strip())
            else:
                self._stderr.write(f"{line}\n")
        return len(text)


def _handle() -> DisplayHandle:
    handle = DisplayHandle()
    handle.display(HTML(_line("...")))
    return handle


def _line(text: str) -> str:
    return f'<pre style="margin: 0">{html.escape(text)}</pre>'
