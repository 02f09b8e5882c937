"""The thread that tells stories: side by side, in turn, and what it says when it can't go on."""

import queue
from collections.abc import Callable, Generator

import pytest

from tinyjax.sample.engine import Engine
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Piece, generate, make_requests
from tinyjax.serve.teller import EndedError, FullError, Teller


@pytest.fixture
def teller(model: Model) -> Generator[Teller]:
    teller = Teller(Engine(model, 2, 64), model.tokenizer, max_waiting=3)
    yield teller
    teller.stop()


def stories(model: Model, count: int, seed: int = 0) -> list:
    return make_requests(model, "Lily", count, seed=seed, options=Options(min_tokens=30))


def collected(pieces: queue.SimpleQueue, count: int) -> list[Piece]:
    """Returns the pieces until so many stories have ended."""
    found = []
    while sum(bool(piece.finish) for piece in found) < count:
        found.append(pieces.get(timeout=60))
    return found


def test_requests_are_told_side_by_side_and_the_next_ones_as_slots_become_free(model: Model, teller: Teller):
    first, second = queue.SimpleQueue(), queue.SimpleQueue()
    both = queue.SimpleQueue()

    def to(own: queue.SimpleQueue) -> Callable[[Piece | None], None]:
        def deliver(piece: Piece | None) -> None:
            own.put(piece)
            both.put(own)

        return deliver

    teller.tell(stories(model, 1, seed=1), to(first))
    teller.tell(stories(model, 3, seed=2), to(second))
    assert (teller.telling, teller.waiting) == (0, 4)
    teller.start()
    options = Options(min_tokens=30)
    for own, count, seed in ((first, 1, 1), (second, 3, 2)):
        told = generate(model, ["Lily"], num_samples=count, seed=seed, options=options)
        pieces = collected(own, count)
        for number, story in enumerate(told):
            mine = [piece for piece in pieces if piece.number == number]
            assert "".join(piece.text for piece in mine) == story.text
            assert mine[-1].finish == story.finish
    assert [both.get() for _ in range(6)] == [first, second] * 3


def test_no_more_wait_than_may_and_those_who_leave_make_room(model: Model, teller: Teller):
    pieces = queue.SimpleQueue()
    orders = teller.tell(stories(model, 5), pieces.put)
    with pytest.raises(FullError) as caught:
        teller.tell(stories(model, 1), pieces.put)
    assert caught.value.seconds >= 1
    teller.cancel(orders[:4])
    teller.tell(stories(model, 4, seed=1), pieces.put)
    assert teller.waiting == teller.most == 5


def test_a_story_that_nobody_wants_any_more_frees_its_slot(model: Model, teller: Teller):
    left, stayed = queue.SimpleQueue(), queue.SimpleQueue()

    def leave(piece: Piece | None) -> None:
        left.put(piece)
        teller.cancel(orders)

    orders = teller.tell(stories(model, 2), leave)
    teller.tell(stories(model, 1), stayed.put)
    teller.start()
    collected(stayed, 1)
    assert left.qsize() <= 4  # of each story, the piece at which they were cancelled, and perhaps another
    assert teller.telling == 0


def test_when_it_is_stopped_all_who_wait_are_told(model: Model, teller: Teller):
    pieces = queue.SimpleQueue()
    teller.tell(stories(model, 5), pieces.put)
    teller.stop()
    teller.start()
    assert [pieces.get(timeout=60) for _ in range(5)] == [None] * 5
    with pytest.raises(EndedError):
        teller.tell(stories(model, 1), pieces.put)
    assert teller.failure is None


def test_when_the_engine_fails_all_who_wait_are_told(model: Model, teller: Teller, monkeypatch):
    def fail(steps: int) -> None:
        raise RuntimeError("the device is gone")

    ended = queue.SimpleQueue()
    monkeypatch.setattr(teller._engine, "advance", fail)
    teller.on_end(lambda: ended.put(True))
    pieces = queue.SimpleQueue()
    teller.tell(stories(model, 4), pieces.put)
    teller.start()
    assert ended.get(timeout=60)
    assert [pieces.get(timeout=1) for _ in range(4)] == [None] * 4
    assert str(teller.failure) == "the device is gone"
    assert not teller.is_running
