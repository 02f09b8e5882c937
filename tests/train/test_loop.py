"""The loop: it makes exactly the updates asked for, resumes, keeps the time, and refuses what doesn't fit."""

import json
import os
import pathlib
import shutil
import signal
import threading
from typing import Any

import jax
import numpy as np
import optax
import pytest
from etils import epath

from tests.tiny import VOCAB_SIZE, tiny_config
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import Config
from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.data.mixture import parse_mixture
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.errors import Stopped, UserError
from tinyjax.evaluate.loss import Evaluation
from tinyjax.parallel.sharding import make_mesh
from tinyjax.train import report
from tinyjax.train.loop import CHECKPOINTS, Progress, decide_end, train
from tinyjax.train.optimizer import UNDECIDED
from tinyjax.train.step import abstract_state


def metrics(run: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (run / report.METRICS).read_text().splitlines()]


def losses(run: pathlib.Path) -> dict[int, float]:
    """The training loss of each step, every one of which is there once."""
    lines = [line for line in metrics(run) if "loss" in line]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: line["loss"] for line in lines}


def evaluations(run: pathlib.Path) -> dict[int, float]:
    lines = [line for line in metrics(run) if "loss" not in line]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: line["validation/bits_per_byte"] for line in lines}


def copy_run(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(source, target / "run"))


def test_makes_exactly_the_updates_asked_for(tiny_run: pathlib.Path, tiny_data):
    folder = checkpoints.find(tiny_run)
    assert folder.name == "200"
    config = checkpoints.read_meta(folder).config
    target = abstract_state(config, make_mesh(config.mesh))
    stored = checkpoints.read_state(folder, opt_state=target.opt_state)["opt_state"]
    assert int(optax.tree.get(stored, "count")) == 200
    assert list(losses(tiny_run)) == list(range(1, 201))


def test_it_learns(tiny_run: pathlib.Path):
    by_step = losses(tiny_run)
    assert by_step[1] == pytest.approx(np.log(VOCAB_SIZE), abs=1)
    assert by_step[200] < 0.5 * by_step[1]
    assert list(evaluations(tiny_run)) == [100, 200]
    assert evaluations(tiny_run)[200] < evaluations(tiny_run)[100]


def test_the_metrics_say_what_the_readme_says(tiny_run: pathlib.Path):
    update, evaluation = metrics(tiny_run)[1], metrics(tiny_run)[-1]
    assert set(update) == {
        "step", "loss", "bits_per_byte", "grad_norm", "learning_rate", "seconds", "tokens_per_second",
        "input_wait_share", "flops_per_second", "goodput", "wall_seconds",
    }  # fmt: skip
    assert set(evaluation) == {"step"} | {
        f"validation/{name}"
        for name in ("nats_per_token", "bits_per_byte", "standard_error", "tokens", "bytes", "stories")
    }
    assert update["learning_rate"] == pytest.approx(0.01 * 2 / 5)  # the second of five warm-up steps
    assert any((tiny_run / "tensorboard").iterdir())


def test_every_line_of_a_longer_interval_is_the_mean_over_it(tiny_run: pathlib.Path, tiny_data, tmp_path):
    """Lines every 4 steps of the same run, whose end is no multiple of 4: none is left out."""
    config = tiny_config(data__path=str(tiny_data.path), train__log_every=4)
    stop_after(tmp_path / "run", 12, config)
    by_step, wanted = losses(tmp_path / "run"), losses(tiny_run)
    *whole, last = by_step
    assert whole == list(range(4, last, 4))
    for step in whole:  # batches hold nearly as many tokens, so the mean over them is nearly that over steps
        mean = np.mean([wanted[s] for s in range(step - 3, step + 1)])
        assert by_step[step] == pytest.approx(mean, rel=0.01)


def stop_after(run: pathlib.Path, step: int, config: Config, signum: int = signal.SIGINT) -> Stopped:
    """Trains here until metrics.jsonl has come to `step`, then sends this process a signal."""

    def watch() -> None:
        while not done.wait(0.005):
            file = run / report.METRICS
            lines = file.read_text().splitlines() if file.exists() else []
            if lines and json.loads(lines[-1] if lines[-1].endswith("}") else lines[-2])["step"] >= step:
                os.kill(os.getpid(), signum)
                return

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(Stopped) as stopped:
            train(config, run)
    finally:
        done.set()
        watcher.join()
    assert stopped.value.signum == signum
    return stopped.value


