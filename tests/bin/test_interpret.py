"""The interpret binary: from a run to its report, and one line for each mistake."""

import json
import pathlib

import pytest

from tests import binaries
from tests.binaries import assert_refused
from tests.interpret.report.findings import make
from tests.tiny import little_stories
from tinyjax.data.manifests import Prepared


@pytest.mark.slow
def test_a_run_gets_its_report(tiny_run: pathlib.Path, tiny_data: Prepared, tmp_path: pathlib.Path):
    (tmp_path / "other.json").write_text(json.dumps(make("other")))
    result = binaries.run(
        tmp_path, "interpret", f"--checkpoint={tiny_run}", f"--data={tiny_data.path}", "--out=report",
        "--story=Lily saw a <script>.", "--compare=other.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == "report: report/report.html\n"
    assert "heads, over 150 tokens" in result.stderr
    written = json.loads((tmp_path / "report/report.json").read_text())
    page = (tmp_path / "report/report.html").read_text()
    assert written["about"]["name"] == "tiny_run"
    assert written["corpus"]["source"] == "tiny_data, validation"
    assert "".join(written["stories"][0]["tokens"][1:]) == "Lily saw a <script>."
    assert "<title>Inside tiny_run</title>" in page
    assert '<section id="models">' in page
    assert len(page) < 10_000_000


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--out=r", "--stories=s.txt"), "--checkpoint is missing"),
        (("--checkpoint=c", "--stories=s.txt"), "--out is missing"),
        (("--checkpoint=c", "--out=r"), "give --data=FOLDER or --stories=FILE"),
        (("--checkpoint=c", "--out=r", "--stories=s.txt", "--data=d"), "missing or named twice"),
        (("--checkpoint=c", "--out=r", "--stories=s.txt", "--story= "), "--story is empty"),
        (("--checkpoint=c", "--out=r", "--stories=s.txt", *["--story=x"] * 9), "the page has room for 8"),
        (("--checkpoint=c", "--out=r", "--data=d"), "'d'"),
        (("--checkpoint=c", "--out=r", "--stories=s.txt", "--compare=x.json"), "there is no report 'x.json'"),
        (("--checkpoint=c", "--out=r", "--data=d", "--features=0", "--transcoder=0"), "are both given"),
    ],
)
def test_mistakes_are_told_in_a_line(flags: tuple[str, ...], said: str, tmp_path: pathlib.Path):
    (tmp_path / "s.txt").write_text("\n<|endoftext|>\n".join(little_stories(3)))
    assert_refused(binaries.run(tmp_path, "interpret", *flags), said)
    assert not (tmp_path / "r").exists()


def test_a_file_or_a_block_that_is_not_there(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "s.txt").write_text("Lily saw a boat.")
    known = (f"--checkpoint={tiny_run}", "--out=r")
    assert_refused(binaries.run(tmp_path, "interpret", *known, "--stories=gone.txt"), "gone.txt")
    wrong = (*known, "--stories=s.txt", "--features=2")
    assert_refused(binaries.run(tmp_path, "interpret", *wrong), "there is no block 2")
    assert not (tmp_path / "r").exists()
