"""GGUF, the files of llama.cpp and of what is built on it: KoboldCpp, Ollama, LM Studio.

Models of the family llama are written as the architecture "llama", those with QK-norm as "qwen3", which is
the same network with these norms. The numbers are float32, float16, or int8 in blocks of 32 with a float16
scale (Q8_0); norms always float32. Matrices are [outputs, inputs]. "llama" turns the pairs (2i, 2i + 1) of a
head by RoPE, "qwen3" the pairs (i, i + K/2), as ours.
"""

import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from tinyjax.checkpoint.manager import differences, listed
from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.interop import gguf_vocabulary
from tinyjax.interop.hf_tokenizer import PROBES
from tinyjax.interop.model import Model, checked, without_padding
from tinyjax.interop.rows import from_rows, row_shapes, to_rows
from tinyjax.model.parameters import abstract_params
from tinyjax.tokenizer import Tokenizer

ARCHITECTURES = ("llama", "qwen3")
KINDS = ("f32", "f16", "q8_0")
MODELFILE = "Modelfile"  # for Ollama, beside the model

_BLOCK_ROWS = 32  # numbers in a block of Q8_0
_BLOCK = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "output": "attn_output",
    "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_OUTER = {"embedding": "token_embd", "final_norm": "output_norm", "head": "output"}
# Fields, after the architecture's name.
_SIZES = {
    "d_model": "embedding_length",
    "num_layers": "block_count",
    "num_heads": "attention.head_count",
    "num_kv_heads": "attention.head_count_kv",
    "d_ff": "feed_forward_length",
    "context_length": "context_length",
}
_KEY_LENGTH, _VALUE_LENGTH = "attention.key_length", "attention.value_length"
_ROTATED, _THETA, _EPS = "rope.dimension_count", "rope.freq_base", "attention.layer_norm_rms_epsilon"
_SCALING = "rope.scaling.type"


def files(path: epath.PathLike) -> list[epath.Path]:
    """Returns the paths of what `write` makes: the model, and a Modelfile beside it."""
    return [epath.Path(path), epath.Path(path).parent / MODELFILE]


# Writing.


def write(model: Model, path: epath.PathLike, kind: str = "f32") -> list[str]:
    """Writes the model with its tokenizer, and an Ollama Modelfile beside it, which has no chat template.

    Args:
      model: of the family llama.
      path: of the GGUF file.
      kind: of the numbers, one of KINDS.

    Returns:
      What the user should know, in sentences.

    Raises:
      UserError: llama.cpp doesn't know such a model or tokenizer, or its numbers are too large for float16.
    """
    library, config = _library(), model.config
    if config.family != "llama":
        raise UserError(f"llama.cpp knows no models of the family {config.family}; export with --format=hf")
    vocabulary = gguf_vocabulary.to_fields(model.tokenizer)
    model = without_padding(model)
    arrays = _encoded(_tensors(model), kind, library)
    with tempfile.TemporaryDirectory() as folder:  # the library knows local files only
        local = pathlib.Path(folder, "model.gguf")
        writer = library.GGUFWriter(local, _architecture(config))
        _add_fields(writer, library, model.config, vocabulary, kind)
        for name, (x, type_) in arrays.items():
            writer.add_tensor(name, x, raw_dtype=type_)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        model_path, modelfile_path = files(path)
        model_path.write_bytes(local.read_bytes())
    modelfile_path.write_text(_modelfile(model_path.name, config.context_length))
    return [*_remarks(arrays, kind, library), *_unlike(model.tokenizer, vocabulary)]


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise UserError(
            "GGUF needs the package 'gguf', which is missing; pip install 'tinyjax[gguf]'"
        ) from None
    return gguf


def _architecture(config: ModelConfig) -> str:
    return "qwen3" if config.qk_norm else "llama"


def _tensors(model: Model) -> dict[str, np.ndarray]:
    """Returns the tensors by GGUF's names, float32."""
    params, layers = model.params, model.params["layers"]
    blocks = to_rows(params, adjacent=not model.config.qk_norm)
    blocks |= {name: layers[name] for name in _BLOCK.keys() - blocks.keys() if name in layers}
    tensors = {_name(name): params[name] for name in _OUTER if name in params}
    return tensors | {_name(name, i): x for name, array in blocks.items() for i, x in enumerate(array)}


