"""The data card: what stories are like, and what should be mended before a model is trained on them.

Cheap numbers are counted over all stories; dear ones (tokens, words, reading level, near duplicates) over
an even sample of each split, so that time and memory stay bounded. The card is plain JSON; `render` makes
a page of it.
"""

import array
import collections
import dataclasses
import difflib
import hashlib
import importlib.util
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinyjax.data.manifests import Progress
from tinyjax.errors import UserError
from tinyjax.stories.clean import DEFAULT, RULES, clean
from tinyjax.stories.similarity import THRESHOLD, near_duplicates
from tinyjax.textio import Record
from tinyjax.tokenizer import Tokenizer

SAMPLE = 100_000  # stories of a split that are measured
_EXAMPLES = 5  # of each problem
_TOP = 20  # openings, words, characters, ... that are listed
_MAX_DISTINCT = 200_000  # openings, sources, ... that are counted
_EXCERPT = 90  # characters of a story that are quoted
_BLOCKS, _RUN_SHOWN = 6, 12  # of two texts side by side: runs of equal or of differing words, words of each
_BINS = 30  # of a histogram, about
_USUAL = 0.5  # what so many stories have is how they are written, unless it is damage
_STEP = 1000  # stories between reports of progress
_GRADE_DIGITS = 1

_STRAY = re.compile(r" {2,}| (?=↵)|(?<=↵) ")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

# What is wrong with the stories that a rule changes or drops.
_WHAT = {
    "mojibake": "wrongly decoded text, as â€œ in the place of a quote",
    "control": "control or invisible characters",
    "separators": "separators or markup left in",
    "punctuation": "curly quotes, dashes or ellipses, beside plain ones elsewhere",
    "whitespace": "stray blanks or blank lines, which cost tokens",
    "non_ascii": "characters beyond ASCII, which cost tokens where they are rare",
    "short": "very short stories",
    "truncated": "stories that end within a sentence",
    "duplicates": "copies of an earlier story of the split",
    "near_duplicates": f"near copies of an earlier story, sharing {THRESHOLD * 100:.0f} % of five-word runs",
}


