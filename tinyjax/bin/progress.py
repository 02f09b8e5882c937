"""What binaries show while stories are prepared or told, and of what came of it."""

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tinyjax.data.manifests import Prepared
from tinyjax.data.manifests import Progress as Report
from tinyjax.stories.releases import RELEASES


@contextlib.contextmanager
def show_progress() -> Generator[Report]:
    """Yields a reporter of progress: a bar on a terminal, else one line for each stage."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield lambda stage, done, total: _show_stage(bars, stage, done, total)


def _show_stage(bars: Progress, stage: str, done: int, total: int) -> None:
    """Moves the bar of this stage, in the place of the one before."""
    for task in bars.tasks:
        if task.description == stage:
            bars.update(task.id, completed=done)
            return
        bars.remove_task(task.id)
    bars.add_task(stage, total=total or None, completed=done)


def _plain_lines() -> Report:
    stages = set()

    def report(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages.add(stage)
            print(f"{stage} ...", file=sys.stderr, flush=True)

    return report


@contextlib.contextmanager
def show_count(what: str, total: int) -> Generator[Callable[[str], None]]:
    """Yields what counts one more of `total` done, and shows a word on it; on a terminal only."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,} of {task.total:,} " + what),
        BarColumn(),
        TextColumn("{task.fields[word]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=total, word="")
        yield lambda word: bars.update(task, advance=1, word=word)


_REASONS = {"empty": "empty", "in_validation": "also in the validation set"}


def summary(prepared: Prepared, seconds: float) -> str:
    """Returns what a person wants to know about prepared stories, in a few lines."""
    manifest = prepared.manifest
    origin, stories, packed = manifest["origin"], manifest["stories"], manifest["windows"]
    rows = {
        "source": origin["source"]["layout"],
        "validation": origin["validation"].get("layout") or _validation(origin["source"]["path"]),
        "stories": " + ".join(
            f"{split['stories']:,} {name} ({split['bytes'] / 1e6:.1f} MB)" for name, split in stories.items()
        ),
        "left out": _counts(manifest["dropped"]),
        "mended": _counts(manifest["mended"]),
        "tokenizer": _tokenizer(manifest["tokenizer"]),
        "windows": " + ".join(
            f"{split['windows']:,} {name} ({split['padding_share']:.1%} padding)"
            for name, split in packed["splits"].items()
        )
        + f" of {prepared.context_length} tokens",
    }
    if not origin["rules"]:
        del rows["mended"]
    made = "all of it was there" if len(prepared.reused) == 3 else f"took {seconds:.1f} s"
    if 0 < len(prepared.reused) < 3:
        made += f", {' and '.join(prepared.reused)} reused"
    lines = [f"  {name:<11}{value}" for name, value in rows.items()]
    return "\n".join([f"Prepared '{prepared.path}' ({made})", *lines])


def _validation(source: str) -> str:
    release = RELEASES.get(source)
    return "that of the release" if release and release.validation else "chosen by hash of the text"


def _counts(counts: dict[str, int]) -> str:
    named = [f"{count:,} {_REASONS.get(name, f'by {name}')}" for name, count in counts.items() if count]
    return ", ".join(named) or "none"


def _tokenizer(manifest: dict[str, Any]) -> str:
    text = f"{manifest['vocab_size']:,} pieces, {manifest['bytes_per_token']:.2f} bytes/token"
    lost = manifest["losses"]
    if lost["changed"]:
        text += f"; it changes {lost['changed']:,} of {lost['texts']:,} stories, as in {lost['example']}"
    return text
