"""Roles that tokens have in a sentence or a story, and how well one of them explains a set of tokens.

Axes: N stories, T positions, P kinds of roles that part all tokens, G groups of all kinds, W words, U sets of
K tokens.
"""

import dataclasses
import functools

import numpy as np

from tinyjax.interpret.corpus import WordClass
from tinyjax.interpret.passages import Passages

KINDS = {  # the ways to part tokens, and their groups
    "word class": tuple(kind.name.lower() for kind in WordClass),
    "place": ("sentence 1", "sentences 2-3", "sentences 4-7", "sentences 8-15", "sentences 16 and on"),
    "introduction": ("other tokens", "introduction of the protagonist"),
}
GROUPS = tuple((kind, group) for kind, groups in KINDS.items() for group in groups)
_IS_ROLE_G = np.array([group not in ("other", "other tokens") for _, group in GROUPS])
_SENTENCES = (1, 3, 7, 15)  # the first of each place but the first, counted from 0
_DRAWS = 500


@dataclasses.dataclass(frozen=True)
class Role:
    """What some tokens have in common."""

    kind: str  # of KINDS, or "word"
    name: str
    share: float  # of these tokens
    selectivity: float  # (share - base) / (1 - base); base: the share among all tokens


@dataclasses.dataclass(frozen=True)
class Roles:
    """The roles of all tokens of a corpus."""

    passages: Passages
    groups_PNT: np.ndarray  # int32: index into GROUPS, one of each kind

    @property
    def counted_NT(self) -> np.ndarray:  # noqa: N802 (the shape)
        """The tokens that are text."""
        return self.passages.counted_NT

    @functools.cached_property
    def count_G(self) -> np.ndarray:  # noqa: N802 (the shape)
        """How many tokens are in each group."""
        counted = self.groups_PNT[:, self.counted_NT]
        return np.bincount(counted.ravel(), minlength=len(GROUPS))

    @functools.cached_property
    def word_share_W(self) -> np.ndarray:  # noqa: N802 (the shape)
        """The share of tokens that are in each word."""
        counts_W = np.bincount(self.passages.word_NT[self.counted_NT], minlength=len(self.passages.words))
        return counts_W / counts_W.sum()

    def best(self, story_UK: np.ndarray, position_UK: np.ndarray, valid_UK: np.ndarray) -> list[Role]:
        """Returns the role that explains each set of tokens best; of equals, the rarer.

        Args:
          story_UK: the tokens' stories.
          position_UK: their positions in them.
          valid_UK: which of them are there; at least one of each set.
        """
        by_word = self._words(self.passages.word_NT[story_UK, position_UK], valid_UK)
        by_group = self._groups(self.groups_PNT[:, story_UK, position_UK], valid_UK)
        return [
            word if word.selectivity >= group.selectivity else group
            for word, group in zip(by_word, by_group, strict=True)
        ]

    def chance(self, keep: int) -> float:
        """Returns the mean selectivity of the best role of `keep` random tokens: not 0, as it is the best."""
        story_S, position_S = np.nonzero(self.counted_NT)
        drawn_UK = np.random.default_rng(0).integers(len(story_S), size=(_DRAWS, keep))
        sets = self.best(story_S[drawn_UK], position_S[drawn_UK], np.ones_like(drawn_UK, bool))
        return float(np.mean([role.selectivity for role in sets]))

    def _groups(self, groups_PUK: np.ndarray, valid_UK: np.ndarray) -> list[Role]:
        base_G = self.count_G / self.count_G[: len(KINDS["word class"])].sum()
        rarest_G = np.argsort(base_G, kind="stable")
        member_UKG = (groups_PUK[..., None] == rarest_G).any(axis=0) & valid_UK[..., None]
        share_UG = member_UKG.sum(axis=1) / valid_UK.sum(axis=1, keepdims=True)
        score_UG = np.where(_IS_ROLE_G[rarest_G], _selectivity(share_UG, base_G[rarest_G]), -np.inf)
        best_U = score_UG.argmax(axis=1)
        return [
            Role(*GROUPS[rarest_G[g]], float(share_G[g]), float(score_G[g]))
            for g, share_G, score_G in zip(best_U, share_UG, score_UG, strict=True)
        ]

    def _words(self, word_UK: np.ndarray, valid_UK: np.ndarray) -> list[Role]:
        return [self._word(word_K[valid_K]) for word_K, valid_K in zip(word_UK, valid_UK, strict=True)]

    def _word(self, word_K: np.ndarray) -> Role:
        words, counts = np.unique(word_K, return_counts=True)
        share = np.where(words > 0, counts / counts.sum(), 0.0)  # 0 is no word
        score = _selectivity(share, self.word_share_W[words])
        best = score.argmax()
        return Role("word", self.passages.words[words[best]], float(share[best]), float(score[best]))


def find_roles(passages: Passages) -> Roles:
    """Finds the roles of all tokens, from the word classes of the corpus, and words and sentences."""
    place_NT = np.searchsorted(_SENTENCES, passages.sentence_NT, side="right")
    kinds = passages.corpus.tags_NT, place_NT, passages.introduces_NT
    firsts = np.cumsum([0, *map(len, KINDS.values())])
    return Roles(
        passages,
        np.stack([first + kind_NT for first, kind_NT in zip(firsts, kinds, strict=False)]).astype(np.int32),
    )


def _selectivity(share: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Returns how far a share is from what is usual to always, 1; 0 for what all tokens are."""
    return np.where(base < 1, (share - base) / np.maximum(1 - base, 1e-9), 0.0)
