"""Typed configuration: what a run is, in plain dataclasses, validated once at the start.

`--config=configs/x.py` names a file whose `get_config()` returns a `Config`; `--config.a.b=v` overrides
fields. While flags are applied the objects are mutable (ml_collections assigns in place); `resolve`
validates and freezes them, and nothing changes them afterwards.
"""

import dataclasses
import json
import math
import re
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
    """The network: a decoder of one of two families.

    llama: RoPE, RMSNorm, SwiGLU, grouped heads. gpt_neo: learned positions, LayerNorm, GELU, biases, unscaled
    attention logits, and a window of attention in every second block (the TinyStories paper's models).
    """

    family: str = one_of("llama", "gpt_neo")
    vocab_size: int = 0  # rows of the embedding; 0: the tokenizer's pieces, padded to a multiple of 64
    d_model: int = 256  # width of the residual stream
    num_layers: int = 4  # decoder blocks
    num_heads: int = 4  # query heads
    num_kv_heads: int = 4  # key/value heads; must divide num_heads
    head_dim: int = 64  # width of one head
    d_ff: int = 704  # hidden width of the MLP
    context_length: int = 512  # longest sequence trained on and sampled
    rope_theta: float = 10000.0  # llama: base of the rotary frequencies
    norm_eps: float = 1e-5  # added to the mean square, or variance, in norms
    qk_norm: bool = False  # llama: RMSNorm on queries and keys before RoPE
    window: int = 256  # gpt_neo: positions, its own included, that one sees in every second block
    tie_embeddings: bool = True  # the output head is the token embedding
    mup_base_width: int = 0  # muP: the d_model that the learning rates were chosen at; 0: off
    mup_base_head_dim: int = 0  # muP: head_dim at that width; 0: as here, wider models have more heads
    compute_dtype: str = one_of("auto", "float32", "bfloat16")  # of activations and matmul inputs
    attention: str = one_of("auto", "reference", "blockwise", "fused", "splash")  # what computes it
    # what the backward pass recomputes: nothing; each block; all of it but attention; all but attention and
    # products with matrices
    remat: str = one_of("none", "block", "attention", "dots")
    dropout: float = 0.0  # share of the embeddings, and of what each block adds, zeroed in training


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
    """The optimizer and its learning-rate schedule."""

    name: str = one_of("adamw", "muon", "adafactor", "lion")  # muon: matrices by Muon, all else by Adam
    learning_rate: float = 3e-3  # peak, but for Muon's matrices; Lion likes a tenth to a third of AdamW's
    muon_learning_rate: float = 0.02  # peak for Muon's matrices
    schedule: str = one_of("wsd", "constant", "cosine", "linear", "rsqrt")  # wsd: warm-up, stable, decay
    warmup_steps: int = 50  # linear from 0, with every schedule
    decay_share: float = 0.5  # wsd: last share of training, down to final_share
    decay_shape: str = one_of("linear", "sqrt")  # wsd: a straight line, or 1 - sqrt, which falls faster
    final_share: float = 0.0  # learning rate at the end, as a share of the peak; rsqrt: never below it
    beta1: float = 0.9  # first moment (Lion: what it moves by); Adafactor has none where this is 0
    beta2: float = 0.95  # AdamW's and Adam's second moment; Lion's momentum
    weight_decay: float = 0.1  # decoupled; matrices only
    clip_norm: float = 1.0  # global gradient norm is clipped to this


@dataclasses.dataclass(unsafe_hash=True)
class MeshConfig(Freezable):
    """Sizes of the device mesh's axes, over all slices; -1 takes what is left (at most one)."""

    replica: int = -1  # data parallel, parameters replicated
    fsdp: int = 1  # data parallel, parameters sharded
    sequence: int = 1  # positions sharded
    tensor: int = 1  # heads and hidden units sharded
    slices: int = 0  # groups of devices with slow links between them; 0: the TPU slices that there are
    max_unsharded: float = 0.1  # largest share of parameter bytes whole on each device, with fsdp or tensor


@dataclasses.dataclass(unsafe_hash=True)
class TrainConfig(Freezable):
    """How long to train (num_steps, num_epochs or minutes), and what is written on the way."""

    seed: int = 0  # every random key and the data order derive from it
    num_steps: int = 0  # optimizer updates
    num_epochs: float = 0.0  # times that all windows are read; of a mixture, those of all its sources
    minutes: float = 0.0  # train for this long: the decay starts when the clock says so
    accumulation: int = 1  # micro-batches that each step's batch is computed in, one after the other
    loss_chunk: int = 0  # positions whose logits are in memory at a time, or nearly; 0: all
    z_loss: float = 0.0  # weight of log(Z)**2, minimised beside the loss; PaLM has 1e-4
    ema_decay: float = 0.0  # of the parameters' moving average, to evaluate and sample with; 0: no average
    max_skipped: int = 0  # bad updates are skipped; so many in a row end the run; 0: none is skipped
    spike_factor: float = 0.0  # bad is a gradient norm above this times its mean; 0: only what isn't finite
    log_every: int = 10  # steps between lines of metrics
    eval_every: int = 500  # steps between evaluations; there is always one at the end
    checkpoint_every: int = 500  # steps between permanent checkpoints; there is always one at the end
    checkpoint_minutes: float = 2.0  # minutes between temporary checkpoints (only the newest is kept)
    init_from: str = ""  # run folder, or step, whose parameters (their average, if any) a new run starts from
    allow_missing: str = ""  # regex: parameters that match it whole may be missing or misshapen in init_from
    statistics_every: int = 0  # steps between norms of each parameter in each layer; 0: none
    sample_prompts: str = ""  # beginnings of stories, with | between them, which each evaluation ends
    sample_tokens: int = 128  # at most so many new tokens in each of these stories
    profile_from: int = 20  # steps before the first that is profiled
    profile_steps: int = 0  # steps that are profiled, into the run folder; 0: none
    wandb: str = ""  # project at Weights & Biases that is told too; empty: none


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
    _validate_optimizer(config.optimizer, config.train.minutes)
    _validate_mesh(config.mesh)
    _validate_train(config.train)
    batch_size, parts = config.data.batch_size, config.train.accumulation
    rule = f"a multiple of train.accumulation ({parts})"
    _require(batch_size % parts == 0, "data.batch_size", batch_size, rule)


