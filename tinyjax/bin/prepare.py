"""Makes a data set that `train` reads: stories in, tokenizer and packed windows out.

    python -m tinyjax.bin.prepare --source=stories.txt --data_dir=data/stories

The source is a .txt (stories separated by <|endoftext|>, or by blank lines where that never
occurs), a .jsonl, .csv or .parquet with a text column, a folder of these, or world:COUNT for that
many of the embedded stories. The same command run again finds what is there and does nothing.
"""

import time
from collections.abc import Sequence

from absl import flags

from tinyjax.bin import app
from tinyjax.bin.progress import show_progress, summary
from tinyjax.data.prepare import prepare
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
        "Next: python -m tinyjax.bin.train --config=configs/quickstart.py --run_dir=runs/first "
        f"--config.data.path={prepared.path} --config.model.context_length={prepared.context_length}"
    )


def main() -> None:
    """Runs the binary."""
    app.run(main_)


if __name__ == "__main__":
    main()
