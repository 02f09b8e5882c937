"""Charts of what heads and neurons do."""

from collections.abc import Sequence
from typing import Any

from tinyjax.evaluate.report import charts

# In the order in which heads are told apart; the second is what a cell of the grid says.
KINDS = {
    "induction": "ind",
    "first token": "1st",
    "same token": "same",
    "local": "loc",
    "semantic": "sem",
    "punctuation": "punc",
    "mixed": "mix",
}
_STARTS = (0, 1, 2, 3, 4, 5, 8, 16, 32, 64, 128, 256)  # of bins of distances


def series(kind: str, points: tuple[charts.Point, ...] = ()) -> charts.Series:
    """Returns points in the colour of a kind of heads; mixed ones are grey."""
    return charts.Series(kind, list(KINDS).index(kind), points, dashed=kind == "mixed")


def by_distance(head: dict[str, Any]) -> charts.Chart:
    """Returns the chart of a head's mean attention by distance; far ones are put together."""
    bins = [
        (a, min(b, len(head["by_distance"]))) for a, b in zip(_STARTS, (*_STARTS[1:], 10**9), strict=True)
    ]
    bins = [(a, b) for a, b in bins if a < b]
    names = [str(a) if b - a == 1 else f"{a}-{b - 1}" for a, b in bins]
    means = [sum(head["by_distance"][a:b]) / (b - a) for a, b in bins]
    points = tuple(
        charts.Point(i, mean, name, f"{100 * mean:.1f} %")
        for i, (mean, name) in enumerate(zip(means, names, strict=True))
    )
    title = f"Attention by distance, block {head['layer']}, head {head['head']}"
    x = charts.named("tokens back", names)
    return charts.Chart(
        title,
        x,
        charts.up_to("mean attention to a token", max(means)),
        (series(head["kind"], points),),
        "bars",
    )


def by_block(losses: Sequence[float]) -> charts.Chart:
    """Returns the chart of the loss of what is read of the residual stream after each block."""
    names = ["embedding", *(f"block {number}" for number in range(len(losses) - 1))]
    points = tuple(
        charts.Point(i, loss, name, f"{loss:.3f}")
        for i, (loss, name) in enumerate(zip(losses, names, strict=True))
    )
    x = charts.named("read after", names)
    y = charts.linear("nats/token", [0.0, *losses])
    one = charts.Series("loss", 0, points)
    return charts.Chart("Loss of the next token, as read after each block", x, y, (one,))


def kinds(models: Sequence[tuple[str, dict[str, Any]]]) -> charts.Chart:
    """Returns the chart of how many heads of each model are of each kind."""
    bars = [
        charts.Series(name, i, tuple(_share(kind, of["heads"], i, len(models)) for kind in KINDS))
        for i, (name, of) in enumerate(models)
    ]
    highest = max(point.y for one in bars for point in one.points)
    x, y = charts.named("kind", list(KINDS)), charts.up_to("share of heads", highest)
    return charts.Chart("Heads by kind", x, y, tuple(bars), "bars")


def _share(kind: str, heads: list[dict[str, Any]], number: int, of: int) -> charts.Point:
    count = sum(head["kind"] == kind for head in heads)
    x = list(KINDS).index(kind) + charts.beside(number, of)
    return charts.Point(x, count / len(heads), kind, f"{count} of {len(heads)}")


def model(name: str, number: int) -> charts.Series:
    """Returns the sign of a model."""
    return charts.Series(name, number, ())


def selectivities(names: Sequence[str], values: Sequence[list[float]]) -> charts.Chart:
    """Returns the chart of how selective the neurons of each model are, dead ones left out."""
    binned = tuple(
        charts.binned(name, i, [max(value, 0.0) for value in of])
        for i, (name, of) in enumerate(zip(names, values, strict=True))
        if of
    )
    return charts.histogram("Selectivity of neurons", "selectivity", binned, "neurons")