# Settings that one family alone has.
_ONLY_OF = {"rope_theta": "llama", "qk_norm": "llama", "mup_base_width": "llama", "window": "gpt_neo"}


def _validate_model(model: ModelConfig) -> None:
    for name in ("d_model", "num_layers", "num_heads", "num_kv_heads", "head_dim", "d_ff"):
        _require(getattr(model, name) > 0, f"model.{name}", getattr(model, name), "above 0")
    _require(
        model.num_heads % model.num_kv_heads == 0,
        "model.num_kv_heads",
        model.num_kv_heads,
        f"a divisor of num_heads ({model.num_heads})",
    )
    if model.family == "llama":
        _require(model.head_dim % 2 == 0, "model.head_dim", model.head_dim, "even (RoPE turns pairs)")
    _require(model.rope_theta > 0, "model.rope_theta", model.rope_theta, "above 0")
    _require(model.context_length > 1, "model.context_length", model.context_length, "above 1")
    _require(model.window > 0, "model.window", model.window, "above 0")
    _require(model.dropout < 1, "model.dropout", model.dropout, "below 1")
    for name, family in _ONLY_OF.items():
        value, default = getattr(model, name), getattr(ModelConfig, name)
        rule = f"{default!r} (a setting of the family {family}, and config.model.family is {model.family})"
        _require(family == model.family or value == default, f"model.{name}", value, rule)
    _require(
        model.mup_base_width > 0 or not model.mup_base_head_dim,
        "model.mup_base_head_dim",
        model.mup_base_head_dim,
        "0 without muP (model.mup_base_width is 0)",
    )


def _validate_optimizer(optimizer: OptimizerConfig, minutes: float) -> None:
    share = optimizer.decay_share
    _require(0 < share <= 1, "optimizer.decay_share", share, "above 0 and at most 1")
    for name in ("learning_rate", "muon_learning_rate", "clip_norm"):
        _require(getattr(optimizer, name) > 0, f"optimizer.{name}", getattr(optimizer, name), "above 0")
    for name in ("beta1", "beta2"):
        _require(getattr(optimizer, name) < 1, f"optimizer.{name}", getattr(optimizer, name), "below 1")
    _require(optimizer.final_share <= 1, "optimizer.final_share", optimizer.final_share, "at most 1")
    if minutes and optimizer.schedule in ("cosine", "linear"):
        raise UserError(
            f"config.optimizer.schedule is '{optimizer.schedule}', which goes by the number of steps, but "
            "with config.train.minutes the clock decides it; give config.train.num_steps or "
            "config.train.num_epochs instead, or take the schedule 'wsd'"
        )


def _validate_mesh(mesh: MeshConfig) -> None:
    sizes = (mesh.replica, mesh.fsdp, mesh.sequence, mesh.tensor)
    _require(
        sizes.count(-1) <= 1 and all(s == -1 or s > 0 for s in sizes),
        "mesh",
        sizes,
        "positive sizes, at most one -1",
    )
    _require(mesh.slices >= 0, "mesh.slices", mesh.slices, "0 or more")
    _require(0 <= mesh.max_unsharded <= 1, "mesh.max_unsharded", mesh.max_unsharded, "from 0 to 1")


def _validate_init(train: TrainConfig) -> None:
    pattern = train.allow_missing
    _require(not pattern or train.init_from != "", "train.allow_missing", pattern, "empty without init_from")
    try:
        re.compile(pattern)
    except re.error as error:
        _require(False, "train.allow_missing", pattern, f"a regular expression ({error})")


def _validate_updates(train: TrainConfig) -> None:
    _require(train.accumulation > 0, "train.accumulation", train.accumulation, "above 0")
    _require(train.ema_decay < 1, "train.ema_decay", train.ema_decay, "below 1")
    factor = train.spike_factor
    _require(not factor or factor > 1, "train.spike_factor", factor, "0, or above 1")
    _require(
        not factor or train.max_skipped > 0,
        "train.spike_factor",
        factor,
        "0 where nothing is skipped (train.max_skipped is 0)",
    )


def _validate_train(train: TrainConfig) -> None:
    _require(train.seed < 2**32, "train.seed", train.seed, "below 2**32")
    for name in ("log_every", "eval_every", "checkpoint_every", "sample_tokens"):
        _require(getattr(train, name) > 0, f"train.{name}", getattr(train, name), "above 0")
    _validate_init(train)
    _validate_updates(train)
    lengths = {
        f"config.train.{name}": getattr(train, name) for name in ("num_steps", "num_epochs", "minutes")
    }
    given = {name: value for name, value in lengths.items() if value > 0}
    if len(given) != 1:
        told = ", ".join(f"{name} is {value:.15g}" for name, value in (given or lengths).items())
        raise UserError(f"{told}; exactly one of {', '.join(lengths)} must be above 0: set the others to 0")