def _name(name: str, block: int | None = None) -> str:
    return f"{_OUTER[name]}.weight" if block is None else f"blk.{block}.{_BLOCK[name]}.weight"


def _encoded(tensors: Mapping[str, np.ndarray], kind: str, library: Any) -> dict[str, tuple[np.ndarray, Any]]:
    """Returns each tensor in the kind of numbers that it is written in, and this kind."""
    types = library.GGMLQuantizationType
    encoded = {}
    for name, x in tensors.items():
        type_ = types.F32 if x.ndim == 1 else types[_fitting(kind, x.shape[-1]).upper()]
        if type_ != types.F32 and np.abs(x).max() > np.finfo(np.float16).max:
            raise UserError(f"{name} holds numbers too large for float16; export with --kind=f32")
        encoded[name] = library.quants.quantize(x, type_), type_
    return encoded


def _fitting(kind: str, row: int) -> str:
    """Returns the kind, or float16 where rows don't fill blocks of Q8_0."""
    return "f16" if kind == "q8_0" and row % _BLOCK_ROWS else kind


def _add_fields(
    writer: Any, library: Any, config: ModelConfig, vocabulary: Mapping[str, Any], kind: str
) -> None:
    file_types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(library.LlamaFileType[file_types[kind]])
    writer.add_quantization_version(library.GGML_QUANT_VERSION)
    lengths = dict.fromkeys((_KEY_LENGTH, _VALUE_LENGTH, _ROTATED), config.head_dim)
    counts = {key: getattr(config, name) for name, key in _SIZES.items()} | lengths
    for key, value in (counts | {"vocab_size": config.vocab_size}).items():
        writer.add_uint32(f"{_architecture(config)}.{key}", value)
    for key, value in ((_THETA, config.rope_theta), (_EPS, config.norm_eps)):
        writer.add_float32(f"{_architecture(config)}.{key}", value)
    adders = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array}
    for key, value in vocabulary.items():
        adders[type(value)](key, value)


