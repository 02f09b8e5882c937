"""The exceptions that binaries turn into a message and an exit code."""

import difflib
import signal
from collections.abc import Iterable


class UserError(Exception):
    """A problem the user can mend; its message says what is wrong, where, and what to do.

    Binaries print the message alone, without a traceback, and exit with code 2.
    """


class Stopped(Exception):  # noqa: N818
    """Work was told to stop by a signal; what was done is saved, and the same command goes on from there."""

    def __init__(self, signum: int, where: str):
        """Remembers the signal; `where` says how far the work has come."""
        super().__init__(f"stopped by {signal.Signals(signum).name} {where}")
        self.signum = signum


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
