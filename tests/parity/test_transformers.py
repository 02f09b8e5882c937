"""The real `transformers` load what is exported, and compute and tell the same."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from tests.interop.conftest import SHAPES, assert_equal, random_model
from tests.interop.test_huggingface import logits_and_gradients
from tinyjax.interop import huggingface
from tinyjax.interop.hf_tokenizer import PROBES
from tinyjax.interop.model import Model, without_padding
from tinyjax.sample.model import Model as Teller
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate
from tinyjax.stories.world import stories
from tinyjax.tokenizer import Tokenizer

PROMPTS = ["Once upon a time", "", "Lily saw  a\nball"]
NEW_TOKENS = 20
BYTE_LEVEL = "gpt_neo_byte_level"  # the paper's kind, tokenizer included
NAMES = [*SHAPES, BYTE_LEVEL]
TEXT = "Once upon a time there was a child."  # fits the context of the tiny models


@pytest.fixture(scope="session")
def models(tokenizer: Tokenizer, byte_level: Tokenizer) -> dict[str, Model]:
    made = {name: without_padding(random_model(tokenizer, **changes)) for name, changes in SHAPES.items()}
    return made | {BYTE_LEVEL: without_padding(random_model(byte_level, **SHAPES["gpt_neo"]))}


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [TEXT, *PROBES, *(story.text for story in stories(50))]


@pytest.fixture(scope="session")
def answers(
    models: dict[str, Model], texts: list[str], folders: pathlib.Path, run_there: Callable
) -> dict[str, np.ndarray]:
    """What `transformers` say of every model, asked once."""
    for name, model in models.items():
        huggingface.write(model, folders / name)
    request = {
        "folders": {name: str(folders / name) for name in models},
        "texts": texts,
        "prompts": PROMPTS,
        "tokens": NEW_TOKENS,
    }
    (folders / "request.json").write_text(json.dumps(request))
    run_there("transformers_reader", folders / "request.json", folders / "answer.npz")
    with np.load(folders / "answer.npz") as file:
        return dict(file)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_equal(name: str, models: dict[str, Model], answers: dict[str, np.ndarray]):
    model, theirs_TV = models[name], answers[f"{name}/logits"]
    ids_BT = answers[f"{name}/ids/0"][None].astype(np.int32)
    (ours_TV,), found = logits_and_gradients(model, ids_BT)
    assert np.abs(ours_TV - theirs_TV).max() <= 1e-5 * np.abs(theirs_TV).max()
    gradients = huggingface.to_tensors(model.config, found)
    prefix = f"{name}/gradient/"
    theirs = {key.removeprefix(prefix): x for key, x in answers.items() if key.startswith(prefix)}
    assert theirs.keys() == gradients.keys()
    for key, x in theirs.items():
        assert np.abs(gradients[key] - x).max() <= 2e-5 * np.abs(x).max(), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", BYTE_LEVEL])
def test_texts_get_the_same_ids_with_bos_before_them(
    name: str, models: dict[str, Model], texts: list[str], answers: dict[str, np.ndarray]
):
    tokenizer = models[name].tokenizer
    for i, text in enumerate(texts):
        wanted = [tokenizer.bos_id, *tokenizer.encode(text).tolist()]
        assert answers[f"{name}/ids/{i}"].tolist() == wanted, text
    assert json.loads(str(answers[f"{name}/decoded"])) == texts


@pytest.mark.slow
@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("name", NAMES)
def test_what_pytorch_saves_is_read_without_it(name: str, models: dict[str, Model], folders: pathlib.Path):
    model = models[name]
    read = huggingface.read(folders / name / "pytorch_model.bin", model.tokenizer)
    assert_equal(read, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_likeliest_story_is_the_same(name: str, models: dict[str, Model], answers: dict[str, np.ndarray]):
    model = models[name]
    teller = Teller(model.config, model.params, model.tokenizer, step=0, instruct=False)
    told = generate(teller, PROMPTS, options=Options(temperature=0.0, max_tokens=NEW_TOKENS))
    for i, story in enumerate(told):
        assert model.tokenizer.decode(answers[f"{name}/told/{i}"].tolist()) == story.prompt + story.text


@pytest.mark.slow
def test_a_real_model_tells_its_known_story_there(
    shared_data: pathlib.Path, folders: pathlib.Path, run_there: Callable
):
    """Imported from llama2.c, exported, told by `transformers`: the text that llama2.c told, to the byte."""
    from tinyjax.interop import llama2c
    from tinyjax.tokenizer import load_tokenizer

    files = shared_data / "llama2c"
    model = llama2c.read(files / "stories260K.bin", load_tokenizer(files / "tok512.model"))
    assert huggingface.write(model, folders / "real") == []
    request = {"folders": {"real": str(folders / "real")}, "texts": [TEXT], "prompts": [""], "tokens": 200}
    (folders / "real.json").write_text(json.dumps(request))
    run_there("transformers_reader", folders / "real.json", folders / "real.npz")
    with np.load(folders / "real.npz") as answer:
        (text,) = json.loads(str(answer["real/stories"]))
    assert text == (files / "expected-greedy-200.txt").read_text()
