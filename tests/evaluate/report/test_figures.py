"""Charts show the numbers they are given, where an axis puts them."""

import dataclasses
import pathlib

import pytest

from tests.evaluate.report.evaluations import make, write
from tinyjax.evaluate.report import charts, figures, measures
from tinyjax.evaluate.report.reading import Evaluation, read_evaluations


def read(tmp_path: pathlib.Path, *made: dict) -> list[Evaluation]:
    return read_evaluations([write(tmp_path / str(i), one) for i, one in enumerate(made)])


def titled(drawn: list[charts.Chart], title: str) -> charts.Chart:
    return next(chart for chart in drawn if chart.title == title)


class TestAxes:
    @pytest.mark.parametrize(
        "values", [[0.71, 0.734], [3.0, 3.0], [0.0], [0.0, 1.0], [-0.002, 0.013], [1, 99_000]]
    )
    def test_linear_ones_hold_all_values_between_few_round_ticks(self, values: list[float]):
        axis = charts.linear("", values)
        assert axis.low <= min(values) <= max(values) <= axis.high
        assert 2 <= len(axis.ticks) <= 7
        assert [axis.at(axis.ticks[0][0]), axis.at(axis.ticks[-1][0])] == [0, 1]
        assert all(float(text.replace(",", "").replace("K", "e3")) == tick for tick, text in axis.ticks)

    def test_on_logarithmic_ones_equal_factors_are_equally_far(self):
        axis = charts.logarithmic("", [1e6, 1e9])
        assert axis.at(1e8) - axis.at(1e7) == pytest.approx(axis.at(1e7) - axis.at(1e6))
        assert [text for _, text in axis.ticks] == ["1M", "10M", "100M", "1B"]

    def test_long_names_take_turns_on_two_lines(self):
        short, long = (charts.named("", [name * i for i in range(1, 7)]) for name in ("a", "abcdef "))
        y = charts.shares("")
        assert {line for *_, line in charts.Chart("", short, y, ()).ticks} == {0}
        assert [line for *_, line in charts.Chart("", long, y, ()).ticks] == [0, 1, 0, 1, 0, 1]

    @pytest.mark.parametrize(
        ("value", "text"),
        [(260_000, "260K"), (33e6, "33M"), (1.5e9, "1.5B"), (1024, "1,024"), (0.25, "0.25"), (0, "0")],
    )
    def test_numbers_are_short(self, value: float, text: str):
        assert charts.short(value) == text


def test_every_score_is_in_a_bin():
    series = charts.binned("", 0, [0.0, 0.04, 0.05, 0.5, 1.0])
    assert [(point.name, point.y) for point in series.points if point.y] == [
        ("0.00 to 0.05", 0.4),
        ("0.05 to 0.10", 0.2),
        ("0.50 to 0.55", 0.2),
        ("0.95 to 1.00", 0.2),
    ]


def test_colour_and_mark_tell_many_models_apart():
    looks = {(series.css, series.mark) for style in range(36) if (series := charts.Series("", style, ()))}
    assert len(looks) == 36


def test_by_size_the_last_step_of_each_run_counts(evaluations: list[Evaluation]):
    drawn = figures.by_size(evaluations)
    assert [chart.title for chart in drawn] == [
        "bits/byte",
        *measures.GRADES,
        *(f"{group} probes" for group in ("knowledge", "reasoning", "context", "world")),
        "stories finished",
    ]
    for chart, measure in zip(drawn, measures.measures(evaluations), strict=True):
        shown = {series.name: series.points[0] for series in chart.series}
        assert list(shown) == ["small", "large, step 2,500", "stories260K"]
        for evaluation in evaluations:
            interval = measure.of(evaluation)
            if evaluation.name in shown and interval:
                point = shown[evaluation.name]
                assert point.x == evaluation.about["parameters"]["total"]
                assert (point.y, point.low, point.high) == tuple(
                    interval[k] for k in ("value", "low", "high")
                )
    assert figures.by_size(evaluations[1:3]) == []
    int8 = dataclasses.replace(evaluations[0], name="small in int8")
    both = figures.by_size([*evaluations, int8])[0]
    assert [series.name for series in both.series] == [*shown, "small in int8"]


