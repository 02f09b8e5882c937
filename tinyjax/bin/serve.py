"""Tells stories over HTTP, and serves a page to play with: http://127.0.0.1:8000.

    python -m tinyjax.bin.serve --checkpoint=runs/quickstart

Clients of OpenAI's completions can use it, at http://127.0.0.1:8000/v1. What a request leaves open is as in
`sample`, whose stories it tells: the same for the same seed and prompt. Requests are told side by side, in
--slots slots. It listens to this machine alone, unless --host says otherwise. SIGTERM and Ctrl-C end it when
the stories being told have ended, or after some seconds. Needs pip install 'tinyjax[serve]'.
"""

import importlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

from absl import flags
from etils import epath

from tinyjax.bin import app, backend
from tinyjax.bin.loading import load
from tinyjax.config import MeshConfig
from tinyjax.errors import UserError
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.engine import Engine
from tinyjax.sample.model import Model
from tinyjax.serve.requests import ALTERNATIVES
from tinyjax.serve.service import Service
from tinyjax.serve.teller import Teller

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Run folder or checkpoint, local or gs://.")
_NAME = flags.DEFINE_string(
    "name", "", "The model's name for clients; default: the checkpoint's last folder."
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0: all of this machine's.")
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen at; 0: any free one.", 0, 65535)
_SLOTS = flags.DEFINE_integer("slots", 8, "Stories told at a time, at most.", lower_bound=1)
_MAX_QUEUE = flags.DEFINE_integer(
    "max_queue", 64, "Stories that may wait for a slot; beyond them the answer is 429.", lower_bound=0
)
_API_KEY_ENV = flags.DEFINE_string(
    "api_key_env", "", "Environment variable with a key that clients have to bring; without it, all may ask."
)
_CORS = flags.DEFINE_multi_string(
    "cors",
    [],
    "Origin of another page that may use this server, such as http://localhost:8001; may be repeated. "
    "localhost: any page of this machine.",
)
_EMA = flags.DEFINE_bool(
    "ema", True, "Use the moving average of the parameters, where the checkpoint has one."
)


def run(argv: Sequence[str]) -> int:
    """Serves until it is told to stop; returns the exit code."""
    del argv
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give a run folder, such as runs/quickstart")
    for package in ("starlette", "uvicorn", "prometheus_client"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(f"the server needs {package}; run pip install 'tinyjax[serve]'") from None
    key = _api_key()
    with _listen() as listener:
        backend.start()  # on one CPU device: several would wait for each other at every token's alternatives
        model = load(_CHECKPOINT.value, ema=_EMA.value)
        return _serve(model, key, listener)


def _api_key() -> str:
    if not _API_KEY_ENV.value:
        return ""
    key = os.environ.get(_API_KEY_ENV.value, "").strip()
    if not key:
        raise UserError(f"--api_key_env: the variable {_API_KEY_ENV.value} is not set; put the key there")
    return key


def _listen() -> socket.socket:
    """Returns a socket at the address asked for; connections are refused until it is served."""
    family = socket.AF_INET6 if ":" in _HOST.value else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST.value, _PORT.value))
    except OSError as error:
        listener.close()
        raise UserError(
            f"can't listen at --host={_HOST.value} --port={_PORT.value}: {error.strerror}; choose others"
        ) from None
    return listener


def _serve(model: Model, key: str, listener: socket.socket) -> int:
    from tinyjax.serve.app import make_app
    from tinyjax.serve.running import serve

    mesh, context = make_mesh(MeshConfig()), model.config.context_length
    engine = Engine(model, _SLOTS.value, context, mesh, alternatives=ALTERNATIVES)
    teller = Teller(engine, model.tokenizer, _MAX_QUEUE.value)
    teller.warm_up()
    is_local = _HOST.value in _LOOPBACK
    service = Service(
        model=model,
        teller=teller,
        name=_NAME.value or epath.Path(_CHECKPOINT.value).name,
        api_key=key,
        hosts=_LOOPBACK if is_local else (),
        origins=tuple(_CORS.value),
    )
    signum = serve(make_app(service), teller, listener, lambda: _announce(service, listener))
    return app.INTERRUPTED if signum == signal.SIGINT else 0


def _announce(service: Service, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    step = f"step {service.model.step:,}"
    print(
        f"serving {service.name} ({step}) at {where}, for clients of OpenAI's API at {where}/v1",
        file=sys.stderr,
    )
    if not service.hosts and not service.api_key:
        print(
            "warning: whoever reaches this address can use it; --api_key_env asks for a key", file=sys.stderr
        )


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
