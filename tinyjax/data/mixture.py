"""Mixtures: several prepared folders, drawn from in fixed shares.

`data/a:0.7,data/b:0.3` draws 70 % of all windows from the first folder and 30 % from the second. All
windows are as long, so these are shares of the tokens. Which source a draw is from is a function of its
number: at any point of training each source has had its share, to within a few windows.
"""

import dataclasses
import fractions
import functools
import hashlib
import math
import sys
from collections.abc import Sequence

import grain
from etils import epath

from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.errors import UserError
from tinyjax.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Source:
    """One of the prepared folders of a mixture."""

    name: str  # of its metrics, unique in the mixture
    prepared: Prepared
    weight: int  # its share is this by the sum of all weights

    @property
    def num_windows(self) -> int:
        """Windows of the train split."""
        return self.prepared.manifest["windows"]["splits"]["train"]["windows"]

    @property
    def tokens_per_window(self) -> float:
        """Mean over the train split; the rest of a window is padding."""
        return self.prepared.manifest["windows"]["splits"]["train"]["tokens"] / self.num_windows


class Shares(grain.transforms.DatasetSelectionMap):
    """Deals endless draws out to sources, in the shares of their weights, evenly spread."""

    def __init__(self, weights: Sequence[int]):
        """Takes the positive weight of each source."""
        self._weights = tuple(weights)

    def __len__(self) -> int:
        """Without end."""
        return sys.maxsize

    def counts(self, draws: int) -> list[int]:
        """Returns how many of the first `draws` draws are from each source."""
        left, counts = sum(self._weights), []
        for weight in self._weights:
            of_others = draws * (left - weight) // left
            counts.append(draws - of_others)
            draws, left = of_others, left - weight
        return counts

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Returns which source draw number `index` is from, and how many before it were."""
        before, after = self.counts(index), self.counts(index + 1)
        source = next(i for i in range(len(before)) if before[i] != after[i])
        return source, before[source]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Prepared folders with the same tokenizer and window length, often just one."""

    sources: tuple[Source, ...]

    @functools.cached_property
    def shares(self) -> Shares:
        """Which draw is from which source."""
        return Shares([source.weight for source in self.sources])

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all sources."""
        return self.sources[0].prepared.tokenizer

    @property
    def context_length(self) -> int:
        """Slots of a window."""
        return self.sources[0].prepared.context_length

    @property
    def instruct(self) -> bool:
        """Whether instructions stand before the stories of any source."""
        return any(source.prepared.instruct for source in self.sources)

    @property
    def num_windows(self) -> int:
        """Windows of the train splits: an epoch."""
        return sum(source.num_windows for source in self.sources)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text to a token, over what is drawn."""
        total = sum(source.weight for source in self.sources)
        return sum(
            source.weight / total * source.prepared.manifest["tokenizer"]["bytes_per_token"]
            for source in self.sources
        )

    @property
    def fingerprint(self) -> str:
        """Hex digest of what is read: the one source's own, or one of all sources and their weights."""
        if len(self.sources) == 1:
            return self.sources[0].prepared.fingerprint
        told = " ".join(f"{source.prepared.fingerprint}:{source.weight}" for source in self.sources)
        return hashlib.sha256(told.encode()).hexdigest()


def open_mixture(text: str) -> Mixture:
    """Opens the folder or the mixture that `config.data.path` names.

    Raises:
      UserError: it can't be read as such, a folder isn't prepared, or the folders don't fit together.
    """
    parts = parse_mixture(text)
    prepared = [load_prepared(path) for path, _ in parts]
    for other in prepared[1:]:
        _check_fit(prepared[0], other)
    names = unique_names([path for path, _ in parts])
    weights = whole_weights([weight for _, weight in parts])
    return Mixture(tuple(map(Source, names, prepared, weights)))


def parse_mixture(text: str) -> list[tuple[str, fractions.Fraction]]:
    """Returns the paths and weights of `data/a:0.7,data/b:0.3`, or the one path that `text` is."""
    if not text:
        raise UserError("config.data.path is empty; give a folder written by tinyjax.bin.prepare")
    parts = [_split_weight(part) for part in text.split(",")]
    if all(weight is None for _, weight in parts) and (len(parts) == 1 or epath.Path(text).exists()):
        return [(text, fractions.Fraction(1))]
    for path, weight in parts:
        if not path or weight is None or weight <= 0:
            raise UserError(
                f"config.data.path is '{text}'; each source of a mixture needs a path and a weight above 0, "
                "as in data/a:0.7,data/b:0.3"
            )
    return [(path, weight) for path, weight in parts if weight is not None]


def _split_weight(part: str) -> tuple[str, fractions.Fraction | None]:
    """Splits at the last colon where a number follows; 0 stands for one that is no weight (nan, inf)."""
    path, colon, number = part.rpartition(":")
    try:
        value = float(number)
    except ValueError:
        return part, None
    if not colon:
        return part, None
    return path, fractions.Fraction(number) if math.isfinite(value) else fractions.Fraction(0)


def whole_weights(weights: Sequence[fractions.Fraction]) -> list[int]:
    """Returns the smallest whole numbers of the same proportions, exactly."""
    common = math.lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * common) for weight in weights]
    return [weight // math.gcd(*whole) for weight in whole]


def unique_names(paths: Sequence[str]) -> list[str]:
    """Returns the last component of each path; one that was there before gets a number."""
    names: list[str] = []
    for path in paths:
        base = epath.Path(path).name or path
        numbered = (base if i == 1 else f"{base}-{i}" for i in range(1, len(paths) + 2))
        names.append(next(name for name in numbered if name not in names))
    return names


def _check_fit(first: Prepared, other: Prepared) -> None:
    both = f"'{first.path}' and '{other.path}'"
    mend = f"prepare the second again, into another folder, with --tokenizer={first.path}"
    if first.tokenizer.sha256 != other.tokenizer.sha256:
        raise UserError(f"{both} have different tokenizers, and a mixture needs one; {mend}")
    if first.context_length != other.context_length:
        raise UserError(
            f"{both} have windows of {first.context_length} and {other.context_length} positions, and a "
            f"mixture needs one length; {mend} --context_length={first.context_length}"
        )
