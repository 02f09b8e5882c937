"""Byte-level BPE gives the ids of the library `tokenizers`, loses nothing, and fits into its bytes."""

import itertools
import json
import pathlib
import pickle
import sys
from collections.abc import Sequence

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_stories
from tinyjax.errors import UserError
from tinyjax.tokenizer import Losses, Tokenizer, load_tokenizer, losses
from tinyjax.tokenizer.byte_level import byte_characters

END = "<|endoftext|>"
AWKWARD = [
    "",
    " ",
    "  two  spaces  ",
    "\n\n\nlines\r\n\tand tabs \n \n  then\u2003\n text\x1c x\x85",
    "don't we're 'tis I'll\n'sup it 's",
    "😀👩‍👩‍👧 é e\u0301 ﬁ \ufeff\u2028\u00a0 中文 и русский \0\x01\U0010ffff",
    f"a {END}{END} b <s></s>",
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    " \n\t\r\u00a0\u2003\x1c\x85Tomtheas'slldrevet123½é.!<|endoftext|>", max_size=60
)


def trained(texts: Sequence[str] = (), vocab_size: int = 360) -> tokenizers.ByteLevelBPETokenizer:
    library = tokenizers.ByteLevelBPETokenizer()
    library.train_from_iterator(
        texts or make_stories(200), vocab_size=vocab_size, special_tokens=[END], show_progress=False
    )
    return library


def changed(parsed: dict, **parts) -> Tokenizer:
    return Tokenizer(json.dumps(parsed | parts).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """GPT-2's two files."""
    folder = tmp_path_factory.mktemp("gpt2")
    trained().save_model(str(folder))
    return folder


@pytest.fixture(scope="module")
def library(folder: pathlib.Path) -> tokenizers.ByteLevelBPETokenizer:
    return tokenizers.ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))


@pytest.fixture(scope="module")
def tokenizer(folder: pathlib.Path) -> Tokenizer:
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def parsed(tokenizer: Tokenizer) -> dict:
    return json.loads(tokenizer.model)


@settings(max_examples=500, deadline=None)
@given(text=ANY_TEXT)
def test_ids_are_the_librarys_and_the_text_comes_back(tokenizer, library, text):
    ids = tokenizer.encode(text)
    assert ids.tolist() == library.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes_V[ids].sum() == len(text.encode())
    assert tokenizer.eos_id not in ids


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text(tokenizer, library, text):
    assert tokenizer.encode(text).tolist() == library.encode(text).ids
    assert losses(tokenizer, [text]) == Losses(texts=1, changed=0)


def test_all_short_texts_of_whitespace_and_words():
    texts = ["".join(text) for n in range(1, 6) for text in itertools.product("a' \n\t\x1c!", repeat=n)]
    library = trained(texts, vocab_size=500)
    tokenizer = Tokenizer(library.to_str().encode())
    encodings = library.encode_batch(texts)
    assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == [encoding.ids for encoding in encodings]


