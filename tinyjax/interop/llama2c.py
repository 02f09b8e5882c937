"""The model files of llama2.c, float32 or int8.

Three versions: 0 has a header of seven integers (run.c reads it), 1 and 2 begin with "ak42" and a header of
256 bytes; 1 is float32, 2 int8 in groups that share a scale (runq.c reads it). All numbers are little-endian,
all matrices [outputs, inputs], and RoPE turns the pairs (2i, 2i + 1) of a head. The vocabulary stands in the
order that the programs want, see `llama2c_tokenizer`.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator

import numpy as np
from etils import epath

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.interop.llama2c_tokenizer import (
    arrangement,
    ending_at_bos,
    read_tokenizer,
    tokenizer_bytes,
    unlike,
)
from tinyjax.interop.model import Model, checked, without_padding
from tinyjax.interop.rows import from_rows, row_shapes, to_rows
from tinyjax.model.parameters import abstract_params
from tinyjax.tokenizer import Tokenizer

VERSIONS = (0, 1, 2)
TOKENIZER = "tokenizer.bin"  # beside the model
GROUP_SIZE = 64  # int8 numbers that share a scale, at most

_MAGIC = 0x616B3432
_HEADER_BYTES = 256  # of versions 1 and 2
_SIZES = ("d_model", "d_ff", "num_layers", "num_heads", "num_kv_heads", "vocab_size", "context_length")
_FIXED = {"norm_eps": 1e-5, "rope_theta": 10000.0, "qk_norm": False}  # in the programs, not in the file
_BLOCK_NORMS = ("attention_norm", "mlp_norm")
_ATTENTION, _MLP = ("query", "key", "value", "output"), ("gate", "down", "up")
_ROPE = ("cosine", "sine")
_OUTER = ("embedding", "final_norm", "head")
_ORDERS = {  # of the arrays in a file
    0: ("embedding", "attention_norm", *_ATTENTION, "mlp_norm", *_MLP, "final_norm", *_ROPE, "head"),
    1: (*_BLOCK_NORMS, "final_norm", "embedding", *_ATTENTION, *_MLP, "head"),
}
_ORDERS[2] = _ORDERS[1]


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of its model."""

    version: int
    config: ModelConfig
    group_size: int = 0  # of version 2

    @property
    def num_bytes(self) -> int:
        """Where the numbers begin."""
        return 28 if self.version == 0 else _HEADER_BYTES

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each array, in their order; of blocks [L, outputs, inputs] or [L, D]."""
        declared = abstract_params(self.config)
        shapes = {name: declared[name].shape for name in _OUTER if name in declared}
        shapes |= {name: declared["layers"][name].shape for name in _BLOCK_NORMS} | row_shapes(self.config)
        shapes |= dict.fromkeys(_ROPE, (self.config.context_length, self.config.head_dim // 2))
        return {name: shapes[name] for name in _ORDERS[self.version] if name in shapes}

    def is_int8(self, name: str) -> bool:
        """Tells whether an array is quantized."""
        return self.version == 2 and not name.endswith("norm")

    def size(self, name: str, shape: tuple[int, ...]) -> int:
        """Returns the number of bytes of an array."""
        numbers = math.prod(shape)
        return numbers + 4 * numbers // self.group_size if self.is_int8(name) else 4 * numbers


def files(path: epath.PathLike) -> list[epath.Path]:
    """Returns the paths of what `write` makes: the model, and its tokenizer beside it."""
    return [epath.Path(path), epath.Path(path).parent / TOKENIZER]


# Reading.


def read(path: epath.PathLike, tokenizer: Tokenizer | None = None) -> Model:
    """Reads a model of any version, and where no tokenizer is given, the tokenizer.bin beside it.

    Raises:
      UserError: there is no such file, it is damaged, or the tokenizer isn't the model's.
    """
    model_path, tokenizer_path = files(path)
    if not model_path.exists() or model_path.is_dir():
        raise UserError(
            f"there is no file '{path}'; give the path of a llama2.c model, such as stories15M.bin"
        )
    data = model_path.read_bytes()
    header = _read_header(data, model_path)
    arrays = _read_arrays(data, header, model_path)
    tokenizer = _fitting(tokenizer or _read_beside(tokenizer_path, model_path), header.config, model_path)
    norms = {name: arrays[name] for name in _BLOCK_NORMS}
    layers = norms | from_rows(header.config, arrays, adjacent=True)
    params = {name: arrays[name] for name in _OUTER if name in arrays} | {"layers": layers}
    return checked(Model(header.config, params, tokenizer), model_path)


def _read_beside(path: epath.Path, model: epath.Path) -> Tokenizer:
    if not path.exists():
        raise UserError(
            f"there is no {TOKENIZER} beside '{model}'; put the one of this model there, or name it: "
            "--tokenizer=PATH (a tokenizer.bin, or a SentencePiece model)"
        )
    return read_tokenizer(path)


def _fitting(tokenizer: Tokenizer, config: ModelConfig, path: epath.Path) -> Tokenizer:
    """Returns the tokenizer, ending texts as llama2.c does; UserError where it isn't the model's."""
    inputs_V, _ = arrangement(tokenizer)
    if not np.array_equal(inputs_V, np.arange(config.vocab_size)):
        raise UserError(
            f"the tokenizer has {len(inputs_V)} ids, or has them in another order than llama2.c, and "
            f"'{path}' has {config.vocab_size}; give the model's own tokenizer: --tokenizer=PATH"
        )
    return ending_at_bos(tokenizer)


def _read_header(data: bytes, path: epath.Path) -> Header:
    data = data[:_HEADER_BYTES].ljust(_HEADER_BYTES, b"\0")
    magic, version = struct.unpack_from("<Ii", data)
    group_size = 0
    if magic != _MAGIC:
        version, sizes = 0, struct.unpack_from("<7i", data)
        shared = sizes[5] > 0  # a negative vocabulary: it isn't
    elif version in VERSIONS[1:]:
        *sizes, shared, group_size = struct.unpack_from("<7i?i", data, 8)
    else:
        raise UserError(
            f"'{path}' is of version {version} of llama2.c's format, and only 0, 1 and 2 are known here; "
            "write it again with --version=1 of llama2.c's export.py"
        )
    values = dict(zip(_SIZES, map(abs, sizes), strict=True))
    head_dim = values["d_model"] // max(values["num_heads"], 1)
    config = ModelConfig(family="llama", head_dim=head_dim, tie_embeddings=shared, **values, **_FIXED)
    header = Header(version, config, group_size)
    if not _makes_sense(header):
        raise UserError(
            f"'{path}' is no llama2.c model: it has no magic number, and its sizes make no sense; give a "
            "file that llama2.c's export.py wrote, or get it again"
        )
    return header


def _makes_sense(header: Header) -> bool:
    config = header.config
    if not all(getattr(config, name) for name in _SIZES) or config.num_heads % config.num_kv_heads:
        return False
    if config.head_dim % 2 or config.head_dim * config.num_heads != config.d_model:
        return False
    matrices = [shape for name, shape in header.shapes().items() if header.is_int8(name)]
    return not matrices or (
        header.group_size > 0 and not any(math.prod(shape[-2:]) % header.group_size for shape in matrices)
    )


def _read_arrays(data: bytes, header: Header, path: epath.Path) -> dict[str, np.ndarray]:
    shapes = header.shapes()
    ends = np.cumsum(
        [header.num_bytes, *(header.size(name, shape) for name, shape in shapes.items())]
    ).tolist()
    if len(data) != ends[-1]:
        raise UserError(
            f"'{path}' has {len(data)} bytes, but the model that its header describes takes {ends[-1]}; it "
            "is cut short, or no llama2.c model: get the file again"
        )
    return {
        name: _read_array(data[start:end], header, name, shape)
        for (name, shape), start, end in zip(shapes.items(), ends[:-1], ends[1:], strict=True)
    }


def _read_array(data: bytes, header: Header, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if not header.is_int8(name):
        return np.frombuffer(data, "<f4").reshape(shape)
    parts = shape[0] if len(shape) == 3 else 1  # each block's matrix is on its own
    size = len(data) // parts
    arrays = [_dequantized(data[i * size : (i + 1) * size], header.group_size) for i in range(parts)]
    return np.stack(arrays).reshape(shape)


# Writing.


def write(model: Model, path: epath.PathLike, version: int = 0, group_size: int = GROUP_SIZE) -> list[str]:
    """Writes the model, and its tokenizer beside it; returns what the user should know, in sentences.

    Args:
      model: of the family llama, with a SentencePiece BPE tokenizer.
      path: of the model's file.
      version: of the format, see above.
      group_size: of version 2; halved until groups fill the rows of every matrix.

    Raises:
      UserError: the format can't hold the model.
    """
    _check(model.config)
    inputs_V, outputs_V = arrangement(model.tokenizer)
    model = without_padding(model)
    params, layers = model.params, model.params["layers"]
    head_VD = params.get("head", params["embedding"])
    outer = {"embedding": params["embedding"][inputs_V], "head": head_VD[outputs_V]}
    shared = model.config.tie_embeddings and np.array_equal(inputs_V, outputs_V)
    config = dataclasses.replace(model.config, tie_embeddings=shared)
    header = Header(version, config, _halved(group_size, config) if version == 2 else 0)
    arrays = outer | {"final_norm": params["final_norm"]} | {name: layers[name] for name in _BLOCK_NORMS}
    arrays |= to_rows(params, adjacent=True) | _rope(config)
    data = [_serialized(header, name, arrays[name]) for name in header.shapes()]
    model_path, tokenizer_path = files(path)
    model_path.write_bytes(b"".join([_header_bytes(header), *data]))
    tokenizer_path.write_bytes(tokenizer_bytes(model.tokenizer))
    return list(_remarks(model, header))


def _check(config: ModelConfig) -> None:
    """Raises UserError for what the programs can't do."""
    wanted = {"family": "llama", "head_dim": config.d_model / config.num_heads} | _FIXED
    for name, value in wanted.items():
        if (found := getattr(config, name)) != value:
            raise UserError(
                f"llama2.c knows no models with config.model.{name}={found}, only with {value}; export with "
                "--format=hf, which holds it, or train one with that"
            )


