"""What is remembered of a slice here, so that later commands need its name only. Never a secret."""

import dataclasses
import json
import os
import pathlib
import tempfile
from typing import Any

from launch.cloud.slices import Slice
from tinyjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Job:
    """What was started last."""

    words: tuple[str, ...]  # train --config=...
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # names only; the values come from the caller's environment
    token: str = ""  # tells one start from another
    stopped: bool = False  # by `stop`: not to be taken up again by itself


@dataclasses.dataclass(frozen=True)
class Code:
    """Which code runs there."""

    commit: str = "HEAD"
    with_changes: bool = False
    tree: str = ""  # what is packed; once known, a slice that is made again gets the same


@dataclasses.dataclass(frozen=True)
class Entry:
    """All that is remembered under a name."""

    slice: Slice
    job: Job | None = None
    code: Code = Code()


def folder() -> pathlib.Path:
    """Returns where entries lie."""
    state = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state"
    return pathlib.Path(state) / "tinyjax" / "tpu"


def load(name: str) -> Entry | None:
    """Returns what is remembered of a slice, None where nothing is."""
    path = folder() / f"{name}.json"
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return _entry(told)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} can't be read ({error}); delete it and give --zone and --type again"
        ) from None


def _entry(told: dict[str, Any]) -> Entry:
    settings = Slice(**told["slice"] | {"vms": tuple(told["slice"].get("vms", ()))})
    job = told.get("job")
    if job:
        job = Job(**job | {"words": tuple(job["words"]), "secrets": tuple(job["secrets"])})
    return Entry(settings, job, Code(**told["code"]))


def save(entry: Entry) -> None:
    """Remembers an entry; the file is there whole or not at all."""
    folder().mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(entry), indent=1)
    descriptor, path = tempfile.mkstemp(dir=folder(), suffix=".new")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.replace(path, folder() / f"{entry.slice.name}.json")


def forget(name: str) -> None:
    """Forgets a slice."""
    (folder() / f"{name}.json").unlink(missing_ok=True)
