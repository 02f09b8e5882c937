"""The numerics of an update: micro-batches, averages, the guard, number formats, and no waiting."""

import functools
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.array import ArrayImpl

from tests.tiny import VOCAB_SIZE, packed_rows, tiny_config
from tests.train.test_loop import evaluations, metrics
from tinyjax.bin.samples import go_on
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import Config, MeshConfig
from tinyjax.errors import Stopped, UserError
from tinyjax.parallel.sharding import make_mesh, put_batch
from tinyjax.sample.model import load_model
from tinyjax.train import log, loop
from tinyjax.train.run import Progress
from tinyjax.train.step import (
    Guard,
    Metrics,
    TrainState,
    abstract_state,
    compile_init,
    compile_step,
    gradients,
    judge,
)

pytestmark = pytest.mark.unoptimized

# float32 sums in another order: of a gradient, in units of its largest element; of an update, by what it does
# to the loss, as AdamW's first is the sign of each gradient, which for the smallest is a matter of rounding.
TOLERANCE = 2e-6


def step_config(**changes: Any) -> Config:
    fixed = {"model__vocab_size": VOCAB_SIZE, "optimizer__warmup_steps": 1, "train__loss_chunk": 16}
    return tiny_config(**(fixed | changes))


def unequal_rows(rows: int) -> dict[str, np.ndarray]:
    """Packed stories of which the rows count very unequal numbers of tokens, some none at all."""
    batch = packed_rows(rows, 64)
    counted = np.arange(64) < np.array([64, 1, 40, 0] * rows)[:rows, None]
    return batch | {"weights": batch["weights"] * counted}


def assert_close(got: Any, wanted: Any, tolerance: float) -> None:
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())

    jax.tree.map(compare, jax.device_get(got), jax.device_get(wanted))


def one_step(config: Config, mesh: jax.sharding.Mesh, batch: dict) -> tuple[TrainState, Metrics]:
    return compile_step(config, mesh)(compile_init(config, mesh)(), put_batch(mesh, batch), 10)


# Micro-batches.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "sizes"),
    [(4, {"replica": 1}), (8, {"replica": 1}), (2, {"replica": 2, "fsdp": 2, "tensor": 2})],
)
def test_micro_batches_are_the_big_batch(parts: int, sizes: dict[str, int], devices):
    """Gradients, loss and updated parameters, though no two micro-batches count equally many tokens."""
    whole, cut = (step_config(train__accumulation=n, train__z_loss=0.01) for n in (1, parts))
    batch, one = unequal_rows(8), make_mesh(MeshConfig(), devices[:1])
    mesh = make_mesh(MeshConfig(**sizes), devices[: 8 if len(sizes) > 1 else 1])
    params = compile_init(whole, one)().params
    start = jax.device_get(params)
    grads = [
        jax.jit(functools.partial(gradients, config))(params, batch, jnp.int32(0)) for config in (cut, whole)
    ]
    assert_close(*grads, TOLERANCE)
    (state, told), (wanted_state, wanted) = one_step(cut, mesh, batch), one_step(whole, one, batch)
    assert_close(told, wanted, TOLERANCE)
    moved, wanted_move = (
        jax.tree.map(lambda a, b: np.asarray(a) - b, jax.device_get(x.params), start)
        for x in (state, wanted_state)
    )
    off = jax.tree.map(
        lambda a, b, gradient: np.abs((a - b) * gradient).sum() / np.abs(b * gradient).sum(),
        moved, wanted_move, jax.device_get(grads[1][2]),
    )  # fmt: skip
    assert max(jax.tree.leaves(off)) < TOLERANCE
    held = jax.tree.map(lambda x: x.sharding.shard_shape(x.shape), (state, abstract_state(cut, mesh)))
    assert held[0] == held[1]


def test_micro_batches_must_divide_over_the_mesh(devices):
    config = step_config(train__accumulation=2)
    with pytest.raises(UserError, match=r"batch_size 8 / config.train.accumulation 2 = 4 does not divide"):
        compile_step(config, make_mesh(MeshConfig(), devices))


