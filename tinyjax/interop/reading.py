"""Reads a model of any format that is known here, told apart by what the file or folder holds."""

from etils import epath

from tinyjax.errors import UserError
from tinyjax.interop import gguf, huggingface, llama2c, native
from tinyjax.interop.model import Model
from tinyjax.tokenizer import Tokenizer

# The files that `exporting` writes into a folder.
GGUF, LLAMA2C, SAFETENSORS = "model.gguf", "model.bin", "model.safetensors"


def read(source: epath.PathLike, tokenizer: Tokenizer | None = None) -> Model:
    """Reads a model.

    Args:
      source: a file, or a folder, of Hugging Face, GGUF, llama2.c or our own safetensors, local or gs://; or
        a name on the hub.
      tokenizer: the model's; None: the one that is with it.

    Raises:
      UserError: it is none of these, or damaged; or no tokenizer is with it and none is given.
    """
    path = _file_of(epath.Path(source))
    if path is None or not path.exists() or path.is_dir():
        return huggingface.read(source, tokenizer)
    with path.open("rb") as file:
        begin = file.read(4)
    if begin == b"GGUF":
        return gguf.read(path, tokenizer)
    if path.suffix == ".safetensors" and native.is_native(path):
        return native.read(path, tokenizer)
    if path.suffix == ".safetensors" or begin == b"PK\x03\x04" or begin[:1] == b"\x80":
        return huggingface.read(path, tokenizer)
    return llama2c.read(path, tokenizer)


def _file_of(path: epath.Path) -> epath.Path | None:
    """Returns the one file that holds all of a model; None for a folder of Hugging Face, or no folder."""
    if not path.is_dir():
        return path
    if (path / "checkpoints").is_dir() or (path / "meta").is_dir():
        raise UserError(f"'{path}' is a checkpoint of tinyjax already; use it as it is")
    if (path / huggingface.CONFIG).exists():
        return None
    found = [path / name for name in (GGUF, LLAMA2C, SAFETENSORS) if (path / name).exists()]
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"'{path}' holds no model, or more than one, that is known here: a folder of Hugging Face has a "
        f"{huggingface.CONFIG}; name the file of any other"
    )
