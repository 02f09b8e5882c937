"""The export binary: what lies there afterwards, what it prints, and one line for each mistake."""

import json
import pathlib
import subprocess

import pytest

from tests import binaries
from tests.binaries import assert_refused, snapshot
from tests.interop.conftest import assert_equal
from tinyjax.interop import huggingface
from tinyjax.interop.model import read_checkpoint, without_padding


def export(folder: pathlib.Path, run: pathlib.Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return binaries.run(folder, "export", f"--checkpoint={run}", *flags)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "files"),
    [
        (
            ("--format=hf",),
            "README.md, config.json, generation_config.json, model.safetensors, tokenizer.json, "
            "tokenizer.model, tokenizer_config.json",
        ),
        (("--format=gguf", "--kind=q8_0"), "Modelfile, model.gguf"),
        (("--format=llama2c", "--llama2c_version=2"), "model.bin, tokenizer.bin"),
        (("--format=safetensors",), "model.safetensors"),
    ],
)
def test_what_is_written_is_told_and_compared(
    flags: tuple[str, ...], files: str, tiny_run: pathlib.Path, tmp_path: pathlib.Path
):
    before = snapshot(tiny_run)
    result = export(tmp_path, tiny_run, *flags, "--out=exported")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"written to exported: {files}"
    assert lines[1].startswith(
        "read back by an independent reader: logits of a story (64 tokens) differ by at"
    )
    assert float(lines[1].split()[-1]) < (0.5 if {"--kind=q8_0", "--llama2c_version=2"} & {*flags} else 1e-4)
    assert all(line.startswith("note: ") for line in lines[2:])
    assert snapshot(tiny_run) == before


@pytest.mark.slow
def test_a_folder_for_transformers_says_what_was_measured(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    export(tmp_path, tiny_run, "--format=hf", "--out=exported")
    card = (tmp_path / "exported" / "README.md").read_text()
    for line in (tiny_run / "metrics.jsonl").read_text().splitlines():
        if (values := json.loads(line)).get("validation/bits_per_byte") and values["step"] == 200:
            assert f"{values['validation/bits_per_byte']:.4f} ± " in card
    assert "| parameters | 28,832 (18,592 without embeddings) |" in card
    assert "| trained | 200 steps of 8 windows, " in card
    assert "bits/byte" in card
    assert_equal(huggingface.read(tmp_path / "exported"), without_padding(read_checkpoint(tiny_run)))


@pytest.mark.slow
def test_mistakes_are_one_line_and_leave_nothing(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    assert_refused(binaries.run(tmp_path, "export"), "--checkpoint is missing")
    assert_refused(export(tmp_path, tiny_run), "--format is missing")
    assert_refused(export(tmp_path, tiny_run, "--format=hf"), "--out is missing")
    assert_refused(export(tmp_path, tiny_run, "--format=onnx", "--out=x"), "hf|gguf|llama2c|safetensors")
    assert_refused(export(tmp_path, tmp_path / "none", "--format=hf", "--out=x"), "there is no checkpoint at")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    flags = ("--format=safetensors", "--out=mine")
    assert_refused(export(tmp_path, tiny_run, *flags), "'mine' is there already")
    assert_refused(
        export(tmp_path, tiny_run, *flags, "--overwrite"), "holds what an export doesn't write (file)"
    )
    assert snapshot(tmp_path / "mine") == {"file": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "stderr", "stdout"]


@pytest.mark.parametrize("form", ["hf", "gguf", "safetensors"])
def test_an_export_tells_the_stories_of_its_checkpoint(
    form: str, tiny_run: pathlib.Path, tmp_path: pathlib.Path
):
    ended = binaries.run(tmp_path, "export", f"--checkpoint={tiny_run}", f"--format={form}", "--out=out")
    assert ended.returncode == 0, ended.stderr
    flags = ("--prompt=Lily", "--temperature=0", "--max_tokens=20")
    told = [binaries.run(tmp_path, "sample", f"--checkpoint={path}", *flags) for path in (tiny_run, "out")]
    assert told[0].stdout == told[1].stdout
    assert told[1].returncode == 0, told[1].stderr
