"""What the parts of an evaluation share: the model, the stories it tells, and where results go."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Any

import yaml
from absl import flags
from etils import epath
from jax.sharding import Mesh

import tinyjax.evaluate
from tinyjax import instruct
from tinyjax.bin.loading import kept_average, load
from tinyjax.bin.progress import show_count
from tinyjax.checkpoint.manager import sums_of
from tinyjax.config import MeshConfig, to_dict
from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.data.publish import write_file
from tinyjax.errors import UserError
from tinyjax.evaluate.completions import complete
from tinyjax.model.parameters import count
from tinyjax.parallel.sharding import make_mesh
from tinyjax.records import Record
from tinyjax.sample.model import Model

EVALUATION = "evaluation.json"
_SAME = ("checkpoint", "step", "seed", "weights", "digest")  # what all results in one folder share
_OWN_OPENINGS = pathlib.Path(tinyjax.evaluate.__file__).with_name("openings.yaml")
_OWN_INSTRUCTIONS = _OWN_OPENINGS.with_name("instructions.yaml")

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "Run folder, checkpoint or model of others, local or gs://."
)
_OUT = flags.DEFINE_string(
    "out", "", "Folder of the evaluation, local or gs://; what it holds already isn't done again."
)
_DATA = flags.DEFINE_string(
    "data", "", "Prepared folder: whose stories are predicted, and searched for copies."
)
_OPENINGS = flags.DEFINE_string(
    "openings",
    "",
    "What to go on with: a .yaml list of openings, as published with the paper, or of instructions ({words: "
    "[...], features: [...], sentence: ..., summary: ...}). Default: our own, of the kind the model is for.",
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 10, "Completions of each opening.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all draws.", lower_bound=0, upper_bound=2**32 - 1)
_EMA = flags.DEFINE_bool("ema", True, "Use the moving average of the parameters, where there is one.")


class NotGivenError(UserError):
    """What a part of the evaluation needs wasn't given."""


@dataclasses.dataclass(frozen=True)
class Job:
    """An evaluation; what a part doesn't ask for is neither read nor told."""

    checkpoint: str
    out: epath.Path
    seed: int

    @functools.cached_property
    def model(self) -> Model:
        """The model."""
        return load(self.checkpoint, ema=_EMA.value)

    @functools.cached_property
    def parameters(self) -> str:
        """Which parameters these are: "ema", their moving average, or "params", the newest."""
        return "ema" if _EMA.value and kept_average(self.checkpoint) else "params"

    def begin(self) -> None:
        """Reads the model, and writes to OUT/evaluation.json which it is; UserError: there is another one."""
        file = self.out / EVALUATION
        described = _described(self)
        if file.exists():
            _check_same(file, described)
        self.out.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps(described, indent=2, ensure_ascii=False).encode())

    @functools.cached_property
    def mesh(self) -> Mesh:
        """All devices."""
        return make_mesh(MeshConfig())

    @property
    def has_data(self) -> bool:
        """Whether there are stories to compare it with."""
        return bool(_DATA.value)

    @functools.cached_property
    def data(self) -> Prepared:
        """The stories it is compared with."""
        if not self.has_data:
            raise NotGivenError(
                "--data is missing; give the folder that prepare made, such as runs/quickstart/data"
            )
        return load_prepared(_DATA.value)

    @functools.cached_property
    def openings(self) -> list[str]:
        """What the model goes on with: instructions, where it was trained on them."""
        if _OPENINGS.value:
            return read_openings(epath.Path(_OPENINGS.value))
        return read_openings(epath.Path(_OWN_INSTRUCTIONS if self.model.instruct else _OWN_OPENINGS))

    @functools.cached_property
    def completions(self) -> list[Record]:
        """How it goes on, at temperature 1, as `sample --output` writes it."""
        with show_count("completions", len(self.openings) * _NUM_SAMPLES.value) as advance:
            return complete(
                self.model,
                self.checkpoint,
                self.openings,
                self.out / "stories.jsonl",
                num_samples=_NUM_SAMPLES.value,
                seed=self.seed,
                mesh=self.mesh,
                told=lambda done, whole: advance(""),
            )


def needs_data(job: Job) -> None:
    """Raises NotGivenError where no prepared folder is named; UserError where there is none of that name."""
    _ = job.data


def _described(job: Job) -> dict[str, Any]:
    """Returns what the evaluation is of."""
    model = job.model
    parameters = count(model.config)
    return {
        "name": job.out.name,
        "checkpoint": job.checkpoint,
        "step": model.step,
        "seed": job.seed,
        "weights": job.parameters,
        "digest": hashlib.sha256(json.dumps(sums_of(model.params)).encode()).hexdigest()[:16],
        "parameters": {
            "total": parameters["total"],
            "embeddings": parameters["embedding"],
            "body": parameters["body"],
        },
        "model": to_dict(model.config),
        "tokenizer": {"vocab_size": model.tokenizer.vocab_size, "sha256": model.tokenizer.sha256},
    }


def _check_same(file: epath.Path, described: dict[str, Any]) -> None:
    """Raises UserError where the folder has results of something else."""
    mend = "give another folder to --out, or move that one away"
    try:
        there = json.loads(file.read_text())
        differ = [name for name in _SAME if there[name] != described[name]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"'{file}' is damaged; {mend}") from None
    if differ:
        was, now = (", ".join(f"{name} {of[name]}" for name in differ) for of in (there, described))
        raise UserError(f"'{file.parent}' holds an evaluation of {was}, not of {now}; {mend}")


def read_openings(path: epath.Path) -> list[str]:
    """Returns the prompts in a YAML list of openings or instructions, each once."""
    try:
        items = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"'{path}' is not YAML ({error}); give a list of texts") from None
    openings = [_prompt(item) for item in items] if isinstance(items, list) else []
    if not openings or not all(openings):
        raise UserError(
            f"'{path}' is not a list of texts, or of instructions such as {{words: [quit, oak]}}; give one, "
            "as the paper's 'Evaluation prompts.yaml'"
        )
    return list(dict.fromkeys(openings))


def _prompt(item: Any) -> str:
    """Returns a prompt; empty where it is none."""
    if isinstance(item, str):
        return item
    if not isinstance(item, dict) or not item.keys() <= set(instruct.KINDS):
        return ""
    return instruct.prompt({kind: _instruction(value) for kind, value in item.items()})


def _instruction(value: Any) -> instruct.Value:
    return tuple(map(str, value)) if isinstance(value, list) else str(value)


def the_job() -> Job:
    """Returns what the flags say."""
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give a run folder, such as runs/quickstart")
    if not _OUT.value:
        raise UserError("--out is missing; give a folder for the results, such as evaluations/quickstart")
    return Job(os.fspath(epath.Path(_CHECKPOINT.value)), epath.Path(_OUT.value), _SEED.value)
