"""`prepare` makes a whole data set or none, takes up what is there, and overwrites nothing."""

import json
import pathlib
import shutil
import time

import numpy as np
import pytest
from etils import epath

from tests.conftest import make_stories
from tinyjax import recordio
from tinyjax.data import publish
from tinyjax.data.manifests import PREPARED, load_prepared
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.errors import UserError


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def copy(prepared, tmp_path) -> pathlib.Path:
    """A prepared folder of one's own."""
    return pathlib.Path(shutil.copytree(prepared.path, tmp_path / "copy"))


def test_manifest_tells_what_was_found(prepared, stories):
    manifest = prepared.manifest
    assert manifest["stories"]["train"]["stories"] + manifest["stories"]["validation"]["stories"] == len(
        stories
    )
    assert manifest["origin"]["source"]["layout"].endswith("stories separated by <|endoftext|>")
    assert manifest["dropped"] == {"empty": 0, "in_validation": 0}
    assert manifest["tokenizer"]["vocab_size"] == prepared.tokenizer.vocab_size <= 512
    assert prepared.context_length == 128
    assert len(prepared.windows("train")) == manifest["windows"]["splits"]["train"]["windows"]


def test_same_source_is_taken_up(copy, stories_file, tmp_path):
    before = contents(copy)
    moved = shutil.copy(stories_file, tmp_path / "renamed.txt")
    for source in (stories_file, moved):
        again = prepare(str(source), copy, Options(context_length=128))
        assert again.reused == ("stories", "tokenizer", "windows")
    assert contents(copy) == before


def test_two_folders_are_equal(prepared, stories_file, tmp_path):
    other = prepare(str(stories_file), tmp_path / "other", Options(context_length=128))
    assert other.manifest == prepared.manifest
    assert contents(tmp_path / "other") == contents(pathlib.Path(prepared.path))


def test_another_context_length_keeps_the_windows_there_are(copy, stories_file):
    before = contents(copy)
    longer = prepare(str(stories_file), copy, Options(context_length=256))
    assert longer.reused == ("stories", "tokenizer")
    assert longer.windows("train")[0]["inputs"].shape == (256,)
    after = contents(copy)
    assert all(after[name] == data for name, data in before.items() if name != PREPARED)
    again = prepare(str(stories_file), copy, Options(context_length=128))
    assert again.reused == ("stories", "tokenizer", "windows")
    assert contents(copy)[PREPARED] == before[PREPARED]


def test_another_source_is_refused(copy, stories_file, tmp_path):
    before = contents(copy)
    other = tmp_path / "other.txt"
    other.write_text("One.\n\nTwo.\n\nThree.", encoding="utf-8")
    for source, validation, encoding in [
        (other, "", "utf-8"),
        (stories_file, str(other), "utf-8"),
        (stories_file, "", "latin-1"),
    ]:
        with pytest.raises(UserError, match="name another folder with --data_dir"):
            prepare(str(source), copy, Options(validation=validation, encoding=encoding))
    with pytest.raises(UserError, match="made for a vocabulary of 512, not 1024"):
        prepare(str(stories_file), copy, Options(context_length=128, vocab_size=1024))
    assert contents(copy) == before


