"""Where a notebook runs: whose machine it is, which accelerator it has, and which folder outlasts it."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

_DRIVE = pathlib.Path("/content/drive")


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A notebook's machine."""

    host: Literal["colab", "kaggle", "jupyter"]
    accelerator: Literal["tpu", "gpu", "cpu"]


def find(environ: Mapping[str, str] = os.environ, root: pathlib.Path = pathlib.Path("/")) -> Runtime:
    """Returns what the variables and device files say; nothing is started, so nothing is held."""
    host = (
        "colab" if "COLAB_RELEASE_TAG" in environ else "kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in environ else ""
    )
    return Runtime(host or "jupyter", "cpu" if environ.get("JAX_PLATFORMS") == "cpu" else _accelerator(root))


def _accelerator(root: pathlib.Path) -> Literal["tpu", "gpu", "cpu"]:
    devices = root / "dev"
    if any(devices.glob("nvidia[0-9]*")):
        return "gpu"
    return "tpu" if any(devices.glob("accel*")) or any(devices.glob("vfio/[0-9]*")) else "cpu"


def runs_folder(runtime: Runtime, checkout: pathlib.Path, drive: bool) -> pathlib.Path:
    """Returns where runs are kept; asks for Google Drive where that is wanted and there."""
    if runtime.host == "kaggle":
        return pathlib.Path("/kaggle/working/runs")
    if runtime.host == "colab" and drive:
        from google.colab import drive as google_drive  # ty: ignore[import-not-found]

        google_drive.mount(str(_DRIVE))
        return _DRIVE / "MyDrive" / "tinyjax"
    return checkout / "runs"


def begun(run: pathlib.Path) -> dict[str, Any]:
    """Returns what a run that is there was begun with and would else go by the device; {} for a new one."""
    file = run / "config.json"
    if not file.exists():
        return {}
    config = json.loads(file.read_text())
    return {
        "batch_size": config["data"]["batch_size"],
        "compute_dtype": config["model"]["compute_dtype"],
    }


def offer(runtime: Runtime, file: str) -> None:
    """Lets the reader download a file, in the host's own way."""
    if runtime.host == "colab":
        from google.colab import files  # ty: ignore[import-not-found]

        files.download(file)
    print(f"{file}{' (to be found under Output, at the right)' if runtime.host == 'kaggle' else ''}")
