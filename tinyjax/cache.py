"""The folder of this machine where tinyjax keeps what nobody asked it for."""

import os

from etils import epath


def cache_folder(name: str) -> epath.Path:
    """Returns a folder below $XDG_CACHE_HOME/tinyjax, or ~/.cache/tinyjax; it need not be there."""
    return epath.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tinyjax" / name
