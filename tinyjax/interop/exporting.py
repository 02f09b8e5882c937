"""Exports: written, read back by an independent reader, compared in logits, and only then there."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from etils import epath

from tinyjax.data.publish import is_unfinished, publish
from tinyjax.errors import UserError
from tinyjax.interop import check, gguf, huggingface, llama2c, native
from tinyjax.interop.llama2c_tokenizer import arrangement
from tinyjax.interop.model import Model
from tinyjax.interop.reading import GGUF, LLAMA2C, SAFETENSORS
from tinyjax.recordio import is_local


@dataclasses.dataclass(frozen=True)
class How:
    """What to write."""

    format: str = "hf"  # one of FORMATS
    kind: str = "f32"  # gguf: of the numbers
    version: int = 0  # llama2c: of its format
    card: str = ""  # hf: what README.md says


@dataclasses.dataclass(frozen=True)
class Done:
    """What was written, and how it compared."""

    folder: epath.Path
    tokens: int  # of the text that was compared
    difference: float  # the largest between two logits
    notes: list[str]  # what the user should know


def export(model: Model, folder: epath.PathLike, how: How, overwrite: bool = False) -> Done:
    """Writes a model into a new folder, local or on gs://, which is there only if what it holds is right.

    Args:
      model: what to write.
      folder: where to.
      how: the format.
      overwrite: whether an earlier export there may be replaced.

    Raises:
      UserError: the folder is there and isn't an export, or overwriting wasn't asked for; the format can't
        hold the model; or what was read back differs.
    """
    folder = epath.Path(folder)
    if _is_there(folder) and not overwrite:
        raise UserError(f"'{folder}' is there already; choose another folder, or replace it with --overwrite")
    with publish(folder) as partial:
        notes = [*_WRITERS[how.format](model, pathlib.Path(partial), how), *_left_out(model, how)]
        difference = _CHECKS[how.format](model, pathlib.Path(partial), how)
        if _is_there(folder):
            _make_room(folder, {path.name for path in partial.iterdir()})
    return Done(folder, len(check.story_ids(model)), difference, notes)


def _left_out(model: Model, how: How) -> list[str]:
    """Says how many rows of the vocabulary the formats of others lack, for no id has them."""
    rows = model.config.vocab_size - model.tokenizer.vocab_size
    is_told = rows > 0 and how.format != "safetensors"
    return [f"{rows:,} rows of the vocabulary that no id has were left out"] if is_told else []


def _is_there(folder: epath.Path) -> bool:
    """Returns whether anything is in the way; what a killed export left on gs:// is not."""
    if not folder.is_dir():
        return folder.exists()
    return any(folder.iterdir()) and not is_unfinished(folder)


def _make_room(folder: epath.Path, names: set[str]) -> None:
    """Removes an earlier export; UserError where anything else is there too."""
    others = sorted({path.name for path in folder.iterdir()} - names) if folder.is_dir() else [folder.name]
    if others:
        raise UserError(
            f"'{folder}' holds what an export doesn't write ({', '.join(others[:5])}), which --overwrite "
            "doesn't remove; choose another folder"
        )
    if is_local(folder):  # elsewhere the files are replaced one by one
        folder.rmtree()


def _write_huggingface(model: Model, folder: pathlib.Path, how: How) -> list[str]:
    return huggingface.write(model, folder, how.card)


def _write_gguf(model: Model, folder: pathlib.Path, how: How) -> list[str]:
    return gguf.write(model, folder / GGUF, how.kind)


def _write_llama2c(model: Model, folder: pathlib.Path, how: How) -> list[str]:
    return llama2c.write(model, folder / LLAMA2C, how.version)


def _write_safetensors(model: Model, folder: pathlib.Path, how: How) -> list[str]:
    del how
    native.write(model, folder / SAFETENSORS)
    return []


def _check_huggingface(model: Model, folder: pathlib.Path, how: How) -> float:
    del how
    if (folder / huggingface.TOKENIZER_SETTINGS).exists():
        import tokenizers

        fast = tokenizers.Tokenizer.from_file(str(folder / huggingface.BYTE_LEVEL))
        ids = check.story_ids(model)
        if fast.encode(check.story()).ids[: len(ids)] != ids:
            raise UserError(
                "the tokenizer.json that was written gives other ids; nothing was kept. Please report it"
            )
    return check.compare(model, check.read_huggingface(folder), "f32")


def _check_gguf(model: Model, folder: pathlib.Path, how: How) -> float:
    kind = "int8" if how.kind == "q8_0" else how.kind
    return check.compare(model, check.read_gguf(folder / GGUF), kind)


def _check_llama2c(model: Model, folder: pathlib.Path, how: How) -> float:
    weights, kind = check.read_llama2c(folder / LLAMA2C), "int8" if how.version == 2 else "f32"
    return check.compare(model, weights, kind, *arrangement(model.tokenizer))


def _check_safetensors(model: Model, folder: pathlib.Path, how: How) -> float:
    del how
    return check.compare(model, check.read_native(folder / SAFETENSORS), "f32")


_WRITERS: Mapping[str, Callable[[Model, pathlib.Path, How], list[str]]] = {
    "hf": _write_huggingface,
    "gguf": _write_gguf,
    "llama2c": _write_llama2c,
    "safetensors": _write_safetensors,
}
_CHECKS: Mapping[str, Callable[[Model, pathlib.Path, How], float]] = {
    "hf": _check_huggingface,
    "gguf": _check_gguf,
    "llama2c": _check_llama2c,
    "safetensors": _check_safetensors,
}
FORMATS = tuple(_WRITERS)
