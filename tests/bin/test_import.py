"""The import binary: afterwards the other binaries work on what was imported, and mistakes are one line."""

import dataclasses
import pathlib
import subprocess

import pytest

from tests import binaries
from tests.binaries import assert_refused, snapshot
from tests.conftest import make_stories
from tests.interop.conftest import assert_equal, random_model, tokenizer
from tinyjax.data.manifests import Prepared
from tinyjax.interop import huggingface, native
from tinyjax.interop.exporting import How, export
from tinyjax.interop.hf_tokenizer import PROBES
from tinyjax.interop.model import Model, read_checkpoint, without_padding
from tinyjax.tokenizer import Tokenizer, train_tokenizer

__all__ = ["tokenizer"]


def import_(folder: pathlib.Path, *flags: object) -> subprocess.CompletedProcess[str]:
    return binaries.run(folder, "import", *map(str, flags))


@pytest.fixture
def model(tokenizer: Tokenizer) -> Model:
    return without_padding(random_model(tokenizer))


@pytest.mark.slow
@pytest.mark.parametrize("how", [How("hf"), How("gguf"), How("safetensors")], ids=lambda how: how.format)
def test_what_was_exported_is_imported_and_tells_its_stories(how: How, model: Model, tmp_path: pathlib.Path):
    export(model, tmp_path / "exported", how)
    result = import_(tmp_path, "--source=exported", "--run_dir=run")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == (
        "llama: 28,192 parameters, 2 blocks, width 32, context 64, 300 ids"
    )
    imported = read_checkpoint(tmp_path / "run")
    assert "warning" not in result.stderr
    assert_equal(dataclasses.replace(imported, tokenizer=model.tokenizer), model)
    for text in PROBES:  # GGUF has the tokenizer's pieces, not its file
        assert imported.tokenizer.encode(text).tolist() == model.tokenizer.encode(text).tolist()
    told = binaries.run(tmp_path, "sample", "--checkpoint=run", "--max_tokens=4", "--prompt=Lily")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("Lily")


@pytest.mark.slow
def test_the_other_binaries_take_what_was_imported(tiny_data: Prepared, tmp_path: pathlib.Path):
    fitting = without_padding(random_model(tiny_data.tokenizer))
    huggingface.write(fitting, tmp_path / "hf")
    assert import_(tmp_path, "--source=hf", "--run_dir=run", "--instruct").returncode == 0
    shown = binaries.run(tmp_path, "ckpt", "show", "run")
    assert "data: unknown: imported from hf, with instructions" in shown.stdout
    assert binaries.run(tmp_path, "ckpt", "copy", "run", "copied").returncode == 0
    done = binaries.run(
        tmp_path, "train", binaries.CONFIG, f"--config.data.path={tiny_data.path}", "--run_dir=tuned",
        "--config.train.init_from=run", "--config.train.num_steps=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    flags = (binaries.CONFIG, f"--config.data.path={tiny_data.path}", "--run_dir=run")
    assert_refused(binaries.run(tmp_path, "train", *flags), "choose another --run_dir")


@pytest.mark.slow
def test_mistakes_are_one_line(model: Model, tmp_path: pathlib.Path):
    huggingface.write(model, tmp_path / "hf")
    assert_refused(import_(tmp_path), "--source is missing")
    assert_refused(import_(tmp_path, "--source=hf"), "--run_dir is missing")
    assert_refused(import_(tmp_path, "--source=none/at/all", "--run_dir=run"), "there is no model at")
    (tmp_path / "empty").mkdir()
    assert_refused(import_(tmp_path, "--source=empty", "--run_dir=run"), "holds no model")
    (tmp_path / "hf" / "model.safetensors").write_bytes(b"GGUF")
    assert_refused(import_(tmp_path, "--source=hf", "--run_dir=run"), "cut short")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_tokenizer_that_is_given_is_taken_and_doubted(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    large = random_model(tokenizer, vocab_size=400)
    native.write(large, tmp_path / "model.safetensors")
    other = train_tokenizer(make_stories(60), 290)
    other.save(tmp_path / "their.model")
    result = import_(tmp_path, "--source=model.safetensors", "--run_dir=run", "--tokenizer=their.model")
    assert result.returncode == 0, result.stderr
    assert "warning: 110 rows of the vocabulary have no id in the tokenizer" in result.stderr
    assert_equal(read_checkpoint(tmp_path / "run"), dataclasses.replace(large, tokenizer=other))


@pytest.mark.slow
def test_nothing_trained_is_overwritten(model: Model, tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    native.write(model, tmp_path / "model.safetensors")
    before = snapshot(tiny_run)
    flags = ("--source=model.safetensors", f"--run_dir={tiny_run}")
    assert_refused(import_(tmp_path, *flags), "holds checkpoints")
    assert_refused(import_(tmp_path, *flags, "--overwrite"), "never overwritten")
    assert_refused(
        import_(tmp_path, f"--source={tiny_run}", "--run_dir=x"), "a checkpoint of tinyjax already"
    )
    assert snapshot(tiny_run) == before
