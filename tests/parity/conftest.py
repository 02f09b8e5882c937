"""The environment of the libraries that are compared with; `./tools/test --parity` makes it."""

import os
import pathlib
import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import ROOT
from tests.interop.conftest import byte_level, tokenizer

__all__ = ["byte_level", "tokenizer"]

PYTHON = ROOT / ".venv-parity" / "bin" / "python"


@pytest.fixture(scope="session")
def run_there() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a module of tests/parity with the Python of .venv-parity, without a network."""
    if not PYTHON.exists():
        pytest.skip("there is no .venv-parity; ./tools/test --parity makes it")

    def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-m", f"tests.parity.{module}", *map(str, arguments)]
        env = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONPATH": ""}
        result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where exports go."""
    return tmp_path_factory.mktemp("exports")
