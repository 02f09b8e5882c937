"""Heads are found for what they do; figures are what counting pairs gives, removal what zeros do."""

import collections
import dataclasses
import functools
import json
from typing import Any

import jax
import numpy as np
import pytest

from tests.interpret.hand_built import HEADS, hand_built, random_stories
from tests.tiny import tiny_model
from tinyjax.config import ModelConfig
from tinyjax.interpret import Seen, look
from tinyjax.interpret.corpus import Corpus, WordClass
from tinyjax.interpret.heads import Head, Removal, attention_maps, removals, repeated, study
from tinyjax.model.decoder import Decoder
from tinyjax.model.loss import token_nll
from tinyjax.sample.model import Model

pytestmark = pytest.mark.unoptimized

FAMILIES = {"llama": {"num_kv_heads": 2}, "gpt_neo": {"family": "gpt_neo", "window": 8}}
families = pytest.mark.parametrize("family", FAMILIES)
STORIES = random_stories(5, 24, vocab_size=20)


@functools.cache
def model_of(family: str) -> Model:
    """Returns a random model whose heads are decided: attention by chance alone would be all but even."""
    config: ModelConfig = tiny_model(**FAMILIES[family])
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    params["layers"]["query"] *= 100 if family == "gpt_neo" else 3
    tokenizer: Any = None
    return Model(config, params, tokenizer, 0, False)


@functools.cache
def hand_built_heads() -> dict[tuple[int, int], Head]:
    found = study(hand_built(), random_stories(60, 33, vocab_size=16), batch=25)
    return {(head.layer, head.head): head for head in found}


@functools.cache
def heads_of(family: str) -> list[Head]:
    return study(model_of(family), STORIES, batch=2)


def test_every_head_is_found_for_what_it_was_built_to_do():
    kinds = {at: head.kind for at, head in hand_built_heads().items()}
    assert kinds == {
        (0, 0): "local", (0, 1): "local", (0, 2): "first token", (0, 3): "same token",
        (1, 0): "induction", (1, 1): "semantic", (1, 2): "mixed", (1, 3): "semantic",
    }  # fmt: skip


def test_local_heads_tell_their_range():
    previous, third = hand_built_heads()[0, 0], hand_built_heads()[0, 1]
    assert previous.previous > 0.99
    assert previous.reach == (1, 1, 1)
    assert previous.explained_beyond > 0.99
    assert third.by_distance[3] > 0.99
    assert third.reach[1:] == (3, 3)
    assert "half at most 3," in third.evidence


def test_the_induction_head_is_seen_on_stories_and_on_repeated_random_tokens():
    found = hand_built_heads()[1, 0]
    assert found.induction_random.share > 0.95
    assert found.induction.share > 0.95
    assert found.induction_random.even < 0.15
    assert f"{found.induction_random.share:.0%}" in found.evidence


def test_the_head_that_looks_for_names_does_so_more_than_its_distances_would():
    names = hand_built_heads()[1, 1].classes["NAME"]
    assert names.share > 3 * max(names.even, names.distance)
    assert "NAME" in hand_built_heads()[1, 1].evidence
    evenly = hand_built_heads()[1, 2].classes["NAME"]
    assert evenly.share == pytest.approx(evenly.even, rel=0.15)


def test_the_head_of_which_articles_look_at_nouns_is_told_by_the_articles():
    """As in figure 20 of the paper, (1) and (2)."""
    found = hand_built_heads()[1, 3]
    articles, names = found.by_query["ARTICLE"]["NOUN"], found.by_query["NAME"]["NOUN"]
    assert articles.share > 2.5 * articles.distance
    assert names.share == pytest.approx(names.even, abs=0.1)
    assert "ARTICLE look at NOUN" in found.evidence
    assert "all words look" not in found.evidence


def test_an_even_head_has_the_entropy_of_even_attention():
    evenly = hand_built_heads()[1, 2]
    assert evenly.entropy.share == pytest.approx(evenly.entropy.even, abs=1e-4)
    assert evenly.same.share == pytest.approx(evenly.same.even, abs=1e-4)
    assert hand_built_heads()[0, 0].entropy.share < 0.1


@families
def test_figures_are_what_counting_pair_by_pair_gives(family: str):
    for head in heads_of(family):
        for name, expected in counted(family, head.layer, head.head).items():
            found = jax.tree.leaves(dataclasses.asdict(head)[name])
            where = f"{name} of head {head.head} in block {head.layer}"
            np.testing.assert_allclose(found, jax.tree.leaves(expected), atol=2e-5, err_msg=where)


