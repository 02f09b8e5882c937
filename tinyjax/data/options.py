"""How stories are prepared: the options of `prepare`, of which the binaries make flags."""

import dataclasses
from typing import Any

from tinyjax import instruct
from tinyjax.errors import UserError


def option(default: Any, meaning: str) -> Any:
    """Declares an option; `meaning` is the help of its flag."""
    return dataclasses.field(default=default, metadata={"help": meaning})


@dataclasses.dataclass(frozen=True)
class Options:
    """How stories are prepared; the same options on the same stories make the same files."""

    validation: str = option(
        "",
        "Your own validation set, in any form --source takes. Without it, that of the release, or else "
        "2 % of the stories, chosen by hash of the text.",
    )
    encoding: str = option("utf-8", "Encoding of text files, such as cp1252.")
    text_key: str = option("", "JSON key or column that holds the story; without it, text or story.")
    source_dir: str = option(
        "", "Folder, local or gs://, that holds the files of the release already; nothing is downloaded."
    )
    download_dir: str = option("", "Where a release is downloaded to; without it, a cache in your home.")
    mirror: str = option("", "Address of a folder to download a release from, in the place of its own.")
    clean: str = option(
        "", "Cleaning rules, separated by commas, or 'default' for those that harm nothing; see --list_rules."
    )
    beam: str = option(
        "", "Have Apache Beam package the stories, with these options, as in runner=DirectRunner."
    )
    tokenizer: str = option(
        "",
        "An existing tokenizer in the place of a new one: a prepared folder, a SentencePiece model, or a "
        "folder with GPT-2's vocab.json and merges.txt (with --vocab_size: cut to its most frequent).",
    )
    vocab_size: int = option(0, "Pieces of the tokenizer. 0: 4096, or fewer when there is little text.")
    context_length: int = option(512, "Tokens in a window; train needs the same number.")
    instruct: bool = option(
        False, "Put a random choice of instructions (words, features, summary, sentence) before each story."
    )
    hold_out: str = option(
        "", "Kinds of instruction that never come together, as in words+summary, to be tested on."
    )
    seed: int = option(0, "Of the choice of instructions.")
    bands: int = option(1, "Pack windows within so many bands of difficulty, for a curriculum.")
    difficulty: str = option(
        "reading_level", "What bands go by: reading_level, length, or loss:RUN_DIR of a small model."
    )


def check(options: Options) -> None:
    """Raises UserError for options that mean nothing or don't go together."""
    for name, lowest in (("context_length", 8), ("vocab_size", 0), ("bands", 1), ("seed", 0)):
        if getattr(options, name) < lowest:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be {lowest} or more")
    if options.hold_out and not options.instruct:
        raise UserError("--hold_out is about the instructions that --instruct puts before stories; give both")
    if options.hold_out:
        instruct.parse_hold_out(options.hold_out)
