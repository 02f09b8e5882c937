"""A judge on 127.0.0.1 that speaks OpenAI's protocol, and misbehaves when it is told to."""

import collections
import contextlib
import dataclasses
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Generator
from typing import Any

ASSESSMENT = "A nice little story."


@dataclasses.dataclass
class Answer:
    """What the judge does with one request."""

    text: str | None = None  # None: as a good judge
    finish: str = "stop"
    refusal: str | None = None
    status: int = 200
    error: dict[str, Any] = dataclasses.field(default_factory=dict)  # with a status that isn't 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    delay: float = 0.0  # seconds
    page: str = ""  # in the place of JSON
    hang_up: bool = False  # says nothing, and closes the connection


@dataclasses.dataclass
class Asked:
    """A request."""

    body: dict[str, Any]
    headers: dict[str, str]
    time: float
    answered: bool = False  # with a reply

    @property
    def messages(self) -> list[dict[str, str]]:
        return self.body["messages"]


class JudgeServer(http.server.ThreadingHTTPServer):
    """Answers as a good judge, but for `answers`: the next request takes the first of them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: collections.deque[Answer] = collections.deque()
        self.refuses: set[str] = set()  # fields of the request
        self.names_what_it_refuses = True
        self.always: Answer | None = None
        self.requests: list[Asked] = []
        self.usage: dict[str, int] | None = {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def answered_twice(self) -> list[str]:
        """The conversations that were answered more than once."""
        counts = collections.Counter(json.dumps(asked.messages) for asked in self.requests if asked.answered)
        return [messages for messages, count in counts.items() if count > 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that go away."""


def grades_of(story: str) -> dict[str, Any]:
    """What the good judge thinks of a story: any grades, always the same."""
    digest = hashlib.sha256(story.encode()).digest()
    names = ("grammar", "creativity", "consistency", "plot")
    return {name: byte % 11 for name, byte in zip(names, digest, strict=False)} | {
        "age_group": "ABCDEF"[digest[9] % 6]
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing; `server.requests` is the log."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.title(): value for name, value in self.headers.items()}
        asked = Asked(body, headers, time.time())
        self.server.requests.append(asked)
        assert self.path == "/v1/chat/completions"
        answer = self._answer(body)
        time.sleep(answer.delay)
        if answer.hang_up:
            self.close_connection = True
            return
        with contextlib.suppress(OSError):  # the client is gone
            self._send(answer, body)
            asked.answered = answer.status == 200 and not answer.page

    def _answer(self, body: dict[str, Any]) -> Answer:
        if refused := sorted(self.server.refuses & body.keys()):
            said = (
                f"Unsupported parameter: '{refused[0]}'"
                if self.server.names_what_it_refuses
                else "Bad request"
            )
            return Answer(status=400, error={"message": said})
        if self.server.answers:
            return self.server.answers.popleft()
        return self.server.always or Answer()

    def _send(self, answer: Answer, body: dict[str, Any]) -> None:
        text = (
            ASSESSMENT
            if len(body["messages"]) == 1
            else json.dumps(grades_of(body["messages"][0]["content"]))
        )
        message = {
            "role": "assistant",
            "content": None if answer.refusal else text if answer.text is None else answer.text,
            "refusal": answer.refusal,
        }
        whole = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": answer.finish, "message": message}],
            "usage": self.server.usage,
        }
        content = answer.page or json.dumps(whole if answer.status == 200 else {"error": answer.error})
        self.send_response(answer.status)
        kind = "text/html" if answer.page else "application/json"
        for name, value in (
            {"Content-Type": kind, "Content-Length": str(len(content.encode()))} | answer.headers
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content.encode())


@contextlib.contextmanager
def judging() -> Generator[JudgeServer]:
    """Yields a judge that runs in a thread."""
    with JudgeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
