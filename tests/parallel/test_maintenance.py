"""Google Cloud's announcements become SIGTERM, whatever its server answers in between."""

import contextlib
import http.server
import signal
import threading
import time
import urllib.parse
from collections.abc import Generator
from typing import Any

import pytest

from tests import binaries
from tinyjax.parallel import maintenance

pytestmark = pytest.mark.alone

ANSWERS = 503  # instead of a value: this status
HANGS = 0  # instead of a value: no answer
WAITS = 1  # before the value that follows: until the test goes on


class Metadata(http.server.ThreadingHTTPServer):
    """Gives, for each key, its values one after the other: the first at once, the others to who waits."""

    daemon_threads = True

    def __init__(self, **values: list[str | int]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.values = {name.replace("_", "-"): list(v) for name, v in values.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        self.going_on = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that go away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Metadata  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing."""

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(path.query))
        key = path.path.removeprefix("/computeMetadata/v1/instance/")
        self.server.asked.append((key, query))
        left = self.server.values.get(key, [])
        if not left or left[0] == HANGS:
            del left[:1]
            self.server.closing.wait(30)
            return
        if left[0] == WAITS:
            del left[0]
            self.server.going_on.wait(60)
        value = left.pop(0)
        status, body = (value, b"") if isinstance(value, int) else (200, value.encode())
        if self.headers["Metadata-Flavor"] != "Google":
            status, body = 403, b""
        self.send_response(status)
        self.send_header("ETag", str(len(left)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, **values: list[str | int]) -> Generator[Metadata]:
    """Yields a metadata server in a thread, which this process is told of."""
    with Metadata(**values) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_address[1]}")
        monkeypatch.setattr(maintenance, "_PAUSE_SECONDS", 0.01)
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def terminated() -> Generator[threading.Event]:
    """Is set by SIGTERM."""
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    yield came
    signal.signal(signal.SIGTERM, before)


def test_an_announced_stop_comes_as_sigterm(monkeypatch, terminated: threading.Event, capfd):
    with serving(monkeypatch, maintenance_event=["NONE", "TERMINATE_ON_HOST_MAINTENANCE"]) as server:
        assert maintenance.watch()
        assert terminated.wait(10)
    first, second = (query for key, query in server.asked if key == "maintenance-event")
    assert first == {}
    assert (second["wait_for_change"], second["last_etag"]) == ("true", "1")
    assert (
        "Google Cloud will stop this machine (maintenance-event: TERMINATE_ON_HOST_MAINTENANCE)"
        in capfd.readouterr().err
    )


def test_preemption_comes_as_sigterm(monkeypatch, terminated: threading.Event):
    with serving(monkeypatch, maintenance_event=["NONE"], preempted=["FALSE", "TRUE"]):
        maintenance.watch()
        assert terminated.wait(10)


@pytest.mark.parametrize(
    "values",
    [
        ["NONE", "MIGRATE_ON_HOST_MAINTENANCE", "NONE"],
        ["TERMINATE_ON_HOST_MAINTENANCE", "TERMINATE_ON_HOST_MAINTENANCE"],  # before the start
    ],
)
def test_what_does_not_end_it_is_passed_over(values: list, monkeypatch, terminated: threading.Event):
    """A migration, and a stop that was known when the run was started: all values are asked for."""
    with serving(monkeypatch, maintenance_event=values) as server:
        maintenance.watch()
        deadline = time.monotonic() + 10
        while sum(key == "maintenance-event" for key, _ in server.asked) <= len(values):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not terminated.is_set()


def test_a_server_that_fails_or_hangs_is_asked_again(monkeypatch, terminated: threading.Event):
    monkeypatch.setattr(maintenance, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(maintenance, "_HELD_SECONDS", 0.1)
    values = [ANSWERS, HANGS, "NONE", ANSWERS, HANGS, "TERMINATE_ON_HOST_MAINTENANCE"]
    with serving(monkeypatch, maintenance_event=values):
        begin = time.monotonic()
        maintenance.watch()
        assert time.monotonic() - begin < 1  # who starts doesn't wait for it
        assert terminated.wait(10)


def test_elsewhere_nothing_is_asked(monkeypatch, tmp_path):
    product = tmp_path / "product_name"
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    monkeypatch.setattr(maintenance, "_PRODUCT", str(product))
    monkeypatch.setattr(threading, "Thread", None)  # none is made
    assert not maintenance.watch()
    product.write_text("Virtual Machine\n")
    assert not maintenance.watch()


def test_google_s_machines_say_what_they_are(monkeypatch, tmp_path):
    (tmp_path / "product_name").write_text("Google Compute Engine\n")
    monkeypatch.setattr(maintenance, "_PRODUCT", str(tmp_path / "product_name"))
    assert maintenance._is_of_google()


@pytest.mark.slow
def test_a_run_ends_as_by_sigterm(monkeypatch, tiny_data, tmp_path):
    """The binary, told of an end once it has written its first lines: a checkpoint, and exit code 42."""
    with serving(monkeypatch, preempted=["FALSE", WAITS, "TRUE"]) as server:
        process = binaries.start(
            "train", binaries.CONFIG, f"--config.data.path={tiny_data.path}", f"--run_dir={tmp_path}",
            "--config.train.num_steps=100000", "--config.train.eval_every=100000",
        )  # fmt: skip
        while not (tmp_path / "metrics.jsonl").exists():
            assert process.poll() is None, binaries.finish(process)
            time.sleep(0.01)
        server.going_on.set()
        result = binaries.finish(process)
    assert result.returncode == 42, result.stderr
    assert "Google Cloud will stop this machine (preempted: TRUE)" in result.stderr
    assert "stopped by SIGTERM after step " in result.stderr
    assert "; a checkpoint was written" in result.stderr
