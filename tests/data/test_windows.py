"""Windows hold every target of every story once, beside neighbours that are told apart."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyjax import instruct, recordio
from tinyjax.data import manifests, windows
from tinyjax.data.windows import Instructions, Piece, Recipe, ShardJob
from tinyjax.errors import UserError
from tinyjax.stories import examples
from tinyjax.stories.splitting import SPLITS
from tinyjax.textio import Record


@settings(max_examples=200, deadline=None)
@given(
    stories=st.lists(st.lists(st.integers(4, 60_000), max_size=40), min_size=1, max_size=6),
    context_length=st.integers(2, 16),
    instruction=st.integers(0, 50),
)
def test_every_target_of_a_story_once(stories, context_length, instruction):
    for story in stories:
        ids = np.array([1, *story, 2], np.int32)
        example = Piece(ids, min(instruction, len(story)))
        pieces = windows.cut_example(example, context_length)
        assert all(len(piece.ids) <= context_length + 1 for piece in pieces)
        assert np.concatenate([piece.ids[1:] for piece in pieces]).tolist() == ids[1:].tolist()
        assert np.concatenate([piece.ids[:-1] for piece in pieces]).tolist() == ids[:-1].tolist()
        story_targets = [piece.ids[1 + piece.instruction :] for piece in pieces]
        assert np.concatenate(story_targets).tolist() == ids[1 + example.instruction :].tolist()
        if len(ids) - 1 <= context_length:
            assert len(pieces) == 1


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.lists(st.integers(0, 511), min_size=2, max_size=9), st.integers(0, 8)),
        min_size=1,
        max_size=5,
    ),
    dtype=st.sampled_from(["uint16", "uint32"]),
    spare=st.integers(0, 5),
    story_only=st.booleans(),
)
def test_record_and_back(pieces, dtype, spare, story_only):
    packed = [Piece(np.array(ids), min(instruction, len(ids) - 1)) for ids, instruction in pieces]
    slots = sum(len(piece.ids) - 1 for piece in packed)
    record = windows.encode_window(packed, dtype)
    window = windows.decode_window(record, slots + spare, dtype, story_only=story_only)
    assert all(array.shape == (slots + spare,) for array in window.values())
    assert all(array.dtype == np.int32 for array in window.values())
    for number, piece in enumerate(packed, 1):
        own = window["segments"] == number
        assert window["inputs"][own].tolist() == piece.ids[:-1].tolist()
        assert window["targets"][own].tolist() == piece.ids[1:].tolist()
        without = piece.instruction if story_only else 0
        assert window["weights"][own].tolist() == [0] * without + [1] * (own.sum() - without)
    for array in window.values():
        assert not array[slots:].any()


def test_dtype_holds_every_id_and_length():
    assert windows.record_dtype(65536, 512) == "uint16"
    assert windows.record_dtype(65537, 512) == "uint32"
    assert windows.record_dtype(4096, 65535) == "uint32"


def stories_in(prepared, split: str) -> list[str]:
    """The stories of a split as the windows hold them, put together from their pieces."""
    stories, rests = [], []
    for index in range(len(prepared.windows(split))):
        window = prepared.windows(split)[index]
        for number in range(1, window["segments"].max() + 1):
            own = window["segments"] == number
            ids = [*window["inputs"][own], window["targets"][own][-1]]
            text = prepared.tokenizer.decode(map(int, ids))
            whole = ids[0] == prepared.tokenizer.bos_id and ids[-1] == prepared.tokenizer.eos_id
            (stories if whole else rests).append(text)
    return stories + rests


def test_the_stories_of_the_file_are_in_the_windows(prepared, stories):
    lengths = [len(prepared.tokenizer.encode(story)) + 1 for story in stories]
    fit = {s for s, length in zip(stories, lengths, strict=True) if length <= 128}
    packed = stories_in(prepared, "train") + stories_in(prepared, "validation")
    assert len(fit) > 50
    assert fit <= set(packed)
    assert sum(len(text) for text in packed) >= sum(map(len, stories))
    counted = sum(split["tokens"] for split in prepared.manifest["windows"]["splits"].values())
    assert counted == sum(lengths)


def test_targets_count_the_bytes_of_the_text(prepared):
    for split in SPLITS:
        source = prepared.windows(split)
        targets = np.concatenate([source[i]["targets"] for i in range(len(source))])
        text_bytes = prepared.tokenizer.token_bytes_V[targets].sum()
        assert text_bytes == prepared.manifest["stories"][split]["bytes"]


def test_windows_pickle_small_and_read_the_same(prepared):
    source = prepared.windows("train")
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 10_000
    assert len(copy) == len(source)
    np.testing.assert_equal(copy[3], source[3])


class TestInstructions:
    """Instructions stand before the story, are drawn the same each time, and can be left out of the loss."""

    RECORD = Record("Tom ran. Then he fell.", ("run", "red"), ("Dialogue",), "Tom runs.")

    def test_the_story_comes_after_them_and_they_are_marked(self, prepared):
        recipe = Recipe(prepared.tokenizer, 128, instructions=Instructions())
        (ids, instruction), size = windows.encode_example(self.RECORD, recipe)
        prompt, text = windows.example_text(self.RECORD, recipe.instructions)
        assert text == prompt + self.RECORD.text
        assert size == len(text.encode())
        assert prepared.tokenizer.decode(map(int, ids)) == text
        assert prepared.tokenizer.decode(map(int, ids[: 1 + instruction])) == prompt

    def test_every_kind_is_drawn_and_what_is_held_out_never_together(self):
        hold_out = frozenset({"words", "summary"})
        records = [dataclasses.replace(self.RECORD, text=f"Tom ran {i}. He fell.") for i in range(300)]
        drawn = [tuple(windows.draw_fields(record, Instructions(hold_out))) for record in records]
        assert {kind for kinds in drawn for kind in kinds} == set(instruct.KINDS)
        assert not any(hold_out <= set(kinds) for kinds in drawn)
        assert any(hold_out <= set(windows.draw_fields(record, Instructions())) for record in records)
        assert drawn != [tuple(windows.draw_fields(r, Instructions(hold_out, seed=1))) for r in records]

    def test_published_instructions_stay_as_they_are(self):
        record = dataclasses.replace(self.RECORD, given=("summary", "words"))
        assert windows.example_text(record, Instructions())[1] == (
            "Summary: Tom runs.\nWords: run, red\nStory: \n\nTom ran. Then he fell."
        )
        fields = windows.draw_fields(record, Instructions(frozenset({"words", "summary"})))
        assert len(fields) == 1

    def test_a_story_of_which_nothing_is_known_gets_a_sentence_of_its_own(self):
        fields = windows.draw_fields(Record("Tom ran. He fell."), Instructions())
        assert fields["sentence"] in ("Tom ran.", "He fell.")


@pytest.mark.slow
def test_bands_are_packed_apart_and_in_order(prepared, tmp_path):
    shard = manifests.shards(prepared.path, "train")[0]
    texts = examples.read_texts(shard)
    bands = np.array([i % 3 for i in range(len(texts))], np.int32)
    recipe = Recipe(prepared.tokenizer, 128, num_bands=3)
    packed = windows.pack_shard(ShardJob(shard, tmp_path / "a", bands), recipe=recipe)
    source = windows.open_windows(tmp_path, ["a"], 128, "uint16", bands=[packed.bands])
    assert len(source.bands) == len(source) == packed.windows
    assert set(source.bands.tolist()) == {0, 1, 2}
    assert (np.diff(source.bands) >= 0).all()
    band_of = {int(text.split()[1][:-1]): band for text, band in zip(texts, bands.tolist(), strict=True)}
    for index in range(len(source)):
        text = prepared.tokenizer.decode(source[index]["inputs"].tolist())
        told = [int(number) for number in re.findall(r"Story (\d+)\.", text)]
        assert {band_of[number] for number in told} <= {int(source.bands[index])}


def test_a_full_disk_is_an_oserror_with_the_file_name():
    with pytest.raises(OSError, match="No space left on device") as caught:
        recordio.write_records("/dev/full", [b"x" * 1000] * 1000)
    assert caught.value.filename == "/dev/full"


def test_damage_inside_a_file_is_named(tmp_path):
    rng = np.random.default_rng(0)
    pieces = [rng.integers(0, 60_000, 1000) for _ in range(50)]
    records = [windows.encode_window([Piece(piece)], "uint16") for piece in pieces]
    recordio.write_records(tmp_path / "a.array_record", records)
    data = bytearray((tmp_path / "a.array_record").read_bytes())
    data[20_000:60_000] = bytes(40_000)
    (tmp_path / "a.array_record").write_bytes(data)
    with pytest.raises(UserError, match="damaged or cut off"):
        recordio.read_records(tmp_path / "a.array_record")
    source = windows.open_windows(tmp_path, ["a.array_record"], 1000, "uint16")
    with pytest.raises(UserError, match="damaged or cut off"):
        [source[i] for i in range(50)]