def _modelfile(name: str, context_length: int) -> str:
    """Returns what Ollama is told: the prompt as it is, and the likeliest story neither cut nor penalised."""
    settings = {"num_ctx": context_length, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    settings |= {"repeat_penalty": 1.0}
    lines = [f"PARAMETER {key} {value}" for key, value in settings.items()]
    return "\n".join([f"FROM ./{name}", 'TEMPLATE "{{ .Prompt }}"', *lines, ""])


def _remarks(arrays: Mapping[str, tuple[np.ndarray, Any]], kind: str, library: Any) -> Iterator[str]:
    half = [name for name, (_, type_) in arrays.items() if type_ == library.GGMLQuantizationType.F16]
    if kind == "q8_0" and half:
        names = sorted({name.removesuffix(".weight").split(".")[-1] for name in half})
        yield f"{', '.join(names)} in float16: Q8_0 takes rows of a multiple of {_BLOCK_ROWS}"


def _unlike(tokenizer: Tokenizer, vocabulary: Mapping[str, Any]) -> Iterator[str]:
    there = gguf_vocabulary.from_fields(vocabulary)
    texts = [text for text in PROBES if not np.array_equal(there.encode(text), tokenizer.encode(text))]
    if texts:
        yield f"llama.cpp gives other ids than the tokenizer to texts such as {texts[0]!r} and {texts[-1]!r}"


# Reading.


def read(path: epath.PathLike, tokenizer: Tokenizer | None = None) -> Model:
    """Reads a model of the architecture llama or qwen3, with its tokenizer where none is given.

    Raises:
      UserError: there is no such file, it is damaged, or not of this kind.
    """
    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise UserError(f"there is no file '{path}'; give the path of a GGUF file")
    try:
        fields, tensors = _read_file(path.read_bytes(), _library())
        config = _config(fields, tensors)
        _check_shapes(tensors, config)
        tokenizer = tokenizer or gguf_vocabulary.from_fields(fields)
        tokenizer.vocab_size  # noqa: B018 (parses the model)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise UserError(f"'{path}' is no GGUF file, or is damaged ({error}); get the file again") from None
    return checked(Model(config, _params(tensors, config), tokenizer), path)


def _read_file(data: bytes, library: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the fields, and the tensors in float32."""
    with tempfile.NamedTemporaryFile() as local:  # the library knows local files only
        local.write(data)
        local.flush()
        reader = library.GGUFReader(local.name)
        ends = [reader.data_offset, *(tensor.data_offset + tensor.n_bytes for tensor in reader.tensors)]
        if len(data) - max(ends) >= reader.alignment:
            raise UserError(f"{len(data) - max(ends)} bytes follow the last tensor; get the file again")
        fields = {name: field.contents() for name, field in reader.fields.items()}
        architecture = fields["general.architecture"]
        if architecture not in ARCHITECTURES:
            raise UserError(
                f"the architecture is {architecture}, and only {' and '.join(ARCHITECTURES)} are known here"
            )
        return fields, {tensor.name: _decoded(tensor, library) for tensor in reader.tensors}


def _decoded(tensor: Any, library: Any) -> np.ndarray:
    if (kind := tensor.tensor_type.name) not in map(str.upper, KINDS):
        raise UserError(
            f"the numbers of {tensor.name} are {kind}, and only {', '.join(KINDS)} are known here; "
            "get or make the file in one of these"
        )
    return np.array(library.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)


def _config(fields: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> ModelConfig:
    """Returns the config; UserError where a field is missing, or asks for what isn't known here."""
    architecture = fields["general.architecture"]

    def field(key: str, default: Any = None) -> Any:
        if (value := fields.get(f"{architecture}.{key}", default)) is None:
            raise UserError(f"the field {architecture}.{key} is missing; get the file again")
        return value

    heads = field(_SIZES["num_heads"])
    defaults = {"num_kv_heads": heads}  # llama.cpp's, as are those below
    sizes = {name: field(key, defaults.get(name)) for name, key in _SIZES.items()}
    if not all(isinstance(x, int) and x > 0 for x in sizes.values()) or heads % sizes["num_kv_heads"]:
        raise UserError(f"its fields make no sense: {sizes}; get the file again")
    head_dim = field(_KEY_LENGTH, sizes["d_model"] // heads)
    known = {_VALUE_LENGTH: head_dim, _ROTATED: head_dim, _SCALING: "none"}
    for key, value in known.items():
        if field(key, value) != value:
            raise UserError(f"{architecture}.{key} is {field(key)}, and only {value} is known here")
    return ModelConfig(
        family="llama",
        head_dim=head_dim,
        vocab_size=len(tensors.get(_name("embedding"), ())),
        rope_theta=_shortest(field(_THETA, 10000.0)),
        norm_eps=_shortest(field(_EPS)),
        qk_norm=architecture == "qwen3",
        tie_embeddings=_name("head") not in tensors,
        **sizes,
    )


def _shortest(value: float) -> float:
    """Returns the number of fewest digits that is this one in float32: 1e-5, not 9.99999974737875e-06."""
    return float(str(np.float32(value)))


def _check_shapes(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> None:
    """Raises UserError where a tensor is missing, misshapen or not of such a model."""
    declared = abstract_params(config)
    norms = {name: x.shape for name, x in declared["layers"].items() if x.ndim == 2}
    blocks = {name: shape[1:] for name, shape in (row_shapes(config) | norms).items()}
    wanted = {_name(name, i): shape for name, shape in blocks.items() for i in range(config.num_layers)}
    wanted |= {_name(name): declared[name].shape for name in _OUTER if name in declared}
    if problems := differences({name: x.shape for name, x in tensors.items()}, wanted):
        raise UserError(f"it does not hold the model that its fields describe: {listed(problems)}")


def _params(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> dict:
    names = [name for name in _BLOCK if _name(name, 0) in tensors]
    blocks = {name: np.stack([tensors[_name(name, i)] for i in range(config.num_layers)]) for name in names}
    layers = blocks | from_rows(config, blocks, adjacent=not config.qk_norm)
    outer = {name: tensors[_name(name)] for name in _OUTER if _name(name) in tensors}
    return outer | {"layers": layers}