def test_real_stories(shared_data, train_sample, tokenizer, library):
    lines = (shared_data / "tinystories" / "russian-sample.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines] + train_sample.read_text("utf-8").split(END)[:500]
    assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == [
        encoding.ids for encoding in library.encode_batch(texts)
    ]
    assert losses(tokenizer, texts).changed == 0


def test_the_end_of_text_begins_and_ends_stories_and_is_no_text(tokenizer, folder):
    end = json.loads((folder / "vocab.json").read_bytes())[END]
    assert {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id} == {end}
    assert tokenizer.decode([end, *tokenizer.encode("Tom"), end]) == "Tom"
    assert tokenizer.vocab_size == 360
    assert tokenizer.prefix_bytes == 0


def test_a_tokenizer_json_with_the_special_token_marked(tmp_path, library):
    trained().save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert load_tokenizer(tmp_path / "tokenizer.json") == tokenizer
    for text in AWKWARD:  # the library itself would take <|endoftext|> in text for the control id
        assert tokenizer.encode(text).tolist() == library.encode(text).ids


def test_the_bytes_are_all_there_is(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.model")
    assert load_tokenizer(tmp_path / "tokenizer.model") == tokenizer
    tokenizer.encode("Tom")
    assert len(pickle.dumps(tokenizer)) < len(tokenizer.model) + 200
    ids = pickle.loads(pickle.dumps(tokenizer)).encode("Tom took it")
    assert ids.tolist() == tokenizer.encode("Tom took it").tolist()


def test_what_frames_cuts_pads_or_throws_dice_is_left_out(tokenizer, parsed):
    library = tokenizers.Tokenizer.from_str(json.dumps(parsed))
    library.enable_truncation(1)
    library.enable_padding(length=50)
    library.post_processor = tokenizers.processors.TemplateProcessing(
        f"{END} $A", special_tokens=[(END, tokenizer.eos_id)]
    )
    library.model.dropout = 0.5
    framed = Tokenizer(library.to_str().encode())
    text = "Tom took the ball to the park and felt happy."
    assert framed.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_a_space_before_each_text_is_taken_off_and_known(parsed):
    tokenizer = changed(parsed, pre_tokenizer=parsed["pre_tokenizer"] | {"add_prefix_space": True})
    ids = tokenizer.encode("Tom took it")
    assert tokenizer.decode(ids) == "Tom took it"
    assert tokenizer.decode(ids, start=False) == " Tom took it"
    assert tokenizer.token_bytes_V[ids].sum() - tokenizer.prefix_bytes == len("Tom took it")
    assert losses(tokenizer, [" Tom"]).changed == 1


@pytest.fixture(scope="module")
def several_words() -> tokenizers.Tokenizer:
    """A byte-level BPE with pieces of several words."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\S+ \S+"), "isolated")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, byte_level])
    library.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(["of the ball"] * 9, trainer)
    return library


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_other_ways_of_splitting_go_through_the_library(several_words, text):
    tokenizer = Tokenizer(several_words.to_str().encode())
    several_words.encode_special_tokens = True
    text = f"of the ball{text}"
    assert tokenizer.encode(text).tolist() == several_words.encode(text).ids
    assert losses(tokenizer, [text]).changed == 0


def test_added_tokens_that_are_text_stand_for_their_text(parsed):
    added = parsed["added_tokens"][0] | {"id": 360, "content": "é a", "special": False}
    tokenizer = changed(parsed, added_tokens=[*parsed["added_tokens"], added])
    ids = tokenizer.encode("Tomé ab")
    assert 360 in ids
    assert tokenizer.token_bytes_V[360] == 4
    assert tokenizer.decode(ids) == "Tomé ab"


def test_a_normalizer_loses_what_it_changes(parsed):
    normalizer = {"type": "Replace", "pattern": {"String": "a b"}, "content": "-"}
    tokenizer = changed(parsed, normalizer=normalizer)
    assert tokenizer.decode(tokenizer.encode("a a b")) == "a -"
    assert losses(tokenizer, ["a a", "a a b"]).changed == 1


def test_the_bytes_characters_are_the_librarys():
    assert set(byte_characters()) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())


class TestErrors:
    """One message each, with the place and the mend."""

    def test_without_the_end_of_text(self, parsed, tmp_path):
        changed(parsed, added_tokens=[]).save(tmp_path / "t.json")
        with pytest.raises(UserError, match=r"t.json': the tokenizer has no special token <\|endoftext\|>"):
            load_tokenizer(tmp_path / "t.json")

    @pytest.mark.parametrize("model", [{"type": "WordPiece"}, {"type": "BPE"}])
    def test_another_kind(self, parsed, tmp_path, model):
        parts = {"model": model, "decoder": {"type": "WordPiece"}}
        changed(parsed, **parts).save(tmp_path / "t.json")
        with pytest.raises(UserError, match="nor is it a tokenizer"):
            load_tokenizer(tmp_path / "t.json")

    def test_damaged(self, tokenizer, folder, tmp_path):
        (tmp_path / "t.model").write_bytes(tokenizer.model[:-100])
        with pytest.raises(UserError, match="or is damaged"):
            load_tokenizer(tmp_path / "t.model")
        (tmp_path / "vocab.json").write_bytes((folder / "vocab.json").read_bytes())
        (tmp_path / "merges.txt").write_text("nonsense x\n", encoding="utf-8")
        with pytest.raises(UserError, match="or is damaged"):
            load_tokenizer(tmp_path)

    def test_missing_package(self, tokenizer, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        for use in (lambda: load_tokenizer(folder), lambda: Tokenizer(tokenizer.model).encode("Tom")):
            with pytest.raises(UserError, match=r"pip install 'tinyjax\[hf\]'"):
                use()
