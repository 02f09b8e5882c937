"""Files of records on gs://: what is in the bucket, what a kill leaves, and who is right then."""

import json
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from etils import epath

from tests.gcs import BUCKET, Gcs
from tinyjax import growing
from tinyjax.cache import cache_folder
from tinyjax.errors import UserError
from tinyjax.records import open_records

# What a failed upload leaves behind is collected later, and pytest would tell of it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS = {"seed": 7}

ADDING = """
import sys, time
from tests.test_growing import open_here
with open_here(sys.argv[1]) as records:
    for name in sys.argv[2:]:
        records.add({"name": name})
    print("added", flush=True)
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))


@pytest.fixture
def path(bucket: str) -> str:
    return f"{bucket}/notes.jsonl"


@pytest.fixture
def adding(path: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has added two records, and holds the file open."""
    command = [sys.executable, "-c", ADDING, path, "a", "b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "added\n"
        yield process
        process.kill()


def open_here(path: str):
    return open_records(path, "a note", ("name",), SETTINGS)


def add(path: str, *names: str, **fields: str) -> None:
    with open_here(path) as records:
        for name in names:
            records.add({"name": name, **fields})


def lines(path: str) -> list[dict]:
    return [json.loads(line) for line in epath.Path(path).read_text().splitlines()]


def names(path: str) -> list[str]:
    return [line["name"] for line in lines(path)]


def kill_after(path: str, *added: str, **fields: str) -> None:
    """Adds records, and leaves object and cache as they would be if all had ended then."""
    with open_here(path) as records:
        before = epath.Path(path).read_bytes()
        for name in added:
            records.add({"name": name, **fields})
        (file,) = cache_folder("records").iterdir()
        kept = file.read_bytes()
    epath.Path(path).write_bytes(before)
    file.write_bytes(kept)


def test_what_was_added_is_there_the_next_time(path: str):
    add(path, "a")
    assert lines(path) == [{"name": "a", "seed": 7}]
    with open_here(path) as records:
        assert records.get("a") == {"name": "a", "seed": 7}
        records.add({"name": "b"})
    assert names(path) == ["a", "b"]
    assert not any(file.stat().length for file in cache_folder("records").iterdir())


def test_a_record_is_in_the_bucket_soon_though_none_comes_after_it(path: str, monkeypatch):
    monkeypatch.setattr(growing, "SECONDS", 0.05)
    with open_here(path) as records:
        records.add({"name": "a"})
        deadline = time.monotonic() + 10
        while names(path) != ["a"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_it_is_there_when_the_work_ends_by_an_error(path: str, error: type[BaseException]):
    def work() -> None:
        with open_here(path) as records:
            records.add({"name": "a"})
            raise error

    with pytest.raises(error):
        work()
    assert names(path) == ["a"]


@pytest.mark.slow
def test_what_a_killed_process_had_added_is_taken_up(path: str, adding: subprocess.Popen[str]):
    assert names(path) == []
    with pytest.raises(UserError, match=f"another process on this machine adds to '{path}'"):
        add(path)
    adding.send_signal(signal.SIGKILL)
    adding.wait()
    with open_here(path) as records:
        assert ("a",) in records
        assert ("b",) in records
        assert names(path) == ["a", "b"]
        records.add({"name": "c"})
    assert names(path) == ["a", "b", "c"]


def test_the_newest_record_with_a_key_is_taken_up(path: str):
    add(path, "a", told="once")
    kill_after(path, "a", told="twice")
    with open_here(path) as records:
        assert records.get("a") == {"name": "a", "told": "twice", "seed": 7}


def test_what_another_machine_said_meanwhile_counts(path: str, tmp_path: pathlib.Path, monkeypatch):
    kill_after(path, "a", "b", told="here")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
        add(path, "b", told="there")
    with open_here(path) as records:
        assert records.get("a") == {"name": "a", "told": "here", "seed": 7}
        assert records.get("b") == {"name": "b", "told": "there", "seed": 7}
    assert names(path) == ["b", "a"]


def test_a_kill_just_after_the_object_was_written_doubles_nothing(path: str):
    kill_after(path, "a")
    (file,) = cache_folder("records").iterdir()
    kept = file.read_bytes()
    add(path)
    file.write_bytes(kept)
    add(path, "b")
    assert names(path) == ["a", "b"]


def test_a_file_that_was_removed_begins_anew(path: str):
    kill_after(path, "a")
    epath.Path(path).unlink()
    add(path, "b")
    assert names(path) == ["b"]


def test_records_of_two_machines_at_once_both_stay(path: str, tmp_path: pathlib.Path, monkeypatch):
    with open_here(path) as records:
        list(epath.Path(path).parent.iterdir())  # which the client library would remember
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
            add(path, "there")
        records.add({"name": "here"})
    assert names(path) == ["there", "here"]


def test_what_stands_there_by_other_means_is_seen(path: str, gcs: Gcs):
    """An earlier look into the folder must not count."""
    add(path, "a")
    list(epath.Path(path).parent.iterdir())
    url = f"{gcs.environment['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name="
    longer = epath.Path(path).read_bytes() + b'{"name": "b", "seed": 7}\n'
    urllib.request.urlopen(url + path.removeprefix(f"gs://{BUCKET}/"), longer).close()
    with open_here(path) as records:
        assert ("b",) in records


def test_a_bucket_that_refuses_loses_nothing(path: str, gcs: Gcs):
    refused = r"no permission .* 2 lines that '.*' lacks are kept in '.*here.*', and the same command goes on"
    add(path)
    with gcs.forbidding(f"^write .*{epath.Path(path).name}"), pytest.raises(UserError, match=refused):
        add(path, "a", "b")
    add(path, "c")
    assert names(path) == ["a", "b", "c"]


def test_an_object_that_may_not_be_read_is_not_taken_for_none(path: str, gcs: Gcs):
    add(path, "a")
    for what in ("", f".*{epath.Path(path).name}"):
        with gcs.forbidding(f"^read {what}"), pytest.raises(UserError, match="no permission"):
            add(path, "b")
    assert names(path) == ["a"]


@pytest.mark.parametrize("text", ['{"name": "a", "seed": 8}\n', "my notes\n"])
def test_something_else_is_refused_and_left_alone(path: str, text: str):
    epath.Path(path).write_text(text)
    with pytest.raises(UserError, match=f"line 1 of '{path}' "), open_here(path):
        pass
    assert epath.Path(path).read_text() == text
