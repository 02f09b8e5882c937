"""Makes a data set that `train` reads: stories in, tokenizer and packed windows out.

    python -m tinyjax.bin.prepare --source=stories.txt --data_dir=data/stories

The source is a .txt (stories separated by <|endoftext|>, or by blank lines where that never
occurs), a .jsonl, .csv or .parquet with a text column, a folder of these, or world:COUNT for that
many of the embedded stories. The same command run again finds what is there and does nothing.
"""

import contextlib
import sys
import time
from collections.abc import Generator, Sequence

from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tinyjax.bin import app
from tinyjax.data.prepare import Prepared, prepare
from tinyjax.data.prepare import Progress as Report
from tinyjax.errors import UserError

_SOURCE = flags.DEFINE_string(
    "source",
    "",
    "The stories: a file (.txt, .jsonl, .csv, .parquet) or a folder of files, local or gs://; or "
    "world:COUNT or world:COUNT:SEED for embedded stories.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "The folder to write to, local or gs://; it holds one source."
)
_VALIDATION = flags.DEFINE_string(
    "validation",
    "",
    "Your own validation set, in any form --source takes. Without it, 2 % of the stories are set "
    "aside, chosen by hash of the text.",
)
_CONTEXT_LENGTH = flags.DEFINE_integer(
    "context_length", 512, "Tokens in a window; train needs the same number.", lower_bound=8
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    0,
    "Pieces of the tokenizer. 0: 4096, or fewer when there is little text.",
    lower_bound=0,
)
_ENCODING = flags.DEFINE_string("encoding", "utf-8", "Encoding of text files, such as cp1252.")
_TEXT_KEY = flags.DEFINE_string(
    "text_key", "", "JSON key or column that holds the story; without it, text or story."
)


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
        MofNCompleteColumn(),
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


def summary(prepared: Prepared, seconds: float) -> str:
    """Returns what a person wants to know about prepared stories, in a few lines."""
    manifest = prepared.manifest
    origin, stories, packed = manifest["origin"], manifest["stories"], manifest["windows"]
    dropped = [
        f"{count:,} {reason}"
        for reason, count in zip(
            ("empty", "also in the validation set"), manifest["dropped"].values(), strict=True
        )
        if count
    ]
    rows = {
        "source": origin["source"]["layout"],
        "validation": origin["validation"].get("layout", "chosen by hash of the text"),
        "stories": " + ".join(
            f"{split['stories']:,} {name} ({split['bytes'] / 1e6:.1f} MB)" for name, split in stories.items()
        ),
        "left out": ", ".join(dropped) or "none",
        "tokenizer": f"{manifest['tokenizer']['vocab_size']:,} pieces, "
        f"{manifest['tokenizer']['bytes_per_token']:.2f} bytes/token",
        "windows": " + ".join(
            f"{split['windows']:,} {name} ({split['padding_share']:.1%} padding)"
            for name, split in packed["splits"].items()
        )
        + f" of {packed['context_length']} tokens",
    }
    made = "all of it was there" if len(prepared.reused) == 3 else f"took {seconds:.1f} s"
    if 0 < len(prepared.reused) < 3:
        made += f", {' and '.join(prepared.reused)} reused"
    lines = [f"  {name:<11}{value}" for name, value in rows.items()]
    return "\n".join([f"Prepared '{prepared.path}' ({made})", *lines])


def main_(argv: Sequence[str]) -> None:
    """Prepares what the flags say and prints what came of it."""
    del argv
    for flag in (_SOURCE, _DATA_DIR):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing; see --help")
    start = time.monotonic()
    with show_progress() as progress:
        prepared = prepare(
            _SOURCE.value,
            _DATA_DIR.value,
            validation=_VALIDATION.value,
            context_length=_CONTEXT_LENGTH.value,
            vocab_size=_VOCAB_SIZE.value,
            encoding=_ENCODING.value,
            text_key=_TEXT_KEY.value,
            progress=progress,
        )
    print(summary(prepared, time.monotonic() - start))
    print(
        f"Next: python -m tinyjax.bin.train --config=configs/quickstart.py --config.data.path={prepared.path} "
        f"--config.model.context_length={prepared.context_length} --run_dir=runs/first"
    )


def main() -> None:
    """Runs the binary."""
    app.run(main_)


if __name__ == "__main__":
    main()
