"""A file server on 127.0.0.1 that knows ranges and ETags, and misbehaves when it is told to."""

import collections
import contextlib
import dataclasses
import hashlib
import http.server
import pathlib
import re
import threading
import time
from collections.abc import Generator
from typing import Any


@dataclasses.dataclass
class Fault:
    """What a server does wrong with one request."""

    status: int = 0  # answer with this, and no file
    drop_after: int = -1  # bytes of the body, then the connection is closed
    stall_after: int = -1  # bytes of the body, then nothing for `stall` seconds, then it is closed
    stall: float = 1
    pause: float = 0  # seconds after each 64 KiB
    ignore_range: bool = False
    chunked: bool = False  # don't say how long the body is
    shift: int = 0  # send a range that begins so many bytes later than asked
    body: bytes | None = None  # in the place of the file
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Request:
    """What was asked and how much was sent."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `files` (bytes or paths by name); the first of `faults` is taken by the next request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes | pathlib.Path] = {}
        self.etags = True
        self.faults: collections.deque[Fault] = collections.deque()
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that go away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing; `server.requests` is the log."""

    def do_GET(self) -> None:
        fault = self.server.faults.popleft() if self.server.faults else Fault()
        asked = Request(self.path, {name.title(): value for name, value in self.headers.items()})
        self.server.requests.append(asked)
        content = self.server.files.get(self.path.split("?")[0].rsplit("/", 1)[-1])
        data = fault.body if fault.body is not None else content
        if fault.status or data is None:
            self._answer(asked, fault.status or 404, {"Content-Length": "0"} | fault.headers)
            return
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        start, etag = self._start(fault, data), _etag(data)
        headers = {"ETag": etag} if self.server.etags else {}
        if start >= size > 0:
            self._answer(asked, 416, {"Content-Length": "0", "Content-Range": f"bytes */{size}"})
            return
        if start:
            start += fault.shift
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        headers |= (
            {"Transfer-Encoding": "chunked"} if fault.chunked else {"Content-Length": str(size - start)}
        )
        self._answer(asked, 206 if start else 200, headers | fault.headers)
        self._send(asked, fault, data, start)

    def _start(self, fault: Fault, data: bytes | pathlib.Path) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if not found or fault.ignore_range or (condition and condition != _etag(data)):
            return 0
        return int(found[1])

    def _answer(self, asked: Request, status: int, headers: dict[str, str]) -> None:
        asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, asked: Request, fault: Fault, data: bytes | pathlib.Path, start: int) -> None:
        limit = max(fault.drop_after, fault.stall_after)
        for block in _blocks(data, start):
            if 0 <= limit <= asked.sent + len(block):
                block = block[: limit - asked.sent]
                self._write(asked, block, fault)
                time.sleep(fault.stall if fault.stall_after >= 0 else 0)
                self.close_connection = True
                return
            self._write(asked, block, fault)
            time.sleep(fault.pause)
        if fault.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, asked: Request, block: bytes, fault: Fault) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if fault.chunked else block)
        asked.sent += len(block)


def _blocks(data: bytes | pathlib.Path, start: int) -> Generator[bytes]:
    if isinstance(data, bytes):
        yield from (data[at : at + (1 << 16)] for at in range(start, len(data), 1 << 16))
        return
    with data.open("rb") as file:
        file.seek(start)
        while block := file.read(1 << 16):
            yield block


def _etag(data: bytes | pathlib.Path) -> str:
    return f'"{hashlib.md5(data if isinstance(data, bytes) else str(data).encode()).hexdigest()}"'


@contextlib.contextmanager
def serving() -> Generator[FileServer]:
    """Yields a server that runs in a thread."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