@functools.cache
def patterns(family: str) -> Seen:
    return look(model_of(family), STORIES.tokens_NT, STORIES.segments_NT, capture="*/pattern")


def counted(family: str, layer: int, head: int) -> dict[str, Any]:
    """Returns the figures of a head, by visiting every pair of a query and a source that it sees."""
    stories, window = STORIES, 8 if family == "gpt_neo" and layer == 1 else 24
    p_NTS = np.asarray(patterns(family)[f"block{layer}/pattern"])[:, head]
    pairs, queries = [], []
    for row, tokens in enumerate(stories.tokens_NT):
        for t in range(1, int(stories.segments_NT[row].sum())):
            sees = range(max(0, t - window + 1), t + 1)
            own = [
                {
                    "d": t - s, "source": (row, s), "p": float(p_NTS[row, t, s]), "first": s == 0,
                    "tag": WordClass(stories.tags_NT[row, s]).name,
                    "same": s < t and tokens[s] == tokens[t],
                    "next": 0 < s < t and tokens[s - 1] == tokens[t],
                }
                for s in sees
            ]  # fmt: skip
            pairs += own
            queries.append(own)
    beyond = [pair for pair in pairs if not pair["first"]]
    at = {d: np.mean([pair["p"] for pair in pairs if pair["d"] == d]) for d in {x["d"] for x in pairs}}
    return {
        "by_distance": tuple(at.get(d, 0.0) for d in range(24)),
        "explained": explained(pairs, "d"),
        "explained_beyond": explained(beyond, "d"),
        "explained_source": explained(beyond, "source"),
        "entropy": {
            "share": np.mean([sum(-x["p"] * np.log(x["p"]) for x in own if x["p"] > 0) for own in queries]),
            "even": np.mean([np.log(len(own)) for own in queries]),
        },
        "own": total(pair for pair in pairs if pair["d"] == 0) / len(queries),
        "previous": total(pair for pair in pairs if pair["d"] == 1) / len(queries),
        "first": total(pair for pair in pairs if pair["first"]) / len(queries),
        "same": share(queries, "same"),
        "induction": share(queries, "next"),
        "classes": {kind.name: class_share(queries, beyond, kind.name) for kind in WordClass},
        "by_query": {query.name: by_query(queries, beyond, query.name) for query in WordClass},
        "queries": {kind.name: sum(own[-1]["tag"] == kind.name for own in queries) for kind in WordClass},
    }


def total(pairs: Any) -> float:
    return sum(pair["p"] for pair in pairs)


def explained(pairs: list[dict], by: str) -> float:
    groups = collections.defaultdict(list)
    for pair in pairs:
        groups[pair[by]].append(pair["p"])
    within = sum(((np.array(p) - np.mean(p)) ** 2).sum() for p in groups.values())
    p = np.array([pair["p"] for pair in pairs])
    return 1 - within / ((p - p.mean()) ** 2).sum()


def share(queries: list[list[dict]], what: str) -> dict[str, Any]:
    able = [own for own in queries if any(pair[what] for pair in own)]
    taken = np.mean([total(pair for pair in own if pair[what]) for own in able])
    return {"share": taken, "even": np.mean([np.mean([pair[what] for pair in own]) for own in able])}


def class_share(queries: list[list[dict]], beyond: list[dict], kind: str) -> dict[str, Any]:
    mean = {d: np.mean([x["p"] for x in beyond if x["d"] == d]) for d in {x["d"] for x in beyond}}
    members = [pair for pair in beyond if pair["tag"] == kind]
    others = ([pair for pair in own if not pair["first"]] for own in queries)
    even = np.mean([np.mean([pair["tag"] == kind for pair in own]) for own in others])
    by_distance = sum(mean[pair["d"]] for pair in members) / total(beyond)
    return {"share": total(members) / total(beyond), "even": even, "distance": by_distance}


