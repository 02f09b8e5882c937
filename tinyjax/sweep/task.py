"""The members of a sweep as what is to be done: config, run folder, and commands."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import Config, from_dict, resolve, to_dict, unknown_key
from tinyjax.data.mixture import Mixture, open_mixture
from tinyjax.errors import UserError
from tinyjax.sweep.budget import batch_and_steps
from tinyjax.sweep.metrics import read_evaluations
from tinyjax.sweep.study import Member, Sweep
from tinyjax.train.loop import CHECKPOINTS
from tinyjax.train.plan import count_steps
from tinyjax.train.run import FREE

EVALUATION = "evaluation"  # in a run folder: a folder of results for each step that was evaluated

Command = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Task:
    """A member with all that training it takes."""

    name: str
    config: Config  # with its data, and the size of its vocabulary
    num_steps: int  # updates of the whole run
    folder: epath.Path  # of its run
    dataset: str  # fingerprint of its data
    command: Command  # trains it, or goes on with it


def make_tasks(sweep: Sweep, data: str, out: epath.PathLike, settings: Sequence[str] = ()) -> list[Task]:
    """Returns what is to be done for each member.

    Args:
      sweep: the members.
      data: prepared folder, or a mixture of some, for all of them.
      out: folder of the run folders, local or gs://.
      settings: fields that are the same for all, as "train.ema_decay=0.99".

    Raises:
      UserError: data or settings don't fit, or a member has no number of steps.
    """
    mixture, out = open_mixture(data), epath.Path(out)
    return [
        _make_task(member, sweep, mixture, out / member.name, [f"data.path={data}", *settings])
        for member in sweep.members
    ]


def _make_task(
    member: Member, sweep: Sweep, mixture: Mixture, folder: epath.Path, settings: Sequence[str]
) -> Task:
    config = with_settings(sweep.get_config(member.name), settings)
    config = with_settings(config, [f"model.vocab_size={_vocab_size(config, mixture)}"])
    chosen = _chosen(config, member)
    config = resolve(with_settings(config, chosen))
    command = (
        *(sys.executable, "-P", "-m", "tinyjax.bin.train", f"--config={sweep.file}:{member.name}"),
        *(f"--config.{setting}" for setting in (*settings, *chosen)),
        f"--run_dir={folder}",
    )
    num_steps = _count_steps(config, member, mixture)
    return Task(member.name, config, num_steps, folder, mixture.fingerprint, command)


def _vocab_size(config: Config, mixture: Mixture) -> int:
    """Returns what training makes of the size, since the FLOPs go by it."""
    return config.model.vocab_size or math.ceil(mixture.tokenizer.vocab_size / 64) * 64


def _chosen(config: Config, member: Member) -> list[str]:
    """Returns the settings by which a member trains for its FLOPs; none where it goes by its config."""
    if not member.flops:
        return []
    batch, steps = batch_and_steps(config, member)
    chosen = [f"data.batch_size={batch}", f"train.num_steps={steps}", "train.num_epochs=0", "train.minutes=0"]
    return [setting for setting in chosen if with_settings(config, [setting]) != config]


def _count_steps(config: Config, member: Member, mixture: Mixture) -> int:
    if config.train.minutes:
        raise UserError(
            f"'{member.name}' trains for {config.train.minutes:g} minutes, and what comes of that goes by "
            "the machine; give train.num_steps, train.num_epochs or flops"
        )
    return count_steps(config, mixture.num_windows)


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """Returns the config with fields set, as in "optimizer.learning_rate=0.001"; UserError if it can't be."""
    values = to_dict(config)
    for setting in settings:
        name, equals, text = setting.partition("=")
        group, _, field = name.partition(".")
        if not equals:
            raise UserError(f"the setting '{setting}' has no value; give it as in train.num_steps=100")
        if field not in values.get(group, {}):
            raise unknown_key(f"config.{name}", values.get(group, values))
        values[group][field] = _parse(text, type(values[group][field]), name)
    return from_dict(values)


def _parse(text: str, kind: type, name: str) -> object:
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UserError(f"config.{name} is '{text}'; it must be of type {kind.__name__}") from None


def is_trained(task: Task) -> bool:
    """Returns whether its run folder holds this very run, made and evaluated to its end."""
    steps = checkpoints.steps(task.folder / CHECKPOINTS)
    if not steps or steps[-1] != task.num_steps:
        return False
    try:
        meta = checkpoints.read_meta(task.folder / CHECKPOINTS / str(steps[-1]))
    except UserError:
        return False  # training says what is wrong, and here what differs
    if meta.dataset != task.dataset or _settings(meta.config, task) != _settings(task.config, task):
        return False
    return any(step == task.num_steps for step, _ in read_evaluations(task.folder))


def _settings(config: Config, task: Task) -> dict[str, Any]:
    """Returns the settings by which two runs are the same; a dtype chosen by the machine is none."""
    ignored = (*FREE, "model.compute_dtype") if task.config.model.compute_dtype == "auto" else FREE
    names = {
        f"{group}.{name}": value
        for group, values in to_dict(config).items()
        for name, value in values.items()
    }
    return {name: value for name, value in names.items() if name not in ignored}


def evaluations(
    task: Task, parts: Sequence[str], flags: Sequence[str] = (), *, all_steps: bool = False
) -> list[Command]:
    """Returns the commands that evaluate a run's last checkpoint, or all that it keeps, and aren't done."""
    last = task.num_steps
    steps = [*range(task.config.train.checkpoint_every, last, task.config.train.checkpoint_every), last]
    return [
        _evaluation(task, step, parts, flags)
        for step in (steps if all_steps else [last])
        if not all((task.folder / EVALUATION / str(step) / f"{part}.json").exists() for part in parts)
    ]


def _evaluation(task: Task, step: int, parts: Sequence[str], flags: Sequence[str]) -> Command:
    return (
        *(sys.executable, "-P", "-m", "tinyjax.bin.evaluate"),
        f"--checkpoint={task.folder / CHECKPOINTS / str(step)}",
        f"--data={task.config.data.path}",
        f"--out={task.folder / EVALUATION / str(step)}",
        *(f"--parts={part}" for part in parts),
        *flags,
    )
