"""The folder of this machine where tinyjax keeps what nobody asked it for."""

import hashlib
import os

from etils import epath


def cache_folder(kind: str) -> epath.Path:
    """Returns a folder below $XDG_CACHE_HOME/tinyjax, or ~/.cache/tinyjax; it need not be there."""
    return epath.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tinyjax" / kind


def cache_entry(kind: str, path: epath.Path) -> epath.Path:
    """Returns where in the cache that is kept which belongs to a path on gs://."""
    return cache_folder(kind) / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}-{path.name}"
