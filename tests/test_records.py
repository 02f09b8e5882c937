"""Files of records: gone on with after a stop, and nothing of the user's lost."""

import json
import pathlib

import pytest

from tinyjax.errors import UserError
from tinyjax.records import open_records

SETTINGS = {"seed": 7}


def open_here(path: pathlib.Path, settings=SETTINGS):
    return open_records(path, "a note", ("name",), settings)


def test_what_was_added_is_there_the_next_time(tmp_path: pathlib.Path):
    path = tmp_path / "new" / "notes.jsonl"
    with open_here(path) as records:
        assert ("a",) not in records
        records.add({"name": "a", "text": "süß"})
        assert json.loads(path.read_text()) == {"name": "a", "text": "süß", "seed": 7}
    with open_here(path) as records:
        assert records.get("a") == {"name": "a", "text": "süß", "seed": 7}


def test_a_line_that_was_cut_off_is_taken_off(tmp_path: pathlib.Path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"name": "a", "seed": 7}\n{"name": "b", "se')
    with open_here(path) as records:
        assert ("b",) not in records
        records.add({"name": "b"})
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("my notes\n", "line 1 of '.*' is not a note"),
        ('{"name": "a", "seed": 7}\n{"seed": 7}\n', "line 2 of '.*' is not a note"),
        ('{"name": "a", "seed": 8}\n', "made with seed 8, not 7; give another file"),
    ],
)
def test_something_else_is_refused_and_left_alone(tmp_path: pathlib.Path, text: str, said: str):
    path = tmp_path / "notes.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=said), open_here(path):
        pass
    assert path.read_text() == text


def test_what_is_none_stands_in_no_line_and_in_no_other_file(tmp_path: pathlib.Path):
    path = tmp_path / "notes.jsonl"
    with open_here(path, {"seed": 7, "dtype": None}) as records:
        records.add({"name": "a"})
    assert json.loads(path.read_text()) == {"name": "a", "seed": 7}
    with open_here(path, {"seed": 7, "dtype": None}) as records:
        assert ("a",) in records
    path.write_text('{"name": "a", "seed": 7, "dtype": "bfloat16"}\n')
    with (
        pytest.raises(UserError, match="made with dtype 'bfloat16', not None"),
        open_here(path, {"dtype": None}),
    ):
        pass
