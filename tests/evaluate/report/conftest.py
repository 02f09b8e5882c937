import pathlib

import pytest

from tests.evaluate.report.evaluations import make, write
from tinyjax.evaluate.report.page import render
from tinyjax.evaluate.report.reading import Evaluation, read_evaluations


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[pathlib.Path]:
    """Two sizes, the larger one at two steps of its run, and an imported model."""
    root = tmp_path_factory.mktemp("evaluations")
    run = "runs/large/checkpoints"
    return [
        write(root / "small", make("small", total=1_100_000, skill=0.4)),
        write(root / "early", make("large", total=2_200_000, skill=0.5, step=1000, checkpoint=f"{run}/1000")),
        write(root / "large", make("large", total=2_200_000, skill=0.7, step=2500, checkpoint="runs/large")),
        write(root / "import", make("stories260K", total=260_000, skill=0.3, step=0)),
    ]


@pytest.fixture(scope="session")
def evaluations(folders: list[pathlib.Path]) -> list[Evaluation]:
    return read_evaluations(folders)


@pytest.fixture(scope="session")
def page(evaluations: list[Evaluation]) -> str:
    return render(evaluations)
