"""How new told stories are, in figures: those of section 4.4.1 of the paper, and some more."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from tinyjax.evaluate import estimates
from tinyjax.evaluate.novelty import rouge
from tinyjax.evaluate.novelty.index import LONGEST, Index, make_index
from tinyjax.evaluate.novelty.search import COMPARED, NEAREST_BY, Found, search
from tinyjax.evaluate.novelty.words import cut_words, span
from tinyjax.workers import Mapper

# How often k-grams occur in training, and what these bins are called; the last one has no end.
_BINS = {0: "0", 1: "1", 2: "2-10", 11: "11-100", 101: "101-1000", 1001: ">1000"}
_DISTINCT = (1, 2, 3)

Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Told:
    """What a model wrote, after what it was given."""

    prompt: str
    text: str


@dataclasses.dataclass(frozen=True)
class Stories:
    """What is compared with the training stories, and with each other."""

    endings: Sequence[Told]  # of training stories that were cut, told anew
    originals: Sequence[str]  # as those stories really end
    openings: Sequence[Told]  # what came of openings that are no training stories
    held_out: Sequence[str]  # endings of real stories that were not trained on

    @property
    def told(self) -> list[Told]:
        """All that the model wrote."""
        return [*self.endings, *self.openings]

    @property
    def texts(self) -> list[str]:
        """What is searched for: what the model wrote, and the real endings not trained on."""
        return [*(told.text for told in self.told), *self.held_out]

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The indices of texts."""
        ends = np.cumsum([len(self.endings), len(self.openings), len(self.held_out)])
        endings, openings, held_out, _ = np.split(np.arange(ends[-1]), ends)
        generated = np.concatenate([endings, openings])
        return {"generated": generated, "endings": endings, "openings": openings, "held_out": held_out}


def novelty(
    stories: Stories,
    shards: Sequence[epath.PathLike],
    map_jobs: Mapper = map,
    told: Callable[[int], None] = lambda stories: None,
) -> Result:
    """Returns what there is to say of told stories, as it stands in novelty.json.

    What a text has no value of is left out: one of fewer than k words has no k-grams. A share is the mean
    over texts, of those of their different k-grams that occur in training; texts with the same prompt aren't
    independent, and the interval knows. "generated" are endings and openings together.

    Args:
      stories: what is compared.
      shards: of all training stories.
      map_jobs: searches a shard each.
      told: is told how many training stories have been searched.
    """
    index = make_index(stories.texts)
    found = search(index, shards, map_jobs, told)
    precision_KQ = _nearest_precision(index, found)
    shares_KQ = _shares(index, found)
    parts = stories.parts
    return {
        "training_stories": found.stories,
        "training_kgrams": _by_k(found.kgrams.tolist()),
        "kgram_share": {
            name: _by_k([_mean(stories, part, values) for values in shares_KQ])
            for name, part in parts.items()
        },
        **_against_originals(stories),
        "nearest": _nearest(stories, found, precision_KQ[NEAREST_BY - 1]),
        "nearest_precision": _by_k([_values(row[parts["endings"]]) for row in precision_KQ]),
        "nearest_precision_held_out": _by_k([_values(row[parts["held_out"]]) for row in precision_KQ]),
        "kgram_frequency": _frequency(index, found, len(stories.endings)),
        **_distinct(stories),
        **_copies(stories, index, found),
    }


def _by_k(values: Sequence[Any]) -> dict[str, Any]:
    return {str(k): value for k, value in enumerate(values, 1)}


def _values(values: np.ndarray) -> list[float]:
    """Returns the values that there are."""
    return values[~np.isnan(values)].tolist()