def audit(
    train: Iterable[Record],
    validation: Iterable[Record],
    tokenizer: Tokenizer,
    *,
    sample: int = SAMPLE,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Looks at all stories and returns the data card, which is plain JSON.

    Args:
      train: the stories of the train split, streamed once.
      validation: those of the validation split, of which there may be none.
      tokenizer: what will turn them into tokens.
      sample: how many stories of a split the dear measurements look at.
      progress: is told how far each stage is.

    Raises UserError where there is no story, or a package of the extra `audit` is missing.
    """
    for package in ("ftfy", "datasketch", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"the audit needs {package}; run pip install 'tinyjax[audit]'")
    examples: dict[str, list[dict[str, str]]] = {}
    splits = {
        name: _gather(_reported(records, f"looking at {name} stories", progress), sample, examples)
        for name, records in (("train", train), ("validation", validation))
    }
    if not splits["train"].stories:
        raise UserError("there is no train story to audit; name a source that has some")
    splits = {name: split for name, split in splits.items() if split.stories}
    measured = {}
    for name, split in splits.items():
        texts = _reported(split.sample.texts, f"measuring {name} stories", progress, len(split.sample.texts))
        measured[name] = _measure(texts, tokenizer)
    near = _near(splits, progress)
    card = _card(splits, measured, tokenizer) | {"duplicates": _exact(splits), "near_duplicates": near}
    problems = _problems(splits, card, examples)
    return {"verdict": _verdict(problems), "problems": problems, **card}


def _reported(items: Iterable[Any], stage: str, progress: Progress, total: int = 0) -> Iterator[Any]:
    """Passes the items on, and tells how many have passed."""
    progress(stage, 0, total)
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        if done % _STEP == 0:
            progress(stage, done, total)
    progress(stage, done, total)


# Looking at all stories of a split.


class _Sample:
    """An even sample of a stream of unknown length: every story, then every second, then every fourth ..."""

    def __init__(self, limit: int):
        self.limit, self.every = limit, 1
        self.texts: list[str] = []

    def offer(self, number: int, text: str) -> None:
        """Takes the text of this number, or passes it over."""
        if number % self.every:
            return
        self.texts.append(text)
        if len(self.texts) > self.limit:
            self.texts = self.texts[::2]
            self.every *= 2


class _Bounded(Counter[str]):
    """Counts that forget the rarer half of the keys when there are too many."""

    def add(self, keys: Iterable[str]) -> None:
        """Counts each key once."""
        self.update(keys)
        if len(self) > _MAX_DISTINCT:
            kept = self.most_common(_MAX_DISTINCT // 2)
            self.clear()
            self.update(dict(kept))


@dataclasses.dataclass
class _Split:
    """What was counted over all stories of a split."""

    sample: _Sample
    stories: int = 0
    bytes: int = 0
    words: Counter[int] = dataclasses.field(default_factory=Counter)  # stories of each length
    characters: Counter[int] = dataclasses.field(default_factory=Counter)
    fired: Counter[str] = dataclasses.field(default_factory=Counter)  # stories each rule would change or drop
    foreign: _Bounded = dataclasses.field(default_factory=_Bounded)  # characters beyond ASCII
    openings: _Bounded = dataclasses.field(default_factory=_Bounded)
    features: _Bounded = dataclasses.field(default_factory=_Bounded)
    sources: _Bounded = dataclasses.field(default_factory=_Bounded)
    digests: array.array = dataclasses.field(default_factory=lambda: array.array("Q"))


def _gather(records: Iterable[Record], sample: int, examples: dict[str, list[dict[str, str]]]) -> _Split:
    split = _Split(_Sample(sample))
    for record in records:
        _count(split, record)
        _try_rules(split, record.text, examples)
    return split


def _count(split: _Split, record: Record) -> None:
    text = record.text
    words = text.split()
    split.sample.offer(split.stories, text)
    split.stories += 1
    split.bytes += len(text.encode())
    split.words[len(words)] += 1
    split.characters[len(text)] += 1
    split.openings.add([" ".join(_WORD.findall(text[:_EXCERPT])[:4])])
    split.features.add(set(record.features))
    split.sources.add([record.source] if record.source else ())
    split.digests.append(_digest(text))
    if not text.isascii():
        split.foreign.add({character for character in text if character > "\x7f"})


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _try_rules(split: _Split, text: str, examples: dict[str, list[dict[str, str]]]) -> None:
    """Counts the rules that would change or drop the text, and keeps the first examples."""
    for name, rule in RULES.items():
        if rule.apply is None or (result := clean(text, (name,)).text) == text:
            continue
        split.fired[name] += 1
        kept = examples.setdefault(name, [])
        if len(kept) < _EXAMPLES:
            kept.append(_example(name, text, result))


def _example(name: str, before: str, after: str | None) -> dict[str, str]:
    """Returns an excerpt of a story, and what a rule makes of it; nothing where it drops the story."""
    if name == "non_ascii":
        start = next(i for i, character in enumerate(before) if character > "\x7f") - _EXCERPT // 3
    elif after is None:
        start = len(before) - _EXCERPT
    else:
        start = _first_difference(before, after) - _EXCERPT // 3
    return {
        "before": _visible(_excerpt(before, start)),
        "after": "" if after is None else _visible(_excerpt(after, start)),
    }


def _first_difference(a: str, b: str) -> int:
    unequal = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(unequal, min(len(a), len(b)))


def _excerpt(text: str, start: int) -> str:
    start = max(start, 0)
    end = start + _EXCERPT
    return "…" * (start > 0) + text[start:end] + "…" * (end < len(text))


def _visible(text: str) -> str:
    """Shows ends of lines as ↵ and stray blanks as ·."""
    return _STRAY.sub(lambda blanks: "·" * len(blanks[0]), text.replace("\n", "↵"))


# Measuring a sample.


@dataclasses.dataclass
class _Measured:
    """What was measured on a sample of a split."""

    used: np.ndarray  # bool[V]: pieces that occur
    bytes: int = 0
    tokens: Counter[int] = dataclasses.field(default_factory=Counter)  # stories of each length
    words: Counter[str] = dataclasses.field(default_factory=Counter)
    grades: Counter[float] = dataclasses.field(default_factory=Counter)


def _measure(texts: Iterable[str], tokenizer: Tokenizer) -> _Measured:
    from tinyjax.data.difficulty import reading_level

    measured = _Measured(np.zeros(tokenizer.vocab_size, bool))
    for text in texts:
        ids = tokenizer.encode(text)
        size = len(text.encode())
        measured.used[ids] = True
        measured.bytes += size
        measured.tokens[len(ids)] += 1
        measured.words.update(_WORD.findall(text))
        if size < 1.1 * len(text):  # the formula is for English
            measured.grades[round(reading_level(text), _GRADE_DIGITS)] += 1
    return measured


def _card(splits: dict[str, _Split], measured: dict[str, _Measured], tokenizer: Tokenizer) -> dict[str, Any]:
    train = splits["train"]
    words = {name: split.words for name, split in splits.items()}
    characters = {name: split.characters for name, split in splits.items()}
    tokens = {name: part.tokens for name, part in measured.items()}
    return {
        "counts": {name: _totals(split) for name, split in splits.items()},
        "lengths": {
            "words": _distribution(words),
            "characters": _distribution(characters),
            "tokens": _distribution(tokens),
        },
        "reading_level": _distribution({name: part.grades for name, part in measured.items()}),
        "vocabulary": _vocabulary(measured["train"], tokenizer),
        "openings": _top(train.openings, train.stories),
        "features": _top(train.features, train.stories),
        "sources": _top(train.sources, train.stories),
        "characters": [
            entry
            | {"code": f"U+{ord(entry['item']):04X}", "name": unicodedata.name(entry["item"], "no name")}
            for entry in _top(train.foreign, train.stories)
        ],
    }


def _totals(split: _Split) -> dict[str, int]:
    return {
        "stories": split.stories,
        "words": _sum(split.words),
        "characters": _sum(split.characters),
        "bytes": split.bytes,
        "stories measured": len(split.sample.texts),
    }


def _sum(counts: Counter[int]) -> int:
    return sum(value * count for value, count in counts.items())


def _top(counts: Counter[str], whole: int) -> list[dict[str, Any]]:
    return [
        {"item": item, "count": count, "share": count / whole} for item, count in counts.most_common(_TOP)
    ]


def _vocabulary(measured: _Measured, tokenizer: Tokenizer) -> dict[str, Any]:
    """Describes the words of a sample and how the tokenizer treats them."""
    running = measured.words.total()
    folded: Counter[str] = collections.Counter()
    for word, count in measured.words.items():
        folded[word.lower()] += count
    pieces = {word: _pieces(word, tokenizer) for word in measured.words}
    split = Counter({word: count for word, count in measured.words.items() if len(pieces[word]) > 1})
    tokens = _sum(measured.tokens)
    learned = np.array([len(piece) > 1 for piece in tokenizer.piece_bytes])
    return {
        "words": running,
        "distinct": len(folded),
        "once": sum(count == 1 for count in folded.values()),
        "frequent": _top(folded, running),
        "size": tokenizer.vocab_size,
        "unused": int((learned & ~measured.used).sum()),
        "tokens_per_word": tokens / max(running, 1),
        "bytes_per_token": measured.bytes / max(tokens, 1),
        "split_share": split.total() / max(running, 1),
        "split": [entry | {"pieces": pieces[entry["item"]]} for entry in _top(split, running)],
    }


def _pieces(word: str, tokenizer: Tokenizer) -> list[str]:
    """Returns the pieces of a word within a sentence."""
    ids = tokenizer.encode(word if tokenizer.prefix_bytes else f" {word}")
    pieces = [tokenizer.piece_bytes[i].decode("utf-8", "backslashreplace") for i in ids]
    return [piece.lstrip(" ") or "␣" for piece in pieces]


# Distributions: counts of each value.


def _distribution(values: dict[str, Counter[Any]]) -> dict[str, Any]:
    """Returns what is usual of each split's values, and their histograms over the same bins."""
    values = {name: counts for name, counts in values.items() if counts}
    edges = _edges(sum(values.values(), Counter())) if values else []
    return {
        name: _summary(counts) | {"histogram": _histogram(counts, edges)} for name, counts in values.items()
    } | {"edges": edges}


def _arrays(counts: Counter[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values in order, and how often each occurs."""
    ordered = sorted(counts.items())
    return np.array([value for value, _ in ordered]), np.array([count for _, count in ordered])


def _quantile(counts: Counter[Any], share: float) -> Any:
    """Returns the least value that `share` of the values don't exceed."""
    values, numbers = _arrays(counts)
    below = np.cumsum(numbers)
    return values[np.searchsorted(below, share * below[-1])].item()


def _summary(counts: Counter[Any]) -> dict[str, Any]:
    values, numbers = _arrays(counts)
    return {
        "count": int(numbers.sum()),
        "min": values[0].item(),
        "median": _quantile(counts, 0.5),
        "mean": float(np.average(values, weights=numbers)),
        "max": values[-1].item(),
    }


def _edges(counts: Counter[Any]) -> list[float]:
    """Returns edges of about 30 bins, round numbers, that leave out the last hundredth at either end."""
    low, high = _quantile(counts, 0.005), _quantile(counts, 0.995)
    width = max((high - low) / _BINS, 0.1)
    scale = 10.0 ** math.floor(math.log10(width))
    step = next(factor for factor in (1, 2, 3, 4, 5, 10) if factor * scale >= width * 0.999) * scale
    first, last = math.floor(low / step), math.floor(high / step) + 1
    return [round(i * step, 6) for i in range(first, last + 1)]


def _histogram(counts: Counter[Any], edges: list[float]) -> list[int]:
    """Returns how many values are in each bin; those beyond the edges count in the outermost."""
    values, numbers = _arrays(counts)
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(bins, numbers, len(edges) - 1).astype(int).tolist()


# Stories that occur more than once.


def _exact(splits: dict[str, _Split]) -> dict[str, Any]:
    """Counts equal stories: copies of earlier ones, the largest group, and those on both sides."""
    digests = {name: np.array(split.digests, np.uint64) for name, split in splits.items()}
    distinct, counts = np.unique(digests["train"], return_counts=True)
    largest = int(distinct[counts.argmax()])
    found = (text for text in splits["train"].sample.texts if _digest(text) == largest)
    held_out = digests.get("validation", np.array([], np.uint64))
    return {
        "copies": {name: len(part) - len(np.unique(part)) for name, part in digests.items()},
        "largest": int(counts.max()),
        "example": _visible(_excerpt(next(found, ""), 0)) if counts.max() > 1 else "",
        "overlap": int(np.isin(held_out, distinct).sum()),
    }


def _near(splits: dict[str, _Split], progress: Progress) -> dict[str, Any]:
    """Counts stories of the samples that are nearly, but not quite, the same as an earlier one."""
    texts = list(dict.fromkeys(splits["train"].sample.texts))
    boundary = len(texts)
    if "validation" in splits:
        texts = list(dict.fromkeys([*texts, *splits["validation"].sample.texts]))
    stage, total = "comparing stories", len(texts)
    pairs = near_duplicates(
        texts,
        progress=lambda done: progress(stage, done, total) if done % _STEP == 0 or done == total else None,
    )
    inside = {
        "train": [pair for pair in pairs if pair[1] < boundary],
        "validation": [pair for pair in pairs if pair[0] >= boundary],
    }
    across = [pair for pair in pairs if pair[0] < boundary <= pair[1]]
    shown = [(pair, kind) for kind, group in (("both splits", across), *inside.items()) for pair in group[:3]]
    return {
        "compared": {"train": boundary, "validation": total - boundary},
        "near": {name: len(group) for name, group in inside.items() if name in splits},
        "overlap": len(across),
        "pairs": [
            {"similarity": similarity, "where": where, **_side_by_side(texts[i], texts[j])}
            for (i, j, similarity), where in shown
        ],
    }


def _side_by_side(a: str, b: str) -> dict[str, list[list[Any]]]:
    """Returns excerpts of two texts from before where they part, as [text, whether it differs]."""
    words_a, words_b = a.split(), b.split()
    blocks = difflib.SequenceMatcher(None, words_a, words_b, autojunk=False).get_opcodes()
    blocks = blocks[:_BLOCKS]
    return {
        "a": [[_shortened(words_a[i:j]), kind != "equal"] for kind, i, j, _, _ in blocks if i < j],
        "b": [[_shortened(words_b[i:j]), kind != "equal"] for kind, _, _, i, j in blocks if i < j],
    }


def _shortened(words: Sequence[str]) -> str:
    """Joins words, without those in the middle where there are many."""
    few = _RUN_SHOWN // 2
    return " ".join(words if len(words) <= _RUN_SHOWN else [*words[:few], "…", *words[-few:]])


# What is wrong, and what to do about it.


def _problems(
    splits: dict[str, _Split], card: dict[str, Any], examples: dict[str, list[dict[str, str]]]
) -> list[dict[str, Any]]:
    """Returns what was found wrong, what has to be mended first."""
    stories = {name: split.stories for name, split in splits.items()}
    compared = card["near_duplicates"]["compared"]
    found = {name: {split: counted.fired[name] for split, counted in splits.items()} for name in RULES}
    found["duplicates"] = card["duplicates"]["copies"]
    found["near_duplicates"] = card["near_duplicates"]["near"]
    problems = [
        _problem(rule, counts, compared if rule == "near_duplicates" else stories)
        | {"examples": examples.get(rule, [])}
        for rule, counts in found.items()
        if any(counts.values()) and (rule in DEFAULT or counts["train"] < _USUAL * stories["train"])
    ]
    return sorted([*problems, *_overlaps(card, stories)], key=lambda problem: not problem["mend"])


def _problem(rule: str, counts: dict[str, int], wholes: dict[str, int]) -> dict[str, Any]:
    """Describes a problem in one sentence, with the rule that mends it."""
    does = "drops" if RULES[rule].description.startswith("Drops") else "mends"
    return _described(_WHAT[rule], counts, wholes, f"--clean={rule}", f"{does} them") | {
        "rule": rule,
        "mend": rule in DEFAULT,
    }


def _overlaps(card: dict[str, Any], stories: dict[str, int]) -> list[dict[str, Any]]:
    """Describes what makes the validation set easier than new stories are."""
    exact = {"validation": card["duplicates"]["overlap"]}
    near = {"validation": card["near_duplicates"]["overlap"]}
    compared = card["near_duplicates"]["compared"]
    problems = []
    if any(exact.values()):
        described = _described(
            "validation stories that are in train too", exact, stories, "prepare", "leaves them out of train"
        )
        problems.append(described | {"rule": "", "mend": True, "examples": []})
    if any(near.values()):
        described = _described(
            "validation stories nearly equal to one of train", near, compared, "", "their loss flatters"
        )
        problems.append(described | {"rule": "", "mend": False, "examples": []})
    return problems


def _described(
    what: str, counts: dict[str, int], wholes: dict[str, int], command: str, does: str
) -> dict[str, Any]:
    """Returns a problem's numbers and its sentence, in which `command` is what the user types."""
    shares = {name: count / wholes[name] for name, count in counts.items()}
    found = [f"{count:,} in {name} ({percent(shares[name])})" for name, count in counts.items() if count]
    sentence = f"{what[0].upper()}{what[1:]}: {' and '.join(found)}; {f'{command} {does}'.strip()}."
    return {"what": what, "sentence": sentence, "command": command, "counts": counts, "shares": shares}


def _verdict(problems: list[dict[str, Any]]) -> str:
    """Returns one line: what should be mended before training."""
    mend = [problem for problem in problems if problem["mend"]]
    if not mend:
        return "Nothing has to be mended before training."
    found = [f"{problem['what'].split(',')[0]} ({sum(problem['counts'].values()):,})" for problem in mend]
    return f"Before training, prepare again with --clean=default. Found: {'; '.join(found)}."


# The page.


def percent(share: float) -> str:
    """Returns a share for people: 12 %, 3.4 %, 0.05 %."""
    if not share or share == 1:
        return f"{share:.0%}".replace("%", " %")
    digits = 0 if share >= 0.1 else 1 if share >= 0.01 else 2
    return "< 0.01 %" if share < 0.0001 else f"{100 * share:.{digits}f} %"


def number(value: float) -> str:
    """Returns a number for people: 1,234, 12.3, 3.45."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.{0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2}f}"


def _printable(value: Any) -> Any:
    """Shows control and format characters of what goes into the page as their code."""
    if not isinstance(value, str) or value.replace("\n", "").isprintable():
        return value
    shown = (c if c == "\n" or unicodedata.category(c)[0] != "C" else f"⟨{ord(c):04X}⟩" for c in value)
    return type(value)("".join(shown))  # markup stays markup


def render(card: dict[str, Any]) -> str:
    """Returns the card as one HTML page that needs nothing else; UserError without jinja2."""
    try:
        import jinja2
    except ImportError:
        raise UserError("the audit's page needs jinja2; run pip install 'tinyjax[audit]'") from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tinyjax", "data"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    environment.filters |= {"percent": percent, "number": number}
    return environment.get_template("card.html.jinja").render(card).lstrip()  # blanks between macros
