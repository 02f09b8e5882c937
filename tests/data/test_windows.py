"""Windows hold every target of every story once, beside neighbours that are told apart."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyjax import recordio
from tinyjax.data import windows
from tinyjax.errors import UserError
from tinyjax.stories import builder


@settings(max_examples=200, deadline=None)
@given(
    stories=st.lists(st.lists(st.integers(4, 60_000), max_size=40), min_size=1, max_size=6),
    context_length=st.integers(2, 16),
)
def test_every_target_of_a_story_once(stories, context_length):
    for story in stories:
        ids = np.array([1, *story, 2], np.int32)
        pieces = windows.cut_story(ids, context_length)
        assert all(len(piece) <= context_length + 1 for piece in pieces)
        assert np.concatenate([piece[1:] for piece in pieces]).tolist() == ids[1:].tolist()
        assert np.concatenate([piece[:-1] for piece in pieces]).tolist() == ids[:-1].tolist()
        if len(ids) - 1 <= context_length:
            assert len(pieces) == 1


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.lists(st.integers(0, 511), min_size=2, max_size=9), min_size=1, max_size=5),
    dtype=st.sampled_from(["uint16", "uint32"]),
    spare=st.integers(0, 5),
)
def test_record_and_back(pieces, dtype, spare):
    slots = sum(len(piece) - 1 for piece in pieces)
    record = windows.encode_window([np.array(piece) for piece in pieces], dtype)
    window = windows.decode_window(record, slots + spare, dtype)
    assert all(array.shape == (slots + spare,) for array in window.values())
    assert all(array.dtype == np.int32 for array in window.values())
    for number, piece in enumerate(pieces, 1):
        own = window["segments"] == number
        assert window["inputs"][own].tolist() == piece[:-1]
        assert window["targets"][own].tolist() == piece[1:]
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
    for split in builder.SPLITS:
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


@pytest.mark.slow
def test_worker_processes_write_the_same_files(prepared, tmp_path):
    version_dir = prepared.path / "stories/tinyjax_stories/local/1.0.0"
    shard = builder.shards(version_dir, "train")[0]
    one, two, alone = (tmp_path / name for name in ("one", "two", "alone"))
    arguments = (prepared.tokenizer, 128, lambda stories: None)
    packed = windows.pack_split([shard, shard], [one, two], *arguments)
    assert packed[0] == packed[1] == windows.pack_shard(shard, prepared.tokenizer, 128, alone)
    assert one.read_bytes() == two.read_bytes() == alone.read_bytes()


def test_a_full_disk_is_an_oserror_with_the_file_name():
    with pytest.raises(OSError, match="No space left on device") as caught:
        recordio.write_records("/dev/full", [b"x" * 1000] * 1000)
    assert caught.value.filename == "/dev/full"


def test_damage_inside_a_file_is_named(tmp_path):
    rng = np.random.default_rng(0)
    pieces = [rng.integers(0, 60_000, 1000) for _ in range(50)]
    records = [windows.encode_window([piece], "uint16") for piece in pieces]
    recordio.write_records(tmp_path / "a.array_record", records)
    data = bytearray((tmp_path / "a.array_record").read_bytes())
    data[20_000:60_000] = bytes(40_000)
    (tmp_path / "a.array_record").write_bytes(data)
    with pytest.raises(UserError, match="damaged or cut off"):
        recordio.read_records(tmp_path / "a.array_record")
    source = windows.open_windows(tmp_path, ["a.array_record"], 1000, "uint16")
    with pytest.raises(UserError, match="damaged or cut off"):
        [source[i] for i in range(50)]
