"""Words are those of ROUGE's usual implementation, in any alphabet; stories are cut at 40 % of theirs."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tinyjax.evaluate.novelty.words import cut_story, cut_words, span


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_rouge_score(text: str):
    """Its tokenizer without stemming: what isn't a to z or 0 to 9 in lower case becomes a space."""
    assert cut_words(text) == re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


@given(st.text("aZ 1_.'’“\nİßЯ"))
def test_one_letter_that_is_not_ascii_changes_no_other_word(text: str):
    assert cut_words(f"{text} é") == [*cut_words(text), "é"]


def test_case_quotes_and_punctuation_do_not_matter():
    assert (
        cut_words("“Don’t!” said Tom_T.")
        == cut_words('"DON\'T"\n said tom - t')
        == [
            "don",
            "t",
            "said",
            "tom",
            "t",
        ]
    )
    assert cut_words("Жила-была Été") == ["жила", "была", "été"]


def test_stories_are_cut_after_40_percent_of_what_stands_between_spaces():
    story = 'Tom  ran, and\nhe "fell" down. He cried a lot.'  # ten
    cut = cut_story(story)
    assert cut == ("Tom  ran, and\nhe", ' "fell" down. He cried a lot.')


def test_what_has_no_words_in_either_part_is_not_cut():
    assert [cut_story(text) for text in ("", "  ", "Tom", "... - - Tom ran.", "Tom ran ! ! !")] == [None] * 5
    assert cut_story("Tom ran") == ("Tom", " ran")


def test_a_span_is_shown_as_it_is_written():
    text = '"No," said İda-Li, "don\'t!"'
    assert span(text, 1, 5) == "said İda-Li, \"don't"
    assert span(text, 9, 1) == ""