@pytest.mark.slow
def test_dropout_goes_by_the_step():
    config = step_config(model__dropout=0.5, train__accumulation=2)
    params = compile_init(config, make_mesh(MeshConfig(), jax.devices()[:1]))().params
    run = jax.jit(functools.partial(gradients, config))
    first, again, second = (float(run(params, packed_rows(8, 64), jnp.int32(i))[0]) for i in (0, 0, 1))
    assert first == again
    assert first != second


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accumulation": 0}, "config.train.accumulation is 0; it must be above 0"),
        (
            {"accumulation": 3},
            r"config.data.batch_size is 8; it must be a multiple of train.accumulation \(3\)",
        ),
        ({"ema_decay": 1.0}, "config.train.ema_decay is 1.0; it must be below 1"),
        (
            {"max_skipped": 3, "spike_factor": 0.5},
            "config.train.spike_factor is 0.5; it must be 0, or above 1",
        ),
        ({"spike_factor": 5.0}, "config.train.spike_factor is 5.0; .* where nothing is skipped"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        step_config(**{f"train__{name}": value for name, value in changes.items()})


# The average of the parameters.


@pytest.mark.slow
def test_the_average_follows_its_formula(devices):
    """The first update replaces it; later it keeps step/(step + 10) of itself, until that is the decay."""
    config, mesh = step_config(train__ema_decay=0.1), make_mesh(MeshConfig(replica=1, fsdp=8), devices)
    state, step, wanted = compile_init(config, mesh)(), compile_step(config, mesh), None
    for i, kept in enumerate([0, 1 / 11, 0.1, 0.1]):
        state, _ = step(state, put_batch(mesh, packed_rows(8, 64, seed=i)), 10)
        new = jax.device_get(state.params)
        wanted = (
            new if wanted is None else jax.tree.map(lambda e, p, k=kept: k * e + (1 - k) * p, wanted, new)
        )
    assert_close(state.ema, wanted, 1e-6)
    pairs = zip(jax.tree.leaves(state.ema), jax.tree.leaves(state.params), strict=True)
    assert all(e.sharding.is_equivalent_to(p.sharding, e.ndim) for e, p in pairs)


def run_config(tiny_data, **changes: Any) -> Config:
    lengths = {"num_steps": 12, "eval_every": 12, "checkpoint_every": 4}
    lengths = {f"train__{name}": value for name, value in lengths.items()}
    return tiny_config(data__path=str(tiny_data.path), **(lengths | changes))


@pytest.fixture(scope="module")
def averaged_run(tiny_data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, pathlib.Path]:
    """A run with everything on, undisturbed."""
    config = run_config(
        tiny_data,
        train__ema_decay=0.9,
        train__max_skipped=3,
        train__spike_factor=2.0,
        train__z_loss=1e-4,
        train__loss_chunk=16,
    )
    folder = tmp_path_factory.mktemp("averaged") / "run"
    loop.train(config, folder)
    return config, folder


def read_all(config: Config, run: pathlib.Path) -> dict[str, Any]:
    folder = checkpoints.find(run)
    stored = checkpoints.read_meta(folder).config
    return checkpoints.read_state(folder, **abstract_state(stored, make_mesh(stored.mesh)).items())


@pytest.mark.slow
def test_average_and_guard_are_resumed_exactly(averaged_run, tmp_path: pathlib.Path, monkeypatch):
    """Stopped after step 6, and taken up: every item of the checkpoint is the same to the bit."""
    config, run = averaged_run

    def pull(self: log.Log, progress: Progress, *_: Any) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt  # as if the plug had been pulled

    with monkeypatch.context() as patch:
        patch.setattr(log.Log, "add", pull)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run" / loop.CHECKPOINTS)[-1] == 4
    loop.train(config, tmp_path / "run")
    got, wanted = read_all(config, tmp_path / "run"), read_all(config, run)
    assert set(got) == {"params", "opt_state", "ema", "guard"}
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    assert int(wanted["guard"].updates) + metrics(run)[-2]["skipped"] <= 12


@pytest.mark.slow
def test_the_average_is_what_is_evaluated_and_sampled(averaged_run, tiny_data, devices):
    from tests.evaluate.test_loss import evaluate

    config, run = averaged_run
    stored = jax.device_get(read_all(config, run))
    averaged, newest = load_model(run), load_model(run, ema=False)
    jax.tree.map(np.testing.assert_array_equal, averaged.params, stored["ema"])
    jax.tree.map(np.testing.assert_array_equal, newest.params, stored["params"])
    told = evaluations(run)[12]
    assert evaluate(averaged, tiny_data, 8, devices).bits_per_byte == pytest.approx(told, rel=1e-6)
    assert evaluate(newest, tiny_data, 8, devices).bits_per_byte != pytest.approx(told, rel=1e-6)


# The guard.


def guarded_step(devices) -> tuple[TrainState, Callable[[TrainState], tuple[TrainState, Metrics]]]:
    config = step_config(train__max_skipped=3, train__spike_factor=4.0, train__ema_decay=0.9)
    mesh = make_mesh(MeshConfig(), devices)
    step, batch = compile_step(config, mesh), put_batch(mesh, packed_rows(8, 64))
    return compile_init(config, mesh)(), lambda state: step(state, batch, 10)


@pytest.mark.slow
def test_a_bad_update_is_skipped_and_counted(devices):
    """A spike, then parameters that give no number, twice; the step counts on, all else stays."""
    state, step = guarded_step(devices)
    state, told = step(state)
    assert int(told.skipped) == 0
    assert float(state.guard.grad_norm) == pytest.approx(float(told.grad_norm))
    good = jax.device_get(state)

    state, told = step(state._replace(guard=state.guard._replace(grad_norm=state.guard.grad_norm / 100)))
    assert int(told.skipped) == 1
    assert np.isfinite(float(told.loss))
    assert_unchanged(state, good, 2)

    broken = jax.tree.map(lambda x: x * jnp.nan, state.params["final_norm"])
    poisoned = state._replace(
        params=state.params | {"final_norm": broken}, guard=put(good.guard, state.guard)
    )
    before = jax.device_get(poisoned)
    for count in (1, 2):
        poisoned, told = step(poisoned)
        assert int(told.skipped) == int(poisoned.guard.skipped) == count
        assert np.isnan(float(told.loss))
    assert_unchanged(poisoned, before, 4)


def put(tree: Any, like: Any) -> Any:
    return jax.tree.map(lambda x, y: jax.device_put(x, y.sharding), tree, like)


def assert_unchanged(state: TrainState, wanted: TrainState, step: int) -> None:
    assert int(state.step) == step
    for name in ("params", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(wanted, name))


@pytest.mark.slow
def test_an_update_that_would_leave_the_range_is_skipped(devices):
    config = step_config(train__max_skipped=3, optimizer__learning_rate=1e30)
    mesh = make_mesh(MeshConfig(), devices)
    before = jax.device_get(compile_init(config, mesh)())
    state, told = one_step(config, mesh, packed_rows(8, 64))
    assert int(told.skipped) == 1
    jax.tree.map(np.testing.assert_array_equal, state.params, before.params)


def test_the_mean_norm_is_that_of_the_updates_made():
    guard = Guard(jnp.float32(0), jnp.int32(0), jnp.int32(0))
    for norm, finite, skipped in [(4, 1, 0), (2, 1, 0), (7, 1, 1), (1, 0, 2), (6, 1, 0)]:  # limit 2 x mean
        guard = judge(2.0, guard, jnp.float32(norm), jnp.bool_(finite))
        assert int(guard.skipped) == skipped
    assert float(guard.grad_norm) == 4
    assert int(guard.updates) == 3


@pytest.mark.slow
def test_a_run_that_only_skips_ends_and_keeps_its_last_good_checkpoint(
    tiny_data, tmp_path: pathlib.Path, monkeypatch
):
    """Parameters give no number from step 6 on; steps 8 and 9 would be checkpoints."""
    poison(monkeypatch)
    config = run_config(tiny_data, train__max_skipped=4, train__log_every=5, train__num_steps=40)
    with pytest.raises(UserError, match=r"the 4 updates up to step 9 were skipped.*checkpoint is kept"):
        loop.train(config, tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run" / loop.CHECKPOINTS) == [4]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(read_all(config, tmp_path / "run")["params"]))
    assert [line["skipped"] for line in metrics(tmp_path / "run")] == [0, 5]
    assert [line["loss"] is None for line in metrics(tmp_path / "run")] == [False, True]


def poison(monkeypatch: pytest.MonkeyPatch, signal_at: int = 0) -> None:
    """Makes parameters give no number from step 6 on; and has SIGTERM come with step `signal_at`."""

    def poisoned(config: Config, mesh: jax.sharding.Mesh) -> Callable:
        step = compile_step(config, mesh)

        def run(state: TrainState, batch: dict, num_steps: int) -> tuple[TrainState, Metrics]:
            number = int(state.step) + 1
            params = jax.tree.map(lambda x: x * jnp.nan if number >= 6 else x, state.params)
            if number == signal_at:
                signal.raise_signal(signal.SIGTERM)
            return step(state._replace(params=params), batch, num_steps)

        return run

    monkeypatch.setattr(loop, "compile_step", poisoned)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "said"), [(4, "the newest one is of step 4"), (12, "there is none before it")]
)
def test_stopped_while_it_skips_it_says_what_is_saved(
    every: int, said: str, tiny_data, tmp_path: pathlib.Path, monkeypatch
):
    poison(monkeypatch, signal_at=7)
    config = run_config(tiny_data, train__max_skipped=4, train__checkpoint_every=every)
    with pytest.raises(Stopped, match=f"after step 7; it was skipped, so no checkpoint of it .*; {said}"):
        loop.train(config, tmp_path / "run")


