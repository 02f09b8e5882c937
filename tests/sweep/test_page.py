"""What the tables, the figures and sweep.json say is what stands in the run folders."""

import dataclasses
import json
import pathlib
import re

import pytest
from etils import epath

from tests.tiny import tiny_config
from tinyjax.errors import UserError
from tinyjax.model.parameters import count
from tinyjax.sweep import figures, plot
from tinyjax.sweep.budget import flops_per_step
from tinyjax.sweep.compare import Comparison, compare
from tinyjax.sweep.page import render
from tinyjax.sweep.plot import Series, decades, make_chart, short, steps
from tinyjax.sweep.results import collect
from tinyjax.sweep.tables import grid_table, heads_table, members_table, to_markdown
from tinyjax.sweep.task import Task

# name -> width, blocks, heads; bits/byte at steps 100 and 200
MEMBERS = {
    "32x1": (32, 1, 2, 2.0, 1.5),
    "32x2": (32, 2, 2, 1.9, 1.25),
    "64x1": (64, 1, 2, 1.8, 1.125),
    "64x2": (64, 2, 2, 1.7, 1.0),
    "64x2-4heads": (64, 2, 4, 1.65, 0.875),
}


def make_run(folder: pathlib.Path, name: str, num_steps: int = 200) -> Task:
    width, blocks, heads, *losses = MEMBERS[name]
    config = tiny_config(
        model__d_model=width, model__num_layers=blocks, model__num_heads=heads, model__vocab_size=320,
        optimizer__schedule="constant",
    )  # fmt: skip
    lines = [{"step": step, "bits_per_byte": 2.5 - step / 100} for step in (50, 100, 150, 200)]
    lines += [
        {"step": step, "validation/bits_per_byte": loss, "validation/standard_error": 0.01,
         "validation/nats_per_token": 2 * loss}
        for step, loss in zip((100, 200), losses, strict=True)
    ]  # fmt: skip
    run = folder / name
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 2')
    return Task(name, config, num_steps, epath.Path(run), "", ())


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "count": 10}


def evaluate(task: Task, step: int, grade: float | None, right: float) -> None:
    folder = pathlib.Path(task.folder / "evaluation" / str(step))
    folder.mkdir(parents=True)
    means = None if grade is None else {"grammar": estimate(grade)}
    (folder / "judge.json").write_text(json.dumps({"judge": "recorded", "means": means}))
    groups = {"knowledge": {"accuracy": estimate(right), "chance": 0.25}}
    (folder / "probes.json").write_text(json.dumps({"groups": groups}))


@pytest.fixture
def tasks(tmp_path: pathlib.Path) -> list[Task]:
    return [make_run(tmp_path, name) for name in MEMBERS]


@pytest.fixture
def comparison(tasks: list[Task]) -> Comparison:
    for number, task in enumerate(tasks):
        evaluate(task, 100, 5.0, 0.3)
        evaluate(task, 200, 6.0 + number, 0.5)
    absent = dataclasses.replace(tasks[0], name="absent", folder=tasks[0].folder.parent / "absent")
    return compare("some.py:sweep", "data/x", [*tasks, absent])


def test_results_are_read_from_the_run_folders(comparison: Comparison, tasks: list[Task]):
    one, task = comparison.results[3], tasks[3]
    assert (one.name, one.width, one.blocks, one.heads) == ("64x2", 64, 2, 2)
    assert one.parameters == count(task.config.model)
    assert [(p.step, p.bits_per_byte, p.nats_per_token) for p in one.points] == [
        (100, 1.7, 3.4),
        (200, 1.0, 2.0),
    ]
    assert one.last.flops == 200 * flops_per_step(task.config)
    assert one.training == ((50, 2.0), (100, 1.5), (150, 1.0), (200, 0.5))
    assert one.finished
    assert {step: scores["grammar"].value for step, scores in one.scores.items()} == {100: 5.0, 200: 9.0}
    assert one.last_scores["knowledge"].low == pytest.approx(0.4)
    assert comparison.missing == ["absent"]
    assert comparison.common_step == 200


def test_json_has_all_of_it(comparison: Comparison):
    values = json.loads(comparison.to_json())
    assert [one["name"] for one in values["results"]] == list(MEMBERS)
    assert values["results"][0]["points"][1]["bits_per_byte"] == 1.5
    assert values["results"][0]["scores"]["200"]["grammar"] == estimate(6.0)
    assert len(values["best"]) == len(comparison.best) > 0


def test_the_table_has_losses_and_normalised_grades(comparison: Comparison):
    table = members_table(comparison.results)
    row = dict(zip(table.head, table.rows[1], strict=True))
    assert row["model"] == "32 x 2"
    assert row["bits/byte"] == "1.250 ± 0.010"
    assert row["steps"] == "200"
    assert row["grammar"] == "7.00 (6.90 to 7.10), 0.25"
    assert row["knowledge"] == "0.50 (0.40 to 0.60)"


def test_one_that_is_not_finished_says_so(tmp_path: pathlib.Path):
    (result,) = collect([make_run(tmp_path, "32x1", num_steps=300)])
    assert not result.finished
    assert members_table([result]).rows[0][4] == "200 of 300"