def _different(index: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different k-grams of all texts: by text its number, once for each text that has it."""
    grams = index.grams[k - 1]
    return grams.texts.of(np.arange(grams.size))


def _sums(index: Index, k: int, weights: np.ndarray) -> np.ndarray:
    """Returns the sum of weights, which k-grams have by number, over the different ones of each text."""
    numbers, texts = _different(index, k)
    return np.bincount(texts, weights[numbers], index.num_texts)


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns a / b, nan where b is 0."""
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _shares(index: Index, found: Found) -> np.ndarray:
    """Returns the share of the different k-grams of each text that occur in training, [LONGEST, texts]."""
    return np.stack(
        [
            _divided(_sums(index, k, counts > 0), _sums(index, k, np.ones(len(counts))))
            for k, counts in enumerate(found.counts, 1)
        ]
    )


def _nearest_precision(index: Index, found: Found) -> np.ndarray:
    """Returns the highest R_k,p of each text with a training story (Figure 17), [COMPARED, texts]."""
    sizes = [_sums(index, k, np.ones(index.grams[k - 1].size)) for k in range(1, COMPARED + 1)]
    return _divided(found.nearest.values, np.stack(sizes))


def _estimate(values: Sequence[float], groups: Sequence[str] | None = None) -> Result | None:
    return dataclasses.asdict(estimates.mean(values, groups)) if values else None


def _mean(stories: Stories, part: np.ndarray, values_Q: np.ndarray) -> Result | None:
    """Returns the mean over those texts of a part that have a value."""
    prompts = [*(told.prompt for told in stories.told), *stories.held_out]
    having = part[~np.isnan(values_Q[part])]
    return _estimate(values_Q[having].tolist(), [prompts[i] for i in having])


def _against_originals(stories: Stories) -> Result:
    """Compares endings with what they stand for, and with each other (Figures 14 and 15)."""
    told = [cut_words(ending.text) for ending in stories.endings]
    originals = [cut_words(text) for text in stories.originals]
    scores = {k: _rouge(told, originals, k) for k in range(1, COMPARED + 1)}
    return {
        "rouge_original": {
            str(k): {"precision": _estimate(precisions), "fmeasure": _estimate(fmeasures)}
            for k, (precisions, fmeasures) in scores.items()
        },
        "rouge_original_r2_precision": scores[2][0],
        "self_similarity_r2": rouge.self_similarity(told),
        "self_similarity_r2_original": rouge.self_similarity(originals),
    }


def _rouge(
    told: Sequence[Sequence[str]], originals: Sequence[Sequence[str]], k: int
) -> tuple[list[float], list[float]]:
    """Returns R_k,p and R_k of each pair that has them."""
    pairs = [(rouge.grams(a, k), rouge.grams(b, k)) for a, b in zip(told, originals, strict=True)]
    scores = [[score(a, b) for a, b in pairs] for score in (rouge.precision, rouge.fmeasure)]
    precisions, fmeasures = ([value for value in values if value is not None] for values in scores)
    return precisions, fmeasures


def _nearest(stories: Stories, found: Found, precision_Q: np.ndarray) -> list[Result]:
    """Returns the training story that has most 2-grams of each told one, the closest pair first."""
    sources = [ending.prompt + text for ending, text in zip(stories.endings, stories.originals, strict=True)]
    sources += [""] * len(stories.openings)
    rows = [
        {
            "story": told.prompt + told.text,
            "prompt": told.prompt,
            "nearest_index": int(at),
            "nearest_text": found.texts[at],
            "is_source": found.texts[at] == source,  # the story that the prompt is the beginning of
            "precision": float(precision),
        }
        for told, source, at, precision in zip(
            stories.told, sources, found.nearest.stories[NEAREST_BY - 1], precision_Q, strict=False
        )
        if at >= 0
    ]
    return sorted(rows, key=lambda row: -row["precision"])


def _frequency(index: Index, found: Found, endings: int) -> Result:
    """Returns how often the different k-grams of the first texts occur in training (Figure 16), as shares."""
    result = {}
    for k, counts in enumerate(found.counts, 1):
        numbers, texts = _different(index, k)
        bins = np.digitize(counts[np.unique(numbers[texts < endings])], list(_BINS)) - 1
        shares = np.bincount(bins, minlength=len(_BINS)) / max(len(bins), 1)
        result[str(k)] = dict(zip(_BINS.values(), shares.tolist(), strict=True))
    return result


def _distinct(stories: Stories) -> Result:
    """Compares distinct-n of endings with that of what they stand for.

    It falls with the amount of text: of each pair as many words are taken as the shorter one has.
    """
    pairs = [
        (cut_words(ending.text), cut_words(original))
        for ending, original in zip(stories.endings, stories.originals, strict=True)
    ]
    same = [(a[: len(b)], b[: len(a)]) for a, b in pairs]
    told, originals = [a for a, _ in same], [b for _, b in same]
    return {
        name: {str(n): rouge.distinct(texts, n) for n in _DISTINCT}
        for name, texts in {"distinct": told, "distinct_original": originals}.items()
    }


def _copies(stories: Stories, index: Index, found: Found) -> Result:
    """Returns the longest span that was copied, and how long those of all texts are, in words.

    Where the longest has fewer than LONGEST words there is nothing to show: such spans are everywhere.
    """
    lengths_Q = found.copied.values.copy()
    for k in range(1, LONGEST):
        copies_any = _sums(index, k, found.counts[k - 1] > 0) > 0
        lengths_Q[copies_any] = np.maximum(lengths_Q[copies_any], k)
    of_told = lengths_Q[: len(stories.told)]
    longest = int(of_told.argmax()) if len(of_told) else -1
    return {
        "longest_copy": _copy(stories.told[longest], int(of_told[longest]), found, longest)
        if longest >= 0
        else None,
        "longest_copies": {
            name: lengths_Q[part].tolist() for name, part in stories.parts.items() if name != "generated"
        },
    }


def _copy(told: Told, words: int, found: Found, text: int) -> Result:
    source = found.texts.get(int(found.copied.stories[text]), "")
    spans = rouge.grams(cut_words(source), words)
    cut = cut_words(told.text)
    starts = [i for i in range(len(cut) - words + 1) if tuple(cut[i : i + words]) in spans]
    return {
        "words": words,
        "text": span(told.text, starts[0], words) if starts else "",
        "from": source,
        "story": told.prompt + told.text,
    }
