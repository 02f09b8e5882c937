"""Our own openings and instructions, which models go on with where none are given."""

import json
import pathlib
import subprocess
import sys

import pytest
import yaml

import tinyjax.evaluate
from tests.binaries import ROOT
from tinyjax import instruct

FOLDER = pathlib.Path(tinyjax.evaluate.__file__).parent


def load(name: str) -> list:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def test_there_are_44_openings_that_end_within_a_sentence():
    openings = load("openings.yaml")
    assert len(set(openings)) == 44
    for opening in openings:
        assert opening == opening.strip()
        assert opening[-1] not in ".!?"
        assert 10 <= len(opening.split()) <= 45


def test_none_is_of_the_paper(shared_data: pathlib.Path):
    published = (shared_data / "tinystories" / "evaluation-prompts.yaml").read_text(encoding="utf-8")
    known = {opening.strip() for opening in yaml.safe_load(published)}
    assert len(known) == 44
    assert not known & set(load("openings.yaml"))


def test_instructions_are_of_known_kinds_and_survive_the_layout():
    instructions = load("instructions.yaml")
    assert len(instructions) == 20
    kinds = set()
    for fields in instructions:
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        parsed = instruct.parse(instruct.prompt(values))
        assert parsed == (values, "")
        assert set(values.get("features", ())) <= set(instruct.FEATURES)
        kinds |= fields.keys()
    assert kinds == set(instruct.KINDS)


PROGRAM = """
import json, pathlib, sys, types
from absl import flags
from tinyjax.bin.evaluation import job

flags.FLAGS(["evaluate", *sys.argv[1:]])
for instructed in (False, True):
    made = job.Job("", pathlib.Path(), 0)
    vars(made)["model"] = types.SimpleNamespace(instruct=instructed)
    print(json.dumps([len(made.openings), made.openings[0]]))
"""


def openings_of_both_models(*flags: str) -> list:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *flags], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.slow
def test_a_model_goes_on_with_what_it_was_trained_on():
    plain, instructed = openings_of_both_models()
    assert plain == [44, load("openings.yaml")[0]]
    assert instructed[0] == 20
    assert instruct.is_instruct(instructed[1])


@pytest.mark.slow
def test_openings_and_instructions_may_be_given(tmp_path: pathlib.Path):
    path = tmp_path / "openings.yaml"
    path.write_text("- {words: [oak, red]}\n- {words: [oak, red]}\n- Once there was\n", encoding="utf-8")
    for count, first in openings_of_both_models(f"--openings={path}"):
        assert (count, first) == (2, "Words: oak, red\nStory: \n\n")
