"""Completions: from a request to the teller, and from its pieces to the answer, whole or as a stream."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tinyjax.sample.engine import Token
from tinyjax.sample.score import score_ids
from tinyjax.sample.stories import Piece
from tinyjax.serve.answers import Choice, Usage, error, joined
from tinyjax.serve.metrics import Metrics
from tinyjax.serve.requests import ALTERNATIVES, Asked, RefusedError, parse
from tinyjax.serve.service import Service
from tinyjax.serve.teller import EndedError, FullError, Order

MAX_BODY = 1 << 18  # bytes of a request
_GONE = 499  # what a client that left would have been answered, in the metrics


class Completions:
    """Answers requests for stories."""

    def __init__(self, service: Service):
        self._service = service
        self.metrics = Metrics(service.teller)
        self._scorer = _Scorer(service)

    async def answer(self, request: Request) -> Response:
        """Answers POST /v1/completions."""
        status = 500
        try:
            response = await self._answer(request)
            status = response.status_code
        except RefusedError as refused:
            status = refused.status
            raise
        except ClientDisconnect:
            status = _GONE
            return Response(status_code=_GONE)  # nobody reads it
        finally:
            self.metrics.answers.labels(status).inc()
        return response

    async def _answer(self, request: Request) -> Response:
        service = self._service
        body = await _read_json(request)
        asked = parse(body, service.model, service.name, service.teller.most)
        telling = _Telling(service, self.metrics, asked)
        try:
            telling.begin()
            await telling.score(self._scorer)
            if asked.stream:
                return _Stream(telling)
            return JSONResponse(await _unless_gone(request, telling.whole()), headers=telling.headers)
        except FullError as full:
            telling.end()
            raise RefusedError(str(full), status=429, code="queue_full", retry=full.seconds) from None
        except EndedError as ended:
            raise RefusedError(str(ended), status=503, retry=5) from None
        except BaseException:
            telling.end()
            raise


async def _read_json(request: Request) -> object:
    """Returns the body; RefusedError where it is too long or no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # also keeps pages of others from asking without being allowed to
        raise RefusedError(
            "the body must be JSON; send the header Content-Type: application/json", status=415
        )
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > MAX_BODY:
            raise RefusedError(f"the body is longer than {MAX_BODY:,} bytes; send less at a time", status=413)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise RefusedError("the body is no JSON that can be read") from None


class _Scorer:
    """Reads log-probabilities of prompts, those of one request at a time."""

    def __init__(self, service: Service):
        self._model, self._most = service.model, service.teller.most
        self._turn = asyncio.Lock()
        self._waiting = 0  # prompts

    async def score(self, rows: Sequence[Sequence[int]]) -> list[tuple[Token, ...]]:
        if self._waiting + len(rows) > self._most:
            raise FullError(1)
        self._waiting += len(rows)
        try:
            async with self._turn:
                return await run_in_threadpool(score_ids, self._model, rows, ALTERNATIVES)
        finally:
            self._waiting -= len(rows)


async def _unless_gone(request: Request, work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Returns what comes of work, which is cancelled when the client leaves: then ClientDisconnect."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Telling:
    """The stories of one request, from the teller's thread to the client."""

    def __init__(self, service: Service, metrics: Metrics, asked: Asked):
        self.asked = asked
        self._service, self._metrics = service, metrics
        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._orders: list[Order] = []
        self._left = 0  # stories that haven't ended
        self._started = time.monotonic()
        self._has_token = False
        self._usage = Usage(sum(len(prompt.ids) for prompt in asked.prompts))
        self._scored: list[tuple[Token, ...]] = [()] * len(asked.prompts)
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
            "seed": asked.seed,
        }
        self.headers = {"X-Ignored-Fields": _ascii(", ".join(asked.ignored))} if asked.ignored else {}

    def begin(self) -> None:
        """Puts the stories into the teller's queue; FullError or EndedError where it takes none."""
        loop = asyncio.get_running_loop()

        def deliver(piece: Piece | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

        if requests := self.asked.requests():
            self._orders = self._service.teller.tell(requests, deliver)
        self._left = len(self._orders)
        self._metrics.prompt_tokens.inc(self._usage.prompt)

    async def score(self, scorer: _Scorer) -> None:
        """Reads the prompts' log-probabilities, where they are wanted; FullError where too many are."""
        if self.asked.echo and self.asked.logprobs is not None:
            self._scored = await scorer.score([prompt.ids for prompt in self.asked.prompts])

    async def whole(self) -> dict[str, Any]:
        """Returns the answer, when all stories have ended."""
        parts: dict[int, list[dict[str, Any]]] = {}
        async for part in self._parts():
            parts.setdefault(part["index"], []).append(part)
        return {
            **self._head,
            "choices": [joined(parts[index]) for index in sorted(parts)],
            "usage": self._usage.as_json(),
        }

    async def events(self) -> AsyncIterator[str]:
        """Yields the answer as server-sent events, each with what has come of a story."""
        try:
            async for part in self._parts():
                if part["text"] or part["finish_reason"] or (part["logprobs"] or {}).get("tokens"):
                    counts = {"usage": None} if self.asked.counts else {}
                    yield _event({**self._head, "choices": [part], **counts})
        except RefusedError as refused:  # too late for a status
            yield _event(error(str(refused), refused.kind))
            return
        if self.asked.counts:
            yield _event({**self._head, "choices": [], "usage": self._usage.as_json()})
        yield "data: [DONE]\n\n"

    async def _parts(self) -> AsyncIterator[dict[str, Any]]:
        """Yields what comes of each story, its opening first; RefusedError where it is cut off."""
        model, n = self._service.model, self.asked.n
        choices = [
            Choice(number * n + sample, prompt, self._scored[number], self.asked, model.tokenizer)
            for number, prompt in enumerate(self.asked.prompts)
            for sample in range(n)
        ]
        for choice in choices:
            yield choice.opening()
            if self.asked.is_empty:
                yield choice.closing()
        while self._left:
            if (piece := await self._pieces.get()) is None:
                raise RefusedError("the server is being stopped", status=503)
            self._count(piece)
            yield choices[piece.number].add(piece)
        self._metrics.answered.observe(time.monotonic() - self._started)

    def _count(self, piece: Piece) -> None:
        self._usage.completion += len(piece.tokens)
        self._metrics.tokens.inc(len(piece.tokens))
        if piece.tokens and not self._has_token:
            self._has_token = True
            self._metrics.first_token.observe(time.monotonic() - self._started)
        if piece.finish:
            self._left -= 1
            self._metrics.stories.labels(piece.finish).inc()

    def end(self) -> None:
        """Gives back the slots of stories that haven't ended; may be called more than once."""
        self._service.teller.cancel(self._orders)
        if self._left:
            self._metrics.stories.labels("gone").inc(self._left)
            self._left = 0


class _Stream(StreamingResponse):
    """The events of stories, which end with the connection."""

    def __init__(self, telling: _Telling):
        self._end: Callable[[], None] = telling.end
        super().__init__(
            telling.events(),
            headers={**telling.headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _ascii(text: str) -> str:
    """Returns a text as a header may hold it."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:1000]
