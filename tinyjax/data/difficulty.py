"""How hard a story is to read, and the bands of difficulty that a curriculum goes by.

Another measure, the loss under a small model, is `tinyjax.evaluate.difficulty`.
"""

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np

from tinyjax.errors import UserError, nearest

Measure = Callable[[Sequence[str]], np.ndarray]  # difficulty of each text, float64[texts]; higher is harder

_LETTERS = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*$")
_TITLES = frozenset({"Mr.", "Mrs.", "Ms.", "Dr.", "St."})
_VOWELS = re.compile("[aeiouyàáâäãåæèéêëìíîïòóôöõøœùúûü]+")
_AROUND = re.compile(r"^[\W_]+|('s)?[\W_]*$")  # a word
_SYLLABIC_NOT = re.compile("(?<=[^aeiou])n't$")  # didn't, but not can't
# Letters that are written as vowels and not spoken as such.
_SILENT = re.compile(
    r"(?<=[^aeiouy])e$(?<![^aeiouylr]le)(?<!maybe)"  # smile, but little
    r"|(?<=[^aeiouytd])ed$(?<![^aeiouylr]led)"  # smiled, but wanted, giggled
    r"|(?<=[^aeiouyscxzg])es$(?<!shes)(?<!ches)(?<![^aeiouylr]les)"  # smiles, but wishes, apples
    r"|(?<=[^aeiouyl])e(?=ly$|ful|ness$|less$|ment$)"  # lonely
    r"|(?<=som)e(?=.)|(?<=ev)e(?=ry)"  # something, every
    r"|^y|(?<=q)u(e$)?"  # yes, quick, unique
)
# Vowels after which another syllable begins, although no consonant stands between.
_HIATUS = re.compile(
    r"[aeiouy](?=ing)|(?<=[aeou])y(?=[aou]|ers?$)|(?<=[nr])y(?=one?$)"  # going, crayon, player, anyone
    r"|i(?=ers?$|est$|et)|(?<![ct])i(?=a(?!g))|(?<![tscxg])i(?=o)"  # happier, quiet, giant, lion
    r"|(?<![qg])u(?=a)|e(?=os?$)|(?<=[dr])e(?=as?$)|(?<=cr)e(?=at[ei]|at$)"  # usual, video, idea, create
)
_UNIT = 1 << 24  # counts of one text are below this, so that several fit into one integer


def reading_level(text: str) -> float:
    """Returns the Flesch-Kincaid grade of an English text (Kincaid et al. 1975); 0 where there is no word.

    Words and ends of sentences are what `str.split` parts, syllables what `count_syllables` counts.
    """
    # Not textstat: it fetches a list of words when it is first used.
    counts, words = divmod(sum(map(_count_token, text.split())), _UNIT)
    syllables, sentences = divmod(counts, _UNIT)
    if not words:
        return 0.0
    return 0.39 * words / max(sentences, 1) + 11.8 * syllables / words - 15.59


@functools.lru_cache(maxsize=1 << 17)
def _count_token(token: str) -> int:
    """Returns words + _UNIT * (ends of sentences + _UNIT * syllables): one look-up and one sum for all."""
    word = bool(_LETTERS.search(token))
    end = bool(_SENTENCE_END.search(token)) and token not in _TITLES
    return word + _UNIT * (end + _UNIT * (count_syllables(token) if word else 0))


def count_syllables(word: str) -> int:
    """Returns the number of syllables of an English word, by its groups of vowels; at least 1."""
    word = _AROUND.sub("", word.lower().replace("’", "'"))
    spoken = _SILENT.sub("", _SYLLABIC_NOT.sub("ent", word).replace("'", ""))
    return max(len(_VOWELS.findall(_HIATUS.sub(r"\g<0>.", spoken))), 1)


def reading_levels(texts: Sequence[str]) -> np.ndarray:
    """Returns the `reading_level` of each text, float64[texts]."""
    return np.array([reading_level(text) for text in texts], float)


def length(text: str) -> float:
    """Returns the number of UTF-8 bytes of a text."""
    return float(len(text.encode()))


def lengths(texts: Sequence[str]) -> np.ndarray:
    """Returns the `length` of each text, float64[texts]."""
    return np.array([length(text) for text in texts], float)


MEASURES: dict[str, Measure] = {"reading_level": reading_levels, "length": lengths}


def named_measure(name: str) -> Measure:
    """Returns the measure of this name; UserError when there is none."""
    if name not in MEASURES:
        raise UserError(
            f"--difficulty={name} is no measure{nearest(name, MEASURES)}; choose {', '.join(MEASURES)} or "
            "loss:RUN_DIR of a small model"
        )
    return MEASURES[name]


def band_edges(values: np.ndarray, sizes: np.ndarray, bands: int) -> np.ndarray:
    """Returns the bands - 1 difficulties, float64, that part texts into bands of about equal size in all.

    Each is one of the values, and the highest of its band: where many are equal, they stay together, and
    bands differ in size or are empty.

    Args:
      values: difficulty of each text.
      sizes: bytes of each text, for it is of text that a curriculum takes equal parts.
      bands: number of bands.
    """
    order = np.argsort(values, kind="stable")
    so_far = np.cumsum(sizes[order])
    ends = np.searchsorted(so_far * bands, so_far[-1] * np.arange(1, bands))
    return values[order][ends].astype(float)


def band_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the band of each difficulty, int32; 0 is the easiest."""
    return np.searchsorted(edges, values, side="left").astype(np.int32)