def test_called_again_it_trains_no_more_and_says_the_same(
    tiny_run: pathlib.Path, tiny_data, tmp_path, capsys
):
    run = copy_run(tiny_run, tmp_path)
    before = (run / report.METRICS).read_text()
    result = train(tiny_config(data__path=str(tiny_data.path)), run)
    assert "already trained, step 200" in capsys.readouterr().err
    assert result.bits_per_byte == evaluations(tiny_run)[200]
    assert (run / report.METRICS).read_text() == before
    assert checkpoints.steps(run / CHECKPOINTS) == checkpoints.steps(tiny_run / CHECKPOINTS)


def test_a_torn_or_later_line_of_metrics_is_made_again(tmp_path: pathlib.Path):
    file = tmp_path / report.METRICS
    lines = [
        '{"step": 1, "loss": 3}',
        '{"step": 2, "loss": 2}',
        '{"step": 2, "validation/x": 1}',
        '{"step": 3',
    ]
    file.write_text("\n".join(lines))
    report._forget_after(epath.Path(file), 2)
    assert file.read_text() == '{"step": 1, "loss": 3}\n{"step": 2, "loss": 2}\n'


# A run of minutes.


def progress_at(step: int, seconds: float, num_steps: int = UNDECIDED) -> Progress:
    nothing: Any = None
    return Progress(nothing, step, num_steps, seconds)


@pytest.mark.parametrize(
    ("progress", "end"),
    [
        (progress_at(100, 20.0), UNDECIDED),  # 40 of 60 s are left: more than the decay's half
        (progress_at(200, 30.0), 200 + 300),  # 100 steps in 10 s since step 100: 30 s are 300 more
        (progress_at(110, 75.0), 111),  # late: one more
        (progress_at(100, 35.0), UNDECIDED),  # the speed isn't known yet
        (progress_at(200, 50.0, num_steps=440), 440),  # decided before
    ],
)
def test_the_clock_decides_the_end_once_when_the_decay_is_due(progress: Progress, end: int):
    config = tiny_config(train__num_steps=0, train__minutes=1.0, optimizer__decay_share=0.5)
    assert decide_end(config, progress, 100, 20.0) == end


@pytest.mark.slow
@pytest.mark.alone
def test_minutes_end_on_time_and_the_decision_survives_a_resume(tiny_data, tmp_path: pathlib.Path):
    config = tiny_config(
        data__path=str(tiny_data.path), train__num_steps=0, train__minutes=0.15, train__eval_every=1_000_000
    )
    run = tmp_path / "run"

    def watch() -> None:
        while not done.wait(0.01):
            lines = metrics(run) if (run / report.METRICS).exists() else []
            if len(lines) > 20 and lines[-2]["learning_rate"] < 0.009:  # the decay has begun
                os.kill(os.getpid(), signal.SIGTERM)
                return

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(Stopped):
            train(config, run)
    finally:
        done.set()
        watcher.join()
    decided = checkpoints.read_meta(checkpoints.find(run))
    assert decided.step < decided.num_steps < UNDECIDED
    train(config, run)
    finished = checkpoints.read_meta(checkpoints.find(run))
    assert finished.step == finished.num_steps == decided.num_steps
    assert finished.seconds == pytest.approx(9.0, rel=0.3)
    rates = [line["learning_rate"] for line in metrics(run) if "loss" in line]
    assert rates[-1] == pytest.approx(0.01 * 2 / finished.num_steps, rel=1e-3)  # the last share of the decay


# Mixtures and curricula.


