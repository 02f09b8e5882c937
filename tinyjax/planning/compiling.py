"""Compiles the steps of a run as they are, for devices that needn't be there: no data, no parameters."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from tinyjax.config import Config, MeshConfig
from tinyjax.evaluate.loss import jit_scores
from tinyjax.model.cached import empty_cache
from tinyjax.model.parameters import abstract_params
from tinyjax.parallel.sharding import make_mesh, named_sharding
from tinyjax.planning.target import Target
from tinyjax.sample.choosing import Rules
from tinyjax.sample.engine import decode, empty_slots
from tinyjax.sample.model import decoding_weights
from tinyjax.train.run import check_mesh
from tinyjax.train.step import abstract_state, jit_step

STORIES = 16  # told at a time by `sample`


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """A program that the compiler refused for want of memory."""

    needed_bytes: float | None  # by the compiler, for what is temporary alone; None where it doesn't say


def complete(config: Config, vocab_size: int) -> Config:
    """Returns the config with what a run takes from its data and chips: the vocabulary, the dtype."""
    model = dataclasses.replace(
        config.model,
        vocab_size=config.model.vocab_size or math.ceil(vocab_size / 64) * 64,
        compute_dtype="bfloat16" if config.model.compute_dtype == "auto" else config.model.compute_dtype,
    )
    return dataclasses.replace(config, model=model).freeze()


def plan_mesh(config: Config, target: Target) -> Mesh:
    """Returns the mesh over the target's devices; raises UserError where the config doesn't fit it."""
    mesh = make_mesh(config.mesh, target.devices)
    check_mesh(config, mesh)
    return mesh


def train_step(config: Config, mesh: Mesh) -> Any:
    """Compiles the update; see `compiled` for what it returns and raises."""
    num_steps = _abstract(mesh, (), ())
    return compiled(
        mesh, jit_step(config, mesh), abstract_state(config, mesh), _batch(config, mesh), num_steps
    )


def evaluation_step(config: Config, mesh: Mesh) -> Any:
    """Compiles the scores of as many windows as a micro-batch has, as training does; see `compiled`."""
    step = jit_scores(config.model, mesh, bos_id=1, prefix_bytes=1, chunk=config.train.loss_chunk)
    batch = _batch(config, mesh, config.train.accumulation)
    token_bytes_V = _abstract(mesh, (config.model.vocab_size,), (None,))
    return compiled(mesh, step, abstract_state(config, mesh).best_params, batch, token_bytes_V)


def sampling_loop(config: Config, target: Target) -> Any:
    """Compiles the loop that draws tokens of STORIES on one device, as `sample` does; see `compiled`."""
    mesh, model = make_mesh(MeshConfig(), target.devices[:1]), config.model
    weights = jax.eval_shape(lambda params: decoding_weights(model, params), abstract_params(model))
    slots = jax.eval_shape(lambda: empty_slots(model, STORIES, model.context_length, 0))
    # The cache begins small; what counts is what it grows to.
    slots = slots._replace(cache=jax.eval_shape(lambda: empty_cache(model, STORIES, model.context_length)))
    arguments = (weights, jax.ShapeDtypeStruct((model.vocab_size,), jnp.float32), _plain_rules(), slots)
    placed = jax.tree.map(lambda x: _abstract(mesh, x.shape, (), x.dtype), arguments)
    steps = _abstract(mesh, (), ())
    return compiled(mesh, decode, model, *placed, steps, steps)


def _plain_rules() -> Rules:
    """Returns the rules of stories that ask for nothing but a temperature."""

    def rows(dtype: Any, *more: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((STORIES, *more), dtype)

    number_B: Any = rows(jnp.float32)
    count_B: Any = rows(jnp.int32)
    empty: Any = (rows(jnp.float32, 0), rows(jnp.int32, 0, 0), rows(jnp.int32, 1))
    return Rules(number_B, number_B, number_B, *empty, count_B, number_B, count_B, number_B, number_B)


def compiled(mesh: Mesh, step: Any, *arguments: Any) -> Any:
    """Returns the `jax.stages.Compiled` of a jitted function, or TooLarge."""
    with jax.set_mesh(mesh), _without_cache():
        lowered = step.lower(*arguments)
        try:
            return lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return TooLarge(_needed(str(error)))


@contextlib.contextmanager
def _without_cache() -> Generator[None]:
    """JAX's compile cache can't read what it has kept of chips that aren't there."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it asks only once whether it is on
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _needed(message: str) -> float | None:
    """Reads "Used 20.1G of 15.75G hbm", or "(20.1G) exceeds", out of the compiler's refusal."""
    found = re.search(r"[Uu]sed ([\d.]+)([KMGT]?) of|\(([\d.]+)([KMGT]?)\) exceeds", message)
    if not found:
        return None
    number, unit = found[1] or found[3], found[2] or found[4] or " "
    return float(number) * 1024.0 ** " KMGT".index(unit)


def _batch(config: Config, mesh: Mesh, parts: int = 1) -> dict[str, jax.ShapeDtypeStruct]:
    names = ("inputs", "targets", "segments", "weights")
    shape = (config.data.batch_size // parts, config.model.context_length)
    return {name: _abstract(mesh, shape, ("batch", None)) for name in names}


def _abstract(mesh: Mesh, shape: tuple, axes: tuple, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=named_sharding(mesh, axes))
