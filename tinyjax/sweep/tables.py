"""What a sweep has shown, in words: tables and the sentences on its power laws."""

import dataclasses
from collections.abc import Sequence

from tinyjax.evaluate.estimates import Estimate
from tinyjax.sweep.compare import Comparison
from tinyjax.sweep.plot import scientific
from tinyjax.sweep.results import Point, Result

GRADES = ("grammar", "creativity", "consistency", "plot")  # of the judge, out of 10; other scores are shares


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text below their headings."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Returns it for a README; the first column is text, the others are numbers."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.head, rule, *self.rows))


# Eldan & Li 2023, Figure 24; the losses are nats/token of another tokenizer.
PAPER_HEADS = Table(
    ("width x blocks", "heads", "loss", "grammar", "creativity", "consistency"),
    (
        ("768 x 2", "2", "1.38", "7.77", "6.5", "7.78"),
        ("768 x 2", "4", "1.34", "8.05", "6.57", "8.16"),
        ("768 x 2", "8", "1.33", "8.25", "6.53", "8.16"),
        ("768 x 1", "2", "1.58", "7.13", "5.83", "6.38"),
        ("768 x 1", "4", "1.56", "7.43", "5.90", "6.75"),
        ("768 x 1", "8", "1.54", "7.45", "6.28", "7.02"),
    ),
)


def members_table(results: Sequence[Result]) -> Table:
    """Returns a row for each model, with its losses and scores at its newest step."""
    names = score_names(results)
    head = ("model", "heads", "parameters", "without embeddings", "steps", "FLOPs", "bits/byte", "nats/token")
    return Table((*head, *names), [_row(result, results, names) for result in results])


def _row(result: Result, results: Sequence[Result], names: Sequence[str]) -> list[str]:
    last = result.last
    steps = f"{last.step:,}" + ("" if result.finished else f" of {result.num_steps:,}")
    parameters = [f"{result.parameters[kind]:,}" for kind in ("total", "body")]
    sizes = [f"{result.width} x {result.blocks}", str(result.heads), *parameters]
    losses = [steps, scientific(last.flops), bits_per_byte(last), f"{last.nats_per_token:.3f}"]
    return [*sizes, *losses, *(_score(result, results, name) for name in names)]


def bits_per_byte(point: Point) -> str:
    """Returns the loss with its standard error over the stories."""
    return f"{point.bits_per_byte:.3f} ± {point.standard_error:.3f}"


def score_names(results: Sequence[Result]) -> list[str]:
    """Returns the scores that some model has."""
    return list(dict.fromkeys(name for result in results for name in result.last_scores))


def _score(result: Result, results: Sequence[Result], name: str) -> str:
    """Returns a score with its interval; a grade also normalised over the models, as in Figure 4."""
    estimate = result.last_scores.get(name)
    if estimate is None:
        return ""
    text = f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
    values = [other.last_scores[name].value for other in results if name in other.last_scores]
    if name not in GRADES or max(values) == min(values):
        return text
    return f"{text}, {(estimate.value - min(values)) / (max(values) - min(values)):.2f}"


def grid_table(results: Sequence[Result], step: int | None) -> Table | None:
    """Returns bits/byte by width (columns) and blocks (rows), at one step; None where there is no grid."""
    widths, blocks = sorted({one.width for one in results}), sorted({one.blocks for one in results})
    if step is None or len(widths) < 2 or len(blocks) < 2:
        return None
    head = ("blocks", *(f"{width} wide" for width in widths))
    return Table(head, [[str(n), *(_cell(results, width, n, step) for width in widths)] for n in blocks])


def _cell(results: Sequence[Result], width: int, blocks: int, step: int) -> str:
    points = [one.at(step) for one in results if (one.width, one.blocks) == (width, blocks)]
    return ", ".join(bits_per_byte(point) for point in points if point is not None)


def heads_table(results: Sequence[Result]) -> Table | None:
    """Returns the models that differ in heads alone; None where there are none."""
    shapes = [(one.width, one.blocks) for one in results]
    compared = [one for one, shape in zip(results, shapes, strict=True) if shapes.count(shape) > 1]
    if len({one.heads for one in compared}) < 2:
        return None
    names = score_names(compared)
    ordered = sorted(compared, key=lambda one: (-one.width, -one.blocks, one.heads))
    head = ("width x blocks", "heads", "steps", "bits/byte", *names)
    return Table(head, [_heads_row(one, compared, names) for one in ordered])


def _heads_row(result: Result, results: Sequence[Result], names: Sequence[str]) -> list[str]:
    shape = [f"{result.width} x {result.blocks}", str(result.heads)]
    scores = (_score(result, results, name) for name in names)
    return [*shape, f"{result.last.step:,}", bits_per_byte(result.last), *scores]


def best_table(comparison: Comparison) -> Table | None:
    """Returns the best model for each amount of compute; None where no models can be compared by it."""
    rows = [
        [
            scientific(one.flops),
            one.name + (" (edge)" if one.edge else ""),
            f"{one.parameters:,}",
            f"{one.bits_per_byte:.3f}",
        ]
        for one in comparison.best
    ]
    return Table(("FLOPs", "best model", "parameters", "bits/byte"), rows) if rows else None


CAUTION = (
    "Few points: the interval takes them as independent, but budgets read from the curves of the same runs "
    "are not, so it is too narrow. The law has no floor, though losses have one. At an edge no smaller or no "
    "larger model was tried, and the best may lie beyond."
)


def law_sentences(comparison: Comparison) -> list[str]:
    """Returns what the power laws say, and how little."""
    count, loss_law, size_law = len(comparison.best), comparison.loss_law, comparison.size_law
    if loss_law is None:
        return [
            f"No power law: it takes three budgets at which models can be compared, and here are {count}."
        ]
    sizes = "The same model is the best with every budget: sizes show no power law."
    if size_law is not None:
        sizes = f"Parameters of the best model go with FLOPs to the power of {power(size_law.exponent)}."
    losses = (
        f"The lowest bits/byte go with FLOPs to the power of {power(loss_law.exponent)}, by {count} budgets."
    )
    return [losses, sizes, CAUTION]


def power(exponent: Estimate) -> str:
    """Returns an exponent with its interval."""
    return f"{exponent.value:.3f} (95 % interval {exponent.low:.3f} to {exponent.high:.3f})"


def to_markdown(comparison: Comparison) -> str:
    """Returns the tables as Markdown."""
    tables = {
        "Models": members_table(comparison.results),
        f"Bits/byte after {comparison.common_step} steps": grid_table(
            comparison.results, comparison.common_step
        ),
        "The same but for the number of heads": heads_table(comparison.results),
        "The best model for each amount of compute": best_table(comparison),
    }
    missing = [f"Nothing yet of {', '.join(comparison.missing)}."] if comparison.missing else []
    sections = [
        f"## {title}\n\n{table.to_markdown()}" for title, table in tables.items() if table is not None
    ]
    head = f"# {comparison.sweep} on {comparison.data}"
    return "\n\n".join([head, *missing, *sections, *law_sentences(comparison)]) + "\n"
