"""A vocabulary cut to its most frequent tokens still loses nothing, and its ids go by frequency."""

import json
import pickle

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings

from tests.conftest import make_stories
from tests.tokenizer.test_byte_level import ANY_TEXT, AWKWARD, END, trained
from tinyjax.errors import UserError
from tinyjax.tokenizer import Tokenizer, cut_vocabulary, losses, train_tokenizer

STORIES = make_stories(100, seed=5)


@pytest.fixture(scope="module")
def whole() -> Tokenizer:
    return Tokenizer(trained().to_str().encode())


@pytest.fixture(scope="module")
def cut(whole: Tokenizer) -> Tokenizer:
    return cut_vocabulary(whole, STORIES, 320)


def by_hand(vocab: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """A byte-level BPE of the 256 bytes, the end of the text and `vocab`."""
    base = [END, *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]
    ids = {token: i for i, token in enumerate([*base, *vocab])}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(ids, merges))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    library.add_special_tokens([END])
    return Tokenizer(library.to_str().encode())


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_every_text_comes_back(cut, text):
    ids = cut.encode(text)
    assert cut.decode(ids) == text
    assert cut.token_bytes_V[ids].sum() == len(text.encode())
    assert cut.eos_id not in ids


def test_tokens_that_were_kept_are_used_as_before(whole, cut):
    new_ids = {piece: i for i, piece in enumerate(cut.piece_bytes)}
    kept = 0
    for text in STORIES[:20]:
        pieces = [whole.piece_bytes[i] for i in whole.encode(text)]
        if all(piece in new_ids for piece in pieces):
            kept += 1
            assert cut.encode(text).tolist() == [new_ids[piece] for piece in pieces]
        else:
            assert len(cut.encode(text)) > len(pieces)
    assert kept > 0


def test_what_is_not_kept_is_spelled_by_what_it_was_merged_from():
    merges = [("t", "h"), ("th", "e"), ("the", "n"), ("e", "n"), ("q", "u"), ("qu", "e"), ("que", "en")]
    whole = by_hand(["th", "the", "then", "en", "qu", "que", "queen"], merges)
    cut = cut_vocabulary(whole, ["th " * 9 + "en " * 8 + "the " * 7 + "then queen"], 260)
    assert cut.vocab_size == 260
    assert [cut.piece_bytes[i] for i in cut.encode("then")] == [b"the", b"n"]
    assert [cut.piece_bytes[i] for i in cut.encode("queen")] == [b"q", b"u", b"e", b"en"]


def test_ids_go_by_frequency_and_then_by_old_id(whole, cut):
    counts = np.zeros(whole.vocab_size, int)
    for text in STORIES:
        counts += np.bincount([*whole.encode(text), whole.eos_id], minlength=whole.vocab_size)
    kept = json.loads(cut.model)["kept"]
    assert kept == sorted(kept, key=lambda old: (-counts[old], old))
    dropped = set(range(whole.vocab_size)) - set(kept)
    least = min(counts[old] for old in kept if len(whole.piece_bytes[old]) > 1)
    assert all(counts[old] <= least for old in dropped)
    assert {bytes([byte]) for byte in range(256)} <= set(cut.piece_bytes)
    assert cut.vocab_size == 320


def test_the_end_of_text(whole, cut):
    assert cut.bos_id == cut.eos_id == cut.pad_id == cut.piece_bytes.index(b"")
    assert cut.piece_bytes.count(b"") == 1
    assert cut.eos_id != whole.eos_id


def test_it_is_deterministic_and_fits_into_its_bytes(whole, cut):
    assert cut_vocabulary(whole, STORIES, 320) == cut
    again = pickle.loads(pickle.dumps(cut))
    assert again.sha256 == cut.sha256
    assert again.encode(STORIES[0]).tolist() == cut.encode(STORIES[0]).tolist()


@pytest.mark.parametrize("size", [257, 360])
def test_all_or_nothing_but_bytes(whole, size):
    cut = cut_vocabulary(whole, STORIES, size)
    assert cut.vocab_size == size
    assert losses(cut, [*AWKWARD, *STORIES]).changed == 0


def test_real_stories(shared_data, train_sample):
    texts = train_sample.read_text("utf-8").split(END)[:500]
    library = tokenizers.ByteLevelBPETokenizer()
    library.train_from_iterator(texts, vocab_size=3000, special_tokens=[END], show_progress=False)
    cut = cut_vocabulary(Tokenizer(library.to_str().encode()), texts, 1000)
    lines = (shared_data / "tinystories" / "russian-sample.jsonl").read_text("utf-8").splitlines()
    assert losses(cut, [*texts, *(json.loads(line)["text"] for line in lines)]).changed == 0


class TestErrors:
    """One message each, with the mend."""

    @pytest.mark.parametrize("size", [256, 361])
    def test_size_that_does_not_fit(self, whole, size):
        with pytest.raises(
            UserError, match=rf"360 can't be cut to {size} tokens; choose .* from 257 .* to 360"
        ):
            cut_vocabulary(whole, STORIES, size)

    def test_other_kinds(self, cut):
        for tokenizer in (cut, train_tokenizer(STORIES, 300)):
            with pytest.raises(UserError, match="only byte-level BPE that was not cut before"):
                cut_vocabulary(tokenizer, STORIES, 300)

    def test_bytes_that_are_missing(self, whole):
        parsed = json.loads(whole.model)
        del parsed["model"]["vocab"]["Ā"]
        with pytest.raises(UserError, match="no tokens for 1 of the 256 bytes"):
            cut_vocabulary(Tokenizer(json.dumps(parsed).encode()), STORIES, 300)
