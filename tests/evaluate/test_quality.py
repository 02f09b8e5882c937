"""What is counted in completions: loops, endings, words, and how likely another model finds them."""

import math
import random

import numpy as np
import pytest

from tinyjax.config import MeshConfig
from tinyjax.data.difficulty import reading_level
from tinyjax.data.manifests import shards
from tinyjax.evaluate.quality import (
    as_records,
    bits_per_byte_under,
    grammar_checker,
    is_finished,
    loops,
    measure,
    repeated,
    split_words,
    words_of,
)
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import load_model
from tinyjax.sample.options import Options
from tinyjax.sample.score import score
from tinyjax.sample.stories import generate


def completion(prompt: str, text: str, finish: str = "end") -> dict:
    return {"prompt": prompt, "story": prompt + text, "finish": finish}


@pytest.mark.parametrize(
    ("text", "looped"),
    [
        ("He ran and ran and ran. " * 2, False),
        ("She was very very very very happy, and knock knock knock, he said.", False),
        ("Row, row, row your boat, gently down the stream.", False),
        ("They saw a cat. They saw a dog. They saw a cow. They saw a hen.", False),
        ("Lily was sad. Lily was happy. " * 2, False),  # twice is no loop
        ("Lily was sad. Lily was happy. " * 3, True),
        ("Once there was a big red dog, " + "and he said hello, " * 3, True),
        ("the cat " * 6, True),
        ("the cat " * 5, False),
        ("no " * 12, True),
        ("A LOOP is one, a loop is one; A loop is one", True),
        ("", False),
    ],
)
def test_a_loop_is_a_phrase_of_four_words_told_three_times_in_a_row(text: str, looped: bool):
    assert loops(split_words(text)) == looped


def test_loops_are_those_of_the_definition():
    """As it would be looked for by hand, in random words of which few are different."""
    rng = random.Random(0)
    found = set()
    for _ in range(400):
        words = [rng.choice("ab") for _ in range(rng.randint(0, 24))]
        if rng.random() < 0.5:
            words += words[-rng.randint(1, 6) :] * 2
        wanted = any(
            words[i : i + size] == words[i + size : i + 2 * size] == words[i + 2 * size : i + 3 * size]
            for size in range(4, len(words) // 3 + 1)
            for i in range(len(words) - 3 * size + 1)
        )
        assert loops(words) == wanted, words
        found.add(wanted)
    assert found == {True, False}


def test_words_and_repeated_runs_of_four():
    assert split_words('Tom’s dog didn\'t run 3 times -- "Wow!" said Zoë.') == [
        *["tom's", "dog", "didn't", "run", "times", "wow", "said", "zoë"]
    ]
    assert repeated(list("abcdeabcd")) == pytest.approx(1 / 6)
    assert repeated(["a", "b", "c"]) == 0


@pytest.mark.parametrize(
    ("text", "finish", "finished"),
    [
        (" the end.", "end", True),
        (' "Bye!"\n', "end", True),
        (" the", "end", False),
        (" the end.", "length", False),
    ],
)
def test_a_story_is_finished_where_it_was_ended_after_a_sentence(text: str, finish: str, finished: bool):
    assert is_finished(completion("Lily saw", text, finish)) == finished


def test_what_the_model_told_counts_and_not_the_opening():
    texts = [" a dog. The dog was big.", " a zebra. It was big."]
    records = [completion("Zyx qqq saw", text) for text in texts]
    figures = measure(records, ["a", "b"], vocabulary=frozenset({"a", "dog", "the", "was", "big", "it"}))
    assert figures["words"].value == 5.5
    assert figures["unknown_words"].value == pytest.approx(np.mean([0, 1 / 5]))
    assert figures["reading_level"].value == pytest.approx(np.mean([reading_level(text) for text in texts]))
    assert "grammar_issues" not in figures
    assert "unknown_words" not in measure(records, ["a", "b"])


def test_completions_of_one_opening_count_as_one():
    records = [completion(f"{i}", " ok." if i < 20 else " no") for i in range(40) for _ in range(10)]
    prompts = [record["prompt"] for record in records]
    alike, alone = (measure(records, groups)["finished"] for groups in (prompts, range(400)))
    assert alike.value == alone.value == 0.5
    assert alike.count == alone.count == 400
    assert alike.high - alike.low > 2.5 * (alone.high - alone.low)
    never = measure(records, prompts)["repetitive"]
    assert (never.value, never.low) == (0, 0)
    assert never.high == pytest.approx(1.96**2 / (40 + 1.96**2), rel=1e-3)  # Wilson's for 0 of 40


def test_all_words_of_the_training_stories(tiny_data):
    words = words_of(shards(tiny_data.path, "train"))
    assert words == {word for record in tiny_data.stories("train") for word in split_words(record.text)}
    assert {"lily", "boats", "was"} <= words


@pytest.mark.slow
def test_how_likely_another_model_finds_completions(tiny_run, devices):
    """As the sampler told their log-probability, the end included where it was told."""
    model = load_model(tiny_run)
    stories = generate(model, ["Lily saw", "Tom"], num_samples=3, options=Options(temperature=1.0))
    stories += generate(model, ["Ben"], num_samples=2, options=Options(temperature=1.0, max_tokens=5))
    records = [completion(s.prompt, s.text, s.finish) for s in stories]
    found = bits_per_byte_under(model, records, make_mesh(MeshConfig(), devices[:2]))
    told = [score(model, [(s.prompt, s.text)], ends=s.finish == "end")[0] for s in stories]
    nats = -sum(one.logprob for one in told)
    num_bytes = sum(len(s.text.encode()) for s in stories)
    assert found.value == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-4)
    assert found.low < found.value < found.high
    assert {s.finish for s in stories} == {"end", "length"}


def test_grammar_is_checked_where_a_checker_is_installed():
    checker = grammar_checker()
    if checker is None:
        pytest.skip("harper-py is not installed")
    bad, good = "He go to the the park.", "He goes to the park."
    assert checker(bad, 0) >= 2
    assert checker(good, 0) == 0
    assert checker(f"{bad} {good}", len(bad)) == 0
    figures = measure([completion(bad, f" {bad} {bad}")], ["a"], issues=checker)
    assert figures["grammar_issues"].value >= 100 * 4 / 12
    assert measure(as_records([good]), ["a"], issues=checker)["grammar_issues"].value == 0
