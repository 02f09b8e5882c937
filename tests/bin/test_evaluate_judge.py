"""The part `judge` of the evaluate binary: grades that are kept, a key that isn't, judgements of others."""

import json
import pathlib

import pytest

from tests import binaries
from tests.binaries import assert_refused
from tests.evaluate.judge.server import ASSESSMENT, Answer, judging
from tinyjax.evaluate.judge.protocol import TEMPLATE

KEY = "sk-not-a-real-key-1234"
NAMES = {"grammar", "creativity", "consistency", "plot"}
TABLE = """\
id,story,assessment,grammar,creativity,consistency,score
0,A story.,Good.,8,7,6,C: 6-7.
1,Another "story".,Good.,6,5,4,C or D.
2,A third,Good.,80,5,4,B
"""


def run(folder: pathlib.Path, *flags: str):
    return binaries.run(folder, "evaluate", "--parts=judge", "--out=out", *flags)


def result(folder: pathlib.Path) -> dict:
    return json.loads((folder / "out" / "judge.json").read_text())


@pytest.mark.slow
def test_stories_are_told_and_graded_and_the_key_is_kept_nowhere(
    tiny_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    (tmp_path / "openings.yaml").write_text("- Lily saw\n- Tom\n- Ben was\n")
    model = [f"--checkpoint={tiny_run}", f"--openings={tmp_path}/openings.yaml", "--num_samples=2"]
    with judging() as judge:
        judge.answers.extend([Answer(KEY), Answer(status=429, error={"message": KEY})])
        flags = ["--judge=good", f"--base_url={judge.url}", "--key_env=JUDGE_KEY", "--max_calls=7"]
        out = f"--out={tmp_path}/out"
        first = binaries.finish(binaries.start("evaluate", "--parts=judge", out, *model, *flags))
        assert first.returncode == 0, first.stderr
        assert "stopped: the budget of 7 calls is used up; what was replied is kept" in first.stderr
        assert "no means below 95%" in first.stderr
        stopped = result(tmp_path)
        assert (stopped["asked"], stopped["means"]) == (6, None)
        assert len(judge.requests) == 7
        assert judge.requests[0].headers["Authorization"] == f"Bearer {KEY}"
        # This judge doesn't insist on a key.
        second = run(tmp_path, *model, "--judge=good", f"--base_url={judge.url}")
        assert second.returncode == 0, second.stderr
        assert judge.answered_twice == []
    found = result(tmp_path)
    assert (found["judge"], found["template"], found["stopped"]) == ("good", TEMPLATE, "")
    assert (found["asked"], found["graded"], found["coverage"]) == (6, 6, 1.0)
    assert found["means"].keys() == found["normalised"].keys() == NAMES
    assert found["means"]["grammar"]["count"] == 6
    assert sum(found["ages"].values()) == 6
    told = [json.loads(line) for line in (tmp_path / "out" / "stories.jsonl").read_text().splitlines()]
    assert {(row["prompt"], row["sample"], row["story"]) for row in found["grades"]} == {
        (record["prompt"], record["sample"], record["story"]) for record in told
    }
    assert ASSESSMENT in {row["assessment"] for row in found["grades"]}
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert all(KEY not in text for text in [*written, first.stdout, first.stderr])

    recorded = [*model, "--judgements=out/judgements.jsonl", "--second_judgements=other.jsonl"]
    lines = (tmp_path / "out" / "judgements.jsonl").read_text()
    (tmp_path / "other.jsonl").write_text(lines.replace('"judge": "good"', '"judge": "better"'))
    third = run(tmp_path, *recorded)
    assert third.returncode == 0, third.stderr
    again = result(tmp_path)
    agreement = again.pop("agreement")
    assert again == {name: value for name, value in found.items() if name != "agreement"}
    assert (agreement["judge"], agreement["pairs"]) == ("better", 6)
    assert agreement["by_grade"]["plot"]["pearson"] == pytest.approx(1)
    assert agreement["by_grade"]["plot"]["mean_difference"]["value"] == 0


@pytest.mark.slow
def test_a_table_is_summed_up_and_what_it_lost_is_told(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "table.csv").write_text(TABLE)
    ended = run(tmp_path, f"--checkpoint={tiny_run}", "--judgements=table.csv")
    assert ended.returncode == 0, ended.stderr
    found = result(tmp_path)
    assert (found["judge"], found["asked"], found["graded"], found["means"]) == ("table", 3, 2, None)
    assert found["unreadable"] == ["row 2 (line 4): '80' is not from 0 to 10"]
    assert "judge: can't be read: 1 judgements, row 2 (line 4)" in ended.stderr
    assert "judge: 2 of 3 stories graded by table; no means below 95%" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--judge is missing"),
        (["--judge=x", "--key_env=NO_SUCH_KEY"], "put it into the environment variable NO_SUCH_KEY"),
        (["--judge=x", "--base_url=http://127.0.0.1:9/v1", "--max_usd=1"], "give --usd_per_million_in"),
        (["--judge=x", "--base_url=127.0.0.1:9"], "--base_url=127.0.0.1:9 is no address"),
        (["--judgements=nowhere.csv"], "no such file"),
    ],
)
def test_mistakes_are_told_before_a_story_is(flags: list[str], said: str, tmp_path: pathlib.Path):
    assert_refused(run(tmp_path, "--checkpoint=nowhere", *flags), said)
