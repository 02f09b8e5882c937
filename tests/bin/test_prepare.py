"""The prepare command: its summary, its errors (one message, exit code 2), and being killed."""

import dataclasses
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, make_stories
from tinyjax.data.manifests import PREPARED, Prepared, load_prepared
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.stories.clean import RULES

pytestmark = pytest.mark.slow


def check_fails(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Checks for exit code 2 and one message, which holds `parts`."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    *progress, message = result.stderr.splitlines()
    assert all(line.endswith(" ...") for line in progress)
    assert message.startswith("error: ")
    for part in parts:
        assert part in message


def files_in(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_summary_and_second_call(run_binary, stories_file, tmp_path):
    arguments = (f"--source={stories_file}", f"--data_dir={tmp_path / 'data'}")
    result = run_binary("prepare", *arguments)
    assert result.returncode == 0, result.stderr
    assert "stories separated by <|endoftext|>" in result.stdout
    assert "195 train" in result.stdout
    assert "5 validation" in result.stdout
    assert f"--config.data.path={tmp_path / 'data'}" in result.stdout.splitlines()[-1]
    assert result.stderr.splitlines() == [
        "checking the source ...",
        "reading stories ...",
        "training the tokenizer ...",
        "packing train windows ...",
        "packing validation windows ...",
    ]
    again = run_binary("prepare", *arguments)
    assert "all of it was there" in again.stdout
    assert again.stderr == "checking the source ...\n"


def test_embedded_stories(run_binary, tmp_path):
    result = run_binary("prepare", "--source=world:50:3", f"--data_dir={tmp_path / 'data'}")
    assert result.returncode == 0, result.stderr
    assert "50 embedded stories (seed 3)" in result.stdout


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("a.txt", b"", ["a.txt' is empty"]),
        ("a.txt", b"Once upon a time.", ["found 1 different story", "<|endoftext|>"]),
        ("a.txt", b"\x7fELF\0\0", ["a.txt' is a binary file"]),
        ("a.txt", b"One.\n\nDon\x92t.", ["offset 9 (line 3)", "--encoding=cp1252"]),
        ("a.jsonl", b'{"text": "x"}\n{"tale": "y"}', ["line 2", "tale", "--text_key"]),
    ],
)
def test_bad_sources(run_binary, tmp_path, name, data, parts):
    (tmp_path / name).write_bytes(data)
    arguments = (f"--source={tmp_path / name}", f"--data_dir={tmp_path / 'data'}")
    check_fails(run_binary("prepare", *arguments), *parts)
    assert files_in(tmp_path / "data") == []


def test_the_mend_of_an_encoding_works(run_binary, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"One.\n\nDon\x92t.")
    arguments = (f"--source={tmp_path / 'a.txt'}", f"--data_dir={tmp_path / 'data'}")
    assert run_binary("prepare", *arguments, "--encoding=cp1252").returncode == 0


def test_missing_flags(run_binary, stories_file):
    check_fails(run_binary("prepare"), "--source is missing")
    check_fails(run_binary("prepare", f"--source={stories_file}"), "--data_dir is missing")


def test_a_folder_of_another_source_is_left_alone(run_binary, prepared, tmp_path):
    (tmp_path / "a.txt").write_text("One.\n\nTwo.")
    before = {path: path.read_bytes() for path in files_in(pathlib.Path(prepared.path))}
    arguments = (f"--source={tmp_path / 'a.txt'}", f"--data_dir={prepared.path}")
    check_fails(run_binary("prepare", *arguments), "name another folder with --data_dir")
    assert {path: path.read_bytes() for path in files_in(pathlib.Path(prepared.path))} == before


