"""Looks after checkpoints: lists, shows, copies and compares them, local or on gs://.

    python -m tinyjax.bin.ckpt ls runs/first                       the steps of a run
    python -m tinyjax.bin.ckpt show runs/first                     config, tokens, parameters of a checkpoint
    python -m tinyjax.bin.ckpt copy runs/first gs://bucket/first   to gs://bucket/first/STEP, checked
    python -m tinyjax.bin.ckpt diff runs/first runs/second         what differs in settings and parameters

A checkpoint is a run folder (its newest step is taken), its checkpoints folder, or one step.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tinyjax.bin import app, backend
from tinyjax.checkpoint import copying
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import to_dict, to_json
from tinyjax.errors import UserError, nearest


def ls(run: str) -> None:
    """Prints a line for each checkpoint of a run: step, bytes, date, complete or not."""
    print(f"{'step':>10}  {'bytes':>15}  written (UTC)")
    for entry in copying.entries(run):
        date = f"{entry.written:%Y-%m-%d %H:%M:%S}" if entry.written else "unknown"
        print(f"{entry.step:>10}  {entry.bytes:>15,}  {date if entry.complete else 'half written, ignored'}")


def show(checkpoint: str) -> None:
    """Prints the config, how far the training was, the versions, and a table of the parameters."""
    folder = checkpoints.find(checkpoint)
    meta = checkpoints.read_meta(folder)
    versions = checkpoints.read_json(folder)["versions"]
    shapes = checkpoints.stored_shapes(folder, "params")
    positions = meta.step * meta.config.data.batch_size * meta.config.model.context_length
    print(f"checkpoint: {folder}")
    print(f"config: {to_json(meta.config)}")
    print(f"step: {meta.step:,} of {meta.num_steps:,}, {meta.seconds:,.0f} seconds of training")
    print(f"tokens: at most {positions:,} (positions of the windows read)")
    print(f"tokenizer: {meta.tokenizer.vocab_size} pieces, sha256 {meta.tokenizer.sha256}")
    print(f"data: {meta.dataset}" + (", with instructions" if meta.instruct else ""))
    print(f"versions: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    width = max(map(len, shapes))
    for name, shape in sorted(shapes.items()):
        print(f"{name:<{width}}  {math.prod(shape):>13,}  {' x '.join(map(str, shape))}")
    print(f"{'parameters':<{width}}  {sum(map(math.prod, shapes.values())):>13,}")


def copy(source: str, folder: str) -> None:
    """Copies one checkpoint into a folder, whole or not at all, and reads it back."""
    print(f"copied to {copying.copy(source, folder)}; all checksums are right")


def diff(first: str, second: str) -> None:
    """Prints which settings and parameters differ between two checkpoints, and by how much at most."""
    folders = [checkpoints.find(path) for path in (first, second)]
    metas = [checkpoints.read_meta(folder) for folder in folders]
    first_facts, second_facts = ({"config": to_dict(meta.config), "step": meta.step} for meta in metas)
    lines = _differing(first_facts, second_facts)
    if metas[0].tokenizer.sha256 != metas[1].tokenizer.sha256:
        lines.append("the tokenizers differ")
    a, b = (_read_params(folder) for folder in folders)
    lines += [
        f"parameters: {name} {told}" for name in sorted(a | b) if (told := _compare(a.get(name), b.get(name)))
    ]
    print("\n".join(lines) or "no difference")


def _compare(a: np.ndarray | None, b: np.ndarray | None) -> str:
    """Says how two parameters differ, nothing where they are equal."""
    if a is None or b is None:
        return f"is only in the {'second' if a is None else 'first'}"
    if a.shape != b.shape:
        first, second = (" x ".join(map(str, x.shape)) for x in (a, b))
        return f"is {first} in the first, {second} in the second"
    if np.array_equal(a, b, equal_nan=True):
        return ""
    return f"differs by at most {np.max(np.abs(a.astype(np.float64) - b)):.6g}"


def _differing(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """Says which leaves of nested dicts differ."""
    lines = []
    for key in sorted(a | b):
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            lines += _differing(x, y, f"{prefix}{key}.")
        elif x != y:
            lines.append(f"{prefix}{key}: {x!r} and {y!r}")
    return lines


def _read_params(folder: Any) -> dict[str, np.ndarray]:
    """Maps the path of each parameter to its values on the host."""
    target = copying.on_one_device(folder, "params")
    params = checkpoints.read_state(folder, params=target)["params"]
    return {name: np.asarray(leaf) for name, leaf in checkpoints.named_leaves(params).items()}


_COMMANDS: dict[str, tuple[Callable[..., None], Sequence[str]]] = {
    "ls": (ls, ("RUN",)),
    "show": (show, ("CHECKPOINT",)),
    "copy": (copy, ("CHECKPOINT", "FOLDER")),
    "diff": (diff, ("CHECKPOINT", "CHECKPOINT")),
}


def run(words: Sequence[str]) -> None:
    """Does what the command words say, on the CPU: an accelerator is left to those who train."""
    usage = "; ".join(" ".join((name, *names)) for name, (_, names) in _COMMANDS.items())
    if not words:
        raise UserError(f"a command is missing; give one of: {usage}")
    name, *arguments = words
    if name not in _COMMANDS:
        raise UserError(f"unknown command '{name}'{nearest(name, _COMMANDS)}; give one of: {usage}")
    command, names = _COMMANDS[name]
    if len(arguments) != len(names):
        raise UserError(f"{name} takes {len(names)} path(s): {' '.join((name, *names))}")
    jax.config.update("jax_platforms", "cpu")
    backend.start()
    command(*arguments)


def main() -> None:
    """Entry point of the console script; words are taken off before absl parses the flags."""
    words = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    app.run(lambda _: run(words))


if __name__ == "__main__":
    main()
