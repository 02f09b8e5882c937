"""Shell scripts are sound."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", "launch", "tools")
SHELLS = ("#!/bin/sh\n", "#!/bin/bash\n", "#!/usr/bin/env bash\n")


def scripts() -> list[str]:
    """Returns the paths of all shell scripts."""
    files = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
    text = {path: path.read_bytes()[:40].decode(errors="replace") for path in files}
    return sorted(str(path.relative_to(REPOSITORY)) for path in files if text[path].startswith(SHELLS))


@pytest.mark.parametrize("script", scripts())
def test_shellcheck_warns_of_nothing(script: str) -> None:
    command = [Path(sys.prefix, "bin", "shellcheck"), "--severity=warning", script]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_scripts_that_everybody_calls_are_among_them() -> None:
    assert {".ci/run", "launch/quickstart", "tools/setup", "tools/test"} <= set(scripts())