def _halved(group_size: int, config: ModelConfig) -> int:
    """Returns a group size that divides all rows: runq.c skips what doesn't fill a group of its row."""
    while config.d_model % group_size or config.d_ff % group_size:
        group_size //= 2
    return group_size


def _header_bytes(header: Header) -> bytes:
    config, sizes = header.config, [getattr(header.config, name) for name in _SIZES]
    if header.version == 0:
        sizes[5] *= 1 if config.tie_embeddings else -1
        return struct.pack("<7i", *sizes)
    fields = (_MAGIC, header.version, *sizes, config.tie_embeddings, header.group_size)
    return struct.pack("<Ii7i?i", *fields).ljust(_HEADER_BYTES, b"\0")


def _rope(config: ModelConfig) -> dict[str, np.ndarray]:
    """Returns the tables that version 0 carries and no program reads any more: [S, K/2]."""
    frequency = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
    angle = np.outer(np.arange(config.context_length), frequency)
    return {"cosine": np.cos(angle), "sine": np.sin(angle)}


def _serialized(header: Header, name: str, x: np.ndarray) -> bytes:
    if not header.is_int8(name):
        return x.astype("<f4").tobytes()
    return b"".join(_quantized(part, header.group_size) for part in (x if x.ndim == 3 else [x]))


