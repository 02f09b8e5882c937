"""Stories are read from every layout, streaming, and what can't be read is said with its mend."""

import codecs
import csv
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet
import pytest

from tinyjax import textio
from tinyjax.errors import UserError
from tinyjax.textio import decoding, files

STORIES = ["One  day,\n\nTom “ran”.", "Anna sang: <s> ▁.", "The end? No…"]


def texts(path, **options) -> list[str]:
    return [record.text for record in textio.read(path, **options)]


def error(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        list(textio.read(path, **options))
    return str(caught.value)


def written(folder, name: str, data: bytes | str):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_endoftext_separates_and_blank_lines_stay(tmp_path):
    path = written(tmp_path, "a.txt", "\n<|endoftext|>\n".join(STORIES) + "\n<|endoftext|>\n")
    assert texts(path) == STORIES
    assert textio.find(path).describe() == "'a.txt', stories separated by <|endoftext|>"


@pytest.mark.parametrize("separator", ["\n\n", "\n \t\n\n", "\r\n\r\n"])
def test_blank_lines_separate_where_endoftext_never_occurs(tmp_path, separator):
    path = written(tmp_path, "a.txt", separator.join(["One.\nTwo.", "Three.", "Four."]))
    assert texts(path) == ["One.\nTwo.", "Three.", "Four."]
    assert "blank lines" in textio.find(path).describe()


def test_a_late_endoftext_decides_for_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 7)
    path = written(tmp_path, "a.txt", "One.\n\nTwo.\n" * 50 + "<|endoftext|>Three.")
    assert len(texts(path)) == 2


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_block_borders_change_nothing(tmp_path, monkeypatch, block):
    monkeypatch.setattr(decoding, "BLOCK", block)
    path = written(tmp_path, "a.txt", "<|endoftext|>".join(STORIES))
    blank = written(tmp_path, "b.txt", "Öne.\r\n\r\n\r\nTwö.\n \nThree.")
    lines = "".join(json.dumps({"text": s}, ensure_ascii=False) + "\n" for s in STORIES)
    assert texts(path) == STORIES
    assert texts(blank) == ["Öne.", "Twö.", "Three."]
    assert texts(written(tmp_path, "c.jsonl", lines)) == STORIES


def test_byte_order_mark_is_no_text(tmp_path):
    assert texts(written(tmp_path, "a.txt", codecs.BOM_UTF8 + b"One.\n\nTwo.")) == ["One.", "Two."]


def test_stories_are_stripped_and_empty_ones_can_be_counted(tmp_path):
    path = written(tmp_path, "a.txt", " One. \n<|endoftext|> \n<|endoftext|>\tTwo.<|endoftext|>\n")
    assert texts(path) == ["One.", "Two."]
    assert texts(path, keep_empty=True) == ["One.", "", "Two."]


def test_jsonl_keeps_what_is_known_of_a_story(tmp_path):
    row = {
        "story": " Tom ran. ",
        "words": ["run", "red"],
        "features": "Dialogue, Twist",
        "summary": "Tom runs.",
        "source": "GPT-4",
        "facts": [["Who ran?", "Tom"], {"question": "How?", "answer": "Fast"}],
        "other": 1,
    }
    path = written(tmp_path, "a.jsonl", json.dumps(row) + "\n\n" + '{"text": "Line sep"}')
    assert list(textio.read(path)) == [
        textio.Record(
            "Tom ran.",
            ("run", "red"),
            ("Dialogue", "Twist"),
            "Tom runs.",
            "GPT-4",
            (("Who ran?", "Tom"), ("How?", "Fast")),
        ),
        textio.Record("Line sep"),
    ]


def test_csv_with_quotes_newlines_and_commas(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "story"], *enumerate([*STORIES, 'He said, "Hi."'])])
    assert texts(path) == [*STORIES, 'He said, "Hi."']


