"""The thread that owns the engine: stories asked for at any time are told side by side."""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from tinyjax.sample.engine import Engine, Request
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Piece, Text
from tinyjax.tokenizer import Tokenizer

STEPS = 4  # tokens between two pieces of a story, and between two looks for new requests
_LONGEST_WAIT = 60  # seconds, at most, that a client is told to wait before it asks again


class FullError(Exception):
    """More stories wait than may."""

    def __init__(self, seconds: int):
        """Remembers when to ask again."""
        super().__init__(f"too many stories wait to be told; ask again in {seconds} s")
        self.seconds = seconds


class EndedError(Exception):
    """The teller tells no more stories."""


@dataclasses.dataclass(eq=False)
class Order:
    """A story that somebody waits for."""

    request: Request
    deliver: Callable[
        [Piece | None], None
    ]  # called in the teller's thread; None: it won't be told to its end
    text: Text
    number: int  # of its pieces
    begun: float = 0  # when it got a slot, by the monotonic clock
    is_wanted: bool = True


class Teller:
    """Tells stories in a thread of its own, as many at a time as the engine has slots."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, max_waiting: int):
        """Takes over an engine with all its slots free; `start` begins.

        Args:
          engine: used by nobody else from now on.
          tokenizer: the model's.
          max_waiting: so many stories may wait for a slot.
        """
        self._engine, self._tokenizer, self._max_waiting = engine, tokenizer, max_waiting
        self.slots = len(engine.free)
        self._waiting: collections.deque[Order] = collections.deque()
        self._told: dict[int, Order] = {}  # by slot; changed by the thread alone
        self._changed = threading.Condition()
        self._is_stopping = False
        self._ended: Callable[[], None] = lambda: None
        self._seconds = 1.0  # that a story takes, of late
        self.failure: BaseException | None = None  # why the thread ended, if it wasn't told to
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether stories are told, or will be after `start`."""
        return not self._is_stopping

    @property
    def telling(self) -> int:
        """How many stories are being told."""
        return len(self._told)

    @property
    def waiting(self) -> int:
        """How many stories wait for a slot."""
        return len(self._waiting)

    @property
    def most(self) -> int:
        """How many stories may be asked for at once."""
        return self.slots + self._max_waiting

    def on_end(self, call: Callable[[], None]) -> None:
        """Has the thread make a call when it ends, whatever the reason."""
        self._ended = call

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def warm_up(self) -> None:
        """Has the usual programs compiled: one prompt and several, to the longest story; before `start`."""
        bos, to_the_end = self._tokenizer.bos_id, Options(min_tokens=self._engine.length)
        for prompts, options in (([(bos,)], to_the_end), ([(bos,), (bos, bos)], Options(max_tokens=1))):
            self._engine.admit([Request(prompt, options) for prompt in prompts[: self.slots]])
            while len(self._engine.free) < self.slots:
                self._engine.advance(STEPS)

    def tell(self, requests: Sequence[Request], deliver: Callable[[Piece | None], None]) -> list[Order]:
        """Begins stories, now or when there are slots; their pieces are numbered in the order of `requests`.

        Raises:
          FullError: too many would wait.
          EndedError: none are told any more.
        """
        with self._changed:
            if not self.is_running:
                raise EndedError("the server is being stopped")
            if len(self._waiting) + len(self._told) + len(requests) > self.most:
                raise FullError(self._patience())
            orders = [
                Order(request, deliver, Text(self._tokenizer, request), number)
                for number, request in enumerate(requests)
            ]
            self._waiting.extend(orders)
            self._changed.notify()
        return orders

    def _patience(self) -> int:
        """Returns the seconds after which a slot should be free for those who wait now, and one more."""
        rounds = len(self._waiting) / self.slots + 1
        return min(_LONGEST_WAIT, max(1, math.ceil(rounds * self._seconds)))

    def cancel(self, orders: Iterable[Order]) -> None:
        """Ends stories that nobody waits for any more; of those that have ended, nothing is left to end."""
        with self._changed:
            for order in orders:
                order.is_wanted = False
            self._waiting = collections.deque(order for order in self._waiting if order.is_wanted)

    def stop(self) -> None:
        """Lets the thread end all stories, and itself; returns at once."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended, so many seconds at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while self._begin():
                self._advance()
        except BaseException as error:  # whatever it is: the owner of this object raises it
            self.failure = error
        with self._changed:
            self._is_stopping = True
            for order in [*self._told.values(), *self._waiting]:
                order.deliver(None)
            self._told, self._waiting = {}, collections.deque()
        self._ended()

    def _begin(self) -> bool:
        """Frees the slots of unwanted stories and fills free ones, when there is a story; False: to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._told or self._is_stopping)
            if self._is_stopping:
                return False
            for slot in [slot for slot, order in self._told.items() if not order.is_wanted]:
                self._engine.drop(slot)
                del self._told[slot]
            free = self._engine.free
            new = [self._waiting.popleft() for _ in range(min(len(self._waiting), len(free)))]
            self._told |= dict(zip(free, new, strict=False))
        for order in new:
            order.begun = time.monotonic()
        if new:
            self._engine.admit([order.request for order in new])
        return True

    def _advance(self) -> None:
        """Draws some tokens, and hands out what has come of each story."""
        if not self._told:
            return
        for slot, (tokens, ended) in self._engine.advance(STEPS).items():
            order = self._told[slot]
            piece = order.text.add(order.number, tokens, ended)
            if piece.finish:
                self._finish(slot, ended)
            if piece.tokens or piece.finish:
                order.deliver(piece)

    def _finish(self, slot: int, ended: bool) -> None:
        if not ended:  # but at a text to stop at
            self._engine.drop(slot)
        order = self._told.pop(slot)
        self._seconds += (time.monotonic() - order.begun - self._seconds) / 8
