"""Every experiment in configs/ resolves, and is as large as configs/README.md says."""

import dataclasses
import importlib
import pathlib
import re

import pytest

from configs import llama, paper
from tinyjax.config import Config, resolve
from tinyjax.errors import UserError
from tinyjax.model.parameters import count

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
ROW = re.compile(r"\| `(\w+\.py)(?::(\S+))?` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|")
# From the shapes of the weights that were released; of 1M and 3M the files were read too.
RELEASED_BODIES = {
    "1M": 398_464, "3M": 1_583_360, "8M": 6_312_448, "28M": 25_207_808, "33M": 28_343_808,
    "1layer-21M": 12_595_200, "2layers-33M": 25_188_352,
}  # fmt: skip
RELEASED_TOTALS = {"1M": 3_745_984, "3M": 8_278_400}


def table() -> list[tuple[str, str, dict[str, int]]]:
    """Returns file, name and numbers of each row of the table in configs/README.md."""
    rows = ROW.findall((CONFIGS / "README.md").read_text())
    columns = ("vocabulary", "body", "embedding", "total")
    return [
        (file, name, {c: int(n.replace(",", "")) for c, n in zip(columns, numbers, strict=True)})
        for file, name, *numbers in rows
    ]


def load(file: str, name: str) -> Config:
    module = importlib.import_module(f"configs.{file.removesuffix('.py')}")
    return module.get_config(name) if name else module.get_config()


@pytest.mark.parametrize(("file", "name", "numbers"), table())
def test_a_preset_resolves_and_is_as_large_as_the_table_says(file: str, name: str, numbers: dict[str, int]):
    model = resolve(load(file, name)).model
    counted = count(dataclasses.replace(model, vocab_size=numbers.pop("vocabulary")))
    assert counted == numbers


def test_the_table_has_every_preset():
    files = {path.name for path in CONFIGS.glob("*.py")}
    listed = {(file, name) for file, name, _ in table()}
    assert {file for file, _ in listed} == files
    for module in (llama, paper):
        file = f"{module.__name__.removeprefix('configs.')}.py"
        assert {name for other, name in listed if other == file} == set(module.NAMES)


@pytest.mark.parametrize("name", RELEASED_BODIES)
def test_the_papers_models_have_the_released_shapes(name: str):
    model = resolve(paper.get_config(name)).model
    assert count(dataclasses.replace(model, vocab_size=10_000))["body"] == RELEASED_BODIES[name]
    assert paper.get_config(f"instruct-{name}") == paper.get_config(name)
    if name in RELEASED_TOTALS:  # stored with GPT-Neo's vocabulary and 2,048 positions
        stored = dataclasses.replace(model, vocab_size=50_257, context_length=2048)
        assert count(stored)["total"] == RELEASED_TOTALS[name]


@pytest.mark.parametrize("name", paper.NAMES)
def test_a_step_of_the_papers_models_is_the_published_number_of_tokens(name: str):
    config = resolve(paper.get_config(name))
    assert config.data.batch_size * config.model.context_length == 655_360
    assert config.data.batch_size // config.train.accumulation == 80


@pytest.mark.parametrize("module", [llama, paper])
@pytest.mark.parametrize("name", ["", "34M"])
def test_a_name_that_is_no_preset_is_refused_with_those_that_are(module, name: str):
    with pytest.raises(UserError, match=f"there is no preset '{name}'.* give one of .*{module.NAMES[-1]}"):
        module.get_config(name)


@pytest.mark.slow
def test_the_trainer_takes_a_preset_by_its_name(run_binary):
    done = run_binary(
        "train", f"--config={CONFIGS}/paper.py:33M", "--config.data.path=nowhere", "--run_dir=x"
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    done = run_binary("train", f"--config={CONFIGS}/paper.py:34M", "--run_dir=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no preset '34M' in configs/paper.py; give one of 1M, 3M,")
