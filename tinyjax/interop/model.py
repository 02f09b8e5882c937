"""A model on its way between formats: config, parameters and tokenizer on the host, and our checkpoints."""

import dataclasses
from typing import Any

import jax
import numpy as np
from etils import epath

from tinyjax.checkpoint import copying
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import Meta
from tinyjax.config import Config, ModelConfig, TrainConfig, resolve
from tinyjax.errors import UserError
from tinyjax.model.parameters import abstract_params
from tinyjax.tokenizer import Tokenizer

_IMPORTED = "unknown: imported from "  # what a checkpoint says of its data
_VOCABULARY = ("embedding", "head")  # the parameters with a row for each id


@dataclasses.dataclass(frozen=True)
class Model:
    """What every format holds of a model; `params` is as `parameters.declare`, in float32 NumPy arrays."""

    config: ModelConfig
    params: dict
    tokenizer: Tokenizer


def checked(model: Model, source: epath.PathLike) -> Model:
    """Returns a model that was read from `source`, as contiguous float32 arrays and a frozen config.

    Raises:
      UserError: a parameter is missing, not expected, misshapen or not finite, or the tokenizer has more ids
        than the embedding has rows.
    """
    config = validated(model.config, source)
    stored, wanted = checkpoints.shapes(model.params), checkpoints.shapes(abstract_params(config))
    if problems := checkpoints.differences(stored, wanted):
        raise UserError(
            f"'{source}' does not hold the model that its settings describe: {checkpoints.listed(problems)}; "
            "get the file again, or from where it is whole"
        )
    if model.tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {model.tokenizer.vocab_size} ids, but the model of '{source}' knows "
            f"{config.vocab_size}; give the tokenizer that it was trained with"
        )
    params = jax.tree.map(lambda x: np.ascontiguousarray(x, np.float32), model.params)
    for name, x in checkpoints.named_leaves(params).items():
        if not np.isfinite(x).all():
            raise UserError(f"'{source}': {name} holds numbers that are not finite; get the file again")
    return Model(config, params, model.tokenizer)


def validated(config: ModelConfig, source: epath.PathLike) -> ModelConfig:
    """Returns the config, frozen; UserError where it makes no sense."""
    try:
        return resolve(Config(model=dataclasses.replace(config), train=TrainConfig(num_steps=1))).model
    except UserError as error:
        raise UserError(f"'{source}' describes a model that can't be: {error}") from None


def needed(tokenizer: Tokenizer | None, source: epath.PathLike) -> Tokenizer:
    """Returns the tokenizer; raises UserError where none was given and the format at `source` holds none."""
    if tokenizer is None:
        raise UserError(
            f"no tokenizer lies with '{source}'; give the one the model was trained with: --tokenizer=PATH"
        )
    return tokenizer


def without_padding(model: Model) -> Model:
    """Returns the model without the rows that only pad its vocabulary: no id has them."""
    vocab_size = model.tokenizer.vocab_size
    cut = {name: model.params[name][:vocab_size] for name in _VOCABULARY if name in model.params}
    config = dataclasses.replace(model.config, vocab_size=vocab_size).freeze()
    return dataclasses.replace(model, config=config, params=model.params | cut)


def num_parameters(params: dict) -> int:
    """Counts the numbers that a model consists of."""
    return sum(x.size for x in jax.tree.leaves(params))


def read_checkpoint(checkpoint: epath.PathLike, ema: bool = True) -> Model:
    """Reads a checkpoint of ours: a run folder (its newest step is taken), or one of its steps.

    Args:
      checkpoint: where it is.
      ema: whether to read the moving average of the parameters where the run kept one, not the newest.
    """
    folder = checkpoints.find(checkpoint)
    meta = checkpoints.read_meta(folder)
    item = meta.parameters_item(ema)
    state = checkpoints.read_state(folder, **{item: copying.on_one_device(folder, item)})
    return checked(Model(meta.config.model, jax.device_get(state[item]), meta.tokenizer), folder)


def write_checkpoint(
    model: Model, folder: epath.PathLike, origin: str, instruct: bool = False, overwrite: bool = False
) -> epath.Path:
    """Writes a model as the checkpoint of step 0 of a run folder, without an optimizer's state; returns it.

    Args:
      model: what to write.
      folder: the run folder, new or without checkpoints.
      origin: where the model is from, for those who look at the checkpoint.
      instruct: whether it was trained on stories that come after instructions.
      overwrite: whether a checkpoint that this wrote earlier may be replaced.

    Raises:
      UserError: there are checkpoints in the folder, or it can't be written to.
    """
    folder = epath.Path(folder)
    _make_room(folder / "checkpoints", overwrite)
    # What others' programs compute, in the dtype that their numbers are compared in.
    config = dataclasses.replace(model.config, compute_dtype="float32")
    meta = Meta(
        step=0,  # of training here: how it came about is not known
        config=Config(model=config).freeze(),
        tokenizer=model.tokenizer,
        dataset=f"{_IMPORTED}{origin}",
        num_steps=0,
        seconds=0.0,
        instruct=instruct,
    )
    params: Any = jax.device_put(model.params, jax.devices()[0])
    with checkpoints.open_for_writing(folder / "checkpoints", keep_every=1) as manager:
        checkpoints.save(manager, params, None, meta)
    return folder / "checkpoints" / "0"


def _make_room(folder: epath.Path, overwrite: bool) -> None:
    """Removes an earlier import where that is asked for; UserError where there is any other checkpoint."""
    steps = checkpoints.steps(folder)
    if not steps:
        return
    if not overwrite:
        raise UserError(
            f"'{folder}' holds checkpoints; take another folder, or --overwrite an earlier import"
        )
    if steps != [0] or not checkpoints.read_meta(folder / "0").dataset.startswith(_IMPORTED):
        raise UserError(
            f"'{folder}' holds checkpoints that were trained here, and these are never overwritten; take "
            "another folder"
        )
    (folder / "0").rmtree()
