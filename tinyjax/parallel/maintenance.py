"""Google Cloud's word that it will stop this machine, turned into SIGTERM, by which all of a run stops.

The metadata server answers as soon as a value changes (docs.cloud.google.com/compute/docs/metadata).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import requests
from etils import epath

_SERVER = "GCE_METADATA_HOST"  # the variable by which Google's clients too are told of another server
_PRODUCT = "/sys/class/dmi/id/product_name"
_HELD_SECONDS = 300  # how long a question waits for a change, until it is asked anew
_ANSWER_SECONDS = 30  # how much longer the answer may take
_PAUSE_SECONDS = 5.0  # after a question that failed, and twice as long after each more, up to 64 times


def watch() -> bool:
    """Watches for an end of this machine from threads; returns whether it is a machine that tells of one.

    To this process then comes SIGTERM. Anywhere but on Google's machines nothing is asked.
    """
    server = metadata_server()
    if server:
        for key, is_end in (("maintenance-event", _is_announced()), ("preempted", _is_preempted)):
            url = f"http://{server}/computeMetadata/v1/instance/{key}"
            threading.Thread(target=_follow, args=(url, is_end), daemon=True).start()
    return bool(server)


def metadata_server() -> str:
    """Returns the host, or HOST:PORT, that tells of a machine of Google's, "" on any other machine."""
    return os.environ.get(_SERVER) or ("metadata.google.internal" if _is_of_google() else "")


def _is_of_google() -> bool:
    product = epath.Path(_PRODUCT)
    return product.exists() and "Google" in product.read_text()


def _is_announced() -> Callable[[str], bool]:
    """Returns what tells an announced stop from live migration, and from one announced before the start.

    A stop is announced up to an hour ahead: whoever starts a run on such a machine wants it to go on.
    """
    first: list[str] = []

    def is_end(value: str) -> bool:
        first.append(value)
        return value.startswith("TERMINATE") and value != first[0]

    return is_end


def _is_preempted(value: str) -> bool:
    return value == "TRUE"


def _follow(url: str, is_end: Callable[[str], bool]) -> None:
    """Asks for a value until it says that the machine will end; of answers that fail, it asks again."""
    last_etag, failures = "", 0
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands before this server
        while True:
            try:
                value, last_etag = _ask(session, url, last_etag)
                failures = 0
            except (requests.RequestException, KeyError):
                time.sleep(_PAUSE_SECONDS * 2 ** min(failures, 6))
                failures += 1
                continue
            if is_end(value):
                key = url.rpartition("/")[2]
                print(f"Google Cloud will stop this machine ({key}: {value})", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _ask(session: requests.Session, url: str, last_etag: str) -> tuple[str, str]:
    """Returns the value and its ETag: at once where there was none before, else when it has changed."""
    held = {"wait_for_change": "true", "last_etag": last_etag, "timeout_sec": str(_HELD_SECONDS)}
    answer = session.get(
        url,
        params=held if last_etag else {},
        headers={"Metadata-Flavor": "Google"},
        timeout=(_ANSWER_SECONDS, _HELD_SECONDS + _ANSWER_SECONDS),
    )
    answer.raise_for_status()
    return answer.text.strip(), answer.headers["ETag"]
