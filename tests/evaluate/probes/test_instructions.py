"""What a story was asked for is found in it where it is, and not where it isn't."""

import dataclasses
import pathlib

import pytest

from tinyjax import instruct
from tinyjax.evaluate.probes import instructions
from tinyjax.evaluate.probes.instructions import (
    COMBINATIONS,
    Asked,
    check,
    has_dialogue,
    holds,
    known_records,
    shares,
    summarise,
    tell,
    uses,
)
from tinyjax.sample.model import load_model
from tinyjax.textio import Record

WORDS = Asked(("words",), {"words": ("run", "oak", "sad")})


def told(asked: Asked, story: str):
    return check(asked, {"story": asked.prompt + story})


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("run", "He ran home."),
        ("run", "They were running."),
        ("hop", "It hopped away."),
        ("bake", "She was baking."),
        ("bake", "She BAKED it"),
        ("cry", "The baby cried."),
        ("cry", "Crying, he left."),
        ("happy", "He was the happiest."),
        ("big", "It was bigger."),
        ("berry", "Two berries."),
        ("box", "Three boxes."),
        ("child", "The children"),
        ("mouse", "mice"),
        ("eat", "It was eaten."),
        ("quit", "He was quitting."),
        ("lie", "He was lying."),
        ("see", "Seeing is believing"),
        ("play", "They played."),
        ("visit", "They visited her."),
        ("dog", "the dog's bone"),
        ("teddy-bear", "a Teddy-bear"),
        ("leaf", "green leaves"),
        ("dance", "dancing"),
        ("free", "He was freed."),
        ("mix", "She mixed it."),
    ],
)
def test_a_word_is_used_in_any_of_its_forms(word: str, text: str):
    assert uses(word, text)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("hop", "He hoped so."),
        ("hop", "They were hoping."),
        ("car", "He cared for her."),
        ("cat", "The caterpillar catches it."),
        ("run", "A prune and a trunk."),
        ("rat", "They rated it."),
        ("bar", "They bared it."),
        ("eat", "The beat was great."),
        ("sad", "Sadie"),
        ("oak", "soaked"),
    ],
)
def test_other_words_are_not_taken_for_it(word: str, text: str):
    assert not uses(word, text)


@pytest.mark.parametrize(
    "text",
    [
        'Tom said, "I want to go."',
        '"Hello!" said Tom.',
        '"Come here," Mom said.',
        "“Where are you?” she asked.",
        'He looked up. "Is it you...?"',
        '"But—" he began.',
    ],
)
def test_speech_is_dialogue(text: str):
    assert has_dialogue(text)


@pytest.mark.parametrize(
    "text",
    [
        "Tom said that he wanted to go.",
        'They called it the "big" tree.',
        'A dog named "Spot" ran.',
        "It was the boys' ball. 'Twas fun.",
        'He said, "I want',
        'The sign read "!"',
        "",
    ],
)
def test_other_quotes_are_none(text: str):
    assert not has_dialogue(text)


def test_a_sentence_counts_to_the_letter():
    assert holds("She sat down.", "Then it rained. She sat down. The end.")
    assert holds("She sat  down.", "She sat\ndown.")
    assert not holds("She sat down.", "She sat down, tired.")
    assert not holds("She sat down.", "she sat down.")


def test_a_story_is_looked_at_without_its_instructions():
    obeyed = told(WORDS, "Tom ran to the tree.")
    assert obeyed.words == (True, False, False)
    assert (obeyed.sentence, obeyed.dialogue, obeyed.wants_dialogue) == (None, False, False)


def test_shares_are_of_what_was_asked():
    dialogue = Asked(("features",), {"features": ("Dialogue",)})
    sentence = Asked(("sentence",), {"sentence": "She sat down."})
    found = shares(
        [
            told(WORDS, "Sad oaks ran."),
            told(WORDS, '"Oak!" said Tom.'),
            told(dialogue, '"Oak!" said Tom.'),
            told(sentence, "She sat down."),
            told(sentence, "She sat."),
        ]
    )
    values = {name: (estimate.value, estimate.count) for name, estimate in found.items()}
    assert values == {
        "words": (pytest.approx(4 / 6), 6),
        "all_words": (0.5, 2),
        "sentence": (0.5, 2),
        "dialogue": (1, 1),
        "dialogue_unasked": (0.25, 4),
    }


def test_a_share_of_none_is_not_sure_to_be_none():
    found = shares([told(WORDS, "A pine."), told(WORDS, "A fir.")])["words"]
    assert (found.value, found.low) == (0, pytest.approx(0))
    assert found.high > 0.5


def test_combinations_that_were_held_out_are_told_apart():
    both = Asked(("words", "summary"), {"words": ("oak",), "summary": "A tree."})
    stories = [told(WORDS, "Sad oaks ran."), told(both, "A pine.")]
    found = summarise(stories, frozenset({"words", "summary"}))
    assert (found.stories, found.hold_out) == (2, "words+summary")
    assert found.held_out["words"].value == 0
    assert found.trained["words"].value == 1
    assert found.all["words"].value == pytest.approx(3 / 4)
    assert found.by_combination.keys() == {"words", "words+summary"}
    assert not summarise(stories, frozenset()).held_out


def test_every_combination_that_can_be_checked_is_asked_for():
    assert len(set(COMBINATIONS)) == 2 ** len(instruct.KINDS) - 2
    assert ("summary",) not in COMBINATIONS


def test_stories_with_their_records_are_asked_for_and_else_those_of_the_world():
    records = [Record("One. Two. Three.", words=("one",), summary="Counting."), Record("Only text.")]
    assert known_records(records, 1) == records[:1]
    of_the_world = known_records(records, 3)
    assert len(of_the_world) == 3
    assert all(record.words and record.summary for record in of_the_world)
    assert all(uses(word, record.text) for record in of_the_world for word in record.words)


@pytest.mark.slow
def test_stories_are_told_once_and_kept(tiny_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch):
    model = dataclasses.replace(load_model(tiny_run), instruct=True)
    records = [
        Record("Lily saw a boat. She was sad. Tom saw it.", words=(word,), summary="Sad.")
        for word in ("boat", "kite")
    ]
    monkeypatch.setattr(instructions, "COMBINATIONS", (("words",), ("features",), ("sentence", "summary")))
    path = tmp_path / "stories.jsonl"
    first = tell(model, "tiny", records, path)
    kept = path.read_bytes()
    kinds = [obeyed.asked.kinds for obeyed in first]
    assert kinds == [("words",)] * 2 + [("features",)] * 2  # the third leaves no room in 64 tokens
    assert tell(model, "tiny", records, path) == first
    assert path.read_bytes() == kept
