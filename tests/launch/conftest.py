"""What the tests of this folder share: prepared data, and the laptop that launch/tpu is called on."""

import pathlib
from collections.abc import Generator

import pytest

from tests.launch.laptop import Laptop, make_repository
from tests.tiny import tiny_data

__all__ = ["tiny_data"]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A repository that no test changes: so Python compiles it once."""
    folder = tmp_path_factory.mktemp("tpu") / "repository"
    make_repository(folder)
    return folder


@pytest.fixture
def laptop(tmp_path: pathlib.Path, repository: pathlib.Path) -> Generator[Laptop]:
    """A laptop with nothing in the cloud."""
    made = Laptop(tmp_path, repository)
    made.script(all=["exit 0"])
    yield made
    made.google.ends()
