"""Typed configuration: what a run is, in plain dataclasses, validated once at the start.

`--config=configs/x.py` names a file whose `get_config()` returns a `Config`; `--config.a.b=v` overrides
fields. While flags are applied the objects are mutable (ml_collections assigns in place); `resolve`
validates and freezes them, and nothing changes them afterwards.
"""

import dataclasses
import json
import math
from typing import Any, Self

from tinyjax.errors import UserError, nearest


def one_of(*legal: str) -> Any:
    """Declares a field that takes one of these values, by default the first."""
    return dataclasses.field(default=legal[0], metadata={"legal": legal})


class Freezable:
    """A dataclass that stops accepting assignments once `freeze` was called."""

    def freeze(self) -> Self:
        """Makes this object and every nested one read-only; returns it."""
        for field in dataclasses.fields(self):  # ty: ignore[invalid-argument-type]
            value = getattr(self, field.name)
            if isinstance(value, Freezable):
                value.freeze()
        object.__setattr__(self, "_frozen", True)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_frozen", False):
            raise dataclasses.FrozenInstanceError(f"cannot assign to '{name}' of a resolved config")
        super().__setattr__(name, value)


@dataclasses.dataclass(unsafe_hash=True)
class ModelConfig(Freezable):
    """The network: a decoder of the llama family (RMSNorm, RoPE, SwiGLU, grouped heads)."""

    vocab_size: int = 0  # rows of the embedding; 0: the tokenizer's pieces, padded to a multiple of 64
    d_model: int = 256  # width of the residual stream
    num_layers: int = 4  # decoder blocks
    num_heads: int = 4  # query heads
    num_kv_heads: int = 4  # key/value heads; must divide num_heads
    head_dim: int = 64  # width of one head
    d_ff: int = 704  # hidden width of the SwiGLU MLP
    context_length: int = 512  # longest sequence trained on and sampled
    rope_theta: float = 10000.0  # base of the rotary frequencies
    norm_eps: float = 1e-5  # added to the mean square in RMSNorm
    qk_norm: bool = False  # RMSNorm on queries and keys before RoPE
    tie_embeddings: bool = True  # the output head is the token embedding
    compute_dtype: str = one_of("auto", "float32", "bfloat16")  # of activations and matmul inputs
    attention: str = one_of("auto", "reference", "blockwise")  # implementation of attention
    remat: str = one_of("none", "block")  # what the backward pass recomputes: nothing, or each block


@dataclasses.dataclass(unsafe_hash=True)
class DataConfig(Freezable):
    """Where the packed stories are and how they are read."""

    path: str = ""  # a folder written by `prepare`, or a mixture of some: data/a:0.7,data/b:0.3
    batch_size: int = 16  # windows per step, over all devices and hosts
    loss: str = one_of("all", "story")  # what the loss is taken over; story: not the instructions before it
    prefetch: int = 4  # batches kept ready
    grain_workers: int = 0  # loader processes; 0: one thread of the trainer


@dataclasses.dataclass(unsafe_hash=True)
class CurriculumConfig(Freezable):
    """Easy stories first."""

    ramp: float = 0.0  # share of training over which the bands of difficulty open, easiest first; 0: off


@dataclasses.dataclass(unsafe_hash=True)
class OptimizerConfig(Freezable):
    """The optimizer and its learning-rate schedule: warm-up, stable, decay."""

    name: str = one_of("adamw", "muon")  # muon: matrices by Muon, all else by AdamW
    learning_rate: float = 3e-3  # peak for AdamW
    muon_learning_rate: float = 0.02  # peak for Muon's matrices
    warmup_steps: int = 50  # linear from 0
    decay_share: float = 0.5  # last share of training, linear down to final_share
    final_share: float = 0.0  # learning rate at the end, as a share of the peak
    beta1: float = 0.9  # AdamW's first moment
    beta2: float = 0.95  # AdamW's second moment
    weight_decay: float = 0.1  # decoupled; matrices only
    clip_norm: float = 1.0  # global gradient norm is clipped to this


@dataclasses.dataclass(unsafe_hash=True)
class MeshConfig(Freezable):
    """Sizes of the device mesh's axes; -1 takes what is left (at most one)."""

    replica: int = -1  # data parallel, parameters replicated
    fsdp: int = 1  # data parallel, parameters sharded
    sequence: int = 1  # positions sharded
    tensor: int = 1  # heads and hidden units sharded


@dataclasses.dataclass(unsafe_hash=True)
class TrainConfig(Freezable):
    """How long to train (num_steps, num_epochs or minutes), and what is written on the way."""

    seed: int = 0  # every random key and the data order derive from it
    num_steps: int = 0  # optimizer updates
    num_epochs: float = 0.0  # times that all windows are read; of a mixture, those of all its sources
    minutes: float = 0.0  # train for this long: the decay starts when the clock says so
    log_every: int = 10  # steps between lines of metrics
    eval_every: int = 500  # steps between evaluations; there is always one at the end
    checkpoint_every: int = 500  # steps between permanent checkpoints; there is always one at the end
    checkpoint_minutes: float = 2.0  # minutes between temporary checkpoints (only the newest is kept)


