"""What the report tells is what the model does: of stories, of heads, and what comes next."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from tests.tiny import little_stories
from tinyjax.errors import UserError
from tinyjax.interpret.attribution import lens
from tinyjax.interpret.capture import look
from tinyjax.interpret.report.gathering import Plan, gather, name_of, take
from tinyjax.interpret.report.page import render
from tinyjax.sample.model import Model, load_model
from tinyjax.textio import Record

PLAN = Plan("runs/tiny/checkpoints/200", "little stories", num_tokens=1500)


@pytest.fixture(scope="module")
def model(tiny_run) -> Model:
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [Record(text) for text in little_stories(100)]


@pytest.fixture(scope="module")
def found(model: Model, records: list[Record]) -> dict[str, Any]:
    return gather(model, records, PLAN)


pytestmark = pytest.mark.slow


def test_it_is_plain_json_and_the_same_again(model: Model, records: list[Record], found: dict[str, Any]):
    text = json.dumps(found, allow_nan=False)
    assert json.dumps(gather(model, records, PLAN), allow_nan=False) == text
    assert render(json.loads(text)) == render(found)


def test_it_reads_as_many_stories_as_asked_for(found: dict[str, Any], records: list[Record], model: Model):
    assert 1500 <= found["corpus"]["tokens"] < 1500 + 64
    assert found["corpus"]["stories"] == len(take(model, records, 1500, 64)) < len(records)
    assert found["about"]["name"] == "tiny, step 200"


def test_every_head_and_neuron_is_told_of(found: dict[str, Any], model: Model):
    config = model.config
    assert len(found["heads"]) == config.num_layers * config.num_heads
    assert [len(layer["neurons"]) for layer in found["units"]["neurons"]["layers"]] == [config.d_ff] * 2
    assert all(np.isfinite(head["removal"]["nats_per_token"]) for head in found["heads"])


def test_a_story_is_shown_as_the_model_sees_it(found: dict[str, Any], model: Model):
    config = model.config
    story, text = found["stories"][0], "".join(found["stories"][0]["tokens"][1:])
    tokens = np.array([[model.tokenizer.bos_id, *model.tokenizer.encode(text)]], np.int32)
    count = tokens.shape[1]
    assert len(story["tokens"]) == count
    assert story["next"] == "⟨end⟩"
    seen = look(model, tokens, capture=["block1/pattern", "block0/neurons"])
    packed = np.frombuffer(base64.b64decode(story["patterns"]), np.uint8)
    packed = packed.reshape(config.num_layers, config.num_heads, -1)
    pattern_TS = np.zeros((count, count))
    pattern_TS[np.tril_indices(count)] = packed[1, 2] / 255
    np.testing.assert_allclose(pattern_TS, seen["block1/pattern"][0, 2], atol=1 / 255)
    values = np.frombuffer(base64.b64decode(story["units"]["neurons"]), np.int8).reshape(-1, count)
    scale = found["scales"]["neurons"][5]
    expected = np.asarray(seen["block0/neurons"])[0, 1:, 5]
    np.testing.assert_allclose(values[5, 1:] / 127 * scale, expected, atol=scale / 127)
    assert not values[:, 0].any()


def test_predictions_are_those_of_the_lens(found: dict[str, Any], model: Model):
    story = found["stories"][0]
    text = "".join(story["tokens"][1:])
    ids = [model.tokenizer.bos_id, *model.tokenizer.encode(text).tolist(), model.tokenizer.eos_id]
    likeliest = lens(model, np.array([ids[:-1]], np.int32), np.array([ids[1:]], np.int32), count=3)
    for reading, after in enumerate(story["lens"]):
        thousandths = 1000 * np.asarray(likeliest.probabilities_RBTN[reading, 0])
        np.testing.assert_allclose(np.array(after["probabilities"])[:, :3], thousandths, atol=1)
        right = 1000 * np.asarray(likeliest.right_RBT[reading, 0])
        np.testing.assert_allclose(np.array(after["probabilities"])[:, 3], right, atol=1)
    assert {str(i) for after in story["lens"] for row in after["tokens"] for i in row} <= set(
        found["vocabulary"]
    )


def test_given_stories_are_shown(model: Model, records: list[Record]):
    plan = Plan("runs/tiny", "little", num_tokens=200, stories=("Lily saw <b>.", "Tom was sad."), features=1)
    found = gather(model, records, plan)
    assert ["".join(story["tokens"][1:]) for story in found["stories"]] == list(plan.stories)
    features = found["units"]["features"]
    count = features["settings"]["features"]
    assert len(features["layers"][0]["neurons"]) == count == 8 * model.config.d_model
    values = np.frombuffer(base64.b64decode(found["stories"][0]["units"]["features"]), np.int8)
    active = (values.reshape(count, -1) != 0).sum(axis=0)
    assert active[0] == 0
    assert 1 <= active[1:].min() <= active.max() <= features["settings"]["active"]
    assert features["settings"]["target"] == features["settings"]["source"] == "block1/residual"
    page = render(found)
    assert '<section id="features">' in page
    assert "and gives" not in page


def test_a_transcoder_gives_what_the_mlp_adds(model: Model, records: list[Record]):
    found = gather(model, records, Plan("x", "y", num_tokens=200, features=0, transcoder=True))
    features = found["units"]["features"]
    settings = features["settings"]
    assert (settings["source"], settings["target"]) == ("block0/mlp_input", "block0/mlp")
    assert features["quality"]["loss_zero"] != features["quality"]["loss_replaced"]
    assert "features reads block0/mlp_input and gives block0/mlp;" in render(found)


def test_another_block_and_no_stories_are_refused(model: Model, records: list[Record]):
    with pytest.raises(UserError, match="there is no block 2; they are numbered from 0 to 1"):
        gather(model, records, Plan("x", "y", features=2))
    with pytest.raises(UserError, match="there are no stories"):
        gather(model, [], PLAN)


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("runs/a", "a"),
        ("gs://b/runs/a/checkpoints/1200", "a, step 1,200"),
        ("models/stories15M.bin", "stories15M.bin"),
    ],
)
def test_a_model_is_called_by_its_run(checkpoint: str, name: str):
    assert name_of(checkpoint) == name
