"""Neurons are found to do what they were built to do, whatever the batches."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interpret.built import (
    DEAD,
    ON_AND,
    ON_PRONOUNS,
    OPPOSITE,
    PRONOUNS,
    SAME,
    WRITES,
    built_model,
    piece,
    random_model,
    small_corpus,
    tokenizer,
)
from tests.tiny import tiny_model
from tinyjax.interpret import Add
from tinyjax.interpret.activity import EDGES, Units, gather, keep_highest, nothing, sum_up
from tinyjax.interpret.capture import look
from tinyjax.interpret.corpus import WordClass, corpus
from tinyjax.interpret.neurons import Layer, Neuron, as_they_are, describe, neurons, summarise, written
from tinyjax.interpret.passages import find_passages
from tinyjax.interpret.roles import GROUPS, Role, find_roles
from tinyjax.model.decoder import Decoder
from tinyjax.sample.model import Model

NEURONS = "block0/neurons"


@functools.cache
def built_layers(batch_size: int = 16) -> tuple[Layer, ...]:
    return neurons(built_model(), small_corpus(), batch_size=batch_size)


def role_of(neuron: Neuron) -> Role:
    assert neuron.role is not None
    return neuron.role


def test_a_neuron_that_fires_on_one_token_is_found():
    neuron = built_layers()[0].neurons[ON_AND]
    assert len(neuron.top) == 20
    assert {top.token for top in neuron.top} == {" and"}
    assert (role_of(neuron).kind, role_of(neuron).name, role_of(neuron).share) == ("word", "and", 1.0)
    assert role_of(neuron).selectivity == pytest.approx(1)
    assert neuron.promotes[0][0] == WRITES
    assert neuron.promotes[0][1] > neuron.promotes[1][1] > 0
    assert neuron.suppresses[0][1] < neuron.suppresses[1][1] < 0
    count = np.count_nonzero(small_corpus().tokens_NT == piece(" and"))
    assert neuron.active == pytest.approx(count / built_layers()[0].tokens)


def test_a_neuron_that_fires_on_a_word_class_is_found():
    neuron = built_layers()[0].neurons[ON_PRONOUNS]
    assert {top.token for top in neuron.top} <= set(PRONOUNS)
    assert (role_of(neuron).kind, role_of(neuron).name) == ("word class", "pronoun")
    assert role_of(neuron).selectivity == pytest.approx(1)
    assert neuron.explained["word class"] > 5 * neuron.explained["place"]
    means = neuron.means["word class"]
    assert max(means, key=means.__getitem__) == "pronoun"


def test_a_neuron_of_the_lower_end_is_told_of_by_that_end():
    upper, lower = (built_layers()[0].neurons[index] for index in (ON_PRONOUNS, OPPOSITE))
    assert (upper.sign, lower.sign) == (1, -1)
    assert [(top.story, top.position) for top in upper.top] == [
        (top.story, top.position) for top in lower.top
    ]
    assert lower.top[0].activation == lower.lowest == -upper.highest < 0
    assert lower.role == upper.role
    assert lower.suppresses[0][0] == WRITES


def test_bos_and_padding_are_left_out():
    tokens_NT, segments_NT = small_corpus().tokens_NT, small_corpus().segments_NT
    assert (tokens_NT[:, 0] == tokenizer().bos_id).all()
    for layer in built_layers():
        assert layer.tokens == np.count_nonzero(segments_NT) - len(segments_NT)
        tops = [top for neuron in layer.neurons for top in neuron.top]
        assert all(top.position > 0 and segments_NT[top.story, top.position] for top in tops)


def test_the_sentence_around_a_token_is_shown():
    for top in built_layers()[0].neurons[ON_AND].top:
        text = small_corpus().texts[top.story]
        sentence = top.before + top.token + top.after
        assert sentence in text
        assert text.count(sentence) == 1 or len(sentence) > 10
        assert not any(end in sentence.rstrip().rstrip("\"'")[:-1] for end in (". ", "! ", "? "))


def test_dead_neurons_and_duplicates_are_found():
    layer = built_layers()[0]
    assert [neuron.index for neuron in layer.neurons if neuron.dead] == [DEAD]
    pairs = {(first, second): value for first, second, value in layer.duplicates}
    expected = {(ON_PRONOUNS, SAME): 1, (ON_PRONOUNS, OPPOSITE): -1, (SAME, OPPOSITE): -1}
    assert pairs == pytest.approx(expected, abs=1e-5)
    assert built_layers()[1].duplicates == ()
    summary = summarise(built_layers())
    assert (summary.neurons, summary.dead, summary.in_duplicates) == (128, 1, 3)


def test_selectivity_tells_built_neurons_from_random_tokens():
    layer = built_layers()[0]
    assert 0 < layer.chance < 0.5
    summary = summarise([dataclasses.replace(layer, neurons=layer.neurons[ON_AND : OPPOSITE + 1])])
    assert (summary.clear, summary.clear_roles["word"], summary.clear_roles["word class"]) == (1.0, 1, 3)


def test_batches_make_no_difference():
    whole, parts = built_layers(64), built_layers(3)
    for layer, other in zip(whole, parts, strict=True):
        for neuron, same in zip(layer.neurons, other.neurons, strict=True):
            assert same.histogram == pytest.approx(neuron.histogram, abs=2)
            assert same.mean == pytest.approx(neuron.mean, abs=1e-5)
            assert same.deviation == pytest.approx(neuron.deviation, abs=1e-4)
            values = [top.activation for top in neuron.top]
            assert [top.activation for top in same.top] == pytest.approx(values, abs=1e-4)


def test_kept_tokens_are_those_of_brute_force():
    """Also among equal activations, of which there are many here."""
    rng = np.random.default_rng(0)
    activation_NTF = rng.integers(-4, 4, (11, 9, 5)).astype(np.float32)
    counted_NT = rng.random((11, 9)) < 0.7
    counted_NT[3] = False
    kept = nothing(5, 4)
    for start in range(0, 11, 3):
        rows = np.arange(start, min(start + 3, 11), dtype=np.int32)
        kept = keep_highest(kept, activation_NTF[rows], counted_NT[rows], rows)
    for unit in range(5):
        best = [
            (-max(value for value, counts in zip(row[:, unit], counted, strict=True) if counts), story)
            for story, (row, counted) in enumerate(zip(activation_NTF, counted_NT, strict=True))
            if counted.any()
        ]
        expected = sorted(best)[:4]
        assert (
            list(zip((-kept.value_FK[unit]).tolist(), kept.story_FK[unit].tolist(), strict=True)) == expected
        )
        for value, story, position in zip(*(column[unit] for column in kept), strict=True):
            of_story_T = np.where(counted_NT[story], activation_NTF[story, :, unit], -np.inf)
            assert (of_story_T[position], of_story_T.argmax()) == (value, position)


def test_fewer_stories_than_kept_tokens():
    layer = neurons(random_model(), small_corpus(3))[0]
    assert (layer.kept, {len(neuron.top) for neuron in layer.neurons}) == (3, {3})


def test_a_unit_that_is_not_0_on_few_stories_is_rare_and_one_that_is_0_has_no_role():
    def of_few(pieces, embedded_BTD):  # 1 on a token that is in some stories, and 0
        likeness_BT = embedded_BTD @ pieces
        return jnp.stack([(likeness_BT > 0.999).astype(jnp.float32), 0 * likeness_BT], axis=-1)

    found = corpus(tokenizer(), ["He ran.", "She ran and ran.", "They sat.", "It ran and sat."], 64)
    embedded_D = built_model().params["embedding"][piece(" and")]
    units = {"mine": Units("embedding", 2, of_few, embedded_D / np.square(embedded_D).sum())}
    (layer,) = describe(built_model(), found, units, {"mine": np.ones((2, 32), np.float32)})
    of_and, never = layer.neurons
    assert [(top.story, top.token) for top in of_and.top] == [(1, " and"), (3, " and")]
    assert (never.dead, never.role, never.top) == (True, None, ())
    summary = summarise([layer])
    assert (summary.neurons, summary.dead, summary.rare, summary.clear) == (2, 1, 1, 0)


@pytest.mark.parametrize("family", ["llama", "gpt_neo"])
def test_a_neuron_writes_for_the_tokens_that_it_would_bring_about_alone(family: str):
    """So large that nothing else is left of the stream, in the last block."""
    config = tiny_model(
        family=family, vocab_size=tokenizer().vocab_size, window=8 if family == "gpt_neo" else 0
    )
    params = jax.jit(Decoder(config).init)(jax.random.key(1), np.zeros((1, 2), np.int32))["params"]
    params["final_norm"] = jnp.linspace(0.1, 2, config.d_model)
    model = Model(config, params, tokenizer(), 0, False)
    tokens_FS, effects_FS = written(model, np.asarray(params["layers"]["down"][1]), 8)
    for index in (0, 9):
        edit = {"block1/mlp": Add(1e6 * params["layers"]["down"][1, index])}
        logits_V = np.asarray(look(model, np.array([[1, 5]]), edits=edit).logits)[0, 1]
        assert tokens_FS[index].tolist() == np.argsort(-logits_V)[:8].tolist()
        above_S = logits_V[tokens_FS[index]] - logits_V.mean()
        np.testing.assert_allclose(effects_FS[index] / effects_FS[index, 0], above_S / above_S[0], rtol=1e-3)


def test_sums_are_those_of_the_activations():
    model, found = random_model(), small_corpus()
    counted_NT = find_passages(found).counted_NT
    groups_PNT = np.stack([found.tags_NT, 8 + found.tokens_NT % 3]).astype(np.int32)
    units = {"mine": Units(NEURONS, model.config.d_ff, as_they_are)}
    activity = gather(model, found, units, counted_NT, groups_PNT, 11, batch_size=7)["mine"]
    seen = look(model, found.tokens_NT, found.segments_NT, capture=NEURONS)[NEURONS]
    activation_NF = np.asarray(seen, np.float64)[counted_NT]
    assert activity.tokens == len(activation_NF) == counted_NT.sum()
    np.testing.assert_allclose(activity.sums.product_FF, activation_NF.T @ activation_NF, atol=1e-3)
    np.testing.assert_allclose(activity.sums.square_F, (activation_NF**2).sum(axis=0), rtol=1e-4)
    for group in range(11):
        member_N = (groups_PNT[:, counted_NT] == group).any(axis=0)
        np.testing.assert_allclose(
            activity.sums.group_GF[group], activation_NF[member_N].sum(axis=0), atol=1e-3
        )


def test_histograms_count_every_token_once():
    for layer in built_layers():
        assert {sum(neuron.histogram) for neuron in layer.neurons} == {layer.tokens}
    rng = np.random.default_rng(0)
    values_N = (rng.normal(size=1000) * 2.0 ** rng.integers(-12, 9, 1000)).astype(np.float32)
    values_N[:10] = 0
    counted_N = np.arange(1000) % 4 > 0
    sums = sum_up(jnp.asarray(values_N)[None, :, None], counted_N[None], np.zeros((1, 1, 1000), int), 1)
    expected, _ = np.histogram(values_N[counted_N], [-np.inf, *EDGES, np.inf])
    np.testing.assert_array_equal(sums.bins_EF[:, 0], expected)


def test_what_is_kept_does_not_grow_with_the_stories():
    def kept(stories: int) -> list[tuple[int, ...]]:
        found = small_corpus(stories)
        groups_PNT = np.zeros((1, *found.tokens_NT.shape), np.int32)
        units = {"mine": Units(NEURONS, 64, as_they_are)}
        counted_NT = found.segments_NT > 0
        activity = gather(random_model(), found, units, counted_NT, groups_PNT, 1, batch_size=4)["mine"]
        return [x.shape for x in jax.tree.leaves((activity.sums, activity.highest, activity.lowest))]

    assert kept(40) == kept(4)


def test_the_protagonist_is_introduced_by_the_first_name_alone():
    text = 'One day, a girl named Lily saw Tom. Lily was happy! She said, "Hi, Tom."\nTom ran.'
    found = corpus(tokenizer(), [text, text.replace("Lily", "Ben")], 64)
    passages = find_passages(found)
    for row, name in enumerate(("Lily", "Ben")):
        introduced = passages.introduces_NT[row]
        assert tokenizer().decode(found.tokens_NT[row][introduced], start=False).strip() == name
        assert (found.tags_NT[row][introduced] == WordClass.NAME).all()
    roles = find_roles(passages)
    first = np.argwhere(passages.introduces_NT)
    role = roles.best(first[None, :, 0], first[None, :, 1], np.ones((1, len(first)), bool))[0]
    assert (role.kind, role.selectivity) == ("introduction", 1.0)
    places = {GROUPS[group] for group in np.unique(roles.groups_PNT[1][passages.counted_NT])}
    assert places == {("place", "sentence 1"), ("place", "sentences 2-3"), ("place", "sentences 4-7")}
    show = [passages.show(0, position) for position in np.flatnonzero(passages.counted_NT[0])]
    assert (show[0].before, show[-1].after) == ("", "")
    assert {"".join(passage).strip() for passage in show} == {
        "One day, a girl named Lily saw Tom.", "Lily was happy!", "She said, \"Hi, Tom.\"", "Tom ran."
    }  # fmt: skip


def test_the_same_again_and_plain_json():
    again = neurons(built_model(), small_corpus())
    assert again == built_layers()
    json.dumps([dataclasses.asdict(layer) for layer in again], allow_nan=False)


def test_other_units_are_described_the_same_way():
    def doubled(factor, activation_BTF):
        return factor * activation_BTF

    units = {"doubled": Units(NEURONS, 64, doubled, np.float32(2))}
    (layer,) = describe(
        built_model(), small_corpus(), units, {"doubled": built_model().params["layers"]["down"][0]}
    )
    for neuron, plain in zip(layer.neurons, built_layers()[0].neurons, strict=True):
        assert neuron.highest == pytest.approx(2 * plain.highest, rel=1e-5)
        assert neuron.dead == plain.dead
