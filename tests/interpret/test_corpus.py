"""Rows hold stories as the model reads them, and tokens the class of the word they are in."""

from collections.abc import Callable

import numpy as np
import pytest

from tinyjax.data.manifests import Prepared
from tinyjax.errors import UserError
from tinyjax.interpret.corpus import Corpus, WordClass, classes_of, corpus
from tinyjax.stories.world import stories
from tinyjax.tokenizer import Tokenizer, load_tokenizer

TEXTS = [story.text for story in stories(5)]


@pytest.fixture(params=["ours", "llama2c"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Ours, and one that puts a space before every text."""
    if request.param == "ours":
        return request.getfixturevalue("tiny_data").tokenizer
    return load_tokenizer(request.getfixturevalue("shared_data") / "llama2c" / "tok512.model")


def class_of_words(tokenizer: Tokenizer, text: str, **options) -> Callable[[str], str]:
    """Returns what tells the class of a word of the text; all pieces of it must have it."""
    found = corpus(tokenizer, [text], 500, **options)

    def of(word: str) -> str:
        at = text.encode().index(word.encode())
        ends_T = [*found.starts_NT[0, 1:].tolist(), len(text.encode())]
        inside_T = (found.starts_NT[0] < at + len(word.encode())) & (np.array(ends_T) > at)
        (kind,) = {WordClass(tag).name for tag in found.tags_NT[0, inside_T & (found.tokens_NT[0] > 3)]}
        return kind

    return of


def test_a_row_is_a_story_as_training_reads_it(tokenizer: Tokenizer):
    found = corpus(tokenizer, TEXTS, 10_000)
    for i, text in enumerate(TEXTS):
        ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
        used = found.segments_NT[i] > 0
        assert found.tokens_NT[i, used].tolist() == ids[:-1]
        assert found.targets_NT[i, used].tolist() == ids[1:]
        assert not used[len(ids) - 1 :].any()
        assert found.texts[i] == text
    assert found.num_tokens == sum(len(tokenizer.encode(text)) + 1 for text in TEXTS)


def test_a_long_story_is_cut_and_goes_on_to_its_next_token(tokenizer: Tokenizer):
    found = corpus(tokenizer, TEXTS, 20)
    assert found.tokens_NT.shape == (5, 20)
    np.testing.assert_array_equal(found.tokens_NT[:, 1:], found.targets_NT[:, :-1])
    assert found.targets_NT[0, -1] == tokenizer.encode(TEXTS[0])[19]
    assert TEXTS[0].startswith(found.texts[0])
    assert found.texts[0] != TEXTS[0]


def test_starts_cut_the_text_into_what_tokens_stand_for(tokenizer: Tokenizer):
    text = "Lily saw a café. \U0001f600 She smiled."
    found = corpus(tokenizer, [text], 500)
    cuts = [*found.starts_NT[0].tolist(), len(text.encode())]
    for token, start, end in zip(found.tokens_NT[0], cuts, cuts[1:], strict=False):
        piece = tokenizer.piece_bytes[token]
        assert text.encode()[start:end] in (piece, piece.removeprefix(b" "))


def test_words_have_their_classes_and_all_their_pieces_with_them(tokenizer: Tokenizer):
    of = class_of_words(tokenizer, "Once a happy girl named Zorba jumped. Then she saw the elephant!")
    expected = {
        "Zorba": "NAME", "girl": "NOUN", "elephant": "NOUN", "jumped": "VERB", "saw": "VERB",
        "happy": "ADJECTIVE", "she": "PRONOUN", "the": "ARTICLE", "!": "PUNCTUATION", "named": "OTHER",
    }  # fmt: skip
    assert {word: of(word) for word in expected} == expected


def test_what_stands_before_a_word_of_two_classes_decides(tokenizer: Tokenizer):
    assert class_of_words(tokenizer, "He saw the train.")("train") == "NOUN"
    assert class_of_words(tokenizer, "They water it.")("water") == "VERB"
    assert class_of_words(tokenizer, "He had the water.")("water") == "NOUN"


def test_a_name_is_no_flower_where_the_story_shows_it(tokenizer: Tokenizer):
    assert class_of_words(tokenizer, "Rose ran. They saw Rose.")("Rose") == "NAME"
    assert class_of_words(tokenizer, "Roses grow. They saw them.")("Roses") == "NOUN"


def test_what_a_record_says_of_words_goes_first(tokenizer: Tokenizer):
    text = "They saw how she gribbled the quorn, and the plonky man."
    known = classes_of(("gribble", "quorn", "plonky"))
    of = class_of_words(tokenizer, text, tags=[known])
    assert [of(word) for word in ("gribbled", "quorn", "plonky", "man")] == [
        "VERB", "NOUN", "ADJECTIVE", "NOUN"
    ]  # fmt: skip
    assert class_of_words(tokenizer, text)("quorn") == "OTHER"
    assert classes_of(("only", "two")) == {}


def test_batches_are_all_rows_once_of_one_size_and_of_a_length(tiny_data: Prepared):
    texts = ["A cat sat. " * 50, "A cat.", "A dog ran. " * 45, "A dog sat.", "A fox ran."]
    found = corpus(tiny_data.tokenizer, texts, 300)
    batches: list[tuple[np.ndarray, Corpus]] = list(found.batches(2))
    rows = np.concatenate([rows_B for rows_B, _ in batches])
    assert sorted(rows[rows < len(texts)].tolist()) == list(range(len(texts)))
    assert {len(rows_B) for rows_B, _ in batches} == {2}
    assert {part.tokens_NT.shape[1] for _, part in batches} == {128, found.tokens_NT.shape[1]}
    for rows_B, part in batches:
        assert part.texts == tuple(found.texts[row] for row in rows_B if row < len(texts))
        for row, tokens_T, segments_T in zip(rows_B, part.tokens_NT, part.segments_NT, strict=True):
            whole_T = found.tokens_NT[row][found.segments_NT[row] > 0] if row < len(texts) else []
            np.testing.assert_array_equal(tokens_T[segments_T > 0], whole_T)


@pytest.mark.parametrize("texts", [[], [""]])
def test_no_stories_is_an_error(tiny_data: Prepared, texts: list[str]):
    with pytest.raises(UserError, match="no stories"):
        corpus(tiny_data.tokenizer, texts, 100)
