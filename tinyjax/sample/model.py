"""What telling stories needs of a checkpoint, and its weights laid out for decoding."""

import dataclasses

import jax
import jax.numpy as jnp
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import ModelConfig
from tinyjax.model.cached import unstack
from tinyjax.model.parameters import abstract_params
from tinyjax.model.quantize import Int8, quantize
from tinyjax.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Model:
    """What telling stories needs of a checkpoint."""

    config: ModelConfig
    params: dict
    tokenizer: Tokenizer
    step: int
    instruct: bool  # trained on stories that come after instructions


def load_model(checkpoint: epath.PathLike, ema: bool = True) -> Model:
    """Reads parameters, config and tokenizer of a checkpoint: a run folder or one of its steps.

    Args:
      checkpoint: where it is.
      ema: whether to read the moving average of the parameters where the run kept one, not the newest.
    """
    folder = checkpoints.find(checkpoint)
    meta = checkpoints.read_meta(folder)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract_params(meta.config.model),
    )
    item = meta.parameters_item(ema)
    params = checkpoints.read_state(folder, **{item: target})[item]
    return Model(meta.config.model, params, meta.tokenizer, meta.step, meta.instruct)


def decoding_weights(config: ModelConfig, params: dict, int8: bool = False) -> dict:
    """Returns the parameters as `tinyjax.model.cached` wants them, and the output head as "head_DV".

    Everything but norms and biases is rounded once, not at every token: to the dtype of computing, or int8.
    A head laid out by inputs is read twice as fast by a CPU.
    """
    params = quantize(config, params) if int8 else params
    head_VD = params["embedding" if config.tie_embeddings else "head"]
    weights = unstack({name: value for name, value in params.items() if name != "head"})
    weights["head_DV"] = head_VD.T
    dtype = jnp.dtype(config.compute_dtype)

    def rounded(weight: jax.Array | Int8) -> jax.Array | Int8:
        return weight if isinstance(weight, Int8) or weight.ndim < 2 else weight.astype(dtype)

    return jax.tree.map(rounded, weights, is_leaf=lambda weight: isinstance(weight, Int8))
