"""Our own tokenizer loses nothing, is the same on every machine, and never takes text for control ids."""

import itertools
import json
import pickle

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_stories
from tinyjax.errors import UserError
from tinyjax.tokenizer import (
    Losses,
    Tokenizer,
    default_vocab_size,
    load_tokenizer,
    losses,
    train_tokenizer,
)

AWKWARD = [
    "",
    " ",
    "a ",
    " \n \n\n a",
    "  two  spaces  ",
    "\n\n\nlines\r\n\tand tabs",
    "▁ is not a space, ▁▁",
    "\0 and \x01",
    "😀👩‍👩‍👧 é e\u0301 ﬁ \ufeff\u2028\u00a0",
    "<s></s><pad><unk><0x41><|endoftext|>",
    "中文 и русский ▅ ⁇ \U0010ffff",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(make_stories(200), 512)


def check_lossless(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes_V[ids].sum() == len(text.encode())
    control = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id]
    assert not np.isin(ids, control).any()


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_comes_back(tokenizer, text):
    check_lossless(tokenizer, text)


@settings(max_examples=500, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text(" \n▁aTom."))
def test_every_text_comes_back(tokenizer, text):
    check_lossless(tokenizer, text)


@settings(max_examples=300, deadline=None)
@given(text=st.text(" \n\tTomtheaé.<s>\0", max_size=60))
def test_ids_are_those_of_sentencepiece(tokenizer, text):
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    assert tokenizer.encode(text).tolist() == processor.encode(text)


def test_real_stories_come_back(shared_data, train_sample):
    lines = (shared_data / "tinystories" / "russian-sample.jsonl").read_text("utf-8").splitlines()
    russian = [json.loads(line)["text"] for line in lines]
    english = train_sample.read_text("utf-8").split("<|endoftext|>")[:500]
    tokenizer = train_tokenizer(english, 2048)
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    for text in english + russian:
        check_lossless(tokenizer, text)
        assert tokenizer.encode(text).tolist() == processor.encode(text)


def test_control_ids(tokenizer):
    ids = (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id)
    assert ids == (0, 1, 2, 3)
    assert tokenizer.decode([*ids, *tokenizer.encode("Tom"), 2]) == "Tom"
    assert not tokenizer.token_bytes_V[:4].any()


def test_broken_utf8_is_shown_not_raised(tokenizer):
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "\ufffd"
    assert tokenizer.decode_bytes(tokenizer.encode("é")[:1]) == b"\xc3"


def test_training_is_deterministic(tokenizer):
    assert train_tokenizer(make_stories(200), 512).sha256 == tokenizer.sha256
    assert train_tokenizer(make_stories(200, seed=1), 512).sha256 != tokenizer.sha256


def test_little_text_gives_fewer_pieces():
    tokenizer = train_tokenizer(["hello hello"], 4096)
    assert 261 < tokenizer.vocab_size < 300


def test_more_characters_than_pieces_leaves_the_rare_to_bytes():
    text = "".join(map(chr, range(0x4E00, 0x5600)))
    tokenizer = train_tokenizer(["的" * 3000 + text], 512)
    assert tokenizer.vocab_size <= 512
    assert len(tokenizer.encode("的的")) <= 2
    check_lossless(tokenizer, text)


def test_long_lines_and_reserved_characters_are_trained_on():
    tokenizer = train_tokenizer(["▅ wonderful " * 20_000], 300)
    assert len(tokenizer.encode(" wonderful")) == 1


def test_no_room_and_no_text():
    with pytest.raises(UserError, match="vocabulary of 200 is too small"):
        train_tokenizer(["a"], 200)
    with pytest.raises(UserError, match="no text"):
        train_tokenizer(["", "\n"], 512)


@pytest.mark.parametrize(
    ("size", "vocab"), [(0, 512), (10**6, 512), (2 * 10**6, 512), (5 * 10**6, 2048), (10**9, 4096)]
)
def test_default_vocab_size(size, vocab):
    assert default_vocab_size(size) == vocab


def test_save_load_pickle(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t.model")
    assert load_tokenizer(tmp_path / "t.model") == tokenizer
    tokenizer.encode("Tom")
    assert len(pickle.dumps(tokenizer)) < len(tokenizer.model) + 200


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no tokenizer at"):
        load_tokenizer(tmp_path / "none.model")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match="not a SentencePiece model, or is damaged"):
        load_tokenizer(tmp_path / "bad.model")
    with pytest.raises(UserError, match=r"holds neither tokenizer.json nor vocab.json and merges.txt"):
        load_tokenizer(tmp_path)


def test_vocabularies_up_to_32k():
    rng = np.random.default_rng(0)
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprst", "aeiou")]
    words = ["".join(rng.choice(syllables, 4)) for _ in range(30_000)]
    tokenizer = train_tokenizer([" ".join(words)], 32_768)
    assert tokenizer.vocab_size == 32_768
    for text in AWKWARD:
        check_lossless(tokenizer, text)


def test_it_says_that_nothing_is_lost(tokenizer):
    assert losses(tokenizer, AWKWARD) == Losses(texts=len(AWKWARD), changed=0)
    assert tokenizer.prefix_bytes == 0
