"""The paper's Figures 3, 4 and 23, drawn from what a sweep has shown."""

from collections.abc import Sequence

from tinyjax.sweep.compare import Comparison
from tinyjax.sweep.plot import Chart, Series, make_chart
from tinyjax.sweep.results import Result
from tinyjax.sweep.scaling import Best, PowerLaw
from tinyjax.sweep.tables import GRADES, score_names


def losses_by_step(results: Sequence[Result]) -> Chart:
    """Draws Figure 3's losses: of the validation split, and faintly that of training."""
    behind = [
        Series(one.name, one.training, number, dots=False, faint=True) for number, one in enumerate(results)
    ]
    curves = [
        Series(one.name, [(point.step, point.bits_per_byte) for point in one.points], number)
        for number, one in enumerate(results)
    ]
    return make_chart("steps", "bits/byte", [*(one for one in behind if one.points), *curves])


def scores_by_step(results: Sequence[Result]) -> dict[str, Chart]:
    """Draws Figure 3's scores, one chart each, where some model was evaluated on its way."""
    charts = {}
    for name in score_names(results):
        series = [
            Series(
                one.name,
                [(step, scores[name].value) for step, scores in one.scores.items() if name in scores],
                number,
            )
            for number, one in enumerate(results)
        ]
        if any(len(one.points) > 1 for one in series):
            charts[name] = make_chart("steps", _unit(name), [one for one in series if one.points])
    return charts


def losses_by_size(results: Sequence[Result], step: int | None) -> Chart | None:
    """Draws Figure 4's losses by parameters, models of one width joined; None where no step is common."""
    if step is None:
        return None
    losses = [(one, point.bits_per_byte) for one in results if (point := one.at(step))]
    return make_chart("parameters", f"bits/byte after {step:,} steps", _by_width(losses))


def scores_by_size(results: Sequence[Result]) -> dict[str, Chart]:
    """Draws Figure 4's scores by parameters, one chart each, models of one width joined."""
    return {
        name: make_chart("parameters", _unit(name), _by_width(_last(results, name)))
        for name in score_names(results)
    }


def _last(results: Sequence[Result], name: str) -> list[tuple[Result, float]]:
    """Returns the models that have a score, with it."""
    return [(one, one.last_scores[name].value) for one in results if name in one.last_scores]


def _by_width(values: Sequence[tuple[Result, float]]) -> list[Series]:
    widths = sorted({one.width for one, _ in values})
    return [
        Series(
            f"{width} wide",
            sorted((float(one.parameters["total"]), value) for one, value in values if one.width == width),
            number,
        )
        for number, width in enumerate(widths)
    ]


def _unit(score: str) -> str:
    return f"{score}, of 10" if score in GRADES else f"{score}, share right"


def losses_by_compute(comparison: Comparison) -> Chart | None:
    """Draws Figure 23: all curves, the best at each budget, and the power law through these."""
    if not comparison.best:
        return None
    curves = [
        Series(one.name, [(point.flops, point.bits_per_byte) for point in one.points], dots=False, faint=True)
        for one in comparison.results
    ]
    best = [(one.flops, one.bits_per_byte) for one in comparison.best]
    law = _law(comparison.loss_law, comparison.best)
    return make_chart(
        "training FLOPs", "bits/byte", [*curves, *law, Series("best model", best, line=False)], log_y=True
    )


def sizes_by_compute(comparison: Comparison) -> Chart | None:
    """Draws the size of the best model by compute, and the power law through the points."""
    if not comparison.best:
        return None
    best = [(one.flops, float(one.parameters)) for one in comparison.best]
    law = _law(comparison.size_law, comparison.best)
    return make_chart(
        "training FLOPs", "parameters of the best", [*law, Series("best model", best, line=False)], log_y=True
    )


def _law(law: PowerLaw | None, best: Sequence[Best]) -> list[Series]:
    """Returns a straight line in logarithms."""
    if law is None:
        return []
    return [Series("power law", [(one.flops, law(one.flops)) for one in (best[0], best[-1])], 1, dots=False)]