def test_parquet(tmp_path):
    table = pa.table({"tale": STORIES, "words": [["a"], [], None]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    records = list(textio.read(tmp_path / "a.parquet", key="tale"))
    assert [record.text for record in records] == STORIES
    assert [record.words for record in records] == [("a",), (), ()]


def test_json_list_of_the_all_data_release(tmp_path, monkeypatch):
    rows = [
        {
            "story": f"\n\n{story}",
            "instruction": {"prompt:": "Tell.", "words": ["a", "b"], "features": ["Dialogue"]},
            "summary": " Short. ",
            "source": "GPT-4",
        }
        for story in STORIES
    ]
    path = written(tmp_path, "a.json", json.dumps(rows, indent=1))
    wanted = [textio.Record(s, ("a", "b"), ("Dialogue",), "Short.", "GPT-4") for s in STORIES]
    assert list(textio.read(path)) == wanted
    monkeypatch.setattr(decoding, "BLOCK", 3)
    assert list(textio.read(path)) == wanted


@pytest.mark.parametrize("name", ["instruct-sample.txt", "instruct-derived-sample.txt"])
def test_published_instructions_are_read_back(shared_data, name):
    path = shared_data / "tinystories" / name
    assert textio.find(path).describe().endswith("stories with instructions, separated by <|endoftext|>")
    records = list(textio.read(path))
    pieces = [piece for piece in path.read_text().split("<|endoftext|>") if piece.strip()]
    assert len(records) == len(pieces)
    for record, piece in zip(records, pieces, strict=True):
        assert piece.rstrip().endswith(record.text)
        assert record.given
        assert all(getattr(record, kind) for kind in record.given)
        assert all(word in piece for word in record.words)


class TestParts:
    """A file cut in parts gives the same stories, in the same order, wherever it is cut."""

    @pytest.mark.parametrize("size", [1, 7, 40, 1000, 1 << 20])
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.txt", "\n<|endoftext|>\n".join(f"Story {i} of Zoë.\n\nThe end." for i in range(30))),
            ("b.txt", "\r\n \r\n\n".join(f"Story {i}.\r\nEnd." for i in range(30))),
            ("c.jsonl", "".join(json.dumps({"text": f"Story {i}\n"}) + "\n" for i in range(30))),
            ("d.csv", "text\n" + "".join(f'"Story {i}\n"\n' for i in range(30))),
        ],
    )
    def test_text(self, tmp_path, monkeypatch, name, text, size):
        monkeypatch.setattr(files, "_PROBE", 5)
        path = written(tmp_path, name, text)
        (file,) = textio.find(path).files
        parts = textio.cut(file, size)
        assert (len(parts) > 1) == (size < path.stat().st_size and file.layout != "csv")
        whole = list(textio.read(path))
        assert len(whole) == 30
        assert [record for part in parts for record in textio.read_part(part)] == whole

    def test_parquet_row_groups(self, tmp_path):
        table = pa.table({"text": [f"Story {i}." for i in range(100)]})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=7)
        (file,) = textio.find(tmp_path / "a.parquet").files
        parts = textio.cut(file, 200)
        assert len(parts) > 3
        whole = [record for part in parts for record in textio.read_part(part)]
        assert whole == list(textio.read(tmp_path / "a.parquet"))

    def test_what_cannot_be_cut_by_its_bytes_stays_whole(self, tmp_path):
        path = written(tmp_path, "a.txt", "<|endoftext|>".join(STORIES * 20).encode("utf-16"))
        (file,) = textio.find(path, encoding="utf-16").files
        assert textio.cut(file, 10, "utf-16") == [file]

    def test_errors_name_the_line_of_the_file(self, tmp_path):
        path = written(tmp_path, "a.jsonl", '{"text": "One."}\n' * 50 + '{"tale": "Two."}\n')
        (file,) = textio.find(path).files
        *_, last = textio.cut(file, 100)
        assert last.start > 0
        with pytest.raises(UserError, match="line 51 has no key"):
            list(textio.read_part(last))
        path = written(tmp_path, "b.jsonl", b'{"text": "One."}\n' * 50 + b'{"text": "\x92"}\n')
        (file,) = textio.find(path).files
        with pytest.raises(UserError, match=r"0x92 at offset 860 \(line 51\)"):
            list(textio.read_part(textio.cut(file, 100)[-1]))


def test_folder_is_read_to_the_bottom_in_order_and_says_what_it_skips(tmp_path):
    (tmp_path / "b").mkdir()
    written(tmp_path, "b/1.txt", "Two.<|endoftext|>Three.")
    written(tmp_path, "a.jsonl", '{"text": "One."}')
    written(tmp_path, "notes.md", "x")
    written(tmp_path, ".hidden.txt", "x")
    assert texts(tmp_path) == ["One.", "Two.", "Three."]
    assert textio.find(tmp_path).describe() == (
        "2 files, a JSON object a line and stories separated by <|endoftext|>; skipped notes.md"
    )


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8"])
def test_other_encodings(tmp_path, encoding):
    path = written(tmp_path, "a.txt", "Zoë.\n<|endoftext|>\nNoël “ran”.".encode(encoding))
    assert texts(path, encoding=encoding) == ["Zoë.", "Noël “ran”."]


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    path = written(tmp_path, "a.txt", ("A story of some length. " * 40 + "<|endoftext|>") * 60_000)
    tracemalloc.start()
    assert sum(1 for _ in textio.read(path)) == 60_000
    assert tracemalloc.get_traced_memory()[1] < 20e6 < path.stat().st_size
    tracemalloc.stop()


