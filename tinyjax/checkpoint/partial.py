"""Starting a run from the parameters of another: all must match, but for what was asked to be passed."""

from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.errors import UserError
from tinyjax.tokenizer import Tokenizer


def parameters_from(checkpoint: str, fresh: dict, tokenizer: Tokenizer, allow_missing: str = "") -> dict:
    """Returns the parameters of a checkpoint, sharded as in `fresh`, whose own values fill what is missing.

    Where that run kept an average of its parameters, it is the average: what was evaluated and sampled.

    Args:
      checkpoint: a run folder (its newest step is taken), its checkpoints folder, or one step.
      fresh: parameters as they were initialised.
      tokenizer: that of the data; the checkpoint's must be the same.
      allow_missing: only parameters whose whole path this regex matches are taken from `fresh`, where they
        are missing or of another shape.

    Raises:
      UserError: the tokenizers differ, or a parameter is missing, misshapen or not expected.
    """
    folder = checkpoints.find(checkpoint)
    meta = checkpoints.read_meta(folder)
    _check_tokenizer(folder, meta.tokenizer, tokenizer)
    item = meta.parameters_item()
    stored, wanted = checkpoints.stored_shapes(folder, item), checkpoints.shapes(fresh)
    if problems := checkpoints.differences(stored, wanted, allow_missing):
        raise UserError(
            f"config.train.init_from '{folder}' does not fit this model: {checkpoints.listed(problems, 20)}; "
            "use a config of the same shapes, or start what differs afresh: config.train.allow_missing=REGEX"
        )
    taken = {name for name in wanted if stored.get(name) == wanted[name]}
    return _merge(fresh, _read(folder, item, _pick(fresh, taken)))


def _check_tokenizer(folder: epath.Path, theirs: Tokenizer, ours: Tokenizer) -> None:
    if theirs.sha256 != ours.sha256:
        raise UserError(
            f"config.train.init_from '{folder}' has another tokenizer (sha256 {theirs.sha256[:12]}) than the "
            f"data ({ours.sha256[:12]}); prepare the data with --tokenizer of that run's data"
        )


def _pick(tree: dict, names: set[str], prefix: str = "") -> dict:
    """Returns the shapes and shardings of the leaves with these paths, in their places."""
    kept: dict[str, Any] = {}
    for key, node in tree.items():
        path = f"{prefix}{key}"
        if isinstance(node, dict):
            if below := _pick(node, names, f"{path}/"):
                kept[key] = below
        elif path in names:
            kept[key] = jax.ShapeDtypeStruct(node.shape, node.dtype, sharding=node.sharding)
    return kept


def _read(folder: epath.Path, item: str, target: dict) -> dict:
    """Reads some of the parameters of an item."""
    arguments = ocp.args.PyTreeRestore(
        item=target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
    )
    with checkpoints.explained(folder), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        read = reader.restore(checkpoints.absolute(folder) / item, args=arguments)
        sums = checkpoints.read_json(folder)["checksums"][item]
        if not checkpoints.sums_of(read).items() <= sums.items():
            raise ValueError(f"the numbers in '{item}' are not those that were written")
    return read


def _merge(fresh: dict, read: dict) -> dict:
    """Returns `fresh` with what was read in its place."""
    return {
        key: _merge(node, read.get(key, {})) if isinstance(node, dict) else read.get(key, node)
        for key, node in fresh.items()
    }
