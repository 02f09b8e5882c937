"""What the page draws of evaluations."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from tinyjax.evaluate.report import charts
from tinyjax.evaluate.report.charts import Axis, Chart, Group, Point, Row, Rows, Series
from tinyjax.evaluate.report.measures import (
    BITS,
    GRADES,
    NATS,
    SHARE,
    Interval,
    Measure,
    Unit,
    each,
    having,
    measures,
    probe_groups,
)
from tinyjax.evaluate.report.reading import Evaluation

AGES = {"A": "3 or under", "B": "4 to 5", "C": "6 to 7", "D": "8 to 9", "E": "10 to 12", "F": "13 to 16"}
HELD_OUT = "held-out stories"

Scores = Sequence[tuple[int, Evaluation, Sequence[float]]]  # of the stories of each style and evaluation


def _point(x: float, interval: Interval, name: str, unit: Unit) -> Point:
    text = f"{unit.show(interval['value'])} ({unit.span(interval)})"
    return Point(x, interval["value"], name, text, interval["low"], interval["high"])


def _chart(title: str, x: Axis, unit: Unit, series: Sequence[Series]) -> list[Chart]:
    """Returns a chart of the series that have points, none where none has."""
    series = tuple(one for one in series if one.points)
    points = [point for one in series for point in one.points]
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    return [Chart(title, x, charts.linear(unit.name, ends, unit.tick), series)] if ends else []


def _joined(lists: Sequence[list[Chart]]) -> list[Chart]:
    return [chart for charts_of_one in lists for chart in charts_of_one]


# By size and by step.


def by_size(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns each measure by parameters; of several steps of one run, the last one counts."""
    last = {e.run: e.about["step"] for e in sorted(evaluations, key=lambda e: e.about["step"])}
    shown = [(style, e) for style, e in enumerate(evaluations) if e.about["step"] == last[e.run]]
    sizes = {e.about["parameters"]["total"] for _, e in shown}
    if len(sizes) < 2:
        return []
    x = charts.logarithmic("parameters, embeddings included", sorted(sizes))
    return _joined(
        [
            _chart(measure.name, x, measure.unit, [_at_size(measure, style, e) for style, e in shown])
            for measure in measures([e for _, e in shown])
        ]
    )


def _at_size(measure: Measure, style: int, evaluation: Evaluation) -> Series:
    size, interval = evaluation.about["parameters"]["total"], measure.of(evaluation)
    points = (_point(size, interval, f"{size:,}", measure.unit),) if interval else ()
    return Series(evaluation.name, style, points)


