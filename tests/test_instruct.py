"""TinyStories-Instruct is read and written as published, and what a story gets is drawn as promised."""

import collections
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyjax import instruct
from tinyjax.errors import UserError
from tinyjax.instruct import KINDS, draw, parse, parse_hold_out, pick_sentence, prompt, render, sentences

EXAMPLE = """Summary: A moral:
Words: are not always
a label.
Features: Dialogue, BadEnding
Words: ride, work
Random sentence: She rode.
Story:

Lily sat.

Story: she rode.
"""

subsets = st.sets(st.sampled_from(KINDS), max_size=4)
texts = st.text(max_size=40)
lines = texts.map(lambda text: " ".join(re.split(r"[\r\n]+", text)).strip())
items = lines.map(lambda line: line.replace(",", "").strip()).filter(bool)
stories = st.text().map(str.strip).filter(lambda text: not instruct._LABEL.search(text))


@st.composite
def fields(draw, line=lines, item=items) -> instruct.Fields:
    """Any of the kinds, in any order."""
    kinds = draw(st.permutations(KINDS))[: draw(st.integers(0, 4))]
    lists = st.lists(item, max_size=4).map(tuple)
    return {kind: draw(lists if kind in ("words", "features") else line) for kind in kinds}


class TestLayout:
    """Reading and writing."""

    @pytest.mark.parametrize(
        ("name", "count"), [("instruct-sample.txt", 3), ("instruct-derived-sample.txt", 50)]
    )
    def test_real_examples_come_back_byte_for_byte(self, shared_data, name, count):
        text = (shared_data / "tinystories" / name).read_text()
        pieces = [piece.strip() for piece in text.split("<|endoftext|>") if piece.strip()]
        assert len(pieces) == count
        for piece in pieces:
            parsed = parse(f"\n{piece}\n")
            assert instruct.is_instruct(piece)
            assert parsed.fields
            assert all(parsed.fields.values())
            assert render(parsed.fields, parsed.story) == piece
            assert prompt(parsed.fields) == piece.removesuffix(parsed.story)

    def test_plain_stories_are_not_in_this_layout(self, train_sample):
        pieces = [piece.strip() for piece in train_sample.read_text().split("<|endoftext|>")]
        assert not any(map(instruct.is_instruct, pieces))
        assert all(parse(piece) == ({}, piece) for piece in pieces)

    def test_fields_keep_their_order_and_all_that_follows_is_story(self):
        example = EXAMPLE.replace("Words: are", "Words are")
        parsed = parse(example)
        assert list(parsed.fields.items()) == [
            ("summary", "A moral:\nWords are not always\na label."),
            ("features", ("Dialogue", "BadEnding")),
            ("words", ("ride", "work")),
            ("sentence", "She rode."),
        ]
        assert parsed.story == "Lily sat.\n\nStory: she rode."
        assert prompt(parsed.fields) == (
            "Summary: A moral: Words are not always a label.\nFeatures: Dialogue, BadEnding\n"
            "Words: ride, work\nRandom sentence: She rode.\nStory: \n\n"
        )

    @given(fields(), stories)
    def test_what_is_written_is_read_back(self, fields, story):
        parsed = parse(render(fields, story))
        assert list(parsed.fields.items()) == list(fields.items())
        assert parsed.story == story

    @given(fields(line=texts, item=texts), stories)
    def test_line_breaks_and_commas_never_break_the_layout(self, fields, story):
        """They become spaces; the rest stays."""
        written = render(fields, story)
        parsed = parse(written)
        assert list(parsed.fields) == list(fields)
        assert parsed.story == story
        assert parse(prompt(parsed.fields) + story) == parsed
        for kind, value in fields.items():
            assert _letters(parsed.fields[kind]) == _letters(value)

    def test_a_line_break_in_a_value_and_a_comma_in_an_item_become_spaces(self):
        fields = {"words": ("a , b", "c\r\n\n  d"), "summary": " One,  two. \n Three.\n"}
        assert prompt(fields) == "Words: a b, c d\nSummary: One,  two. Three.\nStory: \n\n"

    def test_without_instructions_the_story_stands_alone(self):
        assert prompt({}) == ""
        assert render({}, "Lily sat.") == "Lily sat."
        assert parse("Lily sat.\n") == ({}, "Lily sat.")
        assert parse("Story: \n\nLily sat.\n") == ({}, "Lily sat.")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("Words: ride\nLily rode.", " has the line 'Words:' but no 'Story:' after it"),
            ("Words: ride\n", " has the line 'Words:' but no 'Story:' after it"),
            (EXAMPLE, " has the line 'Words:' twice before its story"),
            (
                "Mood: sad\nWords: ride\nStory: \n\nLily rode.",
                " begins with 'Mood: sad', which is no instruction",
            ),
        ],
    )
    def test_what_is_not_in_order_is_said(self, text, said):
        with pytest.raises(UserError) as caught:
            parse(text)
        assert str(caught.value).startswith(said)

    @pytest.mark.parametrize(
        "text", ["", "Words: ride", "Story: Lily.", "Lily.\nWords: a\nStory: b", "Words: a Story: b"]
    )
    def test_other_texts_are_not_in_this_layout(self, text):
        assert not instruct.is_instruct(text)


