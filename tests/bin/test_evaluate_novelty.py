"""The part novelty of the binary `evaluate`, from a checkpoint and a prepared folder to its file."""

import json
import pathlib

import pytest
import yaml

from tests import binaries
from tests.binaries import assert_refused
from tinyjax.data.manifests import Prepared


@pytest.fixture
def arguments(tiny_run: pathlib.Path, tiny_data: Prepared, tmp_path: pathlib.Path) -> list[str]:
    openings = tmp_path / "openings.yaml"
    openings.write_text(yaml.safe_dump(["Lily saw", "Ben"]))
    return [
        "--parts=novelty",
        f"--checkpoint={tiny_run}",
        f"--data={tiny_data.path}",
        "--out=out",
        f"--openings={openings}",
        "--num_samples=2",
        "--num_endings=5",
    ]


def test_endings_are_told_once_and_searched_for_in_all_training_stories(
    arguments: list[str], tiny_data: Prepared, tmp_path: pathlib.Path
):
    for _ in range(2):
        ended = binaries.run(tmp_path, "evaluate", *arguments)
        assert ended.returncode == 0, ended.stderr
    told = [json.loads(line) for line in (tmp_path / "out" / "endings.jsonl").read_text().splitlines()]
    training = [record.text for record in tiny_data.stories("train")]
    assert len(told) == 5
    assert all(any(text.startswith(record["prompt"]) for text in training) for record in told)
    result = json.loads((tmp_path / "out" / "novelty.json").read_text())
    assert result["training_stories"] == len(training)
    assert {row["prompt"] for row in result["nearest"]} <= {*(r["prompt"] for r in told), "Lily saw", "Ben"}
    for row in result["nearest"]:
        assert training[row["nearest_index"]] == row["nearest_text"]
    assert result["kgram_share"]["held_out"]["1"]["count"] == 5
    assert "searching training stories" in ended.stderr


def test_a_context_too_short_for_any_story_is_an_error(
    arguments: list[str], shared_data: pathlib.Path, tmp_path: pathlib.Path
):
    """Real stories are longer than the 64 tokens of the tiny model."""
    source = tmp_path / "stories.txt"
    whole = (shared_data / "tinystories" / "valid-sample.txt").read_text(encoding="utf-8")
    source.write_text("<|endoftext|>".join(whole.split("<|endoftext|>")[:60]), encoding="utf-8")
    prepared = binaries.run(tmp_path, "prepare", f"--source={source}", "--data_dir=data", "--vocab_size=320")
    assert prepared.returncode == 0, prepared.stderr
    assert_refused(
        binaries.run(tmp_path, "evaluate", *arguments, "--data=data"),
        "no training story of 'data' fits the model's context of 64 tokens",
    )
