"""The report by the evaluate binary: of its own evaluation at the end, and of several on request."""

import json
import pathlib

import pytest

from tests import binaries
from tests.binaries import assert_refused
from tests.evaluate.report.evaluations import make, write
from tinyjax.data.manifests import Prepared


@pytest.fixture
def folders(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    a = write(tmp_path / "evaluations" / "a", make("a", total=1_000_000))
    return a, write(tmp_path / "evaluations" / "b", make("b", total=2_000_000))


def test_several_evaluations_side_by_side(folders: tuple[pathlib.Path, ...], tmp_path: pathlib.Path):
    result = binaries.run(
        tmp_path, "evaluate", "--report=evaluations/report", "--of=evaluations/a,evaluations/b/"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "report: evaluations/report/report.html\n"
    written = json.loads((tmp_path / "evaluations/report/report.json").read_text())
    assert [one["name"] for one in written["evaluations"]] == ["a", "b"]
    assert "<title>Evaluation of a, b</title>" in (tmp_path / "evaluations/report/report.html").read_text()


@pytest.mark.slow
def test_an_evaluation_ends_with_its_report(
    tiny_run: pathlib.Path, tiny_data: Prepared, tmp_path: pathlib.Path
):
    evaluated = (f"--checkpoint={tiny_run}", f"--data={tiny_data.path}", "--out=tiny", "--parts=loss")
    result = binaries.run(tmp_path, "evaluate", *evaluated, "--max_stories=4")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("report: tiny/report.html\n")
    loss = json.loads((tmp_path / "tiny/loss.json").read_text())
    written = json.loads((tmp_path / "tiny/report.json").read_text())
    assert [one["loss"] for one in written["evaluations"]] == [loss]
    assert f"{loss['bits_per_byte']['value']:.3f}" in (tmp_path / "tiny/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--report=r",), "--of is missing; give evaluations"),
        (("--of=evaluations/a",), "--report is missing; give a folder"),
        (("--report=r", "--of=evaluations/a", "--out=x"), "--report evaluates nothing; leave out --out"),
        (("--report=r", "--of=evaluations"), "'evaluations' holds no evaluation"),
        (("--report=r", "--of=evaluations/a,evaluations/a"), "'evaluations/a' is given twice"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: tuple[str, ...], said: str, folders: tuple[pathlib.Path, ...], tmp_path: pathlib.Path
):
    assert_refused(binaries.run(tmp_path, "evaluate", *arguments), said)
    assert not (tmp_path / "r").exists()
