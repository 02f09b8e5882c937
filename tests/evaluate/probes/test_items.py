"""The items are many, different and fair: neither length nor frequency gives the right one away."""

import collections
import itertools
import re

import numpy as np
import pytest

from tinyjax.data.manifests import load_prepared, shards
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.evaluate.probes import ngrams
from tinyjax.evaluate.probes.choice import accuracies, baseline_choices, baseline_grams
from tinyjax.evaluate.probes.items import GROUPS, Item, fingerprint, written_items
from tinyjax.stories.splitting import TRAIN

ITEMS = written_items()
CHANCE = {
    group: float(np.mean([1 / len(item.choices) for item in ITEMS if item.group == group]))
    for group in GROUPS
}


def of(group: str) -> list[Item]:
    return [item for item in ITEMS if item.group == group]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_enough_items(group: str):
    assert len(of(group)) >= 150
    assert all(len(item.wrong) in (2, 3) for item in of(group))


def test_no_item_stands_there_twice():
    prompts = [item.prompt for item in ITEMS]
    assert len(set(prompts)) == len(prompts)
    for item in ITEMS:
        assert len({choice.lower() for choice in item.choices}) == len(item.choices), item


def test_no_item_is_another_with_other_names():
    """Few share most of their runs of three words; such pairs ask for different things of one story."""
    runs = [set(zip(w, w[1:], w[2:], strict=False)) for w in (words(item.prompt) for item in ITEMS)]
    alike = [
        (one.prompt, other.prompt)
        for (one, a), (other, b) in itertools.combinations(zip(ITEMS, runs, strict=True), 2)
        if len(a & b) > 0.6 * min(len(a), len(b))
    ]
    assert len(alike) <= 6, alike


def test_prompts_and_choices_make_whole_sentences():
    for item in ITEMS:
        assert item.prompt == item.prompt.strip()
        assert item.prompt[-1].isalnum() or item.prompt[-1] in ',:"', item
        for choice in item.choices:
            assert re.fullmatch(r"[A-Za-z].*[.?!]\"?", choice), item
            assert (item.prompt + choice).count('"') % 2 == 0, item


def length_rank(item: Item) -> float:
    """0 where the right answer is the shortest one, 1 where it is the longest."""
    right, *wrong = map(len, item.choices)
    return float(np.mean([(right > other) + 0.5 * (right == other) for other in wrong]))


@pytest.mark.parametrize("group", GROUPS)
def test_length_does_not_give_the_right_answer_away(group: str):
    items = of(group)
    assert np.mean([length_rank(item) for item in items]) == pytest.approx(0.5, abs=0.05)
    for extreme in (0.0, 1.0):
        assert np.mean([length_rank(item) == extreme for item in items]) < CHANCE[group] + 0.03


def test_choices_are_of_about_one_length():
    for item in ITEMS:
        lengths = [len(choice) for choice in item.choices]
        assert max(lengths) <= 2 * min(lengths) + 4, item


def test_all_choices_about_a_context_occur_in_it():
    for item in of("context"):
        told = words(item.prompt)
        for word in itertools.chain.from_iterable(map(words, item.choices)):
            assert any(other in (word, f"{word}s") or f"{other}s" == word for other in told), (word, item)


@pytest.fixture(scope="session")
def real_stories(train_sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real_stories")
    prepare(str(train_sample), folder, Options(vocab_size=2048))
    return load_prepared(folder)


def test_words_are_those_of_stories(train_sample):
    """Other words are names, or stand in a few items only."""
    known = set(words(train_sample.read_text()))
    unknown = collections.Counter(
        word
        for item in ITEMS
        for word in {w.lower() for w in re.findall(r"\b[a-z]+", " ".join((item.prompt, *item.choices)))}
        if word not in known
    )
    assert unknown.total() < 0.1 * len(ITEMS), unknown
    assert max(unknown.values()) <= 3


@pytest.mark.slow
def test_frequency_does_not_give_the_right_answer_away(real_stories):
    tokenizer = real_stories.tokenizer
    model = ngrams.train(baseline_grams(tokenizer, ITEMS), tokenizer, shards(real_stories.path, TRAIN))
    for order, most in ((1, 0.06), (ngrams.ORDER, 0.08)):
        found = accuracies(baseline_choices(tokenizer, ITEMS, model, order))
        for group in GROUPS:
            assert found[group].chance == pytest.approx(CHANCE[group])
            assert abs(found[group].accuracy.value - CHANCE[group]) < most, (order, group, found[group])


def test_the_fingerprint_is_of_every_word():
    assert fingerprint(ITEMS) == fingerprint(written_items())
    assert fingerprint(ITEMS) != fingerprint(ITEMS[:-1])
    first, *others = ITEMS
    assert fingerprint([Item(first.group, first.prompt, first.right, first.wrong[:-1]), *others]) != (
        fingerprint(ITEMS)
    )
