"""Checks are run side by side, and none of them can hang or crash the doctor."""

import threading
import time

from tinyjax.bin.checks.finding import Check, Finding, run
from tinyjax.errors import UserError

FINE = Finding("fine", "ok", "all is well")


def fail(error: Exception):
    raise error


def test_a_check_that_hangs_is_given_up_and_the_others_go_on():
    never = threading.Event()
    begin = time.monotonic()
    found = list(
        run([Check("hangs", lambda: [FINE] if never.wait() else [], 0.2), Check("b", lambda: [FINE])])
    )
    assert time.monotonic() - begin < 5
    assert [str(finding) for finding in found] == [
        "problem  hangs: no answer within 0.2 s; what it asks hangs: a network, a disk or a driver",
        "ok       fine: all is well",
    ]


def test_a_check_that_crashes_is_a_line_and_no_traceback(capfd):
    (found,) = run([Check("a", lambda: fail(ZeroDivisionError("division by zero\nsecond line")))])
    assert str(found) == (
        "problem  a: the check itself failed (ZeroDivisionError: division by zero); tell us, with this line"
    )
    assert capfd.readouterr() == ("", "")


def test_a_user_s_error_is_told_as_it_is():
    (found,) = run([Check("a", lambda: fail(UserError("there is no bucket 'b'; create it")))])
    assert str(found) == "problem  a: there is no bucket 'b'; create it"


def test_checks_wait_side_by_side():
    def wait() -> list[Finding]:
        both.wait(10)
        return [FINE]

    both = threading.Barrier(2)
    assert list(run([Check("a", wait), Check("b", wait)])) == [FINE, FINE]