class TestErrors:
    """One message each, with the place and the mend."""

    def test_empty_file(self, tmp_path):
        assert "a.txt' is empty" in error(written(tmp_path, "a.txt", ""))

    def test_binary_file(self, tmp_path):
        message = error(written(tmp_path, "a.txt", b"PK\x03\x04\0\0"))
        assert "binary file (byte 4 is NUL)" in message

    def test_utf16_is_recognised(self, tmp_path):
        assert "--encoding=utf-16" in error(written(tmp_path, "a.txt", "Tom".encode("utf-16")))

    @pytest.mark.parametrize("block", [5, 1 << 20])
    def test_not_utf8_names_offset_line_and_encoding(self, tmp_path, monkeypatch, block):
        monkeypatch.setattr(decoding, "BLOCK", block)
        message = error(written(tmp_path, "a.txt", b"One.\nTwo.\nDon\x92t.\n\nEnd."))
        assert "a.txt' is not UTF-8: byte 0x92 at offset 13 (line 3)" in message
        assert "--encoding=cp1252" in message

    def test_text_cut_inside_a_character(self, tmp_path):
        message = error(written(tmp_path, "a.jsonl", '{"text": "Zoë'.encode()[:-1]))
        assert "byte 0xc3 at offset 12 (line 1)" in message

    def test_unknown_encoding(self, tmp_path):
        message = error(written(tmp_path, "a.txt", "One."), encoding="cp125")
        assert "no encoding is named 'cp125' (did you mean 'cp125" in message

    def test_wrong_key_names_line_keys_and_mend(self, tmp_path):
        path = written(tmp_path, "a.jsonl", '{"text": "One."}\n\n{"tale": "Two.", "id": 2}\n')
        message = error(path)
        assert "a.jsonl', line 3 has no key 'text' or 'story'" in message
        assert "it has: tale, id" in message
        assert "--text_key" in message
        assert "no key 'tale'; it has: text" in error(path, key="tale")

    def test_text_that_is_no_string(self, tmp_path):
        path = written(tmp_path, "a.jsonl", '{"text": ["One."]}')
        assert "line 1: 'text' is list, not text" in error(path)

    def test_half_a_surrogate_pair(self, tmp_path):
        path = written(tmp_path, "a.jsonl", '{"text": "fine"}\n{"text": "\\ud83d"}')
        assert "line 2: 'text' holds half of a surrogate pair" in error(path)

    def test_malformed_json(self, tmp_path):
        path = written(tmp_path, "a.jsonl", '{"text": "One."}\n{"text": "Two.\n')
        assert "a.jsonl', line 2 is not valid JSON" in error(path)
        assert "line 1 is not a JSON object" in error(written(tmp_path, "b.jsonl", "[1]"))

    def test_a_json_list_that_is_none_or_cut_off(self, tmp_path):
        assert "a.json' is not a JSON list" in error(written(tmp_path, "a.json", '{"text": "One."}'))
        text = json.dumps([{"text": "One."}, {"text": "Two."}])
        assert "in item 2); it may be cut off" in error(written(tmp_path, "b.json", text[:-5]))
        assert "item 1 has no key" in error(written(tmp_path, "c.json", '[{"tale": "One."}]'))

    def test_csv_without_the_column(self, tmp_path):
        message = error(written(tmp_path, "a.csv", "id,tale\n1,One.\n"))
        assert "has no column 'text' or 'story'; it has: id, tale" in message

    def test_csv_that_does_not_parse(self, tmp_path):
        message = error(written(tmp_path, "a.csv", "id,text\n1,One.\n2,Two,three.\n"))
        assert "line 3 ends a row of 3 fields where the header has 2" in message
        assert "line 2 is not valid CSV" in error(written(tmp_path, "b.csv", 'text\n"a"b\n'))

    def test_the_real_malformed_csv(self, shared_data):
        assert "malformed.csv', line" in error(shared_data / "judged" / "malformed.csv")

    def test_parquet_without_the_column_or_damaged(self, tmp_path):
        pyarrow.parquet.write_table(pa.table({"tale": ["One."]}), tmp_path / "a.parquet")
        assert "it has: tale" in error(tmp_path / "a.parquet")
        data = (tmp_path / "a.parquet").read_bytes()
        assert "not a readable Parquet file" in error(written(tmp_path, "b.parquet", data[:-9]))

    def test_unknown_suffix(self, tmp_path):
        message = error(written(tmp_path, "a.doc", "One."))
        assert "ends in .doc" in message
        assert ".txt, .jsonl, .json, .csv or .parquet" in message

    def test_nothing_there(self, tmp_path):
        assert "no such file or folder" in error(tmp_path / "none.txt")
        assert "holds no story file" in error(tmp_path)

    def test_a_file_without_separators_is_no_story(self, tmp_path, monkeypatch):
        monkeypatch.setattr(decoding, "MAX_STORY", 1000)
        assert "without a separator" in error(written(tmp_path, "a.txt", "One. " * 400))
