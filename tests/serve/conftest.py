import pathlib
import shutil
from collections.abc import Generator

import pytest
from openai import OpenAI

from tests.serve.running import Running, serving
from tests.tiny import tiny_data, tiny_run
from tinyjax.sample.model import Model, load_model

__all__ = ["tiny_data", "tiny_run"]

KEY = "a key of tests"


@pytest.fixture(scope="session")
def model(tiny_run: pathlib.Path) -> Model:
    return load_model(tiny_run)


@pytest.fixture(scope="session")
def server(tiny_run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """Two slots, and room for 2,000 stories that wait: enough to keep it busy for a while."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, tiny_run, "--slots=2", "--max_queue=2000", "--name=tiny") as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Running) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)


@pytest.fixture(scope="session")
def guarded(tiny_run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """It asks for a key, lets pages of this machine in, and its model takes instructions, or so it says."""
    folder = tmp_path_factory.mktemp("guarded")
    checkpoint = pathlib.Path(shutil.copytree(tiny_run / "checkpoints" / "200", folder / "200"))
    meta = checkpoint / "meta" / "metadata"
    meta.write_text(meta.read_text().replace('"instruct": false', '"instruct": true'))
    flags = ("--api_key_env=STORY_KEY", "--cors=localhost", "--slots=2")
    with serving(folder, checkpoint, *flags, key=KEY) as running:
        yield running
