"""What a check found, and how checks are run: side by side, each for so long and no longer."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from tinyjax.checkpoint.remote import first_line
from tinyjax.errors import UserError

_HANGS = "what it asks hangs: a network, a disk or a driver"

Level = Literal["ok", "warning", "problem"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's."""

    name: str  # what was looked at
    level: Level
    text: str
    mend: str = ""

    def __str__(self) -> str:
        """Returns the line."""
        return f"{self.level:<7}  {self.name}: {self.text}" + (f"; {self.mend}" if self.mend else "")


@dataclasses.dataclass(frozen=True)
class Check:
    """Something to look at."""

    name: str
    look: Callable[[], Sequence[Finding]]
    seconds: float = 20  # it may take


class _Running:
    """A check at work in a thread, which is left behind where it hangs."""

    def __init__(self, check: Check):
        self._check = check
        self._found: Sequence[Finding] = [
            Finding(check.name, "problem", f"no answer within {check.seconds:g} s", _HANGS)
        ]
        self._deadline = time.monotonic() + check.seconds
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        name = self._check.name
        try:
            self._found = self._check.look()
        except UserError as error:
            self._found = [Finding(name, "problem", str(error))]
        except Exception as error:
            told = f"the check itself failed ({type(error).__name__}: {first_line(error)})"
            self._found = [Finding(name, "problem", told, "tell us, with this line")]

    def findings(self) -> Sequence[Finding]:
        """Waits for what it finds, until its time is over."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._found


def run(checks: Sequence[Check]) -> Iterator[Finding]:
    """Yields what checks find, in their order; one that hangs or crashes is a problem."""
    for running in [_Running(check) for check in checks]:
        yield from running.findings()
