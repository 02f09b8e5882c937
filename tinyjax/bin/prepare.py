"""Makes a data set that `train` reads: stories in, tokenizer and packed windows out.

    python -m tinyjax.bin.prepare --source=stories.txt --data_dir=data/stories
    python -m tinyjax.bin.prepare --source=tinystories-v2 --data_dir=data/v2 --clean=default --audit

The source is a .txt (stories separated by <|endoftext|>, or by blank lines where that never
occurs; with instructions where it has those of TinyStories-Instruct), a .jsonl, .json, .csv or
.parquet with a text column, a folder of these, world:COUNT for that many of the embedded stories, or a
release: tinystories-v1, tinystories-v2, tinystories-all, tinystories-instruct. The same command run
again finds what is there and does nothing.
"""

import json
import time
from collections.abc import Sequence

import numpy as np
from absl import flags
from etils import epath

from tinyjax.bin import app, options
from tinyjax.bin.progress import show_progress, summary
from tinyjax.checkpoint.preflight import probe
from tinyjax.data.manifests import Prepared, Progress
from tinyjax.data.prepare import Measure, prepare
from tinyjax.data.publish import write_file
from tinyjax.errors import UserError
from tinyjax.stories.clean import RULES

_SOURCE = flags.DEFINE_string(
    "source",
    "",
    "The stories: a file (.txt, .jsonl, .json, .csv, .parquet) or a folder of files, local or gs://; "
    "world:COUNT or world:COUNT:SEED for embedded stories; or a release, such as tinystories-v2.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "The folder to write to, local or gs://; it holds one source."
)
_OPTIONS = options.define()
_AUDIT = flags.DEFINE_bool(
    "audit", False, "Look for problems in the stories; writes audit.html and audit.json into --data_dir."
)
_REPORT_VOCAB = flags.DEFINE_list(
    "report_vocab",
    [],
    "Compare tokenizers: sizes to train on these stories, or files of others', as in 512,2048,their.model.",
)
_LIST_RULES = flags.DEFINE_bool("list_rules", False, "Print the cleaning rules, and do nothing else.")


def run(argv: Sequence[str]) -> None:
    """Prepares what the flags say and prints what came of it."""
    del argv
    if _LIST_RULES.value:
        print("\n".join(f"{rule.name:<16}{rule.description}" for rule in RULES.values()))
        return
    for flag in (_SOURCE, _DATA_DIR):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing; see --help")
    probe(_DATA_DIR.value)
    start = time.monotonic()
    chosen = _OPTIONS()
    with show_progress() as progress:
        prepared = prepare(
            _SOURCE.value, _DATA_DIR.value, chosen, measure=_measure(chosen.difficulty), progress=progress
        )
    print(summary(prepared, time.monotonic() - start))
    if _REPORT_VOCAB.value:
        print(_vocabularies(prepared))
    if _AUDIT.value:
        with show_progress() as progress:
            print(_audit(prepared, progress))
    print(
        "Next: python -m tinyjax.bin.train --config=configs/quickstart.py --run_dir=runs/first "
        f"--config.data.path={prepared.path} --config.model.context_length={prepared.context_length}"
    )


def _measure(difficulty: str) -> Measure | None:
    """Returns the loss of the model that loss:RUN_DIR names; None where a built-in measure is meant."""
    if not difficulty.startswith("loss:"):
        return None
    from tinyjax.bin import backend  # with a model comes JAX, which worker processes do without
    from tinyjax.evaluate.difficulty import story_losses
    from tinyjax.sample.model import load_model

    backend.start()
    model = load_model(difficulty.removeprefix("loss:"))
    return lambda texts: np.asarray(story_losses(model, texts))


def _vocabularies(prepared: Prepared) -> str:
    """Returns the table of --report_vocab."""
    from tinyjax.config import ModelConfig
    from tinyjax.data import vocabulary  # imports JAX

    sizes = [int(item) for item in _REPORT_VOCAB.value if item.isdecimal()]
    paths = [item for item in _REPORT_VOCAB.value if not item.isdecimal()]
    texts = (record.text for record in prepared.stories("train"))
    rows = vocabulary.report_vocabularies(texts, sizes, ModelConfig(), paths=paths)
    return vocabulary.format_rows(rows)


def _audit(prepared: Prepared, progress: Progress) -> str:
    """Writes the data card as a page and as JSON; returns its verdict."""
    from tinyjax.data import audit  # an extra

    train, validation = (prepared.stories(split) for split in ("train", "validation"))
    card = audit.audit(train, validation, prepared.tokenizer, progress=progress)
    folder = epath.Path(prepared.path)
    write_file(folder / "audit.json", json.dumps(card, indent=2, ensure_ascii=False).encode())
    write_file(folder / "audit.html", audit.render(card).encode())
    return f"Audit: {card['verdict']}\n  the whole: {folder / 'audit.html'}"


def main() -> None:
    """Runs the binary."""
    app.run(run)


if __name__ == "__main__":
    main()