@pytest.fixture(scope="module")
def mixture(tiny_data: Prepared, stories_file: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two kinds of stories with one tokenizer, in four bands of difficulty each."""
    folder = tmp_path_factory.mktemp("mixture")
    options = Options(tokenizer=str(tiny_data.path), context_length=64, bands=4, difficulty="length")
    prepare(tiny_data.manifest["origin"]["source"]["path"], folder / "a", options)
    prepare(str(stories_file), folder / "b", options)
    return f"{folder / 'a'}:0.75,{folder / 'b'}:0.25"


def mixed_config(mixture: str, **changes) -> Config:
    return tiny_config(
        **(
            {"data__path": mixture, "train__num_steps": 24, "train__eval_every": 12, "curriculum__ramp": 0.4}
            | changes
        )
    )


@pytest.fixture(scope="module")
def mixed_run(mixture: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Evaluation]:
    """A run that nothing disturbed, and what it returned."""
    folder = tmp_path_factory.mktemp("mixed") / "run"
    return folder, train(mixed_config(mixture), folder)


def test_every_source_is_evaluated_and_all_together(mixed_run: tuple[pathlib.Path, Evaluation]):
    run, result = mixed_run
    line = metrics(run)[-1]
    a, b = (
        {k.split("/")[-1]: v for k, v in line.items() if k.startswith(f"validation/{name}/")} for name in "ab"
    )
    for name in ("tokens", "bytes", "stories"):
        assert line[f"validation/{name}"] == a[name] + b[name] == getattr(result, name)
    nats = a["nats_per_token"] * a["tokens"] + b["nats_per_token"] * b["tokens"]
    assert result.nats_per_token == pytest.approx(nats / result.tokens)
    assert result.bits_per_byte == pytest.approx(nats / np.log(2) / result.bytes)
    assert a["bits_per_byte"] != b["bits_per_byte"]


def test_shares_and_epochs_are_logged(mixed_run: tuple[pathlib.Path, Evaluation], mixture: str):
    (a, _), (b, _) = parse_mixture(mixture)
    for line in (line for line in metrics(mixed_run[0]) if "loss" not in line):
        draws = 8 * line["step"]
        assert line["data/a/share"] == 0.75
        assert line["data/b/epochs"] == pytest.approx(0.25 * draws / len(load_prepared(b).windows("train")))
        assert line["data/a/epochs"] == pytest.approx(0.75 * draws / len(load_prepared(a).windows("train")))


def test_the_ceiling_rises_while_the_ramp_lasts(mixed_run: tuple[pathlib.Path, Evaluation]):
    lines = [line for line in metrics(mixed_run[0]) if "loss" in line]
    for name in "ab":
        ceilings = [line[f"curriculum/{name}/ceiling"] for line in lines]
        assert ceilings == sorted(ceilings)
        assert ceilings[0] == 0.25
        assert ceilings[:9].count(1.0) < 4
        assert set(ceilings[10:]) == {1.0}


def test_plan_and_outcome_are_printed(mixture: str, tmp_path: pathlib.Path, capsys):
    train(mixed_config(mixture), tmp_path / "run")
    told = capsys.readouterr().err
    assert "length: 24 steps, " in told
    assert "mixture: a 75.0%, " in told
    assert "curriculum: 4 bands of difficulty, easiest first, all open after step 10" in told
    assert "read: a 75.0%, " in told
    assert "validation/b " in told


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 14])  # while bands open, and after it
def test_stopped_and_continued_it_is_as_if_nothing_had_been(
    mixed_run: tuple[pathlib.Path, Evaluation], mixture: str, stop: int, tmp_path: pathlib.Path
):
    stop_after(tmp_path / "run", stop, mixed_config(mixture))
    first = checkpoints.read_meta(checkpoints.find(tmp_path / "run")).step
    assert stop <= first < 24
    assert train(mixed_config(mixture), tmp_path / "run") == mixed_run[1]
    assert losses(tmp_path / "run") == losses(mixed_run[0])
    jax.tree.map(np.testing.assert_array_equal, read_params(tmp_path / "run"), read_params(mixed_run[0]))


def read_params(run: pathlib.Path) -> dict:
    folder = checkpoints.find(run)
    config = checkpoints.read_meta(folder).config
    target = abstract_state(config, make_mesh(config.mesh))
    return checkpoints.read_state(folder, params=target.params, opt_state=target.opt_state)


def test_other_weights_or_sources_are_refused(
    mixed_run: tuple[pathlib.Path, Evaluation], mixture: str, tmp_path: pathlib.Path
):
    a, b = (path for path, _ in parse_mixture(mixture))
    for other in (f"{a}:0.7,{b}:0.3", f"{b}:0.75,{a}:0.25", f"{a}:3,{b}:1,{b}:1"):
        message = refused(mixed_config(other, curriculum__ramp=0.2), mixed_run[0])
        assert f"was started on other stories or weights than '{other}'" in message
    assert "was started on other stories than" in refused(mixed_config(a, curriculum__ramp=0.2), mixed_run[0])
    assert "config.curriculum.ramp was 0.4 and is now 0.3" in refused(
        mixed_config(mixture, curriculum__ramp=0.3), mixed_run[0]
    )


def test_moved_sources_and_the_same_weights_written_otherwise_are_the_same_run(
    mixed_run: tuple[pathlib.Path, Evaluation], mixture: str, tmp_path: pathlib.Path
):
    a, b = (path for path, _ in parse_mixture(mixture))
    moved = shutil.copytree(a, tmp_path / "a")
    run = copy_run(mixed_run[0], tmp_path)
    assert train(mixed_config(f"{moved}:3,{b}:1"), run) == mixed_run[1]


def test_epochs_end_with_their_last_step(tiny_data: Prepared, tmp_path: pathlib.Path):
    config = tiny_config(data__path=str(tiny_data.path), train__num_steps=0, train__num_epochs=0.5)
    train(config, tmp_path / "run")
    windows = len(tiny_data.windows("train"))
    assert max(losses(tmp_path / "run")) == -(-windows // 16)


# What doesn't fit is refused, and nothing is touched.


def refused(config: Config, run: pathlib.Path) -> str:
    before = snapshot(run)
    with pytest.raises(UserError) as error:
        train(config, run)
    assert snapshot(run) == before
    return str(error.value)


def snapshot(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_another_setting_is_refused_by_name(tiny_run: pathlib.Path, tiny_data):
    config = tiny_config(data__path=str(tiny_data.path), optimizer__beta1=0.8, model__d_ff=96)
    message = refused(config, tiny_run)
    assert "config.model.d_ff was 64 and is now 96; config.optimizer.beta1 was 0.9 and is now 0.8" in message
    assert "another --run_dir" in message


def test_what_changes_no_result_may_change(tiny_run: pathlib.Path, tiny_data, tmp_path):
    run = copy_run(tiny_run, tmp_path)
    config = tiny_config(data__path=str(tiny_data.path), train__log_every=7, data__prefetch=2)
    assert train(config, run).bits_per_byte == evaluations(tiny_run)[200]


def test_other_stories_or_another_tokenizer_are_refused(tiny_run: pathlib.Path, stories_file, tmp_path):
    prepare(str(stories_file), tmp_path / "other", Options(context_length=64, vocab_size=VOCAB_SIZE))
    message = refused(tiny_config(data__path=str(tmp_path / "other")), tiny_run)
    assert "started with another tokenizer than the data's" in message


def test_other_stories_with_the_same_tokenizer_are_refused(tiny_run: pathlib.Path, tiny_data, monkeypatch):
    monkeypatch.setattr(type(tiny_data), "fingerprint", "other")
    message = refused(tiny_config(data__path=str(tiny_data.path)), tiny_run)
    assert "was started on other stories than" in message


def test_a_foreign_config_json_is_not_overwritten(tiny_data, tmp_path: pathlib.Path):
    (tmp_path / "config.json").write_text('{"mine": 1}')
    message = refused(tiny_config(data__path=str(tiny_data.path)), tmp_path)
    assert "config.json' is of other settings, and there is no checkpoint beside it" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__path": ""}, "config.data.path is empty"),
        ({"data__path": "nowhere"}, "no prepared stories at 'nowhere'"),
        ({"model__context_length": 32}, "config.model.context_length is 32 but the windows"),
        ({"model__vocab_size": 100}, "config.model.vocab_size is 100 but the tokenizer has 320 pieces"),
        ({"data__batch_size": 12}, "batch_size 12 does not divide over the 8"),
        ({"mesh__replica": 3}, "choose sizes whose product is 8"),
        ({"mesh__tensor": 4}, "config.model.num_kv_heads 2 does not divide over the 4"),
        ({"mesh__fsdp": 8, "model__d_model": 36}, "config.model.d_model 36 does not divide over the 8"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(changes, said, tiny_data, tmp_path):
    config = tiny_config(**({"data__path": str(tiny_data.path)} | changes))
    assert said in refused(config, tmp_path)
    assert not any(tmp_path.iterdir())
