"""Stories from prompts: all of them, however many slots there are, and their text as it comes."""

import codecs
import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from jax.sharding import Mesh

from tinyjax.errors import UserError
from tinyjax.sample.engine import Engine, Request, Token, bucket
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.tokenizer import Tokenizer

SLOTS = 64  # stories told at a time, at most
_STEPS_TO_LOOK = 16  # tokens between two looks for the texts to stop at


@dataclasses.dataclass(frozen=True)
class Completion:
    """A continuation of a prompt."""

    prompt: str
    text: str  # without the prompt
    finish: str  # "end": the model ended it; "stop": at a stop text; "length": at max_tokens or the context
    tokens: tuple[Token, ...]  # as drawn, the story's end included

    @property
    def logprob(self) -> float:
        """The log-probability of what was drawn, by the model itself, in nats."""
        return sum(token.logprob for token in self.tokens)


@dataclasses.dataclass(frozen=True)
class Piece:
    """What has come of a story since the last piece."""

    number: int  # of the story
    text: str
    tokens: tuple[Token, ...]
    finish: str = ""  # with the last piece, as in `Completion`


def generate(
    model: Model,
    prompts: Sequence[str],
    *,
    num_samples: int = 1,
    seed: int = 0,
    options: Options | None = None,
    slots: int = SLOTS,
    mesh: Mesh | None = None,
    alternatives: int = 0,
    words: Sequence[str] = (),
    tries: int = 1,
) -> list[Completion]:
    """Continues every prompt `num_samples` times; samples of a prompt stand together.

    Args:
      model: from `load_model`.
      prompts: texts to continue; an empty one starts a story.
      num_samples: continuations of each.
      seed: of all draws.
      options: how tokens are chosen, and when a story ends.
      slots: how many stories are told at a time, at most.
      mesh: devices; the first one of this process by default.
      alternatives: how many of the likeliest tokens to tell beside each drawn one.
      words: that each story is to use, as `missing` sees it: one that lacks some is told again.
      tries: how often each is told at most.

    Raises:
      UserError: a prompt leaves no room in the model's context.
    """
    options = options or Options()
    requests = [
        request
        for prompt in prompts
        for request in make_requests(model, prompt, num_samples, seed=seed, options=options)
    ]
    longest = max((len(request.prompt) for request in requests), default=1)
    length = bucket(longest + (options.max_tokens or model.config.context_length))
    engine = Engine(model, min(slots, max(len(requests), 1)), length, mesh, alternatives)
    numbered = {i: (prompts[i // num_samples], request) for i, request in enumerate(requests)}
    told = dict(tell_whole(engine, model.tokenizer, numbered, words, tries))
    return [told[number] for number in numbered]


def make_requests(
    model: Model, prompt: str, num_samples: int = 1, *, seed: int = 0, options: Options
) -> list[Request]:
    """Returns the requests for stories that continue a prompt; UserError where it leaves no room for any."""
    ids = (model.tokenizer.bos_id, *map(int, model.tokenizer.encode(prompt)))
    context = model.config.context_length
    if len(ids) >= context:
        raise UserError(
            f"the prompt that begins {prompt[:40]!r} has {len(ids)} tokens but the model's context is "
            f"{context}; shorten it to leave room for a story"
        )
    return [Request(ids, options, seed, sample) for sample in range(num_samples)]


def _joined(prompt: str, pieces: Sequence[Piece]) -> Completion:
    text = "".join(piece.text for piece in pieces)
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Completion(prompt, text, pieces[-1].finish, tokens)


def tell_whole(
    engine: Engine,
    tokenizer: Tokenizer,
    requests: Mapping[int, tuple[str, Request]],
    words: Sequence[str] = (),
    tries: int = 1,
) -> Iterator[tuple[int, Completion]]:
    """Yields stories by their numbers, as they end; see `tell`.

    Args:
      engine: with all its slots free.
      tokenizer: the model's.
      requests: prompts, as text and as requests, by number.
      words: that each story is to use: one that lacks some is told again, with other draws.
      tries: how often each is told at most; the last one counts.
    """
    waiting = collections.deque((number, request) for number, (_, request) in requests.items())
    attempts = {number: request for number, (_, request) in requests.items()}
    told: dict[int, list[Piece]] = collections.defaultdict(list)
    for piece in tell(engine, tokenizer, waiting):
        told[piece.number].append(piece)
        if not piece.finish:
            continue
        completion = _joined(requests[piece.number][0], told.pop(piece.number))
        request = attempts[piece.number]
        if missing(words, completion.prompt + completion.text) and request.attempt + 1 < tries:
            attempts[piece.number] = dataclasses.replace(request, attempt=request.attempt + 1)
            waiting.append((piece.number, attempts[piece.number]))
        else:
            yield piece.number, completion


def tell_one(engine: Engine, tokenizer: Tokenizer, request: Request, steps: int) -> Iterator[Piece]:
    """Yields what comes of a single story, every few tokens; see `tell`."""
    return tell(engine, tokenizer, collections.deque([(0, request)]), steps)


def missing(words: Sequence[str], text: str) -> list[str]:
    """Returns the words that a text doesn't use, in any case, with or without a regular ending."""
    return [
        word
        for word in words
        if not re.search(rf"\b{re.escape(word)}(s|es|d|ed|ing)?\b", text, re.IGNORECASE)
    ]


def tell(
    engine: Engine,
    tokenizer: Tokenizer,
    waiting: collections.deque[tuple[int, Request]],
    steps: int | None = None,
) -> Iterator[Piece]:
    """Tells the stories asked for, as many at a time as there are slots; yields what has come of each.

    Args:
      engine: with all its slots free.
      tokenizer: the model's.
      waiting: requests, and the numbers that tell them apart; they are taken out as they are begun, and more
        may be put in between two pieces.
      steps: tokens between two pieces of a story; default: as many as there are.
    """
    told: dict[int, tuple[int, Text]] = {}
    while waiting or told:
        if new := [waiting.popleft() for _ in range(min(len(waiting), len(engine.free)))]:
            slots = engine.admit([request for _, request in new])
            for slot, (number, request) in zip(slots, new, strict=True):
                told[slot] = (number, Text(tokenizer, request))
        look = _STEPS_TO_LOOK if any(text.stops for _, text in told.values()) else engine.length
        # Beginning stories costs as much as some steps: with others waiting, not at every end.
        wake = max(1, len(told) // 8) if waiting else len(told)
        for slot, (tokens, ended) in engine.advance(steps or look, wake).items():
            number, text = told[slot]
            piece = text.add(number, tokens, ended)
            if piece.finish:
                del told[slot]
                if not ended:
                    engine.drop(slot)
            if piece.text or piece.tokens or piece.finish:
                yield piece


class Text:
    """The text of a story, as its tokens come: whole characters only, and none of what ends it."""

    def __init__(self, tokenizer: Tokenizer, request: Request):
        """Starts after the prompt."""
        self.stops = request.options.stop
        self._tokenizer = tokenizer
        self._ends = {tokenizer.eos_id, *request.options.stop_tokens}
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_first = len(request.prompt) == 1  # a story from its start
        self._held = ""  # may be the beginning of a text to stop at

    def add(self, number: int, tokens: Sequence[Token], ended: bool) -> Piece:
        """Returns what has come of story `number` with more tokens, the last ones if it has `ended`."""
        text = ""
        for count, token in enumerate(tokens, 1):
            self._held += self._decoder.decode(self._bytes(token.id))
            if found := [at for stop in self.stops if (at := self._held.find(stop)) >= 0]:
                return Piece(number, text + self._held[: min(found)], tuple(tokens[:count]), "stop")
            text += self._release()
        if not ended:
            return Piece(number, text, tuple(tokens))
        text += self._held + self._decoder.decode(b"", final=True)
        return Piece(number, text, tuple(tokens), self._finish(tokens))

    def _bytes(self, token: int) -> bytes:
        data = b"" if token in self._ends else self._tokenizer.decode_bytes([token], start=self._is_first)
        self._is_first = False
        return data

    def _release(self) -> str:
        """Takes what can't be the beginning of a text to stop at."""
        held = self._held
        beginnings = (n for stop in self.stops for n in range(1, len(stop)) if held.endswith(stop[:n]))
        cut = len(held) - max(beginnings, default=0)
        self._held = held[cut:]
        return held[:cut]

    def _finish(self, tokens: Sequence[Token]) -> str:
        last = tokens[-1].id if tokens else None
        if last == self._tokenizer.eos_id:
            return "end"
        return "stop" if last in self._ends else "length"