@dataclasses.dataclass(unsafe_hash=True)
class Config(Freezable):
    """Everything that defines a training run."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    curriculum: CurriculumConfig = dataclasses.field(default_factory=CurriculumConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)


def resolve(config: Config) -> Config:
    """Returns a validated, frozen copy of `config`; raises UserError naming the field at fault."""
    resolved = from_dict(to_dict(config))
    _validate(resolved)
    return resolved.freeze()


def to_dict(config: Freezable) -> dict[str, Any]:
    """Returns the config as nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)  # ty: ignore[invalid-argument-type]


def to_json(config: Freezable) -> str:
    """Returns the config as indented JSON."""
    return json.dumps(to_dict(config), indent=2)


def from_dict(values: dict[str, Any], cls: Any = Config, prefix: str = "config") -> Any:
    """Builds a config of type `cls` from nested dicts; an unknown key or a wrong value is an error."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise unknown_key(f"{prefix}.{name}", fields)
    return cls(**{k: _checked(fields[k], v, f"{prefix}.{k}") for k, v in values.items()})


def unknown_key(path: str, known: Any) -> UserError:
    """Returns the error for a config key that doesn't exist, with the nearest one that does."""
    prefix, _, name = path.rpartition(".")
    return UserError(
        f"unknown config key '{path}'{nearest(name, known)}; '{prefix}' has: {', '.join(sorted(known))}"
    )


def _checked(field: dataclasses.Field, value: Any, path: str) -> Any:
    kind: Any = field.type
    if dataclasses.is_dataclass(kind):
        return from_dict(value, kind, path)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{path} is {value!r}; it must be of type {kind.__name__}")
    legal = field.metadata.get("legal")
    if legal and value not in legal:
        raise UserError(f"{path} is {value!r}; legal values: {', '.join(legal)}")
    return value


def _require(holds: bool, field: str, value: Any, rule: str) -> None:
    if not holds:
        raise UserError(f"config.{field} is {value!r}; it must be {rule}")


def _validate(config: Config) -> None:
    for group in ("model", "data", "curriculum", "optimizer", "train"):
        for name, value in to_dict(getattr(config, group)).items():
            if isinstance(value, int | float):
                _require(0 <= value < math.inf, f"{group}.{name}", value, "a finite number, 0 or more")
    _require(config.data.batch_size > 0, "data.batch_size", config.data.batch_size, "above 0")
    _require(config.curriculum.ramp <= 1, "curriculum.ramp", config.curriculum.ramp, "at most 1")
    _validate_model(config.model)
    _validate_optimizer(config.optimizer)
    _validate_mesh(config.mesh)
    _validate_train(config.train)


def _validate_model(model: ModelConfig) -> None:
    for name in ("d_model", "num_layers", "num_heads", "num_kv_heads", "head_dim", "d_ff"):
        _require(getattr(model, name) > 0, f"model.{name}", getattr(model, name), "above 0")
    _require(
        model.num_heads % model.num_kv_heads == 0,
        "model.num_kv_heads",
        model.num_kv_heads,
        f"a divisor of num_heads ({model.num_heads})",
    )
    _require(model.head_dim % 2 == 0, "model.head_dim", model.head_dim, "even (RoPE turns pairs)")
    _require(model.rope_theta > 0, "model.rope_theta", model.rope_theta, "above 0")
    _require(model.context_length > 1, "model.context_length", model.context_length, "above 1")


def _validate_optimizer(optimizer: OptimizerConfig) -> None:
    share = optimizer.decay_share
    _require(0 < share <= 1, "optimizer.decay_share", share, "above 0 and at most 1")
    for name in ("learning_rate", "muon_learning_rate", "clip_norm"):
        _require(getattr(optimizer, name) > 0, f"optimizer.{name}", getattr(optimizer, name), "above 0")
    for name in ("beta1", "beta2"):
        _require(getattr(optimizer, name) < 1, f"optimizer.{name}", getattr(optimizer, name), "below 1")
    _require(optimizer.final_share <= 1, "optimizer.final_share", optimizer.final_share, "at most 1")


def _validate_mesh(mesh: MeshConfig) -> None:
    sizes = dataclasses.astuple(mesh)
    _require(
        sizes.count(-1) <= 1 and all(s == -1 or s > 0 for s in sizes),
        "mesh",
        sizes,
        "positive sizes, at most one -1",
    )


def _validate_train(train: TrainConfig) -> None:
    _require(train.seed < 2**32, "train.seed", train.seed, "below 2**32")
    for name in ("log_every", "eval_every", "checkpoint_every"):
        _require(getattr(train, name) > 0, f"train.{name}", getattr(train, name), "above 0")
    lengths = {
        f"config.train.{name}": getattr(train, name) for name in ("num_steps", "num_epochs", "minutes")
    }
    given = {name: value for name, value in lengths.items() if value > 0}
    if len(given) != 1:
        told = ", ".join(f"{name} is {value:.15g}" for name, value in (given or lengths).items())
        raise UserError(f"{told}; exactly one of {', '.join(lengths)} must be above 0: set the others to 0")
