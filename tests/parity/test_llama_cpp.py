"""The real llama.cpp loads what is exported, gives texts the same ids, and tells the same."""

import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import pytest

from tests.interop.conftest import SHAPES, logits_of, random_model
from tests.tokenizer.test_byte_level import trained
from tinyjax.interop import gguf, llama2c
from tinyjax.interop.hf_tokenizer import PROBES
from tinyjax.interop.model import Model, without_padding
from tinyjax.sample.model import Model as Teller
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Completion, generate
from tinyjax.stories.world import stories
from tinyjax.tokenizer import Tokenizer, load_tokenizer

pytestmark = pytest.mark.slow

NAMES = [name for name in SHAPES if "gpt_neo" not in name]
PROMPTS = ["Once upon a time", "", "Lily saw  a\nball \U0001f600"]
NEW_TOKENS = 20
PROBE = [1, *range(20, 300, 24)]  # bos, and ids of all kinds
SPACE = "\u2581"  # as a text of its own: llama.cpp can't tell it from the space that it stands for
EDGES = ["two  spaces", "\n\n a\n", "\U0001f600\U0001f1e9\U0001f1ea"]
TEXTS = [text for text in PROBES if SPACE not in text] + EDGES + [story.text for story in stories(50)]
# Largest difference of a log-probability, in nats; those of these random models span 20.
TOLERANCES = {"f32": 1e-4, "f16": 0.1, "q8_0": 1.5}


def speaking(model: Model) -> Model:
    """Returns the model with little to say that is no text: our sampler never draws it, llama.cpp's does."""
    tokenizer, name = model.tokenizer, "embedding" if model.config.tie_embeddings else "head"
    rows_VD = np.array(model.params[name])
    rows_VD[[tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id]] *= 0.01
    return without_padding(Model(model.config, model.params | {name: rows_VD}, tokenizer))


def told(model: Model, prompts: list[str], tokens: int) -> list[Completion]:
    teller = Teller(model.config, model.params, model.tokenizer, 0, False)
    return generate(teller, prompts, options=Options(temperature=0.0, max_tokens=tokens))


@pytest.fixture(scope="session")
def ask(folders: pathlib.Path, run_there: Callable) -> Callable[..., dict]:
    """Writes models and asks llama.cpp about them: the answers by name."""

    def asked(models: dict[str, tuple[Model, str]], **request: object) -> dict:
        paths = {name: str(folders / f"{name}.gguf") for name in models}
        for name, (model, kind) in models.items():
            gguf.write(model, paths[name], kind)
        whole = {"models": paths, "texts": [], "prompts": [], "tokens": NEW_TOKENS, "probe": []} | request
        (folders / "request.json").write_text(json.dumps(whole))
        run_there("llama_cpp_reader", folders / "request.json", folders / "answer.json")
        return json.loads((folders / "answer.json").read_text())

    return asked


@pytest.fixture(scope="session")
def models(tokenizer: Tokenizer) -> dict[str, Model]:
    return {name: speaking(random_model(tokenizer, **SHAPES[name])) for name in NAMES}


@pytest.fixture(scope="session")
def answers(models: dict[str, Model], ask: Callable) -> dict:
    written = {f"{name}-{kind}": (models[name], kind) for name in NAMES for kind in gguf.KINDS}
    return ask(written, texts=TEXTS, prompts=PROMPTS, probe=PROBE)


@pytest.mark.parametrize("kind", gguf.KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_probabilities_are_equal(name: str, kind: str, models: dict[str, Model], answers: dict):
    logits_TV = logits_of(models[name], np.array([PROBE]))[0]
    ours_TV = np.asarray(jax.nn.log_softmax(logits_TV))
    steps = answers[f"{name}-{kind}"]["steps"]
    theirs_TV = np.array([[step[str(i)] for i in range(ours_TV.shape[1])] for step in steps])
    np.testing.assert_allclose(theirs_TV, ours_TV, rtol=0, atol=TOLERANCES[kind])


@pytest.mark.parametrize("name", NAMES)
def test_the_likeliest_story_is_the_same(name: str, models: dict[str, Model], answers: dict):
    answer = answers[f"{name}-f32"]
    for theirs, finish, ours in zip(
        answer["stories"], answer["finish"], told(models[name], PROMPTS, NEW_TOKENS), strict=True
    ):
        assert (theirs, finish == "eos") == (ours.text, ours.finish == "end")


@pytest.mark.parametrize("name", NAMES)
def test_texts_get_the_same_ids(name: str, tokenizer: Tokenizer, answers: dict):
    for text, ids in zip(TEXTS, answers[f"{name}-f32"]["ids"], strict=True):
        assert ids == tokenizer.encode(text).tolist(), text


def test_byte_level_tokenizers_give_the_same_ids(
    tmp_path: pathlib.Path, stories_file: pathlib.Path, ask: Callable
):
    trained([stories_file.read_text()]).save_model(str(tmp_path))
    model = random_model(load_tokenizer(tmp_path), vocab_size=384)
    answer = ask({"byte-level": (model, "f32")}, texts=TEXTS)["byte-level"]
    assert answer["ids"] == [model.tokenizer.encode(text).tolist() for text in TEXTS]


def test_a_real_model_tells_its_known_story_there(
    shared_data: pathlib.Path, train_sample: pathlib.Path, ask: Callable
):
    """Imported from llama2.c, exported, and told by llama.cpp: the text that llama2.c told, to the byte."""
    files = shared_data / "llama2c"
    model = llama2c.read(files / "stories260K.bin", llama2c.read_tokenizer(files / "tok512.bin"))
    texts = [text.strip() for text in train_sample.read_text().split("<|endoftext|>")][:1000]
    answer = ask({"real": (model, "f32")}, texts=texts, prompts=[""], tokens=256)["real"]
    assert answer["stories"][0].encode() + b"\n" == b" " + (files / "expected-greedy-256.txt").read_bytes()
    assert answer["ids"] == [model.tokenizer.encode(text).tolist() for text in texts]


def test_real_stories_get_the_same_ids_by_a_tokenizer_of_our_own_and_of_others(
    shared_data: pathlib.Path, train_sample: pathlib.Path, ask: Callable
):
    from tinyjax.tokenizer import train_tokenizer

    texts = [text.strip() for text in train_sample.read_text().split("<|endoftext|>")][:1000]
    others = load_tokenizer(shared_data / "tokenizers" / "tok4096.model")
    tokenizers = {"own": train_tokenizer(texts, 1024), "others": others}
    models = {name: (random_model(t, vocab_size=t.vocab_size), "f16") for name, t in tokenizers.items()}
    answers = ask(models, texts=texts)
    for name, tokenizer in tokenizers.items():
        for text, ids in zip(texts, answers[name]["ids"], strict=True):
            if name == "own" or "  " not in text:  # there the SentencePiece model drops spaces
                assert ids == tokenizer.encode(text).tolist()
