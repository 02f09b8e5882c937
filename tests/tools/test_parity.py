"""The environment of the libraries that exports are compared with: made once, or not at all."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.test_entry import call, copy_command, write_command

REQUIREMENTS = "requirements/parity.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree, and beside it the only programs that its commands find."""
    root = tmp_path / "tree"
    (tmp_path / "programs").mkdir()
    for name in ("awk", "bash", "cat", "cksum", "cp", "dirname", "env", "mkdir", "rm", "sh"):
        (tmp_path / "programs" / name).symlink_to(str(shutil.which(name)))
    copy_command("tools/parity", root)
    (root / "requirements").mkdir()
    (root / REQUIREMENTS).write_text("torch\n")
    return root


def parity(root: Path, *, nvidia: bool) -> subprocess.CompletedProcess[str]:
    """Calls tools/parity where pip would install PyTorch, with or without the libraries of GPUs."""
    packages = ["torch", *(["nvidia-cublas"] if nvidia else [])]
    report = ", ".join(f'{{"metadata": {{"name": "{name}"}}}}' for name in packages)
    write_command(
        root / "bin/python3.11",
        f"""case "$*" in
*ensurepip*) echo "$0" ;;
*"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*--dry-run*) echo '{{"install": [{report}]}}' ;;
*"-m pip install"*) echo installed >>"{root}/installed" ;;
--version) echo "Python 3.11" ;;
*) exec {sys.executable} "$@" ;;
esac""",
    )
    env = {"PATH": f"{root / 'bin'}:{root.parent / 'programs'}", "PYENV_ROOT": "/none"}
    return subprocess.run(
        [root / "tools/parity"], cwd=root, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_it_is_made_once(root: Path):
    for _ in range(2):
        done = parity(root, nvidia=False)
        assert done.returncode == 0, done.stderr
    assert (root / "installed").read_text() == "installed\n"
    (root / REQUIREMENTS).write_text("torch>=3\n")
    assert parity(root, nvidia=False).returncode == 0
    assert (root / "installed").read_text() == "installed\n" * 2


def test_the_build_for_gpus_is_not_taken(root: Path):
    done = parity(root, nvidia=True)
    assert done.returncode == 3
    assert "no Python here gets PyTorch for CPUs" in done.stderr
    assert not (root / "installed").exists()
    assert not (root / ".venv-parity").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_test_parity_compares_and_ends_with_the_code_of_what_it_called(tmp_path: Path, code: int):
    command = copy_command("tools/test", tmp_path / "tree")
    write_command(tmp_path / "tree/tools/parity", f"exit {code}")
    write_command(tmp_path / "tree/.venv/bin/python", 'echo "$@"')
    done = call(command, "--parity", "-x", cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ("" if code else "-m pytest --session-timeout=600 tests/parity -x\n")
