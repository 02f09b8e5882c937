"""The part probes of the evaluate binary: its result, alone and with baselines, and going on with it."""

import json
import pathlib

import pytest

from tests import binaries
from tinyjax.data.manifests import Prepared
from tinyjax.evaluate.estimates import share


def evaluate(folder: pathlib.Path, run: pathlib.Path, *flags: str) -> dict:
    arguments = (f"--checkpoint={run}", "--out=out", "--parts=probes", *flags)
    result = binaries.run(folder, "evaluate", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "out" / "probes.json").read_text())


@pytest.mark.slow
def test_it_tells_accuracies_beside_chance_and_baselines_and_goes_on(
    tiny_run: pathlib.Path, tiny_data: Prepared, tmp_path: pathlib.Path
):
    found = evaluate(tmp_path, tiny_run, f"--data={tiny_data.path}")
    assert found["instruct"] is None
    assert found["instruct_left_out"] == "the model wasn't trained on instructions"
    assert found["too_long"] > 0  # of a model whose context is 64 tokens
    for group, of_group in found["groups"].items():
        items = [item for item in found["items"] if item["group"] == group]
        assert all(item["correct"] == (item["chosen"] == item["right"]) for item in items)
        accuracy = share(sum(item["correct"] for item in items), len(items))
        assert of_group["accuracy"] == pytest.approx(vars(accuracy))
        assert 0.2 < of_group["chance"] <= 0.5
        assert of_group["baselines"].keys() == {"unigram", "5-gram"}
        assert all(baseline["count"] == len(items) for baseline in of_group["baselines"].values())
    assert {"knowledge", "reasoning"} <= found["groups"].keys()

    kept = tmp_path / "out" / "probes.jsonl"
    whole = kept.read_text()
    kept.write_text(whole[: len(whole) // 2])  # as when it is stopped in the middle of a line
    again = evaluate(tmp_path, tiny_run)
    assert again["items"] == found["items"]
    assert sorted(kept.read_text().splitlines()) == sorted(whole.splitlines())
    assert all(not of_group["baselines"] for of_group in again["groups"].values())