# Number formats.


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr and of those inside of it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_with_bfloat16_compute_all_that_lasts_is_float32(name: str, devices):
    config = step_config(
        model__compute_dtype="bfloat16", optimizer__name=name, train__ema_decay=0.9, train__accumulation=2
    )
    mesh = make_mesh(MeshConfig(), devices[:1])
    state, told = one_step(config, mesh, packed_rows(8, 64))
    kinds = {x.dtype for x in jax.tree.leaves((state, told))}
    assert kinds == {jnp.dtype("float32"), jnp.dtype("int32")}


def kinds_in_bfloat16(family: str) -> set[str]:
    """The primitives that give bfloat16 anywhere in loss and gradients."""
    config = step_config(model__compute_dtype="bfloat16", model__family=family)
    params = abstract_state(config, make_mesh(MeshConfig(), jax.devices()[:1])).params
    jaxpr = jax.make_jaxpr(functools.partial(gradients, config))(params, packed_rows(8, 64), jnp.int32(0))
    assert {v.dtype for v in jaxpr.out_avals} == {jnp.dtype("float32"), jnp.dtype("int32")}
    found = (e for e in equations(jaxpr.jaxpr) for v in e.outvars if v.aval.dtype == jnp.bfloat16)
    return {str(equation.primitive) for equation in found}


