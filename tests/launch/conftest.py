"""The laptop that launch/tpu is called on."""

import pathlib
from collections.abc import Generator

import pytest

from tests.launch.laptop import Laptop


@pytest.fixture
def laptop(tmp_path: pathlib.Path) -> Generator[Laptop]:
    """A laptop with nothing in the cloud."""
    made = Laptop(tmp_path)
    made.script(all=["exit 0"])
    yield made
    made.google.ends()
