"""A dictionary finds the directions that activations are made of, and is measured by what the model loses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interpret.built import ON_AND, built_model, piece, random_model, small_corpus
from tinyjax.config import MeshConfig
from tinyjax.errors import UserError
from tinyjax.interpret.features import (
    Dictionary,
    Features,
    Settings,
    encode,
    evaluate,
    list_features,
    load,
    save,
    train,
)
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import Model

pytestmark = pytest.mark.unoptimized

PLANTED, WIDTH = 10, 32
SETTINGS = Settings(
    "embedding", "embedding", features=12, active=2, steps=300, batch_size=8, learning_rate=0.01
)
SHORT = dataclasses.replace(SETTINGS, source="block0/mlp_input", target="block0/mlp", features=48, steps=20)


def planted() -> np.ndarray:
    """Directions that are not at right angles: [10, 32]."""
    directions = np.random.default_rng(0).normal(size=(PLANTED, WIDTH)).astype(np.float32)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


@functools.cache
def planted_model() -> Model:
    """Each token's embedding is two of the planted directions, of different strength."""
    rng, model = np.random.default_rng(1), random_model()
    embedding_VD = np.zeros((model.config.vocab_size, WIDTH), np.float32)
    for row in embedding_VD:
        row += rng.uniform(0.5, 1.5, 2) @ planted()[rng.choice(PLANTED, 2, replace=False)]
    return dataclasses.replace(model, params=model.params | {"embedding": embedding_VD})


@functools.cache
def trained() -> Features:
    return train(planted_model(), small_corpus(), SETTINGS)


@functools.cache
def shortly_trained() -> Features:
    return train(random_model(), small_corpus(), SHORT)


def identity(source: str, width: int, scale: float = 1.0) -> Features:
    """A dictionary of both ways along each axis, which gives back all that it reads."""
    both = np.concatenate([np.eye(width), -np.eye(width)]).astype(np.float32)
    zero = np.zeros(width, np.float32)
    one = np.float32(1)
    dictionary = Dictionary(
        both.T, np.zeros(2 * width, np.float32), np.float32(scale) * both, zero, zero, one, zero, one
    )
    return Features(Settings(source, source, 2 * width, active=width), jax.tree.map(jnp.asarray, dictionary))


def test_planted_features_are_recovered():
    likeness = planted() @ np.asarray(trained().dictionary.decoder_FE).T
    assert np.sort(likeness.max(axis=1))[1:].min() > 0.95  # one may be missed
    quality = evaluate(planted_model(), small_corpus(), trained())
    assert quality.explained > 0.9
    assert quality.recovered > 0.9
    assert quality.active <= 2.01
    assert trained().unexplained[-1] < 0.1 < trained().unexplained[0]


