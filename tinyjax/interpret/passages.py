"""Where each token of a corpus stands: in which word, which sentence, and what the reader sees around it.

Words and sentences are found in the text, so that they are the same whatever the tokenizer.
Axes: N stories, T positions.
"""

import dataclasses
import functools
import re
from typing import Any, NamedTuple

import numpy as np

from tinyjax.interpret.corpus import Corpus, WordClass

_WORD = re.compile(rb"[A-Za-z0-9\x80-\xff]+(?:'[a-z]+)?|\S")
_SENTENCE_END = re.compile(rb"[.!?]+[\"')]*\s+|\n\s*")


class Passage(NamedTuple):
    """A token in its sentence."""

    before: str
    token: str
    after: str


@dataclasses.dataclass(frozen=True)
class Passages:
    """Words and sentences of the tokens of a corpus."""

    corpus: Corpus
    words: tuple[str, ...]  # in small letters; the first one is "", for tokens of no word
    word_NT: np.ndarray  # int32: index into `words`
    place_NT: np.ndarray  # int32: which word of its story the token is in, from 0; -1: none
    sentence_NT: np.ndarray  # int32: which sentence of its story, from 0
    cuts: tuple[tuple[int, ...], ...]  # of each text, the bytes at which sentences begin, and its end

    @functools.cached_property
    def counted_NT(self) -> np.ndarray:  # noqa: N802 (the shape)
        """Whether a token is text; see `is_text`."""
        return is_text(self.corpus.segments_NT)

    @functools.cached_property
    def introduces_NT(self) -> np.ndarray:  # noqa: N802 (the shape)
        """Whether a token is in the first name of its story: the protagonist is presented."""
        names_NT = self.counted_NT & (self.corpus.tags_NT == WordClass.NAME)
        first_N = names_NT.argmax(axis=1)
        place_N1 = np.take_along_axis(self.place_NT, first_N[:, None], axis=1)
        return names_NT & (self.place_NT == place_N1)

    def show(self, story: int, position: int) -> Passage:
        """Returns a token with what is before and after it in its sentence."""
        data, spans = self.corpus.texts[story].encode(), self.corpus.starts_NT[story]
        count = np.count_nonzero(self.corpus.segments_NT[story])
        start = int(spans[position])
        end = int(spans[position + 1]) if position + 1 < count else len(data)
        cuts, sentence = self.cuts[story], self.sentence_NT[story, position]
        parts = data[cuts[sentence] : start], data[start:end], data[end : max(cuts[sentence + 1], end)]
        return Passage(*(part.decode("utf-8", errors="replace") for part in parts))


def is_text(segments_NT: Any) -> Any:
    """Returns whether tokens are text: no padding, nor the bos of a row."""
    return (segments_NT > 0) & (np.arange(segments_NT.shape[1]) > 0)


def find_passages(corpus: Corpus) -> Passages:
    """Finds words and sentences in the texts of a corpus."""
    index: dict[str, int] = {"": 0}
    cuts: list[tuple[int, ...]] = []
    word_NT, place_NT, sentence_NT = (np.zeros(corpus.tokens_NT.shape, np.int32) for _ in range(3))
    for row, text in enumerate(corpus.texts):
        data, count = text.encode(), np.count_nonzero(corpus.segments_NT[row])
        anchors = _anchors(data, corpus.starts_NT[row, :count])
        words = list(_WORD.finditer(data))
        place = np.searchsorted([word.start() for word in words], anchors, side="right") - 1
        ends = np.array([word.end() for word in words] or [0])
        place = np.where(anchors < ends[place], place, -1)
        ids = [index.setdefault(word[0].decode(errors="replace").lower(), len(index)) for word in words]
        word_NT[row, :count] = np.array([*ids, 0])[place]  # -1 is the last one: no word
        place_NT[row, :count] = place
        cuts.append((0, *_sentences(data), len(data)))
        sentence_NT[row, :count] = np.searchsorted(cuts[-1][1:-1], anchors, side="right")
    return Passages(corpus, tuple(index), word_NT, place_NT, sentence_NT, tuple(cuts))


def _anchors(data: bytes, starts: np.ndarray) -> np.ndarray:
    """Returns the first byte of each token that is no space, or where it ends."""
    ends = np.append(starts[1:], len(data))
    return np.array(
        [
            start + len(part := data[start:end]) - len(part.lstrip())
            for start, end in zip(starts, ends, strict=True)
        ],
        np.int64,
    )


def _sentences(data: bytes) -> list[int]:
    """Returns where sentences begin, but for the first one."""
    return [match.end() for match in _SENTENCE_END.finditer(data) if match.end() < len(data)]
