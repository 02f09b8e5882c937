"""What can be asked of `prepare` beyond a source: releases, instructions, bands, tokenizers, cleaning."""

import dataclasses
import json
import pathlib
import socket

import numpy as np
import pytest

from tests.conftest import make_stories
from tests.http_server import serving
from tests.stories.test_download import ARCHIVE, FILES, SHARDS, TRAIN, VALID, release
from tinyjax import instruct, textio
from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.errors import UserError
from tinyjax.stories import download, releases
from tinyjax.tokenizer import load_tokenizer

SMALL = Options(context_length=128, vocab_size=512)


def texts_of(prepared: Prepared, split: str) -> list[str]:
    return [record.text for record in prepared.stories(split)]


def examples_of(prepared: Prepared, split: str) -> list[str]:
    """The text of every segment of all windows."""
    found = []
    for window in map(prepared.windows(split).__getitem__, range(len(prepared.windows(split)))):
        for number in range(1, window["segments"].max() + 1):
            found.append(prepared.tokenizer.decode(window["targets"][window["segments"] == number].tolist()))
    return found


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the network was asked")

    return lambda: monkeypatch.setattr(socket, "socket", refuse)


class TestReleases:
    """A release is named, fetched once from a mirror, and prepared like any file."""

    @pytest.fixture(autouse=True)
    def small_releases(self, monkeypatch):
        monkeypatch.setattr(download, "_WAITS", (0, 0.01))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name, files in (("tinystories-v1", (TRAIN, VALID)), ("tinystories-all", (ARCHIVE,))):
            entry = dataclasses.replace(release(*files), name=name)
            monkeypatch.setitem(releases.RELEASES, name, entry)

    def test_fetched_once_and_then_without_network(self, tmp_path, no_network):
        with serving() as server:
            server.files.update(FILES)
            options = dataclasses.replace(SMALL, mirror=server.url, download_dir=str(tmp_path / "downloads"))
            prepared = prepare("tinystories-v1", tmp_path / "a", options)
            assert sorted(request.path for request in server.requests) == [f"/{TRAIN}", f"/{VALID}"]
        no_network()
        assert sorted(texts_of(prepared, "validation")) == sorted(make_stories(20, 1))
        assert prepared.manifest["origin"]["source"]["layout"] == "release tinystories-v1, version 1.0.0"
        assert prepared.path.joinpath("stories", "tinyjax_stories", "tinystories-v1", "1.0.0").exists()
        again = prepare("tinystories-v1", tmp_path / "a", SMALL)
        assert again.reused == ("stories", "tokenizer", "windows")
        other = prepare("tinystories-v1", tmp_path / "b", options)
        assert other.manifest == prepared.manifest

    def test_files_the_user_has(self, tmp_path, no_network):
        no_network()
        for name in (TRAIN, VALID):
            (tmp_path / name).write_bytes(FILES[name])
        options = dataclasses.replace(SMALL, source_dir=str(tmp_path))
        prepared = prepare("tinystories-v1", tmp_path / "data", options)
        assert prepared.manifest["stories"]["validation"]["stories"] == 20
        (tmp_path / VALID).unlink()
        with pytest.raises(UserError, match=VALID):
            prepare("tinystories-v1", tmp_path / "other", options)
        assert not list((tmp_path / "other").glob("*"))

    def test_the_archive_of_json_shards(self, tmp_path):
        (tmp_path / ARCHIVE).write_bytes(FILES[ARCHIVE])
        options = dataclasses.replace(
            SMALL, source_dir=str(tmp_path), download_dir=str(tmp_path / "downloads")
        )
        prepared = prepare("tinystories-all", tmp_path / "data", options)
        told = [record for split in ("train", "validation") for record in prepared.stories(split)]
        stories = {row["story"].strip() for data in SHARDS.values() for row in json.loads(data)}
        assert {record.text for record in told} == stories
        assert {(r.words, r.features, r.summary, r.source) for r in told} == {
            (("hang", "foot", "cute"), ("Dialogue",), "A story.", "GPT-4")
        }

    def test_a_misspelt_release(self, tmp_path):
        with pytest.raises(UserError, match=r"'tinystories-v3' .*did you mean 'tinystories-v"):
            prepare("tinystories-v3", tmp_path / "data")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Prepared:
    """Embedded stories with instructions."""
    options = Options(vocab_size=768, instruct=True, hold_out="words+summary")
    return prepare("world:120", tmp_path_factory.mktemp("instruct") / "data", options)


