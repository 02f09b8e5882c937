"""Google Cloud Storage on 127.0.0.1, to which the real client libraries are pointed.

The emulator's own server is filled up where real buckets do more: it says an object's generation when it is
read, keeps to `ifGenerationMatch` (TensorStore's commits rest on both), serves requests side by side, and
refuses what a test forbids.
"""

import contextlib
import http.server
import json
import logging
import os
import re
import threading
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

BUCKET = "tinyjax-test"
CALLER = "tester@tinyjax.iam.gserviceaccount.com"  # whom it takes all requests to be from
_PERMISSIONS = {
    "read": "storage.objects.get",
    "list": "storage.objects.list",
    "write": "storage.objects.create",
    "delete": "storage.objects.delete",
    "look": "storage.buckets.get",
}


class _Refused(Exception):  # noqa: N818
    """A request that is answered with this status."""

    def __init__(self, status: int, message: str):
        self.status = status
        self.message = message


def _forbidden(verb: str) -> _Refused:
    """Returns the refusal in the words of the real server."""
    name, kind = _PERMISSIONS[verb], "bucket" if verb in ("list", "look") else "object"
    return _Refused(
        403,
        f"{CALLER} does not have {name} access to the Google Cloud Storage {kind}. "
        f"Permission '{name}' denied on resource (or it may not exist).",
    )


class _Storage(Storage):
    """Objects in memory, written and deleted under conditions."""

    def __init__(self):
        super().__init__(use_memory_fs=True)
        self.forbidden: re.Pattern[str] | None = None
        self.asked: list[str] = []  # all requests: "GET /b/BUCKET/o"
        self.condition = threading.local()  # the generation that this thread's request asks for
        self.lock = threading.RLock()

    def generation(self, bucket: str, name: str) -> str:
        """Returns an object's generation, "0" where there is none."""
        try:
            return self.get_file_obj(bucket, name)["generation"]
        except NotFound:
            return "0"

    def check(self, what: str) -> None:
        if self.forbidden and self.forbidden.search(what):
            raise _forbidden(what.split()[0])

    def _check_change(self, verb: str, bucket: str, name: str) -> None:
        self.check(f"{verb} {bucket}/{name}")
        wanted = getattr(self.condition, "generation", None)
        if wanted is not None and wanted != self.generation(bucket, name):
            raise _Refused(412, "conditionNotMet")

    def create_file(self, bucket_name: str, file_name: str, *arguments: Any, **options: Any) -> Any:
        with self.lock:
            self._check_change("write", bucket_name, file_name)
            return super().create_file(bucket_name, file_name, *arguments, **options)

    def delete_file(self, bucket_name: str, file_name: str) -> Any:
        with self.lock:
            self._check_change("delete", bucket_name, file_name)
            return super().delete_file(bucket_name, file_name)


class _Handler(RequestHandler):
    """The emulator's answers, with generations, conditions and refusals."""

    read_generation = ""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except _Refused as refusal:
            self._refuse(refusal)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        url = urlsplit(self.path)
        self.storage.asked.append(f"{self.command} {url.path}")
        condition = parse_qs(url.query).get("ifGenerationMatch")
        self.storage.condition.generation = condition[0] if condition else None
        if self.command == "GET":
            self._look(unquote(url.path), parse_qs(url.query).get("prefix", [""])[0])
        return True

    def _look(self, path: str, prefix: str) -> None:
        """Refuses what may not be read, and notes the generation of what will be."""
        if found := re.search(r"/b/([^/]+)(/o/?)?$", path):
            verb, name = ("list", prefix) if found[2] else ("look", "")
            self.storage.check(f"{verb} {found[1]}/{name}")
        elif found := re.search(r"/b/([^/]+)/o/(.+)$", path) or re.match(r"/([^/]+)/(.+)$", path):
            self.storage.check(f"read {found[1]}/{found[2]}")
            self.read_generation = self.storage.generation(found[1], found[2])

    def end_headers(self) -> None:
        if self.read_generation:
            self.send_header("x-goog-generation", self.read_generation)
        super().end_headers()

    def _refuse(self, refused: _Refused) -> None:
        error = {"error": {"code": refused.status, "message": refused.message}}
        body = json.dumps(error).encode()
        self.send_response(refused.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing."""


class Gcs(http.server.ThreadingHTTPServer):
    """The server, with one bucket."""

    daemon_threads = True
    request_queue_size = 128  # TensorStore opens dozens of connections at once

    def __init__(self):
        self.storage = _Storage()
        self.storage.create_bucket(BUCKET, {"name": BUCKET, "id": BUCKET})
        super().__init__(("127.0.0.1", 0), lambda *arguments: _Handler(self.storage, *arguments))

    @property
    def environment(self) -> dict[str, str]:
        """What points gcsfs, google-cloud-storage and TensorStore here."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return {
            "STORAGE_EMULATOR_HOST": url,
            "TENSORSTORE_GCS_HTTP_URL": url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    @contextlib.contextmanager
    def forbidding(self, pattern: str) -> Generator[None]:
        """Answers 403 to what matches: "read BUCKET/OBJECT", "write ...", "delete ...", "list BUCKET/PREFIX".

        "look BUCKET/" is asking what kind of bucket it is.
        """
        self.storage.forbidden = re.compile(pattern)
        try:
            yield
        finally:
            self.storage.forbidden = None

    def names(self, prefix: str) -> list[str]:
        """Returns the names of the objects that begin like this."""
        with self.storage.lock:
            return [name for name in self.storage.objects.get(BUCKET, {}) if name.startswith(prefix)]

    def has(self, name: str) -> bool:
        """Returns whether there is an object of this name."""
        return self.storage.generation(BUCKET, name) != "0"

    def copy(self, source: str, target: str) -> None:
        """Copies an object."""
        details = self.storage.get_file_obj(BUCKET, source) | {"name": target}
        self.storage.create_file(BUCKET, target, self.storage.get_file(BUCKET, source), details)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that go away."""


@pytest.fixture(scope="session")
def gcs() -> Iterator[Gcs]:
    """A bucket `gs://tinyjax-test` for this process and those it starts."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    logging.getLogger("api").setLevel(logging.CRITICAL)
    with Gcs() as server, pytest.MonkeyPatch.context() as patch:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def bucket(gcs: Gcs, request: pytest.FixtureRequest) -> str:
    """An empty folder on gs:// of a test's own."""
    return f"gs://{BUCKET}/{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}-{os.getpid()}"
