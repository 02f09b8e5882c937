"""The server's life: it listens, and when it is told to stop, gives the stories being told a while to end."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.applications import Starlette

from tinyjax.serve.teller import Teller

PATIENCE = 5  # seconds that stories have to end in when the server is stopped
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(app: Starlette, teller: Teller, listener: socket.socket, listening: Callable[[], None]) -> int:
    """Serves until a signal comes, or the teller ends; returns the signal's number.

    Args:
      app: from `tinyjax.serve.app.make_app`.
      teller: of the same service.
      listener: a socket that is bound.
      listening: called when clients can connect.

    Raises:
      Exception: what made the teller fail.
    """
    config = uvicorn.Config(
        app, log_level="warning", lifespan="on", timeout_graceful_shutdown=2 * PATIENCE, server_header=False
    )
    server = _Server(config, teller, listening)
    teller.on_end(lambda: setattr(server, "should_exit", True))
    server.run([listener])
    if teller.failure:
        raise teller.failure
    return server.signum


class _Server(uvicorn.Server):
    """A server that remembers the signal that ended it, instead of dying of it."""

    def __init__(self, config: uvicorn.Config, teller: Teller, listening: Callable[[], None]):
        super().__init__(config)
        self.signum = 0
        self._teller, self._listening = teller, listening

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles signals as long as the server runs."""
        before = {signum: signal.signal(signum, self._stop) for signum in _SIGNALS}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _stop(self, signum: int, frame: object) -> None:
        self.force_exit = self.should_exit  # the second time, at once
        self.should_exit, self.signum = True, signum

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens no more, and gives the stories being told some time."""
        asyncio.get_running_loop().call_later(PATIENCE, self._teller.stop)
        await super().shutdown(sockets)