class TestInstructions:
    """With --instruct a choice of instructions stands before each story."""

    def test_every_example_is_in_the_published_layout(self, world):
        assert world.instruct
        drawn = [instruct.parse(text) for text in examples_of(world, "train")]
        assert {parsed.story for parsed in drawn} == set(texts_of(world, "train"))
        kinds = [set(parsed.fields) for parsed in drawn]
        assert set().union(*kinds) == set(instruct.KINDS)
        assert all(kinds)
        assert not any({"words", "summary"} <= chosen for chosen in kinds)
        for parsed in drawn:
            assert str(parsed.fields.get("sentence", "")) in parsed.story.replace("\n", " ")

    def test_the_loss_can_be_on_the_story_alone(self, world):
        windows = world.windows("train", story_only=True)
        weighed = []
        for window in map(windows.__getitem__, range(len(windows))):
            for number in range(1, window["segments"].max() + 1):
                own = (window["segments"] == number) & (window["weights"] == 1)
                weighed.append(world.tokenizer.decode(window["targets"][own].tolist()))
        assert set(weighed) == set(texts_of(world, "train"))

    def test_a_published_file_stays_as_it_is(self, shared_data, tmp_path):
        source = shared_data / "tinystories" / "instruct-derived-sample.txt"
        options = dataclasses.replace(SMALL, context_length=1024, instruct=True)
        prepared = prepare(str(source), tmp_path / "data", options)
        pieces = [piece.strip() for piece in source.read_text().split(textio.SEPARATOR) if piece.strip()]
        found = examples_of(prepared, "train") + examples_of(prepared, "validation")
        assert sorted(found) == sorted(pieces)

    def test_other_instructions_are_other_windows_of_the_same_stories(self, world):
        options = Options(instruct=True, seed=1)
        other = prepare("world:120", world.path, options)
        assert other.reused == ("stories", "tokenizer")
        assert other.fingerprint != world.fingerprint
        assert examples_of(other, "train") != examples_of(world, "train")
        back = prepare("world:120", world.path, Options(instruct=True, hold_out="words+summary"))
        assert back.manifest == world.manifest

    def test_what_makes_no_sense(self, stories_file, tmp_path):
        for options, message in (
            (Options(hold_out="words+summary"), "--hold_out is about the instructions"),
            (Options(instruct=True, hold_out="words+sumary"), "did you mean 'summary'"),
            (Options(bands=0), "--bands is 0; it must be 1 or more"),
            (Options(difficulty="lenght", bands=2), "did you mean 'length'"),
            (Options(clean="mojibak"), "did you mean 'mojibake'"),
        ):
            with pytest.raises(UserError, match=message):
                prepare(str(stories_file), tmp_path / "data", options)


class TestBands:
    """Windows are packed within bands of difficulty, which hold about as much text each."""

    def test_bands_part_the_stories_by_difficulty(self, stories_file, tmp_path):
        options = dataclasses.replace(SMALL, bands=4, difficulty="length")
        prepared = prepare(str(stories_file), tmp_path / "data", options)
        windows = prepared.windows("train")
        counts = np.bincount(windows.bands)
        assert len(counts) == 4
        assert counts.max() <= 1.5 * counts.min()
        longest = []
        for band in range(4):
            rows = [windows[int(i)]["segments"] for i in np.flatnonzero(windows.bands == band)]
            longest.append(max(np.bincount(row[row > 0]).max() for row in rows))
        assert longest == sorted(longest)
        assert longest[0] < longest[-1]
        assert not prepared.windows("validation").bands.any()

    def test_a_measure_of_ones_own(self, stories_file, tmp_path):
        options = dataclasses.replace(SMALL, bands=2, difficulty="loss:somewhere")

        def by_number(texts):
            return np.array([int(text.split()[1][:-1]) for text in texts], float)

        prepared = prepare(str(stories_file), tmp_path / "data", options, measure=by_number)
        (edge,) = prepared.manifest["windows"]["edges"]
        assert 80 < edge < 120

    def test_bands_that_change_nothing_else(self, stories_file, prepared, tmp_path):
        banded = prepare(str(stories_file), tmp_path / "data", Options(context_length=128, bands=3))
        assert sorted(examples_of(banded, "train")) == sorted(examples_of(prepared, "train"))
        assert banded.fingerprint != prepared.fingerprint


class TestTokenizers:
    """A tokenizer of one's own, or of others, takes the place of a new one."""

    def test_that_of_another_folder(self, stories_file, prepared, tmp_path):
        (tmp_path / "b.txt").write_text("\n\n".join(make_stories(50, 5)), encoding="utf-8")
        other = prepare(str(tmp_path / "b.txt"), tmp_path / "b", Options(tokenizer=str(prepared.path)))
        assert other.tokenizer == prepared.tokenizer
        again = prepare(str(tmp_path / "b.txt"), tmp_path / "b", Options(tokenizer=str(prepared.path)))
        assert again.reused == ("stories", "tokenizer", "windows")
        with pytest.raises(UserError, match="holds a tokenizer"):
            prepare(str(tmp_path / "b.txt"), tmp_path / "b", Options(vocab_size=512))

    @pytest.mark.parametrize("name", ["tokenizers/tok4096.model", "llama2c/tok512.model"])
    def test_those_of_others(self, shared_data, stories_file, tmp_path, name):
        prepared = prepare(str(stories_file), tmp_path, Options(tokenizer=str(shared_data / name)))
        assert prepared.tokenizer == load_tokenizer(shared_data / name)
        assert set(prepared.manifest["tokenizer"]["losses"]) == {"texts", "changed", "example"}
        assert load_prepared(tmp_path).tokenizer.vocab_size in (512, 4096)


def test_cleaning_is_part_of_what_a_folder_is(stories_file, tmp_path):
    prepared = prepare(str(stories_file), tmp_path, dataclasses.replace(SMALL, clean="default"))
    assert prepared.manifest["origin"]["rules"]
    with pytest.raises(UserError, match="cleaning rules than now"):
        prepare(str(stories_file), tmp_path, SMALL)


def test_the_damage_in_the_real_sample_is_mended(train_sample, shared_data, tmp_path):
    validation = str(shared_data / "tinystories" / "valid-sample.txt")
    options = Options(validation=validation, clean="mojibake")
    prepared = prepare(str(train_sample), tmp_path, options)
    assert prepared.manifest["mended"]["mojibake"] >= 36 + 43
    told = [text for split in ("train", "validation") for text in texts_of(prepared, split)]
    assert not any("â€" in text for text in told)
    assert len(told) + sum(prepared.manifest["dropped"].values()) == 8574 + 820


def test_json_of_the_options_is_told(prepared: Prepared):
    stored = json.loads((pathlib.Path(prepared.path) / "prepared.json").read_text())
    assert stored["windows"]["recipe"] == {"context_length": 128, "instruct": False, "bands": 1}
