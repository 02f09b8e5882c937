"""Is the bucket there and open, is the coordinator's port free or in reach, and is the clock right?"""

import email.utils
import os
import socket
import time
from collections.abc import Sequence

import requests

from tinyjax.bin.checks.finding import Finding
from tinyjax.bin.checks.processes import holding_port
from tinyjax.checkpoint import preflight
from tinyjax.parallel.maintenance import metadata_server

SKEW_SECONDS = 60  # beyond which tokens are taken for expired, or not yet valid
_ANSWER_SECONDS = 10
_STORAGE = "STORAGE_EMULATOR_HOST"  # the variable by which the client libraries are told of another server


def bucket(folder: str) -> Sequence[Finding]:
    """What may be done in a folder on gs://; the bucket itself is asked about for the checkpoints."""
    answers = preflight.ask(folder, preflight.FOR_CHECKPOINTS)
    return [
        _allowed(preflight.Answers(folder, [a], answers.left if a.permission == preflight.DELETE else ""))
        for a in answers.answers
    ]


def _allowed(answers: preflight.Answers) -> Finding:
    """Returns the line for one permission."""
    permission = answers.answers[0].permission
    if answers.refused:
        return Finding("bucket", "problem", preflight.explain(answers), preflight.mend(answers))
    return Finding("bucket", "ok", f"may {permission.verb} at '{answers.folder}' ({permission.name})")


def port(number: int) -> Sequence[Finding]:
    """Can the coordinator's port be bound here?"""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("", number))
        except OSError as error:
            holders = "".join(f" (by {process})" for process in holding_port(number))
            told = f"{number} can't be bound: {os.strerror(error.errno or 0)}{holders}"
            return [Finding("port", "problem", told, "end what holds it, or give another port")]
    return [Finding("port", "ok", f"{number} can be bound")]


def coordinator(address: str, seconds: float = _ANSWER_SECONDS) -> Sequence[Finding]:
    """Can the coordinator be reached from here?"""
    host, _, number = address.rpartition(":")
    try:
        socket.create_connection((host, int(number)), seconds).close()
    except ConnectionRefusedError:
        told = f"'{host}' answers, but nobody listens at {number}"
        return [Finding("coordinator", "warning", told, "fine as long as process 0 isn't started")]
    except OSError as error:
        told = f"'{address}' can't be reached ({error.strerror or error})"
        return [
            Finding(
                "coordinator", "problem", told, "check the address, and let the port through the firewall"
            )
        ]
    return [Finding("coordinator", "ok", f"'{address}' can be reached")]


def clock(folder: str) -> Sequence[Finding]:
    """Is the clock right, by the metadata server or by that of the bucket?"""
    server = metadata_server()
    if not server and not folder:
        return [Finding("clock", "ok", "nothing to compare it with; --bucket gives something")]
    storage = os.environ.get(_STORAGE, "https://storage.googleapis.com")
    url = f"http://{server}/" if server else f"{storage}/storage/v1/b/{folder.split('/')[2]}"
    try:
        skew = _skew(url, use_proxy=not server)  # before the metadata server stands none
    except requests.RequestException as error:
        told = f"{url} doesn't answer ({type(error).__name__})"
        return [Finding("clock", "problem", told, "check the network, and whether a firewall is in the way")]
    if abs(skew) > SKEW_SECONDS:
        told = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {url}; credentials may be refused"
        return [Finding("clock", "problem", told, "set it: sudo timedatectl set-ntp true")]
    return [Finding("clock", "ok", f"within {max(1.0, abs(skew)):.0f} s of {url}")]


def _skew(url: str, use_proxy: bool) -> float:
    """Returns how many seconds this clock is ahead of the server's, whose answer may be a refusal."""
    with requests.Session() as session:
        session.trust_env = use_proxy
        began = time.time()
        answer = session.get(url, headers={"Metadata-Flavor": "Google"}, timeout=_ANSWER_SECONDS)
        here = (began + time.time()) / 2
    return here - email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