def _remarks(model: Model, header: Header) -> Iterator[str]:
    if model.config.tie_embeddings and not header.config.tie_embeddings:
        yield "the output head is stored beside the embedding, so that run.c stops where a story ends"
    if not model.tokenizer.prefix_bytes:
        yield "run.c puts a space before a prompt (-i), which this model's tokenizer does not"
    if header.version == 2:
        yield f"int8 in groups of {header.group_size}"
    if texts := unlike(model.tokenizer):
        yield f"llama2.c gives other ids than the tokenizer to texts such as {texts[0]!r} and {texts[-1]!r}"


# Int8: the numbers of a matrix, then the float32 scales of its groups.


def _quantized(x: np.ndarray, group_size: int) -> bytes:
    groups, most = x.reshape(-1, group_size), np.float32(127)
    scale = np.abs(groups).max(axis=1, keepdims=True) / most
    rounded = np.round(np.divide(groups, scale, out=np.zeros_like(groups), where=scale > 0))
    return np.clip(rounded, -most, most).astype(np.int8).tobytes() + scale.astype("<f4").tobytes()


def _dequantized(data: bytes, group_size: int) -> np.ndarray:
    numbers = len(data) * group_size // (group_size + 4)
    groups = np.frombuffer(data, np.int8, numbers).reshape(-1, group_size).astype(np.float32)
    return groups * np.frombuffer(data, "<f4", offset=numbers)[:, None]
