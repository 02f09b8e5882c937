"""A metadata server on 127.0.0.1."""

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest


class Metadata(http.server.ThreadingHTTPServer):
    """Says which TPU this machine has, by a clock of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ahead = 0.0  # seconds
        self.accelerator = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Metadata  # ty: ignore[incompatible-mutable-override]

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.ahead)

    def do_GET(self) -> None:
        kind = self.server.accelerator if self.path.endswith("/attributes/accelerator-type") else "here"
        allowed = self.headers["Metadata-Flavor"] == "Google"
        self.send_response(403 if not allowed else 200 if kind else 404)
        self.send_header("Content-Length", str(len(kind)))
        self.end_headers()
        self.wfile.write(kind.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing."""


@pytest.fixture
def metadata_server(monkeypatch) -> Iterator[Metadata]:
    """The server, which this process is told of."""
    with Metadata() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_address[1]}")
        yield server
        server.shutdown()
        thread.join()
