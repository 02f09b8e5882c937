"""The figures of stories: against their definitions, on stories made so that the answers are known."""

import json
import pathlib

import pytest

from tests.conftest import make_stories
from tinyjax.evaluate.novelty import endings
from tinyjax.evaluate.novelty.endings import draw_cuts
from tinyjax.evaluate.novelty.results import Stories, Told, novelty
from tinyjax.evaluate.novelty.words import cut_story, cut_words

TRAINING = make_stories(80)
MEMORISED = " " + TRAINING[33].split(" ", 5)[5]


def runs(text: str, k: int) -> set[tuple[str, ...]]:
    words = cut_words(text)
    return {tuple(words[i : i + k]) for i in range(len(words) - k + 1)}


@pytest.fixture
def stories() -> Stories:
    """Three endings (one copied, one new, one empty), openings twice each, and held-out stories."""
    return Stories(
        endings=[Told("Story 33.", MEMORISED), Told("Tom", " zorps a blorp to fump."), Told("Ben", "")],
        originals=[" and so it was.", " zorps the blorp to fump.", " ran."],
        openings=[
            Told("A", " child named Lily. X!"),
            Told("A", " child. Y"),
            Told("B", " Tom took"),
            Told("B", ""),
        ],
        held_out=make_stories(10, seed=9),
    )


@pytest.fixture
def result(stories: Stories, write_shards) -> dict:
    return novelty(stories, write_shards(TRAINING, 2))


def test_shares_are_means_over_texts_of_what_occurs_in_training(result: dict, stories: Stories):
    """Texts of fewer than k words don't count, and one that copies counts as 1."""
    parts = {
        "generated": [told.text for told in stories.told],
        "endings": [told.text for told in stories.endings],
        "openings": [told.text for told in stories.openings],
        "held_out": list(stories.held_out),
    }
    for name, texts in parts.items():
        for k in range(1, 8):
            known = set().union(*(runs(story, k) for story in TRAINING))
            shares = [len(runs(text, k) & known) / len(runs(text, k)) for text in texts if runs(text, k)]
            share = result["kgram_share"][name][str(k)]
            if not shares:
                assert share is None
                continue
            assert share["value"] == pytest.approx(sum(shares) / len(shares))
            assert share["count"] == len(shares)
            assert share["low"] <= share["value"] <= share["high"]
    assert result["kgram_share"]["openings"]["7"] is None


def test_endings_are_compared_with_what_they_stand_for(result: dict):
    """Of "zorps a blorp to fump" and "zorps the blorp to fump"."""
    second = result["rouge_original_r2_precision"][1]
    assert second == 2 / 4  # zorps-a a-blorp blorp-to to-fump: the last two
    assert len(result["rouge_original_r2_precision"]) == 2  # the empty one has none
    assert result["rouge_original"]["5"]["precision"]["count"] == 1
    assert result["rouge_original"]["5"]["fmeasure"]["value"] == 0
    assert len(result["self_similarity_r2"]) == 2
    assert len(result["self_similarity_r2_original"]) == 2


def test_the_nearest_story_is_the_one_that_was_copied(result: dict, stories: Stories):
    first = result["nearest"][0]
    assert first["nearest_index"] == 33
    assert first["nearest_text"] == TRAINING[33]
    assert first["precision"] == 1
    assert first["story"] == "Story 33." + MEMORISED
    precisions = [row["precision"] for row in result["nearest"]]
    assert precisions == sorted(precisions, reverse=True)
    for k in range(1, 6):
        best = [
            max(len(runs(told.text, k) & runs(story, k)) / len(runs(told.text, k)) for story in TRAINING)
            for told in stories.endings
            if runs(told.text, k)
        ]
        assert result["nearest_precision"][str(k)] == pytest.approx(best)
        assert len(result["nearest_precision_held_out"][str(k)]) == len(stories.held_out)


def test_the_source_of_a_beginning_is_marked(write_shards):
    cut = cut_story(TRAINING[5])
    assert cut
    stories = Stories([Told(*cut)], [cut.ending], [], [])
    (row,) = novelty(stories, write_shards(TRAINING, 1))["nearest"]
    assert row["is_source"]
    assert row["nearest_index"] == 5


def test_the_longest_copy_is_shown_with_its_source(result: dict):
    copy = result["longest_copy"]
    assert copy["words"] == len(cut_words(MEMORISED))
    assert copy["text"] == MEMORISED.strip().rstrip(".")
    assert copy["from"] == TRAINING[33]
    assert copy["story"] == "Story 33." + MEMORISED
    assert result["longest_copies"]["endings"] == [copy["words"], 1, 0]
    assert result["longest_copies"]["openings"] == [3, 1, 2, 0]


def test_frequencies_of_endings_kgrams_by_hand(write_shards):
    """In training, "a b" occurs 12 times, "b c" once, "c d" never; the openings don't count."""
    told = Stories([Told("", "a b"), Told("", "b c d a b")], ["", ""], [Told("", "x y")], [])
    result = novelty(told, write_shards(["a b"] * 11 + ["b a b", "b c", "x y"], 1))
    shares = {"0": 2 / 4, "1": 1 / 4, "2-10": 0, "11-100": 1 / 4, "101-1000": 0, ">1000": 0}
    assert result["kgram_frequency"]["2"] == shares
    assert result["training_stories"] == 14
    assert result["training_kgrams"]["2"] == 15


def test_distinct_n_is_compared_on_as_many_words(write_shards):
    """Each pair is cut to its shorter one: a a | b b c against x y | z x y."""
    told = Stories([Told("", "a a a"), Told("", "b b c")], ["x y", "z x y z z"], [], [])
    result = novelty(told, write_shards(["a"], 1))
    assert result["distinct"]["1"] == pytest.approx(3 / 5)
    assert result["distinct_original"]["1"] == pytest.approx(3 / 5)
    assert result["distinct"]["2"] == pytest.approx(3 / 3)
    assert result["distinct_original"]["2"] == pytest.approx(2 / 3)


def test_results_are_json_even_of_nothing(result: dict, write_shards):
    json.dumps(result, allow_nan=False)
    for told in ([], [Told("Tom", "")]):
        nothing = novelty(Stories(told, [""] * len(told), [], []), write_shards(["Tom ran."], 1))
        json.dumps(nothing, allow_nan=False)
        assert nothing["kgram_share"]["held_out"]["1"] is None


def test_stories_to_cut_are_drawn_at_random_and_always_the_same(write_shards):
    shards = write_shards(["", "Tom", *TRAINING], 3)
    few = [draw_cuts(shards, 82, 10, seed, lambda story: True) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert len({cut.beginning for cut in few[0]}) == 10
    assert all("".join(cut) in TRAINING for cut in few[0])
    every = draw_cuts(shards, 82, 100, 0, lambda story: "kite" in story)
    assert {"".join(cut) for cut in every} == {story for story in TRAINING if "kite" in story}


def test_no_beginning_is_told_twice(write_shards):
    shards = write_shards(["Tom ran to a cat.", "Tom ran to a dog.", "Ben ran to a pig."], 1)
    cuts = draw_cuts(shards, 3, 3, 0, lambda story: True)
    assert sorted(cut.beginning for cut in cuts) == ["Ben ran", "Tom ran"]


def test_of_a_large_set_only_a_part_is_read(write_shards, monkeypatch):
    read: list[int] = []

    def counted(shard: pathlib.Path, stride: int) -> list[str]:
        read.append(stride)
        return []

    monkeypatch.setattr(endings, "read_texts", counted)
    draw_cuts(write_shards(["a"], 1), 1_000_000, 100, 0, lambda story: True)
    assert read == [200]
