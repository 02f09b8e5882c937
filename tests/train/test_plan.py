"""The plan: how long a run is, what it reads when, and what can't be."""

import itertools
import pathlib
import shutil

import numpy as np
import pytest
from absl import flags

from tests.tiny import VOCAB_SIZE, tiny_config
from tinyjax.config import Config
from tinyjax.data.loader import train_batches
from tinyjax.data.manifests import Prepared
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.errors import UserError
from tinyjax.train.describe import describe_plan, describe_sources
from tinyjax.train.optimizer import UNDECIDED
from tinyjax.train.plan import (
    Plan,
    ceiling_metrics,
    count_steps,
    make_plan,
    source_metrics,
    training_draws,
)


@pytest.fixture(scope="module")
def copy(tiny_data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(tiny_data.path, tmp_path_factory.mktemp("copy") / "copy"))


@pytest.fixture(scope="session")
def banded_data(tiny_data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The stories of `tiny_data` in four bands of difficulty."""
    source = tiny_data.manifest["origin"]["source"]["path"]
    options = Options(context_length=64, vocab_size=VOCAB_SIZE, bands=4, difficulty="length")
    return prepare(source, tmp_path_factory.mktemp("banded") / "banded", options)


def config(path: object, **changes) -> Config:
    length = {f"train__{name}": 0 for name in ("num_steps", "num_epochs", "minutes")}
    return tiny_config(**({"data__path": str(path)} | length | changes))


# How long.


@pytest.mark.parametrize(
    ("num_epochs", "windows", "steps"),
    [(1, 80, 10), (1, 81, 11), (0.5, 80, 5), (2.5, 80, 25), (0.7, 80, 7), (0.001, 80, 1), (1000, 3, 375)],
)
def test_epochs_are_as_many_steps_as_end_them(num_epochs: float, windows: int, steps: int):
    assert count_steps(config("", train__num_epochs=num_epochs), windows) == steps


def test_steps_and_minutes_need_no_counting():
    assert count_steps(config("", train__num_steps=7), 80) == 7
    assert count_steps(config("", train__minutes=7), 80) == UNDECIDED


def test_an_epoch_of_a_mixture_is_the_windows_of_all_its_sources(tiny_data: Prepared, copy: pathlib.Path):
    plan = make_plan(config(f"{tiny_data.path}:0.9,{copy}:0.1", train__num_epochs=1))
    assert plan.num_steps == -(-2 * len(tiny_data.windows("train")) // 8)


def test_steps_epochs_and_tokens_are_told(tiny_data: Prepared):
    settings = config(tiny_data.path, train__num_epochs=2)
    (_, length), split = (
        describe_plan(make_plan(settings), settings),
        tiny_data.manifest["windows"]["splits"]["train"],
    )
    steps = -(-2 * split["windows"] // 8)
    tokens = round(steps * 8 * split["tokens"] / split["windows"])
    assert length == f"length: {steps} steps, {steps * 8 / split['windows']:.2f} epochs, {tokens:,} tokens"


# Mixtures.


def test_shares_and_epochs_are_told_before_and_after(tiny_data: Prepared, copy: pathlib.Path):
    windows = len(tiny_data.windows("train"))
    settings = config(f"{tiny_data.path}:0.7,{copy}:0.3", train__num_steps=10)
    plan = make_plan(settings)
    told = f"tiny_data 70.0%, {56 / windows:.2f} epochs; copy 30.0%, {24 / windows:.2f} epochs"
    assert f"mixture: {told}" in describe_plan(plan, settings)
    assert describe_sources(plan, 10) == told
    metrics = source_metrics(plan, 10)
    assert metrics["data/tiny_data/share"] == pytest.approx(0.7)
    assert metrics["data/copy/epochs"] == pytest.approx(24 / windows)
    by_clock = config(f"{tiny_data.path}:0.7,{copy}:0.3", train__minutes=1)
    assert "mixture: tiny_data 70.0%; copy 30.0%" in describe_plan(make_plan(by_clock), by_clock)


def test_one_source_is_no_mixture(tiny_data: Prepared):
    settings = config(tiny_data.path, train__num_steps=10)
    assert source_metrics(make_plan(settings), 10) == {}
    assert "mixture" not in "".join(describe_plan(make_plan(settings), settings))


@pytest.mark.parametrize(("epochs", "warned"), [(3.9, False), (4.3, True)])
def test_what_is_read_very_often_is_warned_about_in_a_line(tiny_data: Prepared, epochs: float, warned: bool):
    settings = config(tiny_data.path, train__num_epochs=epochs)
    lines = [line for line in describe_plan(make_plan(settings), settings) if line.startswith("warning")]
    assert len(lines) == warned
    assert all("tiny_data 4.3;" in line for line in lines)


def seen(plan: Plan, draws: int, seed: int = 0) -> np.ndarray:
    """The inputs of all draws."""
    source = training_draws(plan, seed)
    return np.stack([source[draw]["inputs"] for draw in range(draws)])


def test_equal_sources_do_not_move_in_step(tiny_data: Prepared, copy: pathlib.Path):
    inputs = seen(make_plan(config(f"{tiny_data.path}:1,{copy}:1", train__num_steps=8)), 40)
    same = np.all(inputs[::2] == inputs[1::2], axis=1)
    assert same.sum() < 5


# Curricula.


def test_each_source_ramps_over_its_own_share(banded_data: Prepared):
    path = f"{banded_data.path}:0.75,{banded_data.path}:0.25"
    plan = make_plan(config(path, train__num_epochs=0.5, curriculum__ramp=0.4))
    for ramp, draws in zip(plan.ramps, plan.counts(plan.num_steps), strict=True):
        assert ramp.draws == int(0.4 * draws)
        assert ramp.num_bands == 4


def test_the_easiest_stories_come_first_and_all_in_the_first_epoch(banded_data: Prepared):
    windows = banded_data.windows("train")
    plan = make_plan(config(banded_data.path, train__num_epochs=1, curriculum__ramp=0.3))
    inputs = seen(plan, len(windows))
    by_content = {windows[i]["inputs"].tobytes(): i for i in range(len(windows))}
    order = [by_content[row.tobytes()] for row in inputs]
    assert sorted(order) == list(range(len(windows)))
    (ramp,) = plan.ramps
    assert all(windows.bands[order[draw]] < ramp.open_bands(draw) for draw in range(ramp.draws))
    assert set(windows.bands[order[: ramp.draws // 4]]) == {0}


def test_the_ceiling_is_logged_as_a_share_of_the_bands(banded_data: Prepared):
    plan = make_plan(config(banded_data.path, train__num_epochs=1, curriculum__ramp=0.3))
    ceilings = [ceiling_metrics(plan, step)["curriculum/ceiling"] for step in range(1, plan.num_steps + 1)]
    assert ceilings == sorted(ceilings)
    assert set(ceilings) <= {0.25, 0.5, 0.75, 1.0}
    assert ceilings[0] < 1 == ceilings[-1]
    mixed = make_plan(
        config(f"{banded_data.path}:1,{banded_data.path}:1", train__num_steps=4, curriculum__ramp=0.5)
    )
    assert set(ceiling_metrics(mixed, 1)) == {"curriculum/banded/ceiling", "curriculum/banded-2/ceiling"}
    assert ceiling_metrics(make_plan(config(banded_data.path, train__num_steps=4)), 1) == {}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_mixture_with_a_curriculum_is_the_same_with_workers_and_hosts(banded_data: Prepared, workers: int):
    flags.FLAGS.mark_as_parsed()  # what absl's app.run does
    plan = make_plan(
        config(f"{banded_data.path}:2,{banded_data.path}:1", train__num_epochs=0.8, curriculum__ramp=0.3)
    )

    def batches(workers: int, rows: slice = slice(None)) -> np.ndarray:
        opened = train_batches(training_draws(plan, 1), 8, start_step=2, rows=rows, workers=workers)
        with opened as found:
            return np.stack([batch["inputs"] for batch in itertools.islice(found, 6)])

    whole = batches(0)
    np.testing.assert_array_equal(batches(workers), whole)
    halves = [batches(workers, slice(0, 4)), batches(0, slice(4, 8))]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), whole)


def refused(settings: Config) -> str:
    with pytest.raises(UserError) as error:
        make_plan(settings)
    return str(error.value)


def test_a_ramp_longer_than_an_epoch_is_refused_with_the_largest_possible(banded_data: Prepared):
    message = refused(config(banded_data.path, train__num_epochs=10, curriculum__ramp=0.2))
    assert "config.curriculum.ramp is 0.2; a ramp draws no window twice" in message
    largest = float(message.split()[-1])
    assert 0 < largest <= 0.1
    make_plan(config(banded_data.path, train__num_epochs=10, curriculum__ramp=largest))
    refused(config(banded_data.path, train__num_epochs=10, curriculum__ramp=1.05 * largest))


def test_a_ramp_of_unknown_length_is_refused(banded_data: Prepared):
    assert "config.train.minutes; give" in refused(
        config(banded_data.path, train__minutes=1, curriculum__ramp=0.2)
    )


def test_a_ramp_without_bands_is_refused_with_the_mend(tiny_data: Prepared, banded_data: Prepared):
    path = f"{banded_data.path}:1,{tiny_data.path}:1"
    message = refused(config(path, train__num_steps=4, curriculum__ramp=0.2))
    assert f"'{tiny_data.path}' has no bands of difficulty" in message
    assert "--bands=8" in message


def test_the_loss_on_stories_alone_is_asked_of_the_data(tiny_data: Prepared):
    for loss, story_only in (("all", False), ("story", True)):
        plan = make_plan(config(tiny_data.path, train__num_steps=4, data__loss=loss))
        (source,) = plan.mixture.sources
        assert plan.windows(source, "train").story_only == story_only
        assert plan.windows(source, "validation").story_only == story_only
