"""The server's addresses: OpenAI's completions, the model, health, metrics and the playground."""

import contextlib
import hmac
import time
from collections.abc import AsyncGenerator
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tinyjax import instruct
from tinyjax.serve.answers import error
from tinyjax.serve.completions import Completions
from tinyjax.serve.page import read_page
from tinyjax.serve.requests import ALTERNATIVES, RefusedError
from tinyjax.serve.service import Service

_OPEN = {"/", "/health"}  # these need no key
_LOCAL_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def make_app(service: Service) -> Starlette:
    """Returns the ASGI application; it starts the teller, and stops it at the end."""
    teller = service.teller

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        teller.start()
        yield
        teller.stop()
        await run_in_threadpool(teller.join, 5)

    completions = Completions(service)
    page, page_headers = read_page()
    model = _model_card(service)

    async def play(request: Request) -> Response:
        return HTMLResponse(page, headers=page_headers)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Request) -> Response:
        if (asked := request.path_params["name"]) != service.name:
            raise RefusedError(f"there is no model {asked!r}", "model", 404, "model_not_found")
        return JSONResponse(model)

    async def health(request: Request) -> Response:
        if teller.is_running:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "ending"}, 503)

    async def metrics(request: Request) -> Response:
        content, kind = completions.metrics.text()
        return Response(content, media_type=kind)

    routes = [
        Route("/", play),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", one_model),
        Route("/v1/completions", completions.answer, methods=["POST"]),
    ]
    handlers: Any = {RefusedError: _refused, HTTPException: _http_error, Exception: _bug}
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=_middleware(service)
    )


def _middleware(service: Service) -> list[Middleware]:
    """Returns what every request passes, the outermost first."""
    pages = [origin for origin in service.origins if origin != "localhost"]
    local = _LOCAL_PAGES if "localhost" in service.origins else None
    hosts = [Middleware(TrustedHostMiddleware, list(service.hosts))] if service.hosts else []
    return [
        *hosts,
        Middleware(
            CORSMiddleware,
            allow_origins=pages,
            allow_origin_regex=local,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            allow_private_network=True,  # pages of the internet that are named may reach this machine
            expose_headers=["Retry-After", "X-Ignored-Fields"],
        ),
        Middleware(_Gate, service.api_key),
    ]


class _Gate:
    """Lets only those in who bring the key."""

    def __init__(self, app: ASGIApp, key: str):
        self._app, self._key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._key or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(key.strip().encode("latin-1"), self._key):
            await self._app(scope, receive, send)
            return
        answer = error(
            "this server needs its API key, as Authorization: Bearer KEY",
            "invalid_request_error",
            code="invalid_api_key",
        )
        await JSONResponse(answer, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)


def _model_card(service: Service) -> dict[str, Any]:
    model = service.model
    return {
        "id": service.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "tinyjax",
        "step": model.step,
        "context_length": model.config.context_length,
        "instruct": model.instruct,
        "features": list(instruct.FEATURES) if model.instruct else [],
        "max_stories": service.teller.most,
        "max_logprobs": ALTERNATIVES,
    }


async def _refused(request: Request, refused: RefusedError) -> Response:
    answer = error(str(refused), refused.kind, refused.param, refused.code)
    retry = {"Retry-After": str(refused.retry)} if refused.retry else {}
    return JSONResponse(answer, refused.status, retry)


async def _http_error(request: Request, problem: HTTPException) -> Response:
    where = f"{request.method} {request.url.path}"
    message = f"{where}: {problem.detail}; stories are told by POST /v1/completions"
    return JSONResponse(error(message, "invalid_request_error"), problem.status_code, problem.headers)


async def _bug(request: Request, problem: Exception) -> Response:
    return JSONResponse(error("the server failed; its log says why", "server_error"), 500)
