"""A tiny data set, a tiny model and one trained run, which the tests of many folders share.

A folder's conftest.py imports the fixtures it uses. Each makes its thing once in a session, whoever asks.
"""

import dataclasses
import pathlib
import random

import jax
import numpy as np
import pytest

from tests.tiny_config import get_config
from tinyjax.config import Config, ModelConfig, from_dict, resolve, to_dict
from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare

# As the binaries do; without it JAX compiles anew, in each session, what takes less than a second.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

VOCAB_SIZE = 320
MODEL = dataclasses.replace(get_config().model, vocab_size=VOCAB_SIZE).freeze()


def tiny_config(**changes: object) -> Config:
    """Returns the resolved tiny config with fields changed: tiny_config(model__qk_norm=True)."""
    values = to_dict(get_config())
    for name, value in changes.items():
        group, _, field = name.partition("__")
        values[group][field] = value
    return resolve(from_dict(values))


def tiny_model(**changes: object) -> ModelConfig:
    """Returns the tiny model's config, vocabulary included, with fields changed."""
    return dataclasses.replace(MODEL, **changes).freeze()


def packed_rows(rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns a batch of random tokens: stories of several lengths side by side, then padding."""
    rng = np.random.default_rng(seed)
    batch = {name: rng.integers(4, VOCAB_SIZE, (rows, length), np.int32) for name in ("inputs", "targets")}
    cuts = np.sort(rng.integers(1, length, (rows, 3)), axis=1)
    segments = 1 + (np.arange(length) >= cuts[:, :1]) + (np.arange(length) >= cuts[:, 1:2])
    batch["segments"] = np.where(np.arange(length) >= cuts[:, 2:], 0, segments).astype(np.int32)
    batch["weights"] = (batch["segments"] > 0).astype(np.int32)
    return batch


def little_stories(count: int) -> list[str]:
    """Returns different stories, most of which fit a window of 64 tokens several times; a few are longer."""
    rng = random.Random(1)
    names, things, feelings = ["Lily", "Tom", "Ben"], ["ball", "kite", "boat"], ["happy", "sad"]
    return [
        " ".join(
            f"{rng.choice(names)} saw {i} {rng.choice(things)}s and was {rng.choice(feelings)}."
            for _ in range(12 if i % 20 == 0 else rng.randint(1, 3))
        )
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """300 stories in windows of 64 tokens, with a vocabulary of 320."""
    folder = tmp_path_factory.getbasetemp() / "tiny_data"
    if not folder.exists():
        source = tmp_path_factory.getbasetemp() / "tiny_stories.txt"
        source.write_text("\n<|endoftext|>\n".join(little_stories(300)), encoding="utf-8")
        prepare(str(source), folder, Options(context_length=64, vocab_size=VOCAB_SIZE))
    return load_prepared(folder)


@pytest.fixture(scope="session")
def tiny_run(tiny_data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run of 200 steps that nothing disturbed."""
    from tinyjax.train.loop import train

    folder = tmp_path_factory.getbasetemp() / "tiny_run"
    if not folder.exists():
        train(tiny_config(data__path=str(tiny_data.path)), folder)
    return folder


@pytest.fixture(scope="session")
def devices() -> list[jax.Device]:
    """Eight devices, which ./tools/test emulates."""
    found = jax.devices()
    assert len(found) == 8, "run by ./tools/test, or with JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8"
    return found
