"""The binary evaluate: results of each part, going on, and one line for each mistake."""

import json
import pathlib
import shutil
import signal
import time

import pytest

from tests import binaries
from tests.binaries import assert_refused, assert_same_stories, records, snapshot
from tinyjax.bin.evaluation.summary import summarise
from tinyjax.config import MeshConfig
from tinyjax.data.manifests import Prepared
from tinyjax.evaluate.breakdown import break_down, stories_of, story_losses
from tinyjax.model.parameters import count
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate

OPENINGS = ["Lily saw", "Tom was", "Ben saw 3"]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A working folder with openings."""
    (tmp_path / "openings.yaml").write_text(json.dumps(OPENINGS))
    return tmp_path


@pytest.fixture
def flags(tiny_run: pathlib.Path) -> list[str]:
    return [f"--checkpoint={tiny_run}", "--out=out", "--openings=openings.yaml", "--num_samples=2"]


def read(folder: pathlib.Path, name: str) -> dict:
    return json.loads((folder / "out" / f"{name}.json").read_text())


@pytest.mark.slow
def test_all_that_can_be_done_is_done(
    folder: pathlib.Path, flags: list[str], tiny_run: pathlib.Path, tiny_data: Prepared
):
    """What the model is of, its loss as the library has it, its stories as `sample` tells them, and these."""
    given = [f"--data={tiny_data.path}", "--quantize=int8", "--max_stories=5"]
    result = binaries.run(folder, "evaluate", *flags, *given, f"--perplexity_under={tiny_run}")
    assert result.returncode == 0, result.stderr
    model, what = load_model(tiny_run), read(folder, "evaluation")
    assert (what["name"], what["checkpoint"], what["step"]) == ("out", str(tiny_run), 200)
    assert what["parameters"]["total"] == count(model.config)["total"] > what["parameters"]["body"]
    assert what["model"]["d_model"] == model.config.d_model
    assert what["tokenizer"] == {"vocab_size": 320, "sha256": model.tokenizer.sha256}

    loss = read(folder, "loss")
    stories = list(stories_of(tiny_data, "validation", instructions=False))[:5]
    full = break_down(story_losses(model, stories, make_mesh(MeshConfig())))
    difference = loss["int8_difference"]
    assert loss["bits_per_byte"]["value"] - difference["value"] == pytest.approx(
        full["bits_per_byte"]["value"]
    )
    assert difference["low"] < difference["value"] < difference["high"]
    assert loss["set"] == {
        "name": tiny_data.path.name,
        "split": "validation",
        "fingerprint": tiny_data.fingerprint,
        "stories": 5,
        "bytes": sum(len(story.text.text.encode()) for story in stories),
    }
    assert (loss["parameters"], loss["quantize"]) == ("params", "int8")

    told = records(folder / "out" / "stories.jsonl")
    wanted = generate(model, OPENINGS, num_samples=2, options=Options(temperature=1.0))
    assert sorted(one["story"] for one in told) == sorted(s.prompt + s.text for s in wanted)
    quality = read(folder, "quality")
    assert quality["stories"] == 6
    assert quality["finished"]["value"] == pytest.approx(
        sum(s.finish == "end" and s.text.rstrip().endswith(".") for s in wanted) / 6
    )
    assert quality["unknown_words"]["count"] == 6
    assert quality["perplexity_under"]["checkpoint"] == str(tiny_run)
    assert quality["held_out"]["finished"]["value"] == 1
    for name, values in {"loss": loss, "quality": quality}.items():
        assert f"{name}: out/{name}.json (" in result.stdout
        assert "\n".join(summarise(values)) in result.stdout


@pytest.mark.slow
def test_an_evaluation_that_was_killed_goes_on(folder: pathlib.Path, flags: list[str]):
    """With the same stories and results in the end; each story is told once."""
    more = ("--parts=quality", "--num_samples=40")
    for name in ("whole", "killed"):
        (folder / name).mkdir()
        shutil.copy(folder / "openings.yaml", folder / name)
    ended = binaries.run(folder / "whole", "evaluate", *flags, *more)
    assert ended.returncode == 0, ended.stderr
    stories = folder / "killed" / "out" / "stories.jsonl"
    process = binaries.start(
        "evaluate",
        *flags,
        *more,
        f"--out={folder / 'killed' / 'out'}",
        f"--openings={folder / 'openings.yaml'}",
    )
    while not stories.exists() or len(stories.read_text().splitlines()) < 20:
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    binaries.finish(process)
    before = stories.read_bytes()
    whole_lines = before[: before.rfind(b"\n") + 1]
    again = binaries.run(folder / "killed", "evaluate", *flags, *more)
    assert again.returncode == 0, again.stderr
    assert stories.read_bytes().startswith(whole_lines)
    assert_same_stories(*(records(folder / name / "out" / "stories.jsonl") for name in ("killed", "whole")))
    assert read(folder / "killed", "quality") == read(folder / "whole", "quality")


@pytest.mark.slow
def test_a_folder_is_of_one_model_and_seed(
    folder: pathlib.Path, flags: list[str], tiny_run: pathlib.Path, tiny_data: Prepared
):
    """Whatever differs is refused before anything is told, and nothing is written."""
    given = [*flags, f"--data={tiny_data.path}", "--parts=loss", "--max_stories=3"]
    assert binaries.run(folder, "evaluate", *given).returncode == 0
    before = snapshot(folder / "out")
    copy = shutil.copytree(tiny_run, folder / "copy")
    for changed, said in {
        "--seed=1": "an evaluation of seed 0, not of seed 1; give another folder to --out",
        f"--checkpoint={copy}": f"of checkpoint {tiny_run}, not of checkpoint {copy}",
    }.items():
        assert_refused(binaries.run(folder, "evaluate", *given, changed), said)
    assert snapshot(folder / "out") == before
    assert binaries.run(folder, "evaluate", *given, f"--checkpoint={tiny_run}/").returncode == 0
    assert snapshot(folder / "out") == before
    (folder / "out" / "evaluation.json").write_text("{")
    assert_refused(binaries.run(folder, "evaluate", *given), "'out/evaluation.json' is damaged")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint="], "--checkpoint is missing"),
        (["--out="], "--out is missing"),
        (["--checkpoint=nowhere"], "no checkpoint at 'nowhere'"),
        (["--parts=loss"], "--data is missing; give the folder that prepare made"),
        (["--parts=loss", "--parts=quality"], "--data is missing"),
        (["--data=nowhere"], "no prepared stories at 'nowhere'"),
        (["--parts=beauty"], "beauty"),
        (["--quantize=int4"], "quantize"),
        (["--openings=prose.yaml", "--parts=quality"], "'prose.yaml' is not a list of texts"),
        (["--out=openings.yaml", "--parts=quality"], "a file stands where a folder is expected"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, folder: pathlib.Path, flags: list[str]):
    (folder / "prose.yaml").write_text("Once upon a time")
    result = binaries.run(folder, "evaluate", *flags, *arguments)
    assert_refused(result, said)
    assert result.stdout == ""


@pytest.mark.slow
def test_what_lacks_something_is_left_out_with_a_word(folder: pathlib.Path, flags: list[str]):
    result = binaries.run(folder, "evaluate", *flags, "--num_samples=1")
    assert result.returncode == 0, result.stderr
    assert "loss is left out: --data is missing" in result.stderr
    assert not (folder / "out" / "loss.json").exists()
    quality = read(folder, "quality")
    assert quality["unknown_words"] is quality["held_out"] is quality["perplexity_under"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 42)])
def test_being_stopped_says_that_it_goes_on(folder: pathlib.Path, flags: list[str], signum: int, code: int):
    process = binaries.start(
        "evaluate",
        *flags,
        "--num_samples=500",
        f"--out={folder / str(code)}",
        f"--openings={folder / 'openings.yaml'}",
    )
    stories = folder / str(code) / "stories.jsonl"
    while not stories.exists() or not stories.read_text():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signum)
    ended = binaries.finish(process)
    assert ended.returncode == code
    assert "the same command goes on" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_summary_has_a_line_for_each_figure_and_row():
    estimate = {"value": 0.5, "low": 0.25, "high": 0.75, "count": 9}
    lines = summarise(
        {
            "bits_per_byte": estimate,
            "of": {"name": "a\nb", "tokens": 12345},
            "by": [{"from": 0, "loss": estimate, "other": None}],
            "grades": [{}] * 100,
            "nothing": None,
            "few": 0.12345,
        }
    )
    assert lines == [
        "  bits_per_byte  0.5 (0.25 to 0.75)",
        "  of",
        "    name    a b",
        "    tokens  12,345",
        "  by",
        "    from 0, loss 0.5 (0.25 to 0.75)",
        "  grades         100 in the file",
        "  few            0.1235",
    ]
