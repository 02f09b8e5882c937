"""A model on its way: what is checked, and checkpoints of ours from and to it."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from tests.interop.conftest import assert_equal, random_model
from tests.tiny import tiny_config
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import Meta
from tinyjax.errors import UserError
from tinyjax.interop.model import Model, checked, read_checkpoint, without_padding, write_checkpoint
from tinyjax.sample.model import load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate
from tinyjax.tokenizer import Tokenizer


def test_a_model_comes_back_from_a_checkpoint(model: Model, tmp_path: pathlib.Path):
    step = write_checkpoint(model, tmp_path / "run", "a test")
    assert (step.parent.name, step.name) == ("checkpoints", "0")
    assert_equal(read_checkpoint(tmp_path / "run"), model)
    meta = checkpoints.read_meta(step)
    assert (meta.step, meta.num_steps, meta.seconds, meta.instruct) == (0, 0, 0.0, False)
    assert meta.dataset == "unknown: imported from a test"


def test_it_tells_stories_as_any_checkpoint_does(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    model = random_model(tokenizer, compute_dtype="auto")
    write_checkpoint(model, tmp_path / "run", "a test", instruct=True)
    loaded = load_model(tmp_path / "run")
    assert loaded.instruct
    assert loaded.config.compute_dtype == "float32"
    (story,) = generate(loaded, ["Lily"], options=Options(temperature=0.0, max_tokens=5))
    assert story.tokens


def test_an_import_is_replaced_only_where_asked_and_a_trained_one_never(
    tokenizer: Tokenizer, tmp_path: pathlib.Path
):
    first, second = (random_model(tokenizer, qk_norm=qk_norm) for qk_norm in (False, True))
    write_checkpoint(first, tmp_path, "a test")
    with pytest.raises(UserError, match="--overwrite an earlier import"):
        write_checkpoint(second, tmp_path, "a test")
    assert_equal(read_checkpoint(tmp_path), first)
    write_checkpoint(second, tmp_path, "a test", overwrite=True)
    assert_equal(read_checkpoint(tmp_path), second)
    meta = dataclasses.replace(checkpoints.read_meta(checkpoints.find(tmp_path)), step=5)
    with checkpoints.open_for_writing(tmp_path / "checkpoints", keep_every=1) as manager:
        checkpoints.save(manager, jax.device_put(second.params), None, meta)
    with pytest.raises(UserError, match="never overwritten"):
        write_checkpoint(first, tmp_path, "a test", overwrite=True)


def test_the_moving_average_is_taken_where_there_is_one(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    model, other = random_model(tokenizer), random_model(tokenizer, num_heads=4)
    average = jax.tree.map(lambda x: x + 1, other.params)
    config = tiny_config(train__ema_decay=0.9)
    config = dataclasses.replace(config, model=model.config).freeze()
    meta = Meta(1, config, tokenizer, "a test", 1, 0.0, False)
    with checkpoints.open_for_writing(tmp_path, keep_every=1) as manager:
        checkpoints.save(manager, jax.device_put(model.params), None, meta, ema=jax.device_put(average))
    assert_equal(read_checkpoint(tmp_path), dataclasses.replace(model, params=average))
    assert_equal(read_checkpoint(tmp_path, ema=False), model)


def test_rows_that_only_pad_are_cut_off(tokenizer: Tokenizer):
    model = random_model(tokenizer, tie_embeddings=False)
    cut = without_padding(model)
    assert cut.config.vocab_size == tokenizer.vocab_size
    for name in ("embedding", "head"):
        np.testing.assert_array_equal(cut.params[name], model.params[name][: tokenizer.vocab_size])
    assert checked(cut, "a test").config == cut.config


def test_what_does_not_fit_is_refused(tokenizer: Tokenizer):
    model = random_model(tokenizer)
    small = dataclasses.replace(model, config=dataclasses.replace(model.config, vocab_size=64))
    with pytest.raises(UserError, match=r"embedding has shape \(320, 32\), expected \(64, 32\)"):
        checked(small, "a test")
    odd = dataclasses.replace(model, config=dataclasses.replace(model.config, head_dim=7))
    with pytest.raises(UserError, match="head_dim is 7"):
        checked(odd, "a test")
    few = {**model.params, "embedding": model.params["embedding"][:64]}
    with pytest.raises(UserError, match="the tokenizer has 300 ids"):
        checked(Model(small.config, few, tokenizer), "a test")