def by_step(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns each measure by training step, a line for each run of which several steps were evaluated."""
    runs: dict[str, list[tuple[int, Evaluation]]] = {}
    for style, evaluation in enumerate(evaluations):
        runs.setdefault(evaluation.run, []).append((style, evaluation))
    lines = [steps for steps in runs.values() if len({e.about["step"] for _, e in steps}) > 1]
    shown = [e for steps in lines for _, e in steps]
    if not shown:
        return []
    x = charts.linear("training step", [0, *(e.about["step"] for e in shown)])
    return _joined(
        [
            _chart(measure.name, x, measure.unit, [_along_steps(measure, steps) for steps in lines])
            for measure in measures(shown)
        ]
    )


def _along_steps(measure: Measure, steps: Sequence[tuple[int, Evaluation]]) -> Series:
    ordered = sorted(steps, key=lambda step: step[1].about["step"])
    points = [
        _point(e.about["step"], interval, f"step {e.about['step']:,}", measure.unit)
        for _, e in ordered
        if (interval := measure.of(e))
    ]
    return Series(ordered[0][1].run, ordered[-1][0], tuple(points))


# Loss.


def losses(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns the loss by position in a story, and by length of a story."""
    positions = [
        Series(e.name, style, tuple(_at_position(part) for part in parts))
        for style, e, parts in having(evaluations, "loss", "by_position")
    ]
    lengths = [
        Series(e.name, style, tuple(_at_length(part) for part in parts))
        for style, e, parts in having(evaluations, "loss", "by_length")
    ]
    return [*_by_position(positions), *_by_length(lengths)]


def _by_position(series: Sequence[Series]) -> list[Chart]:
    places = [point.x for one in series for point in one.points]
    if not places:
        return []
    x = charts.logarithmic("position in the story, tokens", places)
    return _chart("Loss by position", x, NATS, series)


def _by_length(series: Sequence[Series]) -> list[Chart]:
    x = charts.linear("length of the story, bytes", [0, *(point.x for one in series for point in one.points)])
    return _chart("Loss by length of the story", x, BITS, series)


def _at_position(part: Mapping[str, float]) -> Point:
    """Returns a span of positions, from 0 on, in its middle on an axis of factors."""
    middle = (max(part["from"], 1) * max(part["to"], 1)) ** 0.5
    text = NATS.show(part["nats_per_token"])
    return Point(middle, part["nats_per_token"], _span(part), text)


def _at_length(part: Mapping[str, Any]) -> Point:
    return _point((part["from"] + part["to"]) / 2, part["bits_per_byte"], _span(part), BITS)


def _span(part: Mapping[str, Any]) -> str:
    return f"{part['from']:,} to {part['to']:,}"


# Grades.


def grades(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns how often each grade was given, and each age."""
    graded = list(having(evaluations, "judge", "grades"))
    given = [[(style, e.name, _given(grade, all_of)) for style, e, all_of in graded] for grade in GRADES]
    ages = [
        (style, e.name, {age: counts.get(age, 0) for age in AGES})
        for style, e, counts in having(evaluations, "judge", "ages")
    ]
    return [
        *_joined([_counts(name, "grade", of) for name, of in zip(GRADES, given, strict=True)]),
        *_counts("Age of the writer, as the judge guesses", "age group", ages),
    ]


def _given(grade: str, graded: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Returns how many stories have each grade, 1 to 10, and others that were given."""
    found = [round(one[grade]) for one in graded if one.get(grade) is not None]
    return {str(value): found.count(value) for value in range(min([1, *found]), max([10, *found]) + 1)}


def _counts(
    title: str,
    label: str,
    of: Sequence[tuple[int, str, Mapping[str, float]]],
    share: str = "share of stories",
) -> list[Chart]:
    """Returns the shares of what was counted, of each (style, name, counts)."""
    of = [one for one in of if sum(one[2].values())]
    names = each(counts for _, _, counts in of)
    series = [
        Series(name, style, tuple(_share_points(names, counts, number, len(of))))
        for number, (style, name, counts) in enumerate(of)
    ]
    return _chart_of_shares(title, charts.named(label, names), share, series, "bars")


def _share_points(names: Sequence[str], counts: Mapping[str, float], number: int, of: int) -> Iterator[Point]:
    """Yields the share of each name, moved aside so that no series hides another."""
    whole = sum(counts.values())
    for i, name in enumerate(names):
        if name in counts:
            share = counts[name] / whole
            yield Point(i + charts.beside(number, of), share, name, SHARE.show(share))


def _chart_of_shares(
    title: str, x: Axis, label: str, series: Sequence[Series], kind: Literal["lines", "bars"]
) -> list[Chart]:
    """Returns a chart whose other axis begins at 0."""
    tops = [point.high or point.y for one in series for point in one.points]
    return [Chart(title, x, charts.up_to(label, max(tops)), tuple(series), kind)] if tops else []


# Probes.


def probes(evaluations: Sequence[Evaluation]) -> Rows | None:
    """Returns the accuracy of models and of baselines in each group."""
    baselines = _baselines(evaluations)
    groups = [_group(name, evaluations, baselines) for name in probe_groups(evaluations)]
    return Rows("Accuracy of probes", charts.shares("accuracy"), tuple(groups)) if groups else None


def _baselines(evaluations: Sequence[Evaluation]) -> dict[tuple[int, str], str]:
    """Returns what baselines to show, by style and name, and how to call them.

    They depend on tokenizer and data: those that are the same for several models are shown once.
    """
    found: dict[str, dict[str, tuple[int, str]]] = {}
    for style, evaluation, groups in having(evaluations, "probes", "groups"):
        of_groups = [group.get("baselines") or {} for group in groups.values()]
        for baseline in each(of_groups):
            values = repr([(name, of.get(baseline)) for name, of in zip(groups, of_groups, strict=True)])
            found.setdefault(baseline, {}).setdefault(values, (style, evaluation.name))
    return {
        (style, baseline): baseline if len(different) == 1 else f"{baseline}, {model}"
        for baseline, different in found.items()
        for style, model in different.values()
    }


def _group(name: str, evaluations: Sequence[Evaluation], baselines: Mapping[tuple[int, str], str]) -> Group:
    every = having(evaluations, "probes", "groups")
    found = [(style, e, groups[name]) for style, e, groups in every if name in groups]
    models = [_row(e.name, style, group["accuracy"]) for style, e, group in found]
    others = [
        _row(baselines[style, baseline], style, interval, reference=True)
        for style, _, group in found
        for baseline, interval in (group.get("baselines") or {}).items()
        if interval and (style, baseline) in baselines
    ]
    chance = next((group["chance"] for *_, group in found if group.get("chance") is not None), None)
    return Group(name, (*models, *others), chance)


def _row(name: str, style: int, interval: Interval, *, reference: bool = False) -> Row:
    point = _point(interval["value"], interval, name, SHARE)
    return Row(Series(name, style, (point,), dashed=reference), point)


# Novelty.


def copied(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns the share of k-grams that occur in training: of generated stories, and of held-out ones."""
    found = list(having(evaluations, "novelty", "kgram_share"))
    names = each(share["generated"] for _, _, share in found)
    models = [Series(e.name, style, _along_k(names, share["generated"])) for style, e, share in found]
    held_out = [
        Series(HELD_OUT, style, _along_k(names, share.get("held_out") or {}), dashed=True)
        for style, _, share in found
    ]
    x = charts.named("k, words", names)
    compared = _different(held_out, dict(enumerate(evaluations)))
    series = [*(one for one in models if one.points), *compared]
    return _chart_of_shares("k-grams that occur in training", x, "share of k-grams", series, "lines")


def _along_k(names: Sequence[str], shares: Mapping[str, Interval | None]) -> tuple[Point, ...]:
    return tuple(
        _point(i, interval, name, SHARE) for i, name in enumerate(names) if (interval := shares.get(name))
    )


def _different(references: Iterable[Series], evaluations: Mapping[int, Evaluation]) -> list[Series]:
    """Returns what models are compared with: once where it is the same, else called by its model too."""
    found: dict[tuple[Point, ...], Series] = {}
    for series in references:
        if series.points:
            found.setdefault(series.points, series)
    if len(found) < 2:
        return list(found.values())
    return [
        dataclasses.replace(series, name=f"{series.name}, {evaluations[series.style].name}")
        for series in found.values()
    ]


def originals(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns the paper's Figures 14 and 15."""
    precision = list(having(evaluations, "novelty", "rouge_original_r2_precision"))
    alike = list(having(evaluations, "novelty", "self_similarity_r2"))
    originals = list(having(evaluations, "novelty", "self_similarity_r2_original"))
    return [
        *_histogram("Figure 14: new ending in the original one", "ROUGE-2 precision", precision),
        *_histogram(
            "Figure 15: new endings among each other",
            "highest ROUGE-2 f-measure",
            alike,
            ("the original endings", originals),
        ),
    ]


def frequencies(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns the paper's Figure 16: how often generated k-grams occur in training, by k."""
    found = list(having(evaluations, "novelty", "kgram_frequency"))
    ks = each(by_k for _, _, by_k in found)
    return _joined(
        [_frequency(k, [(style, e.name, by_k[k]) for style, e, by_k in found if k in by_k]) for k in ks]
    )


def _frequency(k: str, of: Sequence[tuple[int, str, Mapping[str, float]]]) -> list[Chart]:
    label = "times in the training stories"
    return _counts(f"Figure 16: k = {k}", label, of, "share of k-grams")


def nearest(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Returns the paper's Figure 17: of each story, the highest ROUGE-k precision with a training story."""
    found = list(having(evaluations, "novelty", "nearest_precision"))
    held_out = list(having(evaluations, "novelty", "nearest_precision_held_out"))
    return _joined(
        [
            _histogram(
                f"Figure 17: nearest training story, k = {k}",
                f"highest ROUGE-{k} precision",
                _of_k(k, found),
                (HELD_OUT, _of_k(k, held_out)),
            )
            for k in each(by_k for _, _, by_k in found)
        ]
    )


def _of_k(k: str, found: Sequence[tuple[int, Evaluation, Mapping[str, Sequence[float]]]]) -> Scores:
    return [(style, e, by_k[k]) for style, e, by_k in found if k in by_k]


def _histogram(
    title: str, label: str, found: Scores, reference: tuple[str, Scores] = ("", ())
) -> list[Chart]:
    """Returns the histogram of models' scores and of those they are compared with, where there are some."""
    models = [charts.binned(e.name, style, scores) for style, e, scores in found if scores]
    name, others = reference
    compared = [charts.binned(name, style, scores, dashed=True) for style, _, scores in others if scores]
    every = {style: e for style, e, _ in others}
    return [charts.histogram(title, label, (*models, *_different(compared, every)))] if models else []
