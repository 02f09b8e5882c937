"""Weights & Biases, where config.train.wandb names a project; metrics.jsonl is written in any case."""

import contextlib
import uuid
from collections.abc import Callable, Generator

from etils import epath

from tinyjax.config import Config, to_dict
from tinyjax.data.publish import write_file
from tinyjax.errors import UserError

_ID = "wandb.id"  # in the run folder: the id by which a run goes on there too

Track = Callable[[int, dict[str, float]], None]  # step, values


@contextlib.contextmanager
def tracking(config: Config, folder: epath.Path, local: epath.Path) -> Generator[Track]:
    """Yields what tells W&B of a step's values; nothing is told without a project.

    Args:
      config: of the run, told at its start.
      folder: of the run, where its id at W&B is kept.
      local: folder for W&B's own files, which hold everything where WANDB_MODE is offline.

    Raises:
      UserError: the package is missing, or W&B refuses the run.
    """
    if not config.train.wandb:
        yield lambda step, values: None
        return
    try:
        import wandb
    except ImportError:
        raise UserError(
            f"config.train.wandb is '{config.train.wandb}' but the package wandb is missing; install it with "
            "pip install 'tinyjax[wandb]', or leave config.train.wandb empty"
        ) from None
    try:
        run = wandb.init(
            project=config.train.wandb,
            name=folder.name,
            id=_run_id(folder),
            resume="allow",
            dir=str(local),
            config=to_dict(config),
            # No code, no names of machines and accounts, no copy of what is printed.
            settings=wandb.Settings(
                console="off",
                quiet=True,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
            ),
        )
    except wandb.Error as error:
        raise UserError(
            f"W&B refused the run of config.train.wandb '{config.train.wandb}' "
            f"({' '.join(str(error).split())}); log in with `wandb login`, or keep its files here with "
            "WANDB_MODE=offline"
        ) from error
    run.define_metric("*", step_metric="step")  # a step that is made again may come twice
    with run:
        yield lambda step, values: run.log({"step": step, **values})


def _run_id(folder: epath.Path) -> str:
    """Returns the id of this run at W&B, chosen at its first start."""
    file = folder / _ID
    if not file.exists():
        write_file(file, uuid.uuid4().hex[:12].encode())
    return file.read_text()
