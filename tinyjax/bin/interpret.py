"""Looks inside a model: what its heads and neurons do, as JSON and as one interactive page.

    python -m tinyjax.bin.interpret --checkpoint=runs/quickstart --data=runs/quickstart/data \
        --out=reports/quickstart

OUT/report.html opens from the file; OUT/report.json holds every number of it.
"""

import sys
import time
from collections.abc import Iterator, Sequence

from absl import flags
from etils import epath

from tinyjax import textio
from tinyjax.bin import app, backend
from tinyjax.bin.loading import load
from tinyjax.checkpoint.preflight import probe
from tinyjax.data.manifests import load_prepared
from tinyjax.errors import UserError
from tinyjax.interpret.report.gathering import Plan, gather
from tinyjax.interpret.report.writing import read_report, write_report

_MOST_STORIES = 8

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "Run folder, checkpoint or model of others, local or gs://."
)
_OUT = flags.DEFINE_string("out", "", "Folder for the report, local or gs://.")
_DATA = flags.DEFINE_string("data", "", "Prepared folder, whose validation stories the model reads.")
_STORIES = flags.DEFINE_string("stories", "", "File or folder of stories that the model reads, not --data.")
_NUM_TOKENS = flags.DEFINE_integer("num_tokens", 100_000, "Tokens of stories to read.", lower_bound=1)
_STORY = flags.DEFINE_multi_string(
    "story", [], "Story to show token by token, up to 8 times; default: three of those read."
)
_FEATURES = flags.DEFINE_integer(
    "features", None, "Block before which a dictionary of features (a sparse autoencoder) is trained; from 0."
)
_TRANSCODER = flags.DEFINE_integer(
    "transcoder", None, "Block whose MLP a dictionary of features stands in for (a transcoder); from 0."
)
_COMPARE = flags.DEFINE_multi_string(
    "compare", [], "Report of another model to compare with: its report.json; may be repeated."
)
_EMA = flags.DEFINE_bool("ema", True, "Use the moving average of the parameters, where there is one.")


def run(argv: Sequence[str]) -> None:
    """Writes the report."""
    del argv
    plan = _plan()
    probe(_OUT.value)
    records = _records()
    others = [read_report(path) for path in _COMPARE.value]
    backend.start()
    model = load(_CHECKPOINT.value, ema=_EMA.value)
    started = time.monotonic()
    findings = gather(model, records, plan, lambda stage: print(f"{stage} ...", file=sys.stderr, flush=True))
    page = write_report(findings, _OUT.value, others)
    read = findings["corpus"]
    print(
        f"{read['stories']:,} stories, {read['tokens']:,} tokens in {time.monotonic() - started:.1f} s",
        file=sys.stderr,
    )
    print(f"report: {page}")


def _plan() -> Plan:
    """Returns what the flags say."""
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give a run folder, such as runs/quickstart")
    if not _OUT.value:
        raise UserError("--out is missing; give a folder for the report, such as reports/quickstart")
    if bool(_DATA.value) == bool(_STORIES.value):
        raise UserError(
            "the stories to read are missing or named twice; give --data=FOLDER or --stories=FILE"
        )
    if "" in [story.strip() for story in _STORY.value]:
        raise UserError("--story is empty; give the text of a story")
    if len(_STORY.value) > _MOST_STORIES:
        raise UserError(f"--story is given {len(_STORY.value)} times; the page has room for {_MOST_STORIES}")
    if _FEATURES.value is not None and _TRANSCODER.value is not None:
        raise UserError("--features and --transcoder are both given; the page has room for one dictionary")
    source = f"{epath.Path(_DATA.value).name}, validation" if _DATA.value else epath.Path(_STORIES.value).name
    transcoder = _TRANSCODER.value is not None
    block = _TRANSCODER.value if transcoder else _FEATURES.value
    return Plan(_CHECKPOINT.value, source, _NUM_TOKENS.value, tuple(_STORY.value), block, transcoder)


def _records() -> Iterator[textio.Record]:
    """Returns the stories to read, streaming."""
    if _DATA.value:
        return load_prepared(_DATA.value).stories("validation")
    return textio.read(_STORIES.value)


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