@pytest.mark.parametrize("family", ["llama", "gpt_neo"])
def test_with_bfloat16_compute_sums_are_float32(devices, family: str):
    """But for those within a product, which are float32 anyway."""
    found = kinds_in_bfloat16(family)
    assert "dot_general" in found  # it does compute in bfloat16
    assert not found & {"reduce_sum", "reduce_max", "cumsum", "exp", "log", "rsqrt", "scatter-add"}


# No waiting.


@pytest.mark.slow
def test_no_step_brings_anything_to_the_host(tiny_data, tmp_path: pathlib.Path, monkeypatch):
    """But the lines of the log, checkpoints and evaluations.

    Elsewhere the transfer guard would raise; on CPUs it lets everything pass, so reads are counted here.
    """
    reads: list[str] = []
    allowed: list[str] = []
    read = ArrayImpl.__dict__["_value"]

    def spy(array: jax.Array) -> np.ndarray:
        if not allowed:
            reads.append(str(array.aval))
        return read.fget(array)

    def allow(name: str, function: Callable) -> Callable:
        def run(*arguments: Any, **named: Any) -> Any:
            allowed.append(name)
            seen.append(name)
            try:
                with jax.transfer_guard_device_to_host("allow"):
                    return function(*arguments, **named)
            finally:
                allowed.pop()

        return run

    seen: list[str] = []
    monkeypatch.setattr(ArrayImpl, "_value", property(spy))
    for owner, name in ((log.Log, "_write"), (loop, "save"), (loop, "start"), (loop, "resume")):
        monkeypatch.setattr(owner, name, allow(name, getattr(owner, name)))
    make_evaluate = loop.make_evaluate
    make_tell = loop.make_tell
    monkeypatch.setattr(loop, "make_evaluate", lambda *a: allow("evaluate", make_evaluate(*a)))
    monkeypatch.setattr(loop, "make_tell", lambda *a: allow("tell", make_tell(*a)))
    config = run_config(
        tiny_data, train__log_every=5, train__max_skipped=3, train__ema_decay=0.9,
        train__statistics_every=3, train__sample_prompts="One day", train__sample_tokens=2,
        train__profile_from=6, train__profile_steps=2,
    )  # fmt: skip
    with jax.transfer_guard_device_to_host("disallow_explicit"):
        loop.train(config, tmp_path / "run", go_on)
    assert not reads
    assert seen.count("_write") == 3  # after steps 5, 10 and 12
    assert {"save", "start", "evaluate", "tell"} <= set(seen)
    float(jnp.float32(1) + jax.device_put(1.0))
    assert reads  # the spy would have seen one
