"""The likeliest continuation is chosen, whatever stands beside it, and nothing is scored twice."""

import pathlib

import numpy as np
import pytest

from tinyjax.evaluate.probes import choice, ngrams
from tinyjax.evaluate.probes.choice import (
    accuracies,
    baseline_choices,
    baseline_grams,
    choose,
    cut,
    fits,
    to_record,
)
from tinyjax.evaluate.probes.items import Item
from tinyjax.evaluate.probes.ngrams import NgramModel
from tinyjax.records import open_records
from tinyjax.sample.model import Model, load_model
from tinyjax.sample.score import score

# What the tiny model was trained on reads so: "Lily saw 3 boats and was happy."
ITEMS = [
    Item("easy", "Lily saw 3 boats and was", "happy.", ("boats.", "Lily.", "saw.")),
    Item("easy", "Tom saw 12 kites and", "was sad.", ("saw sad.", "12 sad.")),
    Item("false", "Ben saw 5 balls and was", "kites.", ("sad.",)),
]


@pytest.fixture(scope="module")
def model(tiny_run: pathlib.Path) -> Model:
    return load_model(tiny_run)


def chosen(model: Model, items, path: pathlib.Path):
    with open_records(path, "a probe", ("group", "prompt"), {"step": model.step}) as records:
        return choose(model, items, records)


def test_a_model_chooses_what_it_was_trained_on(model: Model, tmp_path: pathlib.Path):
    found = chosen(model, ITEMS, tmp_path / "probes.jsonl")
    assert [record["chosen"] for record in found] == ["happy.", "was sad.", "sad."]
    by_group = accuracies(found)
    assert (by_group["easy"].accuracy.value, by_group["easy"].accuracy.count) == (1, 2)
    assert by_group["easy"].chance == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert (by_group["false"].accuracy.value, by_group["false"].chance) == (0, 0.5)


def test_log_probabilities_are_those_of_the_continuations(model: Model, tmp_path: pathlib.Path):
    found = chosen(model, ITEMS, tmp_path / "probes.jsonl")
    for item, record in zip(ITEMS, found, strict=True):
        wanted = score(model, [(item.prompt, f" {text}") for text in item.choices])
        np.testing.assert_allclose(
            list(record["logprobs"].values()), [one.logprob for one in wanted], atol=1e-3
        )
        assert list(record["logprobs"]) == list(item.choices)


def test_what_was_scored_is_not_scored_again(model: Model, tmp_path: pathlib.Path, monkeypatch):
    first = chosen(model, ITEMS[:2], tmp_path / "probes.jsonl")
    scored = []
    monkeypatch.setattr(
        choice,
        "score_ids",
        lambda model, rows: [scored.append(row) or [choice_token(0.0)] * len(row[1:]) for row in rows],
    )
    found = chosen(model, ITEMS, tmp_path / "probes.jsonl")
    assert found[:2] == [record | {"step": model.step} for record in first]
    assert len(scored) == len(ITEMS[2].choices)


def choice_token(logprob: float):
    from tinyjax.sample.engine import Token

    return Token(0, logprob, ())


def test_choices_are_compared_from_the_first_token_that_differs_from_the_prompts(model: Model):
    rows, start = cut(model.tokenizer, ITEMS[0])
    own = [model.tokenizer.bos_id, *model.tokenizer.encode(ITEMS[0].prompt)]
    assert all(row[:start] == own[:start] for row in rows)
    texts = [model.tokenizer.decode(row[1:]) for row in rows]
    assert texts == [f"{ITEMS[0].prompt} {text}" for text in ITEMS[0].choices]


def test_long_items_do_not_fit(model: Model):
    assert all(fits(model, item) for item in ITEMS)
    assert not fits(model, Item("long", "Lily saw a boat. " * 20, "happy.", ("sad.",)))


def test_a_baseline_chooses_what_its_stories_say(model: Model):
    tokenizer = model.tokenizer
    grams = baseline_grams(tokenizer, ITEMS)
    texts = ["Lily saw 3 boats and was happy.", "saw saw boats. boats. boats. boats."]
    counted = NgramModel(grams, *ngrams.count_stories(grams, tokenizer, texts))
    by_order = {order: baseline_choices(tokenizer, ITEMS, counted, order) for order in (1, ngrams.ORDER)}
    assert by_order[ngrams.ORDER][0]["chosen"] == "happy."
    assert by_order[1][0]["chosen"] == "boats."
    rows, start = cut(tokenizer, ITEMS[0])
    wanted = counted.logprobs(rows[0][start - ngrams.ORDER + 1 :])[ngrams.ORDER - 1 :].sum()
    assert by_order[ngrams.ORDER][0]["logprobs"]["happy."] == pytest.approx(wanted, abs=1e-3)


def test_of_equals_the_right_one_is_not_taken():
    """Else what knows nothing, and finds all the same, would always be right."""
    assert not to_record(ITEMS[0], [-1.0, -1.0, -2.0, -3.0])["correct"]
    assert to_record(ITEMS[0], [-1.0, -2.0, -2.0, -3.0])["correct"]