def test_the_size_of_activations_makes_no_difference():
    model, short = planted_model(), dataclasses.replace(SETTINGS, steps=20)
    large = dataclasses.replace(model, params=model.params | {"embedding": 1000 * model.params["embedding"]})
    one, other = (train(each, small_corpus(), short).unexplained for each in (model, large))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_directions_have_length_one():
    for features in (trained(), shortly_trained()):
        np.testing.assert_allclose(np.linalg.norm(features.dictionary.decoder_FE, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("source", ["block1/residual", "block0/neurons"])
def test_all_loss_is_recovered_by_what_gives_all_back_and_none_by_what_gives_nothing(source: str):
    width = 64 if source.endswith("neurons") else WIDTH
    quality = evaluate(random_model(), small_corpus(), identity(source, width))
    assert quality.loss_replaced == pytest.approx(quality.loss, abs=1e-5)
    assert quality.recovered == pytest.approx(1, abs=1e-3)
    assert quality.explained == pytest.approx(1, abs=1e-5)
    nothing = evaluate(random_model(), small_corpus(), identity(source, width, scale=0))
    assert nothing.loss_replaced == pytest.approx(nothing.loss_zero, abs=1e-6)
    assert nothing.recovered == pytest.approx(0, abs=1e-6)
    assert nothing.loss == pytest.approx(quality.loss, abs=1e-6)


def test_a_feature_that_is_never_active_is_counted():
    whole = identity("block1/residual", WIDTH)
    bias_F = jnp.zeros(2 * WIDTH).at[jnp.array([3, 40])].set(-1e9)
    features = dataclasses.replace(whole, dictionary=whole.dictionary._replace(encoder_bias_F=bias_F))
    assert evaluate(random_model(), small_corpus(), whole).dead == 0
    assert evaluate(random_model(), small_corpus(), features).dead == 2


def test_only_the_largest_are_active():
    read_BTD = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
    dictionary = identity("block1/residual", WIDTH).dictionary
    feature_BTF = np.asarray(encode(dictionary, read_BTD, active=3))
    for feature_F, read_D in zip(feature_BTF.reshape(10, -1), read_BTD.reshape(10, -1), strict=True):
        largest = np.argsort(-np.abs(read_D))[:3]
        expected_F = np.zeros(2 * WIDTH)
        expected_F[largest + np.where(read_D[largest] < 0, WIDTH, 0)] = np.abs(read_D[largest])
        np.testing.assert_allclose(feature_F, expected_F, atol=1e-6)


def test_a_transcoder_takes_the_place_of_the_mlp():
    features = shortly_trained()
    assert features.unexplained[-1] < 0.8 * features.unexplained[0]
    quality = evaluate(random_model(), small_corpus(), features)
    assert quality.explained == pytest.approx(1 - features.unexplained[-1], abs=0.1)


def test_the_same_settings_give_the_same_dictionary_and_other_seeds_another():
    again = train(random_model(), small_corpus(), SHORT)
    jax.tree.map(np.testing.assert_array_equal, again.dictionary, shortly_trained().dictionary)
    other = train(random_model(), small_corpus(), dataclasses.replace(SHORT, seed=1))
    assert not np.allclose(other.dictionary.decoder_FE, again.dictionary.decoder_FE)


def test_the_same_on_a_mesh():
    mesh = make_mesh(MeshConfig(replica=2, fsdp=4))
    sharded = train(random_model(), small_corpus(), dataclasses.replace(SHORT, steps=5), mesh)
    alone = train(random_model(), small_corpus(), dataclasses.replace(SHORT, steps=5))
    np.testing.assert_allclose(sharded.unexplained, alone.unexplained, rtol=1e-3)
    with pytest.raises(UserError, match="batch_size 6 does not divide"):
        train(random_model(), small_corpus(), dataclasses.replace(SHORT, batch_size=6), mesh)


def test_features_are_listed_as_neurons_are():
    layer = list_features(built_model(), small_corpus(), identity("block0/neurons", 64))
    feature = layer.neurons[ON_AND]
    assert {top.token for top in feature.top} == {" and"}
    assert feature.role is not None
    assert feature.role.name == "and"
    assert feature.promotes[0][0] == " was"
    assert len(layer.neurons) == 128


def test_a_feature_of_the_residual_stream_writes_what_it_is():
    model, width = random_model(), WIDTH
    direction_D = np.asarray(model.params["head"])[piece(" was")]
    features = identity("block1/residual", width)
    decoder_FE = np.array(features.dictionary.decoder_FE)
    decoder_FE[5] = direction_D
    features = dataclasses.replace(features, dictionary=features.dictionary._replace(decoder_FE=decoder_FE))
    assert list_features(model, small_corpus(4), features).neurons[5].promotes[0][0] == " was"


def test_a_saved_dictionary_is_the_same(tmp_path):
    save(shortly_trained(), tmp_path / "features.npz")
    loaded = load(tmp_path / "features.npz")
    assert loaded.settings == shortly_trained().settings
    assert loaded.unexplained == shortly_trained().unexplained
    jax.tree.map(np.testing.assert_array_equal, loaded.dictionary, shortly_trained().dictionary)
    (tmp_path / "other.npz").write_bytes(b"not one")
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(UserError, match="holds no dictionary of features"):
            load(tmp_path / name)


def test_more_active_features_than_there_are_is_refused():
    with pytest.raises(UserError, match="13 of 12 features can't be active"):
        train(planted_model(), small_corpus(), dataclasses.replace(SETTINGS, active=13))
