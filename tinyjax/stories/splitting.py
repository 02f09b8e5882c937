"""Which split a story belongs to: a pure function of its text, so equal stories are never on both sides."""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator

from tinyjax.errors import UserError
from tinyjax.textio import SEPARATOR, Record

TRAIN, VALIDATION = SPLITS = ("train", "validation")
EMPTY, OVERLAP = "empty", "in_validation"  # why a story is left out

_HEAD_STORIES, _HEAD_CHARS = 4096, 1 << 26  # what the share of validation is measured on
_VALIDATION_SHARE = 0.02
_FEW = 5  # validation stories at least, of a quarter at most

Routed = Iterator[tuple[str, Record, bytes]]  # (destination, story, digest of its text)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What decides: the digests of the user's own validation set, or else the highest digest of ours.

    With neither, the stories routed are all there are, and the share is measured on them.
    """

    held_out: frozenset[bytes] | None = None
    highest: bytes | None = None


SHARE = Rule(highest=int(_VALIDATION_SHARE * 2**256).to_bytes(32, "big"))  # for more stories than a few


def text_digest(text: str) -> bytes:
    """Returns the SHA-256 of a text's UTF-8."""
    return hashlib.sha256(text.encode()).digest()


def validation_count(distinct: int) -> int:
    """Returns how many of `distinct` stories are for validation: 2 %, but at least a few."""
    return max(round(distinct * _VALIDATION_SHARE), min(_FEW, distinct // 4), 1)


def route(stories: Iterable[Record], rule: Rule) -> Routed:
    """Yields (destination, story, digest) for every story, keeping the order.

    The destination is a split, or the reason why the story is in none. UserError where there are
    fewer than two different stories to measure the share of validation on.
    """
    if rule.held_out is None and rule.highest is None:
        head, digests, stories = _head(iter(stories))
        highest = sorted(digests)[validation_count(len(digests)) - 1]
        stories, rule = itertools.chain(head, stories), Rule(highest=highest)
    for record in stories:
        digest = text_digest(record.text)
        yield (_destination(digest, rule) if record.text else EMPTY), record, digest


def _destination(digest: bytes, rule: Rule) -> str:
    if rule.held_out is not None:
        return OVERLAP if digest in rule.held_out else TRAIN
    assert rule.highest is not None
    return VALIDATION if digest <= rule.highest else TRAIN


def _head(stories: Iterator[Record]) -> tuple[list[Record], set[bytes], Iterator[Record]]:
    """Takes the first stories, and the digests of their texts, until the share can be set."""
    head: list[Record] = []
    digests: set[bytes] = set()
    size = 0
    for record in stories:
        head.append(record)
        size += len(record.text)
        if record.text:
            digests.add(text_digest(record.text))
        if len(digests) >= 2 and (len(head) >= _HEAD_STORIES or size >= _HEAD_CHARS):
            break
    if len(digests) < 2:
        raise UserError(
            f"found {len(digests)} different {'story' if len(digests) == 1 else 'stories'}, and "
            "at least 2 are needed (one to train on, one to validate on); separate the stories "
            f"of a .txt by lines of {SEPARATOR}, or add stories"
        )
    return head, digests, stories


def check_not_empty(counts: collections.Counter[str], source: str, validation: str) -> None:
    """Raises UserError where a split would have no story."""
    if not counts[VALIDATION]:
        raise UserError(f"the validation set '{validation or source}' holds no story; give another")
    if not counts[TRAIN]:
        raise UserError(
            f"no story of '{source}' is left to train on: {counts[OVERLAP]} are in the "
            f"validation set, {counts[EMPTY]} are empty; give stories that are not in it"
        )
