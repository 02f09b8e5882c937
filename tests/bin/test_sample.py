"""The sample binary: stories from a checkpoint alone, and one line for each mistake."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

from tests import binaries
from tests.binaries import assert_refused, records, snapshot
from tinyjax.sample.model import load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate


@pytest.fixture
def checkpoint(tiny_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the newest step, where nothing else is."""
    return pathlib.Path(shutil.copytree(tiny_run / "checkpoints" / "200", tmp_path / "copied" / "200"))


def test_it_prints_what_the_library_tells(checkpoint: pathlib.Path, tmp_path: pathlib.Path):
    before = snapshot(checkpoint)
    flags = [
        "--num_samples=2",
        "--seed=5",
        "--temperature=0.9",
        "--top_k=50",
        "--top_p=0.9",
        "--max_tokens=9",
    ]
    result = binaries.run(
        tmp_path, "sample", f"--checkpoint={checkpoint}", "--prompt=Lily", "--prompt=Tom saw", *flags
    )
    assert result.returncode == 0, result.stderr
    stories = generate(
        load_model(checkpoint),
        ["Lily", "Tom saw"],
        num_samples=2,
        seed=5,
        options=Options(temperature=0.9, top_k=50, top_p=0.9, max_tokens=9),
    )
    wanted = "".join(
        f"--- story {i} of 4\n{s.prompt}{s.text}{'' if s.finish == 'end' else ' [...]'}\n"
        for i, s in enumerate(stories, 1)
    )
    assert result.stdout == wanted
    assert snapshot(checkpoint) == before


@pytest.mark.slow
def test_a_model_trained_on_instructions_takes_them(tmp_path: pathlib.Path):
    """From stories with their records to a story that was asked for, by the binaries alone."""
    for name, arguments in {
        "prepare": ("--source=world:60", "--data_dir=data", "--instruct", "--context_length=64"),
        "train": (
            binaries.CONFIG,
            "--config.data.path=data",
            "--config.data.loss=story",
            "--config.train.num_steps=10",
            "--run_dir=run",
        ),
    }.items():
        ended = binaries.run(tmp_path, name, *arguments)
        assert ended.returncode == 0, ended.stderr
    asked = ("--words=run,red", "--features=Dialogue", "--max_tokens=5", "--tries=1")
    result = binaries.run(tmp_path, "sample", "--checkpoint=run", *asked)
    assert result.returncode == 0, result.stderr
    assert warnings(result) == ["warning: in 1 tries, no story used run, red"]
    assert "Words:" not in result.stdout
    (story,) = generate(
        load_model(tmp_path / "run"),
        ["Words: run, red\nFeatures: Dialogue\nStory: \n\n"],
        options=Options(max_tokens=5),
    )
    assert result.stdout.startswith(story.text)


@pytest.mark.slow
def test_from_nothing_a_story_alone_on_standard_output(checkpoint: pathlib.Path):
    result = binaries.finish(binaries.start("sample", f"--checkpoint={checkpoint}", "--temperature=0"))
    assert result.returncode == 0, result.stderr
    (story,) = generate(load_model(checkpoint), [""], options=Options(temperature=0.0))
    assert result.stdout == f"{story.text}\n"


def warnings(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("warning: ")]


INSTRUCTED = [
    "--checkpoint=copied/200",
    "--summary=Lily sees\n a boat.",
    "--features=Twist",
    "--words=boat, kite",
    "--temperature=0",
    "--max_tokens=5",
    "--tries=1",
]


def test_instructions_come_before_the_story_and_are_not_printed(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path
):
    meta = checkpoint / "meta" / "metadata"
    meta.write_text(meta.read_text().replace('"instruct": false', '"instruct": true'))
    result = binaries.run(tmp_path, "sample", *INSTRUCTED, "--prompt=Lily saw", "--prompt=")
    assert result.returncode == 0, result.stderr
    instructions = "Words: boat, kite\nFeatures: Twist\nSummary: Lily sees a boat.\nStory: \n\n"
    stories = generate(
        load_model(checkpoint),
        [f"{instructions}Lily saw", instructions],
        options=Options(temperature=0.0, max_tokens=5),
    )
    endings = ["" if story.finish == "end" else " [...]" for story in stories]
    assert result.stdout == (
        f"--- story 1 of 2\nLily saw{stories[0].text}{endings[0]}\n"
        f"--- story 2 of 2\n{stories[1].text}{endings[1]}\n"
    )
    assert all("in 1 tries, no story used" in line for line in warnings(result))


