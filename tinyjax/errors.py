"""The one exception for everything a user can cause and mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A problem the user can mend; its message says what is wrong, where, and what to do.

    Binaries print the message alone, without a traceback, and exit with code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
