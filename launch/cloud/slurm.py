"""A script for SLURM's sbatch: one process a GPU or a node; stopped or out of time, it goes on by itself."""

import shlex
from collections.abc import Sequence

from launch.cloud.binaries import ROOT, check_alone, command
from tinyjax.errors import UserError

# JAX gives each task the GPU of the task's number on the node, so every task has to see all of the node's:
# neither --gpus-per-task nor --gpu-bind. Tasks are not killed when another has ended: they may still be
# saving, and notice for themselves. On SIGTERM srun would kill them; scancel passes it to them alone.
_BODY = """\
say() { printf 'job %s: %s\\n' "$SLURM_JOB_ID" "$*" >&2; }

for name in "${variables[@]}"; do
  [[ -n ${!name+set} ]] || { say "$name is not set; export it, then call sbatch again"; exit 2; }
done

stops=0
trap 'stops=$((stops + 1)); scancel --signal=TERM "$SLURM_JOB_ID"' TERM
srun --kill-on-bad-exit=0 --wait=0 --label --cpus-per-task="$cpus" "${program[@]}" &
step=$!

code=
until [[ -n $code ]]; do
  before=$stops
  wait "$step"
  code=$?
  ((stops == before)) || code='' # the signal has ended the waiting alone
done
# One that is stopped while it starts may take others with it, which then say 43.
((stops == 0 || code != 43)) || code=42

case $code in
  0) say 'done' ;;
  42)
    trap '' TERM
    say 'stopped with everything saved; it goes on when SLURM starts it again'
    scontrol requeue "$SLURM_JOB_ID" || say 'it can not be requeued; submit it again'
    ;;
  2) say 'it ended with code 2: see the error above, mend it, and submit again' ;;
  *) say "it ended with code $code, see above; submitted again, it goes on from its newest checkpoint" ;;
esac
exit "$code"
"""


def render(
    words: Sequence[str],
    *,
    name: str,
    nodes: int,
    gpus: int,
    cpus: int,
    time: str,
    partition: str,
    image: str,
    sbatch: Sequence[str],
    env: Sequence[str],
) -> str:
    """Returns the script; its arguments are the flags of launch/cluster.

    Raises:
      UserError: this can't be run so.
    """
    if nodes < 1 or gpus < 0 or cpus < 1:
        raise UserError(
            f"--nodes={nodes} --gpus={gpus} --cpus={cpus}: it takes at least one node and one CPU"
        )
    tasks = max(gpus, 1) if words and words[0] == "train" else 1
    check_alone(words, nodes * tasks)
    options = [
        f"--job-name={name}",
        f"--nodes={nodes}",
        f"--ntasks-per-node={tasks}",
        f"--cpus-per-task={cpus}",
        *([f"--gres=gpu:{gpus}"] if gpus else []),
        f"--time={time}",
        *([f"--partition={partition}"] if partition else []),
        f"--chdir={ROOT}",
        "--output=%x-%j.log",
        "--open-mode=append",
        "--signal=B:TERM@120",
        "--requeue",
        *(option if option.startswith("-") else f"--{option}" for option in sbatch),
    ]
    program = [*_container(image), *command(words, _python(image))]
    return _script(options, cpus, env, program)


def _script(options: Sequence[str], cpus: int, env: Sequence[str], program: Sequence[str]) -> str:
    """Returns the script of some options of sbatch, for a program and the variables that it needs."""
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {_directive(option)}" for option in options),
        "# Made by launch/cluster, for sbatch; submitted again, the run goes on where it was.",
        "",
        f"cpus={cpus}",
        f"variables=({shlex.join(env)})",
        *_array("program", program),
        "",
        _BODY,
    ]
    return "\n".join(lines)


def _directive(option: str) -> str:
    """Quotes an option as sbatch reads it: in a directive, too, quotes hold words together."""
    if "\n" in option:
        raise UserError(f"--sbatch={option!r} has several lines; give an option of sbatch")
    return shlex.quote(option)


def _container(image: str) -> list[str]:
    return ["apptainer", "exec", "--nv", "--pwd", "/app", image] if image else []


def _python(image: str) -> str:
    return "python" if image else str(ROOT / ".venv/bin/python")


def _array(name: str, words: Sequence[str]) -> list[str]:
    return [f"{name}=(", *(f"  {shlex.quote(word)}" for word in words), ")"]