def by_query(queries: list[list[dict]], beyond: list[dict], query: str) -> dict[str, dict]:
    """Returns the shares of queries in words of a class; the last source of a query is itself."""
    mean = {d: np.mean([x["p"] for x in beyond if x["d"] == d]) for d in {x["d"] for x in beyond}}
    able = [[x for x in own if not x["first"]] for own in queries if own[-1]["tag"] == query]
    pairs = [pair for own in able for pair in own]
    of_class = {kind.name: [pair for pair in pairs if pair["tag"] == kind.name] for kind in WordClass}
    whole, by_distance = total(pairs) or 1, sum(mean[pair["d"]] for pair in pairs) or 1
    return {
        kind: {
            "share": total(members) / whole,
            "even": sum(np.mean([pair["tag"] == kind for pair in own]) for own in able) / (len(able) or 1),
            "distance": sum(mean[pair["d"]] for pair in members) / by_distance,
        }
        for kind, members in of_class.items()
    }


@families
def test_classes_by_query_are_shares_that_sum_to_one(family: str):
    for head in heads_of(family):
        for name, of_query in head.by_query.items():
            whole = sum(part.share for part in of_query.values())
            present = np.any(STORIES.tags_NT[:, 1:] * STORIES.segments_NT[:, 1:] == WordClass[name])
            assert whole == pytest.approx(1.0 if present else 0.0, abs=1e-4)


def test_the_same_figures_every_time_and_with_any_batch_and_they_go_to_json():
    again = study(model_of("llama"), STORIES, batch=2)
    assert again == heads_of("llama")
    other = study(model_of("llama"), STORIES, batch=5)
    assert [head.entropy.share for head in other] == pytest.approx([h.entropy.share for h in again], abs=1e-5)
    assert json.loads(json.dumps(dataclasses.asdict(again[0])))["kind"] == again[0].kind


def test_random_tokens_are_those_of_the_stories_said_twice():
    found = repeated(hand_built(), random_stories(12, 33, vocab_size=16))
    for tokens, segments in zip(found.tokens_NT, found.segments_NT, strict=True):
        first, second = np.split(tokens[1 : int(segments.sum())], 2)
        np.testing.assert_array_equal(first, second)
        assert len(set(first.tolist())) == len(first)
        assert tokens[0] == 0
    assert len(set(found.segments_NT.sum(axis=1).tolist())) > 1


def test_attention_maps_are_the_patterns_of_one_story():
    model, row = model_of("llama"), 1
    length = int(STORIES.segments_NT[row].sum())
    p_LHTS = attention_maps(model, STORIES, row)
    whole = look(model, STORIES.tokens_NT, STORIES.segments_NT, capture="*/pattern")
    assert p_LHTS.shape == (2, 4, length, length)
    np.testing.assert_allclose(p_LHTS[1], whole["block1/pattern"][row, :, :length, :length], atol=1e-5)


@families
def test_removal_costs_what_zeroed_weights_cost(family: str):
    model = model_of(family)
    found = removals(model, STORIES, batch=2)
    assert [(one.layer, one.head) for one in found] == [(i, j) for i in range(2) for j in range(4)]
    for one in (found[1], found[6]):
        output = np.array(model.params["layers"]["output"])
        output[one.layer, one.head] = 0
        params = {**model.params, "layers": {**model.params["layers"], "output": output}}
        change_N = story_nats(model.config, params) - story_nats(model.config, model.params)
        expected = change_N.sum() / STORIES.num_tokens
        assert one.nats_per_token == pytest.approx(expected, abs=1e-6)
        assert abs(expected) > 1e-5
        residual_N = change_N - expected * STORIES.segments_NT.sum(axis=1)
        error = np.sqrt(5 / 4 * (residual_N**2).sum()) / STORIES.num_tokens
        assert one.standard_error == pytest.approx(error, rel=1e-2)


def story_nats(config: ModelConfig, params: dict) -> np.ndarray:
    arrays = (STORIES.tokens_NT, STORIES.targets_NT, STORIES.segments_NT, STORIES.segments_NT)
    batch = dict(
        zip(("inputs", "targets", "segments", "weights"), map(jax.numpy.asarray, arrays), strict=True)
    )
    return np.asarray(token_nll(config, params, batch), np.float64).sum(axis=1)


def test_only_heads_that_write_cost_anything():
    stories: Corpus = random_stories(3, 33, vocab_size=16)
    cost: dict[tuple[int, int], Removal] = {
        (one.layer, one.head): one for one in removals(hand_built(), stories)
    }
    assert len(cost) == sum(map(len, HEADS))
    assert all(one.nats_per_token == 0 for at, one in cost.items() if at != (0, 0))