def test_no_room_for_the_files(run_binary, tmp_path):
    """As on a full disk, a write fails in the middle; here at a limit on the size of files."""
    (tmp_path / "a.txt").write_text("\n\n".join(make_stories(3000)), encoding="utf-8")
    arguments = (f"--source={tmp_path / 'a.txt'}", f"--data_dir={tmp_path / 'data'}")
    limit = (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    result = run_binary(
        "prepare", *arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    check_fails(result, "tinyjax_stories", "a file may not grow any more")
    assert files_in(tmp_path / "data") == []
    assert run_binary("prepare", *arguments).returncode == 0


def test_no_permission(run_binary, stories_file, tmp_path):
    folder = tmp_path
    if os.geteuid() == 0:  # whom no mode stops; nobody makes folders in /sys
        folder = pathlib.Path("/sys")
    folder.chmod(0o555)
    result = run_binary("prepare", f"--source={stories_file}", f"--data_dir={folder / 'data'}")
    check_fails(result, "permi", "choose a folder you may write to")


def start_and_wait_for(line: str, *arguments: str, **options) -> subprocess.Popen[str]:
    """Starts prepare and returns when it has printed `line`."""
    command = [sys.executable, "-m", "tinyjax.bin.prepare", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)
    assert process.stderr is not None
    for printed in process.stderr:
        if printed.startswith(line):
            return process
    raise AssertionError(f"prepare ended before it printed '{line}'")


@pytest.fixture(scope="module")
def large_file(tmp_path_factory) -> pathlib.Path:
    """Stories that take seconds to prepare."""
    path = tmp_path_factory.mktemp("large") / "a.txt"
    path.write_text("\n\n".join(make_stories(8000)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(large_file, tmp_path_factory) -> Prepared:
    """What comes of them when nobody interrupts."""
    return prepare(str(large_file), tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("stage", ["reading stories", "training the tokenizer", "packing train"])
def test_killed_and_run_again(run_binary, large_file, undisturbed, tmp_path, stage):
    arguments = (f"--source={large_file}", f"--data_dir={tmp_path / 'data'}")
    process = start_and_wait_for(stage, *arguments)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "data" / PREPARED).exists()
    result = run_binary("prepare", *arguments)
    assert result.returncode == 0, result.stderr
    assert ("stories reused" in result.stdout) == (stage != "reading stories")
    assert not list((tmp_path / "data").rglob(".partial*"))
    assert load_prepared(tmp_path / "data").manifest == undisturbed.manifest


def test_control_c(large_file, tmp_path):
    process = start_and_wait_for("packing", f"--source={large_file}", f"--data_dir={tmp_path / 'data'}")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert not list((tmp_path / "data").rglob(".partial*"))


def test_control_c_in_a_terminal_reaches_the_workers_too(tmp_path):
    """They end in silence, while they start and while they work, and nothing is left."""
    (tmp_path / "a.txt").write_text("\n\n".join(make_stories(2000)) * 180, encoding="utf-8")
    arguments = (f"--source={tmp_path / 'a.txt'}", f"--data_dir={tmp_path / 'data'}")
    for pause in (0.2, 2):
        process = start_and_wait_for("reading", *arguments, start_new_session=True)
        time.sleep(pause)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 130
        assert stderr == "\ninterrupted; the same command goes on from there\n"
        assert files_in(tmp_path / "data") == []


def test_instructions_bands_and_an_audit(run_binary, shared_data, tmp_path):
    source = shared_data / "tinystories" / "instruct-derived-sample.txt"
    arguments = (f"--source={source}", f"--data_dir={tmp_path / 'data'}", "--instruct", "--bands=2")
    result = run_binary(
        "prepare",
        *arguments,
        "--clean=default",
        "--report_vocab=512,600",
        "--audit",
        "--hold_out=words+summary",
    )
    assert result.returncode == 0, result.stderr
    assert "stories with instructions, separated by <|endoftext|>" in result.stdout
    assert "mended" in result.stdout
    assert "tokens/story" in result.stdout
    card = json.loads((tmp_path / "data" / "audit.json").read_text())
    assert card["verdict"] in result.stdout
    assert (tmp_path / "data" / "audit.html").read_text().startswith("<!")


def test_two_at_once_into_one_folder(large_file, stories_file, run_binary, undisturbed, tmp_path):
    """The second waits for the first, then finds what it made, or that it is of another source."""
    arguments = (f"--source={large_file}", f"--data_dir={tmp_path / 'data'}")
    first = start_and_wait_for("reading", *arguments)
    second = start_and_wait_for("waiting for another process", *arguments)
    other = run_binary("prepare", f"--source={stories_file}", f"--data_dir={tmp_path / 'data'}")
    assert (first.wait(60), second.wait(60)) == (0, 0)
    check_fails(other, "holds stories prepared from")
    assert load_prepared(tmp_path / "data").manifest == undisturbed.manifest


def test_a_reader_that_goes_away_is_no_bug():
    """As with `| head -1`."""
    command = [sys.executable, "-u", "-m", "tinyjax.bin.prepare", "--list_rules"]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert process.returncode == 141
    assert process.stderr == ""


def test_rules_are_listed(run_binary):
    result = run_binary("prepare", "--list_rules")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(RULES)


def test_help_tells_every_flag(run_binary):
    text = run_binary("prepare", "--helpfull").stdout
    options = [field.name for field in dataclasses.fields(Options)]
    for flag in ("source", "data_dir", "audit", "report_vocab", *options):
        assert f"{flag}:" in text
    assert text.startswith("Makes a data set that `train` reads")
