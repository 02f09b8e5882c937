"""What sizes of vocabulary would give: a table to choose by, before stories are prepared."""

import dataclasses
import itertools
import time
from collections.abc import Iterable, Sequence

from etils import epath

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model import parameters
from tinyjax.tokenizer import Tokenizer, load_tokenizer, losses, train_tokenizer

_SAMPLE_BYTES = 1 << 25  # of text; more makes no better pieces
_MEASURED = 10  # one text in so many is measured and not trained on
_MULTIPLE = 64  # rows of the embedding come in so many


@dataclasses.dataclass(frozen=True)
class Row:
    """What one vocabulary gives."""

    name: str  # the size that was asked for, or the path of a model
    pieces: int
    tokens_per_story: float  # with the end of the story
    bytes_per_token: float
    embedding_share: float  # of the parameters of the model
    seconds: float | None  # of training; None for a model that was there
    changed: int  # stories that it doesn't give back as they were


def report_vocabularies(
    texts: Iterable[str],
    sizes: Sequence[int],
    model: ModelConfig,
    *,
    paths: Sequence[epath.PathLike] = (),
    sample_bytes: int = _SAMPLE_BYTES,
) -> list[Row]:
    """Trains a tokenizer of each size, loads those at `paths`, and measures them all on the same texts.

    Of the first `sample_bytes` of the texts, one in ten is measured, the others are trained on.

    Args:
      texts: stories, in an order without meaning, such as every k-th of a set.
      sizes: numbers of ids.
      model: what the embedding is compared with; its own vocab_size is ignored.
      paths: existing tokenizers.
      sample_bytes: UTF-8 bytes of text that are looked at.

    Raises:
      UserError: fewer than two texts, a size is too small, or a path holds no tokenizer.
    """
    sample = _first_bytes(texts, sample_bytes)
    if len(sample) < 2:
        raise UserError("a report of vocabularies needs two stories or more; give a larger source")
    measured = sample[::_MEASURED]
    trained_on = [text for i, text in enumerate(sample) if i % _MEASURED]
    given = [(str(path), load_tokenizer(path), None) for path in paths]
    trained = (_train(trained_on, size) for size in sizes)
    return [_measure(*entry, measured, model) for entry in itertools.chain(trained, given)]


def _first_bytes(texts: Iterable[str], limit: int) -> list[str]:
    """Returns the texts up to the one that reaches the limit."""
    taken, size = [], 0
    for text in texts:
        if size >= limit:
            break
        taken.append(text)
        size += len(text.encode())
    return taken


def _train(texts: Sequence[str], size: int) -> tuple[str, Tokenizer, float]:
    start = time.monotonic()
    tokenizer = train_tokenizer(texts, size)
    return f"{size}", tokenizer, time.monotonic() - start


def _measure(
    name: str, tokenizer: Tokenizer, seconds: float | None, texts: Sequence[str], model: ModelConfig
) -> Row:
    tokens = sum(len(ids) + 1 for ids in tokenizer.encode_batch(texts))
    return Row(
        name=name,
        pieces=tokenizer.vocab_size,
        tokens_per_story=tokens / len(texts),
        bytes_per_token=sum(len(text.encode()) for text in texts) / tokens,
        embedding_share=embedding_share(tokenizer.vocab_size, model),
        seconds=seconds,
        changed=losses(tokenizer, texts).changed,
    )


def embedding_share(pieces: int, model: ModelConfig) -> float:
    """Returns the share of the parameters in embedding and head, were the model for so many pieces."""
    rows = -(-pieces // _MULTIPLE) * _MULTIPLE
    counts = parameters.count(dataclasses.replace(model, vocab_size=rows))
    return counts["embedding"] / counts["total"]


_COLUMNS = ("vocabulary", "pieces", "tokens/story", "bytes/token", "embedding", "training", "changed stories")


def format_rows(rows: Sequence[Row]) -> str:
    """Returns the rows as an aligned table, a line each after the names of the columns."""
    lines = [_COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.pieces:,}",
        f"{row.tokens_per_story:.1f}",
        f"{row.bytes_per_token:.2f}",
        f"{row.embedding_share:.1%}",
        "-" if row.seconds is None else f"{row.seconds:.1f} s",
        f"{row.changed:,}",
    )
