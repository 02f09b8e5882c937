"""A tokenizer.json gives the ids that the tokenizer it was made of gives, or isn't made."""

import functools
import itertools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_stories
from tinyjax import textio
from tinyjax.interop.hf_tokenizer import PROBES, NotExpressible, special_tokens, tokenizer_json
from tinyjax.tokenizer import Tokenizer, cut_vocabulary, load_tokenizer, train_tokenizer


def fast(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(tokenizer_json(tokenizer))
    made.encode_special_tokens = True
    return made


def assert_same(tokenizer: Tokenizer, made: tokenizers.Tokenizer, texts: list[str]) -> None:
    for text in texts:
        ids = made.encode(text).ids
        assert ids == [tokenizer.bos_id, *tokenizer.encode(text).tolist()], text
        assert made.decode(ids) == tokenizer.decode(ids), text


@functools.cache
def ours() -> tuple[Tokenizer, tokenizers.Tokenizer]:
    tokenizer = train_tokenizer(make_stories(60), 400)
    return tokenizer, fast(tokenizer)


def test_our_own_on_stories_and_on_what_is_easily_got_wrong():
    assert_same(*ours(), [*PROBES, *make_stories(30, seed=1)])


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("aaeht  \n.\u2581<s>"), max_size=30))
@settings(max_examples=300, deadline=None)
def test_our_own_on_any_text(text: str):
    tokenizer, made = ours()
    assert made.encode(text).ids[1:] == tokenizer.encode(text).tolist()


@pytest.mark.slow
def test_our_own_on_a_thousand_real_stories(train_sample: pathlib.Path):
    texts = [story.text for story in itertools.islice(textio.read(str(train_sample)), 3000)]
    tokenizer = train_tokenizer(texts[1000:], 2048)
    assert_same(tokenizer, fast(tokenizer), [*texts[:1000], *PROBES])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["llama2c/tok512.model", "tokenizers/tok4096.model", "tokenizers/tok8192.model"]
)
def test_those_of_others_on_a_thousand_real_stories(
    name: str, shared_data: pathlib.Path, train_sample: pathlib.Path
):
    texts = [story.text for story in itertools.islice(textio.read(str(train_sample)), 1000)]
    tokenizer = load_tokenizer(shared_data / name)
    spaces = [
        f"{a}x{b}y{c}"
        for a in ("", " ", "  ", "\n")
        for b in (" ", "  ", "\u2581 ", " \n ")
        for c in ("", "  ")
    ]
    assert_same(tokenizer, fast(tokenizer), [*texts, *PROBES, *spaces])


def test_special_tokens_are_named_as_the_tokenizer_writes_them():
    names = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
    assert special_tokens(ours()[0]) == {f"{name}_token": text for name, text in names.items()}


def test_byte_level_ones_stay_as_they_are_and_begin_with_the_end_of_text(byte_level: Tokenizer):
    assert_same(byte_level, fast(byte_level), [*PROBES, *make_stories(30, seed=1)])
    assert set(special_tokens(byte_level).values()) == {"<|endoftext|>"}


def test_what_no_tokenizer_json_can_do_is_refused(
    byte_level: Tokenizer, train_model: Callable[..., Tokenizer]
):
    with pytest.raises(NotExpressible, match="cut to its most frequent"):
        tokenizer_json(cut_vocabulary(byte_level, make_stories(20), 280))
    with pytest.raises(NotExpressible, match="of another kind"):
        tokenizer_json(train_model(model_type="unigram"))
    with pytest.raises(NotExpressible, match=r"as no tokenizer\.json does"):
        tokenizer_json(train_model(model_type="bpe", byte_fallback=True, normalization_rule_name="nfkc"))


@pytest.fixture
def train_model() -> Callable[..., Tokenizer]:
    """Trains a SentencePiece model of others' kind."""
    import io

    import sentencepiece

    def train(**options: Any) -> Tokenizer:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(make_stories(50)),
            model_writer=model,
            vocab_size=350,
            hard_vocab_limit=False,
            minloglevel=2,
            **options,
        )
        return Tokenizer(model.getvalue())

    return train


def test_the_file_is_json_with_its_characters_as_they_are():
    parsed = json.loads(tokenizer_json(ours()[0]))
    assert parsed["model"]["type"] == "BPE"
    assert len(parsed["model"]["vocab"]) == ours()[0].vocab_size