def test_a_model_that_knows_no_instructions_and_features_that_nobody_knows(
    checkpoint, tmp_path: pathlib.Path
):
    """Each is a line of warning, and the story is told."""
    result = binaries.run(
        tmp_path, "sample", *INSTRUCTED, "--features=Twist,Dialog", "--summary=", "--words="
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
    feature, model, *_ = warnings(result)
    assert "may not know 'Dialog' (did you mean 'Dialogue'?); known are Dialogue, Twist, BadEnding" in feature
    assert "wasn't trained on instructions" in model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--checkpoint is missing"),
        (["--checkpoint=nowhere"], "no checkpoint at 'nowhere': no such folder"),
        (["--checkpoint=."], "no complete checkpoint in '.'"),
        (["--checkpoint=file"], "'file'"),
        (["--checkpoint=copied/200", "--temperature=-1"], "--temperature is -1.0"),
        (["--checkpoint=copied/200", "--top_p=0"], "--top_p is 0.0"),
        (["--checkpoint=copied/200", "--num_samples=0"], "num_samples"),
        (["--checkpoint=copied/200", "--max_tokens=many"], "max_tokens"),
        (["--checkpoint=copied/200", "--seed=4294967296"], "seed"),
        (
            ["--checkpoint=copied/200", f"--prompt={'Lily saw a boat. ' * 20}"],
            "the model's context is 64; shorten it",
        ),
        (["--chekpoint=copied"], "Did you mean: checkpoint"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, checkpoint, tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("mine")
    assert_refused(binaries.run(tmp_path, "sample", *arguments), said)


def test_a_damaged_checkpoint_is_one_line(checkpoint: pathlib.Path, tmp_path: pathlib.Path):
    for file in (checkpoint / "params").glob("**/d/*"):
        file.write_bytes(file.read_bytes()[:1000])
    before = snapshot(checkpoint)
    assert_refused(binaries.run(tmp_path, "sample", "--checkpoint=copied"), "can't be read", "copy it again")
    assert snapshot(checkpoint) == before


@pytest.mark.slow
def test_a_draft_changes_no_greedy_story_and_tells_how_often_it_was_right(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path
):
    """One as it comes, several into a file, which goes on only with the same draft."""
    flags = (f"--checkpoint={checkpoint}", f"--draft={checkpoint}", "--temperature=0", "--max_tokens=9")
    streamed = binaries.run(tmp_path, "sample", *flags, "--prompt=Lily")
    assert streamed.returncode == 0, streamed.stderr
    options = Options(temperature=0.0, max_tokens=9)
    lily, tom = generate(load_model(checkpoint), ["Lily", "Tom"], options=options)
    assert streamed.stdout == f"Lily{lily.text} [...]\n"
    assert "100.0% of the 8 tokens that the draft proposed were accepted" in streamed.stderr
    output = ("--prompt=Lily", "--prompt=Tom", "--output=stories.jsonl")
    written = binaries.run(tmp_path, "sample", *flags, *output, "--draft_tokens=2")
    assert written.returncode == 0, written.stderr
    assert {line["story"] for line in records(tmp_path / "stories.jsonl")} == {
        story.prompt + story.text for story in (lily, tom)
    }
    assert "3.00 tokens for each step of the model" in written.stderr
    assert_refused(binaries.run(tmp_path, "sample", *flags, *output), "draft_tokens 2, not 4")


OPENINGS = ["Lily saw", "Tom was", "Ben", "Lily and Tom"]


@pytest.mark.slow
def test_an_interrupted_file_of_stories_goes_on(checkpoint: pathlib.Path, tmp_path: pathlib.Path):
    """Killed at some moment, with a line cut off: the same command ends with the same stories, each once."""
    (tmp_path / "openings.txt").write_text("\n".join(OPENINGS))
    arguments = (f"--checkpoint={checkpoint}", f"--prompts={tmp_path / 'openings.txt'}", "--num_samples=30")
    whole, file = tmp_path / "whole.jsonl", tmp_path / "stories.jsonl"
    ended = binaries.run(tmp_path, "sample", *arguments, f"--output={whole}")
    assert ended.returncode == 0, ended.stderr
    assert "120 stories" in ended.stderr
    again = (*arguments, f"--output={file}", "--slots=8")
    process = binaries.start("sample", *again)
    while not file.exists() or len(file.read_text().splitlines()) < 20:
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.wait()
    with file.open("a") as opened:
        opened.write('{"prompt": "Ben", "sto')
    assert 20 <= file.read_text().count("\n") < 120
    result = binaries.finish(binaries.start("sample", *again))
    assert result.returncode == 0, result.stderr
    assert "stories.jsonl has " in result.stderr
    keyed = [{(line["prompt"], line["sample"]): line["story"] for line in records(f)} for f in (whole, file)]
    assert len(records(file)) == 120
    assert keyed[0] == keyed[1]
    assert all(line["logprob"] < 0 and line["step"] == 200 for line in records(file))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("my notes\n", "line 1 of 'mine' is not a story that was told"),
        ('{"prompt": "a", "sample": 0, "seed": 7}\n', "line 1 of 'mine' was made with"),
    ],
)
def test_a_file_of_other_things_is_left_alone(content: str, said: str, checkpoint, tmp_path: pathlib.Path):
    (tmp_path / "mine").write_text(content)
    result = binaries.run(tmp_path, "sample", f"--checkpoint={checkpoint}", "--output=mine")
    assert_refused(result, said, "give another file, or move it away")
    assert (tmp_path / "mine").read_text() == content


