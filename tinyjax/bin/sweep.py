"""Trains the models of a sweep one after the other, and compares them as in the paper's Figures 3, 4, 23, 24.

    ./launch/sweep --sweep=configs/sweeps/small.py --data=data/tinystories --out=runs/small
    ./launch/sweep --sweep=configs/sweeps/paper.py:heads --data=data/v2 --out=runs/heads --print

Models that are trained are not trained again, one that was interrupted goes on, and where one fails the
others are trained all the same (exit code 4 then). On many machines, with a folder that all see, each does
--shard=I/N; or --print prints the commands. Each call writes what there is by then: OUT/sweep.json, sweep.md
and sweep.html.
"""

import shlex
import sys
from collections.abc import Sequence

from absl import flags
from etils import epath

from tinyjax.bin import app
from tinyjax.checkpoint.preflight import FOR_CHECKPOINTS, probe
from tinyjax.data.publish import write_file
from tinyjax.errors import UserError
from tinyjax.sweep.compare import compare
from tinyjax.sweep.page import render
from tinyjax.sweep.running import run_all
from tinyjax.sweep.study import Sweep, load_sweep
from tinyjax.sweep.tables import to_markdown
from tinyjax.sweep.task import Command, Task, evaluations, is_trained, make_tasks

FAILED = 4  # a member did not come to its end

_SWEEP = flags.DEFINE_string("sweep", "", "File of a sweep, and which of its sweeps: FILE.py:NAME.")
_DATA = flags.DEFINE_string("data", "", "Prepared folder to train on, or a mixture: data/a:0.7,data/b:0.3.")
_OUT = flags.DEFINE_string("out", "", "Folder of all run folders and of the results, local or gs://.")
_SET = flags.DEFINE_multi_string(
    "set", [], "A field of every model's config, as in --set=mesh.fsdp=4; may be repeated."
)
_EVALUATE = flags.DEFINE_list(
    "evaluate", [], "Parts of `evaluate` to do for each model when it is trained, as in loss,probes."
)
_EVALUATED = flags.DEFINE_enum(
    "evaluated", "last", ["last", "all"], "Which checkpoints: the last, or all that are kept on the way."
)
_EVALUATE_FLAG = flags.DEFINE_multi_string(
    "evaluate_flag", [], "A flag of `evaluate`, as in --evaluate_flag=--num_samples=2; may be repeated."
)
_PRINT = flags.DEFINE_bool("print", False, "Print what is left to do as commands, and do nothing.")
_SHARD = flags.DEFINE_string("shard", "1/1", "I/N: of the models, every N-th from the I-th on.")


def run(argv: Sequence[str]) -> int | None:
    """Does what the flags say; returns FAILED where a member failed."""
    del argv
    sweep = load_sweep(_given(_SWEEP, "configs/sweeps/small.py"))
    data, out = _given(_DATA, "runs/quickstart/data"), _given(_OUT, "runs/small")
    if not _PRINT.value:
        probe(out, FOR_CHECKPOINTS)
    tasks = make_tasks(sweep, data, out, _SET.value)
    mine = shard(tasks, _SHARD.value)
    if _PRINT.value:
        print("\n".join(line for task in mine if (line := _commands(task))))
        return None
    failed = run_all(mine, _evaluations, _tell)
    _show(sweep, tasks)
    if failed:
        names = ", ".join(failed)
        _tell(f"{len(failed)} of {len(mine)} models failed: {names}; the same command tries them again")
    return FAILED if failed else None


def _show(sweep: Sweep, tasks: Sequence[Task]) -> None:
    """Writes and prints what all members, those of other machines too, have shown so far."""
    comparison = compare(f"{sweep.file}:{sweep.name}", _DATA.value, tasks)
    if not comparison.results:
        return
    out = epath.Path(_OUT.value)
    write_file(out / "sweep.json", comparison.to_json().encode())
    write_file(out / "sweep.md", to_markdown(comparison).encode())
    print(to_markdown(comparison))
    write_file(out / "sweep.html", render(comparison).encode())
    print(f"Figures: {out / 'sweep.html'}")


def _given(flag: flags.FlagHolder[str], example: str) -> str:
    if not flag.value:
        raise UserError(f"--{flag.name} is missing; give it, as in --{flag.name}={example}")
    return flag.value


def shard(tasks: Sequence[Task], given: str) -> Sequence[Task]:
    """Returns every N-th task from the I-th on, for "I/N"; UserError where that is no part of a whole."""
    number, _, count = given.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"--shard is '{given}'; give I/N with I from 1 to N, as in --shard=2/8")
    return tasks[int(number) - 1 :: int(count)]


def _commands(task: Task) -> str:
    """Returns what is left to do of a member as a line of shell, "" for nothing."""
    commands = [*([] if is_trained(task) else [task.command]), *_evaluations(task)]
    return " && ".join(map(shlex.join, commands))


def _evaluations(task: Task) -> list[Command]:
    parts, all_steps = _EVALUATE.value, _EVALUATED.value == "all"
    return evaluations(task, parts, _EVALUATE_FLAG.value, all_steps=all_steps) if parts else []


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