def test_by_step_the_steps_of_a_run_are_joined(evaluations: list[Evaluation]):
    chart = figures.by_step(list(reversed(evaluations)))[0]
    (line,) = chart.series
    assert line.name == "runs/large"
    assert [point.x for point in line.points] == [1000, 2500]
    assert figures.by_step([evaluations[0], *evaluations[2:]]) == []


def test_held_out_stories_are_drawn_once_where_they_are_the_same(evaluations, tmp_path: pathlib.Path):
    (chart,) = figures.copied(evaluations)
    assert [series.name for series in chart.series if series.dashed] == ["held-out stories"]
    assert [point.name for point in chart.series[0].points] == list("1234567")
    other = make("other", total=10)
    other["novelty"]["kgram_share"]["held_out"]["1"]["value"] = 0.9
    (chart,) = figures.copied([*evaluations, *read(tmp_path, other)])
    names = [series.name for series in chart.series if series.dashed]
    assert names == ["held-out stories, small", "held-out stories, other"]


def test_the_papers_figures(evaluations: list[Evaluation]):
    drawn = [
        *figures.originals(evaluations),
        *figures.frequencies(evaluations),
        *figures.nearest(evaluations),
    ]
    assert [chart.title.split(":")[0] for chart in drawn] == [
        "Figure 14",
        "Figure 15",
        *["Figure 16"] * 5,
        *["Figure 17"] * 5,
    ]
    for chart in drawn:
        for series in chart.series:
            assert sum(point.y for point in series.points) == pytest.approx(1)
        if chart.title.startswith(("Figure 15", "Figure 17")):
            assert sum(series.dashed for series in chart.series) == 1  # the same for all models


def test_what_has_no_value_is_left_out(tmp_path: pathlib.Path):
    made = make("a", total=10)
    novelty = made["novelty"]
    novelty["kgram_share"]["generated"]["7"] = None
    novelty["rouge_original"]["5"]["precision"] = None
    novelty["distinct"]["3"] = None
    novelty["self_similarity_r2"], novelty["nearest_precision"]["5"] = [], []
    made["judge"]["means"]["plot"] = None
    made["judge"]["grades"][0] |= dict.fromkeys(measures.GRADES)
    (evaluation,) = read(tmp_path, made)
    (chart,) = figures.copied([evaluation])
    assert [point.name for point in chart.series[0].points] == list("123456")
    assert "Figure 15" not in {chart.title.split(":")[0] for chart in figures.originals([evaluation])}
    assert len(figures.nearest([evaluation])) == 4
    assert "plot" not in {measure.name for measure in measures.measures([evaluation])}
    shares = [point.y for point in titled(figures.grades([evaluation]), "grammar").series[0].points]
    assert sum(shares) == pytest.approx(1)


def test_baselines_and_chance_stand_beside_the_models(evaluations: list[Evaluation]):
    drawn = figures.probes(evaluations)
    assert drawn
    assert [group.name for group in drawn.groups] == ["knowledge", "reasoning", "context", "world"]
    for group in drawn.groups:
        assert group.chance == 0.5
        names = [row.series.name for row in group.rows]
        assert names == [*(evaluation.name for evaluation in evaluations), "unigram", "5-gram"]


def test_baselines_that_differ_are_called_by_their_models(tmp_path: pathlib.Path):
    made = [make(name, total=10) for name in ("a", "b", "c")]
    made[1]["probes"]["groups"]["world"]["baselines"]["unigram"]["value"] = 0.4
    drawn = figures.probes(read(tmp_path, *made))
    assert drawn
    assert [series.name for series, _ in drawn.lines] == ["a", "b", "c", "unigram, a", "5-gram", "unigram, b"]
    assert all(None not in points for _, points in drawn.lines)