def test_prompts_come_from_a_file_too(checkpoint: pathlib.Path, tmp_path: pathlib.Path):
    lines = [json.dumps({"prompt": "Lily\nsaw"}), "", json.dumps({"prompt": "Tom"})]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    flags = ("--temperature=0", "--max_tokens=4", f"--checkpoint={checkpoint}")
    result = binaries.run(tmp_path, "sample", "--prompts=some.jsonl", *flags)
    options = Options(temperature=0.0, max_tokens=4)
    stories = generate(load_model(checkpoint), ["Lily\nsaw", "Tom"], options=options)
    for story in stories:
        assert story.prompt + story.text in result.stdout
    (tmp_path / "some.jsonl").write_text("[1]")
    assert_refused(binaries.run(tmp_path, "sample", "--prompts=some.jsonl", *flags), "a field prompt")
    (tmp_path / "none.txt").write_text("\n")
    assert_refused(binaries.run(tmp_path, "sample", "--prompts=none.txt", *flags), "no prompt in 'none.txt'")


@pytest.mark.slow
def test_a_conversation(checkpoint: pathlib.Path):
    """In a real terminal: beginnings over two lines, again, commands and mistakes."""
    typed = ["Lily \\", "saw", "/again", "/seed x", "/temperature 0", "Tom", "/continue", "/what", "/quit"]
    command = [sys.executable, "-m", "tinyjax.bin.sample", f"--checkpoint={checkpoint}", "--interactive"]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=binaries.ROOT)
    os.close(slave)
    shown = ""
    for line in typed:
        shown += until_prompted(master)
        os.write(master, f"{line}\n".encode())
    assert process.wait(60) == 0
    os.close(master)
    (greedy,) = generate(load_model(checkpoint), ["Tom"], options=Options(temperature=0.0))
    assert greedy.text.strip()[:40] in shown.replace("\r", "")
    assert shown.count("Lily") >= 3
    assert "error: 'x' is not a number" in shown
    assert shown.count("/continue         go on") == 2  # at the start, and after a command that there isn't


def until_prompted(terminal: int) -> str:
    shown = ""
    while not re.search(r"(^|\n)(> |\. )$", shown):
        ready, _, _ = select.select([terminal], [], [], 120)
        assert ready, shown
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
