"""Others' SentencePiece models give exactly SentencePiece's ids, and what they lose is measured."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_stories
from tinyjax.errors import UserError
from tinyjax.tokenizer import Losses, Tokenizer, load_tokenizer, losses

LLAMA = {"byte_fallback": True, "normalization_rule_name": "identity"}
REAL = ["tokenizers/tok4096.model", "tokenizers/tok8192.model", "llama2c/tok512.model"]


def train(**settings) -> Tokenizer:
    """Trains a model as others do: with SentencePiece's own defaults, where `settings` say nothing else."""
    model = io.BytesIO()
    options: dict[str, Any] = {"vocab_size": 400, "model_type": "bpe", "hard_vocab_limit": False} | settings
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(make_stories(200)),
        model_writer=model,
        minloglevel=2,
        **options,
    )
    return Tokenizer(model.getvalue())


KINDS = {
    "defaults": train(character_coverage=1.0),
    "llama": train(**LLAMA),
    "llama, no prefix": train(**LLAMA, add_dummy_prefix=False),
    "llama, spaces kept": train(**LLAMA, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True),
    "llama, pieces of several words": train(**LLAMA, split_by_whitespace=False),
    "llama, symbols": train(**LLAMA, user_defined_symbols=["Tom took", "<tag>", "\n"]),
    "spaces after words": train(**LLAMA, treat_whitespace_as_suffix=True),
    "unigram": train(**LLAMA, model_type="unigram"),
}
CONTROLS = ["pad_id", "bos_id", "eos_id", "unk_id"]


def ids_of_sentencepiece(tokenizer: Tokenizer, text: str) -> list[int]:
    return sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model).encode(text)


def check_bytes(tokenizer: Tokenizer, text: str) -> bool:
    """Checks that a text which comes back has its number of bytes; returns whether it did."""
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids) != text:
        return False
    prefix = tokenizer.prefix_bytes if text else 0
    assert tokenizer.token_bytes_V[ids].sum() - prefix == len(text.encode())
    return True


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(
    text=st.text(" \n▁Tomtheakslié.<tag>\0", max_size=60) | st.text(st.characters(exclude_categories=["Cs"]))
)
def test_ids_are_those_of_sentencepiece_and_bytes_are_right(kind, text):
    tokenizer = KINDS[kind]
    ids = tokenizer.encode(text)
    assert ids.tolist() == ids_of_sentencepiece(tokenizer, text)
    assert not np.isin(ids, [tokenizer.bos_id, tokenizer.eos_id]).any()
    check_bytes(tokenizer, text)


@pytest.mark.parametrize("kind", KINDS)
def test_stories_of_known_characters_come_back(kind):
    stories = [text.replace("\n", " ") for text in make_stories(50, seed=3)]
    for text in stories:
        assert KINDS[kind].encode(text).tolist() == ids_of_sentencepiece(KINDS[kind], text)
    if kind == "spaces after words":
        assert losses(KINDS[kind], stories).changed == 50
    else:
        assert all(check_bytes(KINDS[kind], text) for text in stories)


@pytest.mark.parametrize("name", REAL)
def test_real_models(shared_data, train_sample, name):
    tokenizer = load_tokenizer(shared_data / name)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(shared_data / name))
    texts = [text.strip() for text in train_sample.read_text("utf-8").split("<|endoftext|>")[:1000]]
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids.tolist() == processor.encode(text)
        assert tokenizer.decode(ids) == processor.decode(ids.tolist())
    assert sum(check_bytes(tokenizer, text) for text in texts) > 980
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (1, 1, 2, 0)
    assert tokenizer.prefix_bytes == 1


def test_the_prefix_is_taken_off_at_the_start_only():
    tokenizer = KINDS["llama"]
    ids = tokenizer.encode("Tom took the ball")
    assert tokenizer.decode(ids) == "Tom took the ball"
    assert tokenizer.decode_bytes(ids) == b"Tom took the ball"
    assert tokenizer.decode(ids, start=False) == " Tom took the ball"
    assert [tokenizer.prefix_bytes, KINDS["llama, no prefix"].prefix_bytes] == [1, 0]


def test_what_is_lost_is_counted_and_shown():
    texts = ["Tom took the ball.", "Tom  took the ball.", "Tom took\nthe ball. "]
    assert losses(KINDS["llama, spaces kept"], texts) == Losses(texts=3, changed=0)
    lost = losses(KINDS["llama"], texts)
    assert (lost.texts, lost.changed) == (3, 2)
    assert lost.example == "'Tom  took the ' came back as 'Tom took the b' (character 4)"
    assert "(character 18)" in losses(KINDS["llama"], texts[2:]).example


def test_the_unknown_is_a_loss():
    tokenizer = KINDS["defaults"]
    ids = tokenizer.encode("Tom 🎈")
    assert tokenizer.unk_id in ids
    assert losses(tokenizer, ["Tom 🎈"]).changed == 1


def test_a_model_without_padding_pads_with_bos():
    assert KINDS["llama"].pad_id == KINDS["llama"].bos_id == 1
    assert train(pad_id=3).pad_id == 3


@pytest.mark.parametrize(("name", "part"), [("bos_id", "beginning"), ("eos_id", "end")])
def test_a_model_without_bos_or_eos_is_refused(tmp_path, name, part):
    train(**{name: -1}).save(tmp_path / "t.model")
    with pytest.raises(UserError, match=rf"t.model': the SentencePiece model has no id for the {part}"):
        load_tokenizer(tmp_path / "t.model")


def test_save_load_pickle(tmp_path):
    for tokenizer in KINDS.values():
        tokenizer.save(tmp_path / "t.model")
        assert load_tokenizer(tmp_path / "t.model") == tokenizer
        assert (
            pickle.loads(pickle.dumps(tokenizer)).encode("Tom").tolist() == tokenizer.encode("Tom").tolist()
        )