@pytest.mark.parametrize("name", ["stories", "tokenizer.model", "windows"])
def test_what_the_user_has_there_is_left(stories_file, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"holds '{name}', which prepare did not make"):
        prepare(str(stories_file), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_folder(stories_file, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file; name a folder"):
        prepare(str(stories_file), tmp_path / "file")


def test_a_bad_story_late_in_the_file_leaves_nothing(tmp_path):
    source = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": text}) for text in make_stories(50)]
    source.write_text("\n".join([*rows, '{"tale": 1}']), encoding="utf-8")
    with pytest.raises(UserError, match="line 51"):
        prepare(str(source), tmp_path / "data")
    assert contents(tmp_path / "data") == {}
    source.write_text("\n".join(rows), encoding="utf-8")
    assert prepare(str(source), tmp_path / "data").reused == ()


@pytest.mark.parametrize("deleted", ["stories", "windows", "tokenizer.model", PREPARED])
def test_what_was_deleted_is_made_again(copy, stories_file, deleted):
    before = contents(copy)
    path = copy / deleted
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    prepare(str(stories_file), copy, Options(context_length=128))
    assert contents(copy) == before


def test_leftovers_of_a_killed_job_are_removed(copy, stories_file):
    before = contents(copy)
    for folder in (copy / ".partial-stories-1", copy / "windows" / ".partial-x-2"):
        folder.mkdir()
        (folder / "half").write_text("x")
    prepare(str(stories_file), copy, Options(context_length=128))
    assert contents(copy) == before


class TestLoading:
    """What isn't whole is refused, with the mend."""

    def test_nothing_there(self, tmp_path):
        with pytest.raises(UserError, match=r"doesn't exist\).*tinyjax.bin.prepare"):
            load_prepared(tmp_path / "none")
        with pytest.raises(UserError, match="isn't complete"):
            load_prepared(tmp_path)

    def test_truncated_or_missing_windows(self, copy):
        (file,) = (copy / "windows").glob("*/train-*")
        file.write_bytes(file.read_bytes()[:-1000])
        with pytest.raises(UserError, match=f"{file.name}' is damaged or cut off; delete"):
            load_prepared(copy)
        file.unlink()
        with pytest.raises(UserError, match="damaged or cut off"):
            load_prepared(copy)

    def test_following_the_mend_mends(self, copy, stories_file, prepared):
        (file,) = (copy / "windows").glob("*/train-*")
        file.write_bytes(b"")
        shutil.rmtree(copy / "windows")
        mended = prepare(str(stories_file), copy, Options(context_length=128))
        np.testing.assert_equal(mended.windows("train")[0], prepared.windows("train")[0])

    def test_another_tokenizer(self, copy, tmp_path):
        other = tmp_path / "other.txt"
        other.write_text("\n\n".join(make_stories(50, seed=9)), encoding="utf-8")
        prepare(str(other), tmp_path / "b").tokenizer.save(copy / "tokenizer.model")
        with pytest.raises(UserError, match="is not the tokenizer that the windows"):
            load_prepared(copy)

    def test_another_format(self, copy):
        manifest = json.loads((copy / PREPARED).read_bytes())
        (copy / PREPARED).write_text(json.dumps(manifest | {"format": 99}))
        with pytest.raises(UserError, match="prepared in format 99, and this program knows 1"):
            load_prepared(copy)

    def test_damaged_manifest(self, copy):
        (copy / PREPARED).write_text("{")
        with pytest.raises(UserError, match="is damaged: it is not JSON"):
            load_prepared(copy)


class TestPublish:
    """A published folder appears whole or not at all."""

    def test_an_error_leaves_nothing(self, tmp_path):
        folder = epath.Path(tmp_path / "a")
        with pytest.raises(KeyError), publish.publish(folder) as partial:  # noqa: PT012
            (partial / "file").write_text("x")
            raise KeyError
        assert list(tmp_path.iterdir()) == []

    def test_an_interrupt_right_after_the_folder_was_made_leaves_nothing(self, tmp_path, monkeypatch):
        make = type(epath.Path(tmp_path)).mkdir

        def make_and_be_interrupted(path, **options):
            make(path, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(type(epath.Path(tmp_path)), "mkdir", make_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt), publish.publish(epath.Path(tmp_path / "a")):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_the_mark_is_copied_last(self, tmp_path, monkeypatch):
        monkeypatch.setattr(publish, "is_local", lambda path: "remote" not in str(path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        folder = epath.Path(tmp_path / "remote")
        with publish.publish(folder) as partial:
            for name in (publish.MARK, "z", "a/b"):
                (partial / name).parent.mkdir(exist_ok=True)
                (partial / name).write_text(name)
        times = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
        assert max(times, key=lambda name: times[name]) == publish.MARK
        copied = publish.local_copy(folder)
        assert contents(pathlib.Path(copied)) == contents(tmp_path / "remote")
        assert publish.local_copy(folder) == copied


def test_where_folders_cannot_be_renamed(prepared, stories_file, tmp_path, monkeypatch):
    """As on gs://: folders are made here, copied there, and copied back to be read."""
    monkeypatch.setattr(publish, "is_local", lambda path: "bucket" not in str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remote = prepare(str(stories_file), tmp_path / "bucket", Options(context_length=128))
    assert remote.manifest == prepared.manifest
    assert tmp_path / "tinyjax" in pathlib.Path(remote.windows("train").folder).parents
    np.testing.assert_equal(remote.windows("train")[5], prepared.windows("train")[5])
    assert contents(tmp_path / "bucket") == contents(pathlib.Path(prepared.path))


def test_beam_writes_where_other_machines_can(prepared, stories_file, tmp_path, monkeypatch):
    """As on gs://: nothing that workers write is passed on by the machine that started them."""
    for module in (publish, recordio):
        monkeypatch.setattr(module, "is_local", lambda path: "bucket" not in str(path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    half_done = tmp_path / "bucket" / "stories" / "tinyjax_stories"
    half_done.mkdir(parents=True)
    (half_done / "x").write_text("of a run that was killed")
    with pytest.raises(UserError, match="holds 'stories', which prepare did not make"):
        prepare(str(stories_file), tmp_path / "bucket")
    (half_done.parent / ".unfinished").write_text("as that run had begun with")
    remote = prepare(
        str(stories_file), tmp_path / "bucket", Options(context_length=128, beam="runner=DirectRunner")
    )
    assert remote.manifest == prepared.manifest
    assert contents(tmp_path / "bucket") == contents(pathlib.Path(prepared.path))


@pytest.mark.slow
def test_the_real_sample(train_sample, shared_data, tmp_path):
    start = time.monotonic()
    validation = str(shared_data / "tinystories" / "valid-sample.txt")
    done = prepare(str(train_sample), tmp_path, Options(validation=validation, vocab_size=4096))
    assert time.monotonic() - start < 30
    assert done.manifest["stories"]["train"]["stories"] == 8574
    assert done.manifest["stories"]["validation"]["stories"] == 820
    splits = done.manifest["windows"]["splits"]
    assert splits["train"]["padding_share"] < 0.03
    assert done.manifest["tokenizer"]["bytes_per_token"] > 3.8