def test_width_by_depth_and_heads_have_tables(comparison: Comparison):
    grid = grid_table(comparison.results, 100)
    assert grid is not None
    assert list(grid.head) == ["blocks", "32 wide", "64 wide"]
    assert grid.rows == [
        ["1", "2.000 ± 0.010", "1.800 ± 0.010"],
        ["2", "1.900 ± 0.010", "1.700 ± 0.010, 1.650 ± 0.010"],
    ]
    heads = heads_table(comparison.results)
    assert heads is not None
    assert [row[:4] for row in heads.rows] == [
        ["64 x 2", "2", "200", "1.000 ± 0.010"],
        ["64 x 2", "4", "200", "0.875 ± 0.010"],
    ]
    assert grid_table(comparison.results[:2], 100) is None
    assert heads_table(comparison.results[:4]) is None


def test_markdown_is_tables_that_are_whole(comparison: Comparison):
    text = to_markdown(comparison)
    assert "Nothing yet of absent." in text
    for block in text.split("\n\n"):
        if block.startswith("| "):
            assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "| 64 x 2 | 4 | 200 | 0.875 ± 0.010 |" in text


def test_figures_have_the_points_of_the_results(comparison: Comparison):
    chart = figures.losses_by_step(comparison.results)
    assert {tuple(one.series.points) for one in chart.drawn if not one.series.faint} == {
        ((100, first), (200, last)) for *_, first, last in MEMBERS.values()
    }
    by_size = figures.losses_by_size(comparison.results, 200)
    assert by_size is not None
    points = {point for one in by_size.drawn for point in one.series.points}
    assert points == {(one.parameters["total"], one.last.bits_per_byte) for one in comparison.results}
    scores = figures.scores_by_step(comparison.results)
    assert scores["grammar"].drawn[0].series.points == [(100, 5.0), (200, 6.0)]
    by_compute = figures.losses_by_compute(comparison)
    assert by_compute is not None
    (best,) = [one for one in by_compute.drawn if one.series.name == "best model"]
    assert best.series.points == [(one.flops, one.bits_per_byte) for one in comparison.best]


def test_points_stand_where_the_axes_say():
    chart = make_chart("x", "y", [Series("a", [(1.0, 10.0), (100.0, 20.0), (10.0, 15.0)])])
    ((left, low), (right, high), (middle, mid)) = chart.drawn[0].pixels
    assert middle == pytest.approx((left + right) / 2)  # in logarithms
    assert mid == pytest.approx((low + high) / 2)
    assert (left < right, low > high) == (True, True)
    assert {text: x for x, text in chart.x_ticks}["10"] == pytest.approx(middle)
    assert {text: y for y, text in chart.y_ticks}["20"] == pytest.approx(high)
    for x, y in chart.drawn[0].pixels:
        assert 0 < x < plot.WIDTH
        assert 0 < y < plot.HEIGHT


def test_a_single_point_has_a_chart():
    chart = make_chart("x", "y", [Series("a", [(5.0, 2.0)])], log_y=True)
    assert [text for _, text in chart.x_ticks] == ["5"]


def test_ticks_are_round():
    assert steps(0.83, 1.42) == pytest.approx([0.9, 1.0, 1.1, 1.2, 1.3, 1.4])
    assert decades(3e9, 2e12) == [5e9, 1e10, 2e10, 5e10, 1e11, 2e11, 5e11, 1e12, 2e12]
    assert decades(3e9, 4e15) == [1e10, 1e11, 1e12, 1e13, 1e14, 1e15]
    assert [short(x) for x in (0.85, 300, 20_000, 1.5e6, 6.02e12)] == [
        "0.85",
        "300",
        "20K",
        "1.5M",
        "6.02e12",
    ]


def test_the_page_shows_them_and_fetches_nothing(comparison: Comparison):
    page = render(comparison)
    assert page.count("<svg") == page.count("</svg>") == 8
    assert len(re.findall(r"<title>64x2: (100|200), 1(\.7)?</title>", page)) == 2
    assert "0.875 ± 0.010" in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=|https?:", page)


def test_a_name_can_not_break_the_page(tasks: list[Task]):
    page = render(compare("<b>.py:x", "data/<script>", tasks[:1]))
    assert "<script" not in page
    assert "<b>" not in page
    assert "No power law" in page


def test_a_damaged_evaluation_is_told(tasks: list[Task]):
    evaluate(tasks[0], 200, 6.0, 0.5)
    (tasks[0].folder / "evaluation" / "200" / "judge.json").write_text("{")
    with pytest.raises(UserError, match=r"judge.json' is damaged"):
        collect(tasks)


def test_no_mean_grade_is_no_grade(tasks: list[Task]):
    evaluate(tasks[0], 200, None, 0.5)
    assert list(collect(tasks)[0].last_scores) == ["knowledge"]


def test_one_model_that_is_always_the_best_shows_no_law_of_sizes(tasks: list[Task]):
    comparison = compare("some.py:sweep", "data/x", tasks)
    best = [dataclasses.replace(one, parameters=7) for one in comparison.best]
    text = to_markdown(dataclasses.replace(comparison, best=best, size_law=None))
    assert "The lowest bits/byte go with FLOPs to the power of -" in text
    assert "The same model is the best with every budget" in text
    assert "nan" not in text
