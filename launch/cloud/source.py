"""The code at a commit, packed for workers that see no git."""

import contextlib
import os
import pathlib
import shlex
import tempfile
from collections.abc import Generator

from launch.cloud.binaries import ROOT
from launch.cloud.memory import Code
from launch.cloud.runner import Runner
from tinyjax.errors import UserError

_ARCHIVE = "tinyjax.tar.gz"
_INDEX = "/tmp/tinyjax.index"  # where commands are only printed
_SECONDS = 120


def pin(code: Code, runner: Runner) -> Code:
    """Returns code whose commit and tree are fixed, whatever is committed or changed from now on.

    Raises:
      UserError: there is no such commit, or this is no git repository.
    """
    if runner.dry or code.tree:
        return code
    commit = _git(runner, "rev-parse", "--verify", "--quiet", f"{code.commit}^{{commit}}")
    if code.with_changes:
        if commit != _git(runner, "rev-parse", "HEAD"):
            raise UserError("--with_changes sends the changes since HEAD; leave --commit out")
        return Code(commit, True, _changed_tree(runner))
    if changed := _git(runner, "status", "--porcelain"):
        runner.say(f"{len(changed.splitlines())} local changes are not sent (--with_changes sends them)")
    return Code(commit, False, commit)


@contextlib.contextmanager
def packed(code: Code, runner: Runner) -> Generator[tuple[str, str]]:
    """Yields the path of an archive of pinned code, and a label that tells it from others."""
    if runner.dry:
        yield _ARCHIVE, _printed(code, runner)
        return
    label = code.commit[:12] + (f"+{code.tree[:12]}" if code.with_changes else "")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / _ARCHIVE
        _git(runner, "archive", "--format=tar.gz", f"--output={path}", code.tree)
        yield str(path), label


def _printed(code: Code, runner: Runner) -> str:
    archive = ["git", "archive", "--format=tar.gz", f"--output={_ARCHIVE}"]
    if code.with_changes:
        runner.note(
            "with local changes and new files: a tree of all that git doesn't ignore, by an index of its own"
        )
        for words in (["read-tree", "HEAD"], ["add", "--all"]):
            runner.call(["env", f"GIT_INDEX_FILE={_INDEX}", "git", *words], _SECONDS)
        print(shlex.join(archive), f'"$(GIT_INDEX_FILE={_INDEX} git write-tree)"')
    else:
        runner.call([*archive, code.commit], _SECONDS)
    return code.commit


def _changed_tree(runner: Runner) -> str:
    """Writes all files that git doesn't ignore as a tree, by an index of its own."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(pathlib.Path(folder) / "index")}
        _git(runner, "read-tree", "HEAD", **index)
        _git(runner, "add", "--all", **index)
        return _git(runner, "write-tree", **index)


def _git(runner: Runner, *words: str, **environment: str) -> str:
    variables = [f"{name}={value}" for name, value in environment.items()]
    command = ["env", *variables, "git", "-C", os.fspath(ROOT), *words]
    result = runner.call(command, _SECONDS)
    if result.code:
        said = result.err.strip() or f"'{' '.join(words)}' found nothing"
        raise UserError(f"git: {said}; --commit wants a commit of the repository at {ROOT}")
    return result.out.strip()