def _letters(value: instruct.Value) -> str:
    return re.sub(r"[\s,]", "", "".join(value))


class TestDraw:
    """Which instructions a story gets."""

    @given(subsets, st.text(), st.integers(0, 2**40), subsets)
    def test_a_subset_in_any_order_that_holds_out(self, available, key, seed, held_out):
        kinds = draw(available, key, seed, frozenset(held_out))
        assert set(kinds) <= available
        assert len(set(kinds)) == len(kinds)
        assert not held_out or not held_out <= set(kinds)
        assert bool(kinds) == (bool(available) and not (len(available) == 1 and available == held_out))

    @pytest.mark.parametrize("hold_out", [frozenset(), frozenset({"words", "summary"})])
    def test_subsets_are_equally_likely_and_so_are_their_orders(self, hold_out):
        drawn = [draw(KINDS, f"story {i}", 7, hold_out) for i in range(15_000)]
        counts = collections.Counter(map(frozenset, drawn))
        assert len(counts) == (11 if hold_out else 15)
        expected = len(drawn) / len(counts)
        assert sum((n - expected) ** 2 / expected for n in counts.values()) < 36  # chi-squared, 14: p = 0.001
        for subset, count in counts.items():
            orders = collections.Counter(kinds for kinds in drawn if set(kinds) == subset)
            expected = count / len(list(itertools.permutations(subset)))
            assert (
                sum((orders[order] - expected) ** 2 / expected for order in itertools.permutations(subset))
                < 50
            )

    def test_it_depends_on_seed_and_key_alone(self):
        assert draw(KINDS, "a", 0) == draw(reversed(KINDS), "a", 0)
        assert len({draw(KINDS, "a", seed) for seed in range(50)}) > 20
        assert len({draw(KINDS, str(key), 0) for key in range(50)}) > 20

    def test_it_is_the_same_in_every_process_and_version(self):
        """With other draws than these, data sets would differ from those made before."""
        assert [draw(KINDS, "Lily sat.", seed) for seed in range(3)] == [
            ("features", "summary", "sentence"),
            ("summary",),
            ("summary", "words"),
        ]

    def test_hold_out_is_read(self):
        assert parse_hold_out("words+summary") == {"words", "summary"}
        assert parse_hold_out("") == frozenset()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "words+summry",
                "'summry' is no kind of instruction (did you mean 'summary'?); join two or more of",
            ),
            ("words,summary", "'words,summary' is no kind of instruction"),
            ("words", "is one kind; join two or more of words, features, sentence, summary by +"),
            ("words+", "'' is no kind of instruction; join"),
        ],
    )
    def test_a_wrong_hold_out_is_said(self, text, said):
        with pytest.raises(UserError, match=re.escape(said)):
            parse_hold_out(text)


class TestSentences:
    """Sentences to be used in a story."""

    def test_they_end_after_closing_quotes_and_never_span_lines(self):
        story = (
            'Tom ran. "Stop!" said Mr. Bear. “Why?” asked Tom... “I like to run.” He ran (fast!) on.\n'
            "He had no time\n\nThe end… \"Bye!\" 'Bye.' ***"
        )
        assert list(sentences(story)) == [
            "Tom ran.",
            '"Stop!" said Mr. Bear.',
            "“Why?” asked Tom...",
            "“I like to run.”",
            "He ran (fast!) on.",
            "He had no time",
            "The end…",
            '"Bye!"',
            "'Bye.'",
        ]

    @given(st.text("aB. !?\"'”\n"), st.integers(0, 9))
    def test_the_one_that_is_picked_stands_in_the_story(self, story, seed):
        picked = pick_sentence(story, seed)
        assert picked in story
        assert "\n" not in picked
        assert picked in [*list(sentences(story))[1:], ""]
        assert parse(prompt({"sentence": picked}) + "x").fields == {"sentence": picked}

    def test_any_but_the_first_is_picked(self):
        story = "One. Two. Three. Four."
        assert {pick_sentence(story, seed) for seed in range(50)} == {"Two.", "Three.", "Four."}
        assert pick_sentence(story, 3) == pick_sentence(story, 3)
        assert pick_sentence("One.", 0) == pick_sentence("", 0) == ""

    def test_real_stories(self, train_sample):
        for story in train_sample.read_text().split("<|endoftext|>")[:500]:
            found = list(sentences(story))
            assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", story)
            assert all(len(sentence) < 400 for sentence in found)
            assert pick_sentence(story, 0)
