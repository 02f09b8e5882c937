"""The commands of the README: where they run, what they pass on, and how they end."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def write_command(path: Path, text: str) -> None:
    """Writes a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def copy_command(name: str, root: Path) -> Path:
    """Copies one of the repository's commands into a tree whose set-up is done."""
    (root / name).parent.mkdir(parents=True)
    write_command(root / "tools/setup", "exit 0")
    return Path(shutil.copy(REPOSITORY / name, root / name))


def call(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Calls a command."""
    return subprocess.run(
        [command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """A quickstart whose program prints where it runs, and with what."""
    root = tmp_path / "a small project"
    command = copy_command("launch/quickstart", root)
    write_command(root / ".venv/bin/python", f'PYTHONPATH="{root}" exec {sys.executable} "$@"')
    (root / "tinyjax/bin").mkdir(parents=True)
    (root / "tinyjax/__init__.py").touch()
    (root / "tinyjax/bin/quickstart.py").write_text(
        "import random, os, sys\nprint(os.getcwd(), sys.argv[1:])\nsys.exit(5)\n"
    )
    return command


def test_quickstart_runs_where_it_is_called_with_all_its_flags(quickstart: Path, tmp_path: Path) -> None:
    done = call(quickstart, "--stories=my stories.txt", "--help", cwd=tmp_path)
    config = quickstart.parent.parent / "configs/quickstart.py"
    assert done.stdout == f"{tmp_path} ['--config={config}', '--stories=my stories.txt', '--help']\n"
    assert done.returncode == 5


def test_quickstart_is_not_misled_by_files_where_it_is_called(quickstart: Path, tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise ImportError('not the one that is meant')")
    assert call(quickstart, cwd=tmp_path).stdout.startswith(f"{tmp_path} [")


def test_quickstart_ends_with_the_code_of_a_failed_set_up(quickstart: Path, tmp_path: Path) -> None:
    write_command(quickstart.parent.parent / "tools/setup", "exit 2")
    done = call(quickstart, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("lint", [0, 1])
@pytest.mark.parametrize("tests", [0, 1])
def test_test_fails_when_the_linter_or_the_tests_do(tmp_path: Path, lint: int, tests: int) -> None:
    command = copy_command("tools/test", tmp_path / "tree")
    write_command(tmp_path / "tree/tools/lint", f"echo linted; exit {lint}")
    write_command(tmp_path / "tree/.venv/bin/python", f'echo "$@"; exit {tests}')
    done = call(command, "--quick", "-x", cwd=tmp_path)
    assert done.stdout == "linted\n-m pytest -m not slow -x\n"
    assert done.returncode == (1 if lint or tests else 0)
