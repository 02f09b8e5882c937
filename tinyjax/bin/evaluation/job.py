"""What the parts of an evaluation share: the model, the stories it tells, and where results go."""

import dataclasses
import functools

import yaml
from absl import flags
from etils import epath
from jax.sharding import Mesh

from tinyjax.bin.loading import load
from tinyjax.bin.progress import show_count
from tinyjax.config import MeshConfig
from tinyjax.data.manifests import Prepared, load_prepared
from tinyjax.errors import UserError
from tinyjax.evaluate.completions import complete
from tinyjax.parallel.sharding import make_mesh
from tinyjax.records import Record
from tinyjax.sample.model import Model

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "Run folder, checkpoint or model of others, local or gs://."
)
_OUT = flags.DEFINE_string("out", "", "Folder of the evaluation; what it holds already isn't done again.")
_DATA = flags.DEFINE_string(
    "data", "", "Prepared folder: whose stories are predicted, and searched for copies."
)
_OPENINGS = flags.DEFINE_string(
    "openings", "", "Openings to go on with: a .yaml list, as published with the paper; default: our own."
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 10, "Completions of each opening.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all draws.", lower_bound=0, upper_bound=2**32 - 1)
_EMA = flags.DEFINE_bool("ema", True, "Use the moving average of the parameters, where there is one.")


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
        if not _DATA.value:
            raise UserError("--data is missing; give the folder that prepare made, such as data/quickstart")
        return load_prepared(_DATA.value)

    @functools.cached_property
    def openings(self) -> list[str]:
        """What the model goes on with."""
        return read_openings(epath.Path(_OPENINGS.value))

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


def read_openings(path: epath.Path) -> list[str]:
    """Returns the openings in a YAML list, each once."""
    try:
        openings = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"'{path}' is not YAML ({error}); give a list of texts") from None
    if not isinstance(openings, list) or not all(isinstance(text, str) and text for text in openings):
        raise UserError(
            f"'{path}' is not a list of texts; give one, as the paper's 'Evaluation prompts.yaml'"
        )
    return list(dict.fromkeys(openings))


def the_job() -> Job:
    """Returns what the flags say."""
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give a run folder, such as runs/quickstart")
    if not _OUT.value:
        raise UserError("--out is missing; give a folder for the results, such as evaluations/quickstart")
    return Job(_CHECKPOINT.value, epath.Path(_OUT.value), _SEED.value)
