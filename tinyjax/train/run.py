"""A run: what stays the same while it goes on, where it is, and what may differ when it is taken up."""

import dataclasses
import json
import math
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from tinyjax.checkpoint.manager import Meta
from tinyjax.config import Config, to_dict
from tinyjax.errors import UserError
from tinyjax.parallel.distributed import check_equal, check_shared
from tinyjax.parallel.layout import check_sharded, layout
from tinyjax.parallel.sharding import check_batch, check_divides, make_mesh
from tinyjax.train.plan import Plan, make_plan
from tinyjax.train.step import TrainState, abstract_state, check_micro_batches

# What may differ between a run and its continuation: none of it changes a result, but the mesh the last bits
# of sums. Sources and their weights are compared by fingerprint.
FREE = ("data.path", "data.grain_workers", "data.prefetch", "train.log_every", "train.eval_every",
        "train.checkpoint_every", "train.checkpoint_minutes",
        "mesh.replica", "mesh.fsdp", "mesh.sequence", "mesh.tensor", "mesh.slices",
        "mesh.max_unsharded",
        "train.statistics_every", "train.sample_prompts", "train.sample_tokens",
        "train.profile_from", "train.profile_steps", "train.wandb")  # fmt: skip

# The sizes of a model that its mesh must divide, and the logical axis of each.
DIVIDED = {"d_model": "embed", "num_heads": "heads", "num_kv_heads": "kv_heads", "d_ff": "hidden",
           "vocab_size": "vocab", "context_length": "position"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same while a run goes on."""

    config: Config
    folder: epath.Path
    plan: Plan
    mesh: Mesh


@dataclasses.dataclass
class Progress:
    """Where a run is."""

    state: TrainState
    step: int  # updates made
    num_steps: int  # of the whole run, or UNDECIDED
    seconds: float  # spent training, earlier starts included


def prepare_run(config: Config, run_dir: epath.PathLike) -> Run:
    """Opens the data, completes the config from it, and checks that all fits."""
    plan = make_plan(config)
    mixture = plan.mixture
    if mixture.context_length != config.model.context_length:
        raise UserError(
            f"config.model.context_length is {config.model.context_length} but the windows in "
            f"'{config.data.path}' have {mixture.context_length} positions; set it to that, or prepare again"
        )
    model = dataclasses.replace(
        config.model,
        vocab_size=_vocab_size(config.model.vocab_size, mixture.tokenizer.vocab_size),
        compute_dtype=_compute_dtype(config.model.compute_dtype),
    )
    config = dataclasses.replace(config, model=model).freeze()
    mesh = make_mesh(config.mesh)
    check_mesh(config, mesh)
    run = Run(config, epath.Path(run_dir), plan, mesh)
    _check_processes(run)
    return run


def check_mesh(config: Config, mesh: Mesh) -> None:
    """Raises UserError where batch and model don't divide over the mesh, or too little is sharded."""
    check_batch(mesh, config.data.batch_size)
    check_micro_batches(config, mesh)
    for field, axis in DIVIDED.items():
        check_divides(mesh, f"config.model.{field}", getattr(config.model, field), axis)
    check_sharded(mesh, layout(abstract_state(config, mesh).params), config.mesh.max_unsharded)


def _check_processes(run: Run) -> None:
    """Raises UserError where the processes of this run have not the same settings, data and run folder."""
    settings = {name: value for name, value in _flat(to_dict(run.config)).items() if name != "data.path"}
    check_equal("the settings or the data", json.dumps([settings, run.plan.mixture.fingerprint]))
    check_shared(run.folder)


def _vocab_size(wanted: int, pieces: int) -> int:
    if wanted and wanted < pieces:
        raise UserError(
            f"config.model.vocab_size is {wanted} but the tokenizer has {pieces} pieces; leave it at 0"
        )
    return wanted or math.ceil(pieces / 64) * 64


def _compute_dtype(wanted: str) -> str:
    """Chooses bfloat16 where the hardware multiplies it fast: accelerators, and CPUs with AMX."""
    if wanted != "auto":
        return wanted
    if jax.default_backend() != "cpu":
        return "bfloat16"
    cpuinfo = epath.Path("/proc/cpuinfo")
    return "bfloat16" if cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text() else "float32"


def check_free(run: Run) -> None:
    """Raises UserError where the run folder holds the config of another run, and no checkpoint."""
    file = run.folder / "config.json"
    if file.exists() and _changed(_read_dict(file), run.config):
        raise UserError(
            f"'{file}' is of other settings, and there is no checkpoint beside it; choose another --run_dir, "
            "or move that file away"
        )


def check_same_run(run: Run, meta: Meta) -> None:
    """Raises UserError where a checkpoint is of another run than this one."""
    where = f"the run in '{run.folder}'"
    mend = "choose another --run_dir for a new run"
    mixture, path = run.plan.mixture, run.config.data.path
    if meta.tokenizer.sha256 != mixture.tokenizer.sha256:
        raise UserError(f"{where} was started with another tokenizer than the data's; {mend}")
    if meta.dataset != mixture.fingerprint:
        weights = " or weights" if len(mixture.sources) > 1 else ""
        raise UserError(f"{where} was started on other stories{weights} than '{path}'; {mend}")
    if changed := _changed(to_dict(meta.config), run.config):
        raise UserError(f"{where} was started with other settings: {'; '.join(changed)}; {mend}")


def _changed(stored: dict[str, Any], config: Config) -> list[str]:
    """Returns what differs between a stored config and this one, but for what is FREE."""
    then, now = _flat(stored), _flat(to_dict(config))
    return [
        f"config.{name} was {then.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted(then | now)
        if then.get(name) != now.get(name) and name not in FREE
    ]


def _read_dict(file: epath.Path) -> dict[str, Any]:
    """Reads a JSON object; a file that holds anything else counts as empty."""
    try:
        values = json.loads(file.read_text())
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        name: leaf
        for key, value in values.items()
        for name, leaf in (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        ).items()
    }
