"""What a client asks for, in the terms of OpenAI's completions: checked, and understood or refused."""

import dataclasses
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any

from tinyjax import instruct
from tinyjax.errors import UserError, nearest
from tinyjax.sample.engine import Request
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options, check
from tinyjax.sample.stories import make_requests

ALTERNATIVES = 5  # `logprobs`, at most, as OpenAI has it
MAX_STOPS = 16
MAX_STOP = 200  # characters of each
_SEEDS = 2**32

# Number fields that are options of the same name, with those that some front ends send.
_FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_KNOWN = {
    *_FLOATS,
    *("model", "prompt", "instructions", "max_tokens", "min_tokens", "n", "best_of", "seed", "stop"),
    *("top_k", "logit_bias", "logprobs", "echo", "stream", "stream_options", "suffix", "user"),
}


class RefusedError(Exception):
    """A request that can't be answered as it is."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
        retry: int = 0,
    ):
        """Remembers what is wrong, with which field, the HTTP status that says so, and when to ask again."""
        super().__init__(message)
        self.param, self.status, self.code, self.retry = param, status, code, retry

    @property
    def kind(self) -> str:
        """OpenAI's name for what kind of error it is."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A text to continue."""

    text: str
    ids: tuple[int, ...]  # the first of all stories' included


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a client asks for."""

    prompts: tuple[Prompt, ...]
    options: Options
    n: int  # stories of each prompt
    seed: int
    is_empty: bool  # no new token is wanted: the prompt alone
    stream: bool
    counts: bool  # whether a stream ends with the numbers of tokens
    echo: bool
    logprobs: int | None  # so many alternatives beside each token's log-probability; None: not even that
    ignored: tuple[str, ...]  # fields that nobody knows here

    def requests(self) -> list[Request]:
        """Returns the stories to be told, those of a prompt side by side."""
        if self.is_empty:
            return []
        return [
            Request(prompt.ids, self.options, self.seed, sample)
            for prompt in self.prompts
            for sample in range(self.n)
        ]


def parse(body: object, model: Model, name: str, most: int) -> Asked:
    """Returns what the body of a request asks for; fields that aren't given are as in `Options`.

    Args:
      body: as JSON has it.
      model: who is to tell the stories.
      name: the model's.
      most: stories in one request.

    Raises:
      RefusedError: a field that makes no sense, or asks for too much.
    """
    if not isinstance(body, dict):
        raise RefusedError("the body is no JSON object; send one with a field prompt")
    fields = _Fields({key: value for key, value in body.items() if value is not None})
    if (asked := fields.get("model", name)) != name:
        raise RefusedError(
            f"there is no model {_shown(asked)}; this server has {name!r}", "model", 404, "model_not_found"
        )
    n, max_tokens = fields.integer("n", 1, 1, most), _max_tokens(fields, model)
    _refuse_unsupported(fields, n)
    return Asked(
        prompts=_prompts(fields, model, most // n, most),
        options=_options(fields, model, max_tokens or 0),
        n=n,
        seed=_seed(fields),
        is_empty=max_tokens == 0,
        stream=fields.boolean("stream"),
        counts=_counts(fields),
        echo=fields.boolean("echo"),
        logprobs=_logprobs(fields),
        ignored=tuple(sorted(set(fields.values) - _KNOWN)),
    )


class _Fields:
    """The fields of a request that aren't null; each is read as what it has to be."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = values

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RefusedError(f"{name} is {_shown(value)}; it must be a number", name)
        try:
            return float(value)
        except OverflowError:
            return math.inf

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.values.get(name, default)
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole or not low <= value <= high:
            raise RefusedError(
                f"{name} is {_shown(value)}; it must be a whole number from {low} to {high}", name
            )
        return int(value)

    def boolean(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise RefusedError(f"{name} is {_shown(value)}; it must be true or false", name)
        return value

    def text(self, name: str) -> str:
        return _text(self.values.get(name, ""), name)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"{name} is {_shown(value)}; it must be a text", name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RefusedError(f"{name} holds half a surrogate pair, which is no text", name) from None
    return value


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _refuse_unsupported(fields: _Fields, n: int) -> None:
    """Refuses what would change the answer and isn't done here."""
    if fields.get("suffix", "") != "":
        raise RefusedError("suffix isn't supported; these models only go on from a beginning", "suffix")
    if fields.get("best_of", n) != n:
        raise RefusedError("best_of isn't supported; ask for n stories and choose by logprobs", "best_of")


def _max_tokens(fields: _Fields, model: Model) -> int | None:
    """Returns how many tokens are asked for at most; None: as many as there is room for."""
    if fields.get("max_tokens") is None:
        return None
    return fields.integer("max_tokens", 0, 0, model.config.context_length)


def _seed(fields: _Fields) -> int:
    """Returns the seed, drawn by chance where none is given; some front ends say -1 for that."""
    seed = fields.integer("seed", -1, -1, _SEEDS - 1)
    return secrets.randbelow(_SEEDS) if seed < 0 else seed


def _counts(fields: _Fields) -> bool:
    options = fields.get("stream_options", {})
    if not isinstance(options, dict):
        raise RefusedError("stream_options is no object", "stream_options")
    return _Fields({"include_usage": options.get("include_usage") or False}).boolean("include_usage")


def _logprobs(fields: _Fields) -> int | None:
    if fields.get("logprobs") is None or fields.get("logprobs") is False:
        return None
    return fields.integer("logprobs", 0, 0, ALTERNATIVES)


def _options(fields: _Fields, model: Model, max_tokens: int) -> Options:
    usual, context = Options(), model.config.context_length
    top_k = fields.integer("top_k", 0, -1, 2**31 - 1)
    numbers: dict[str, Any] = {name: fields.number(name, getattr(usual, name)) for name in _FLOATS}
    options = Options(
        **numbers,
        logit_bias=_logit_bias(fields.get("logit_bias", {}), model),
        top_k=max(top_k, 0),  # some front ends say -1 for all
        min_tokens=fields.integer("min_tokens", 0, 0, context),
        max_tokens=max_tokens,
        stop=_stops(fields.get("stop", [])),
    )
    try:
        return check(options)
    except UserError as error:
        message = re.sub(r"--(?=\w)", "", str(error))  # they are no flags here
        raise RefusedError(message, message.split()[0]) from None


def _logit_bias(biases: object, model: Model) -> tuple[tuple[int, float], ...]:
    if biases == []:  # as some front ends say none
        return ()
    if not isinstance(biases, dict):
        raise RefusedError('logit_bias is no object, as in {"17": -5}', "logit_bias")
    return tuple(
        (_bias_id(key, model), _Fields({"logit_bias": v}).number("logit_bias", 0))
        for key, v in biases.items()
    )


def _bias_id(key: str, model: Model) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", key) or int(key) >= model.tokenizer.vocab_size:
        last = model.tokenizer.vocab_size - 1
        raise RefusedError(
            f"logit_bias has the key {_shown(key)}; it must be a token, 0 to {last}", "logit_bias"
        )
    return int(key)


def _stops(stop: object) -> tuple[str, ...]:
    stops = stop if isinstance(stop, list) else [stop]
    texts = tuple(text for value in stops if (text := _text(value, "stop")))  # an empty one stops nothing
    if len(texts) > MAX_STOPS or any(len(text) > MAX_STOP for text in texts):
        raise RefusedError(f"stop may be up to {MAX_STOPS} texts of up to {MAX_STOP} characters", "stop")
    return texts


def _prompts(fields: _Fields, model: Model, at_most: int, most: int) -> tuple[Prompt, ...]:
    """Returns the prompts: a text, tokens, or a list of such."""
    given = fields.get("prompt", "")
    if given == []:
        raise RefusedError("prompt is an empty list; give a text, tokens, or some of them", "prompt")
    is_several = isinstance(given, list) and not _is_tokens(given)
    prompts = given if is_several else [given]
    if len(prompts) > at_most:
        raise RefusedError(
            f"{len(prompts)} prompts with n stories each are too many: at most {most} stories in a request",
            "prompt",
        )
    before = _instructions(fields.get("instructions", {}), model)
    return tuple(_prompt(prompt, before, model) for prompt in prompts)


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(token, int) and not isinstance(token, bool) for token in value
    )


def _prompt(given: Any, before: str, model: Model) -> Prompt:
    if not _is_tokens(given):
        text = before + _text(given, "prompt")
        try:
            (request,) = make_requests(model, text, options=Options())
        except UserError as error:
            raise RefusedError(str(error), "prompt", code="context_length_exceeded") from None
        return Prompt(text, request.prompt)
    if before:
        raise RefusedError("instructions go before a text; give the prompt as text, not as tokens", "prompt")
    return _tokens(given, model)


def _tokens(given: list[int], model: Model) -> Prompt:
    tokenizer, context = model.tokenizer, model.config.context_length
    if any(not 0 <= token < tokenizer.vocab_size for token in given):
        raise RefusedError(f"prompt has a token that isn't 0 to {tokenizer.vocab_size - 1}", "prompt")
    ids = tuple(given if given[:1] == [tokenizer.bos_id] else [tokenizer.bos_id, *given])
    if len(ids) >= context:
        raise RefusedError(
            f"the prompt has {len(ids)} tokens but the model's context is {context}; shorten it to leave "
            "room for a story",
            "prompt",
            code="context_length_exceeded",
        )
    return Prompt(tokenizer.decode(ids), ids)


def _instructions(given: object, model: Model) -> str:
    """Returns what stands before the stories of a model that was trained on instructions."""
    if not isinstance(given, dict):
        raise RefusedError(
            "instructions is no object with words, features, sentence, summary", "instructions"
        )
    for kind in given:
        if kind not in instruct.KINDS:
            meant = nearest(kind, instruct.KINDS)
            raise RefusedError(f"instructions has no field {_shown(kind)}{meant}", "instructions")
    found = {kind: _instruction(kind, given[kind]) for kind in instruct.KINDS if given.get(kind)}
    fields: instruct.Fields = {kind: value for kind, value in found.items() if value}
    if fields and not model.instruct:
        raise RefusedError("this model wasn't trained on instructions; leave them out", "instructions")
    return instruct.prompt(fields)


def _instruction(kind: str, value: object) -> instruct.Value:
    if kind in ("sentence", "summary"):
        return _text(value, f"instructions.{kind}").strip()
    if not isinstance(value, list):
        raise RefusedError(f"instructions.{kind} is {_shown(value)}; it must be a list", "instructions")
    return tuple(text for item in value if (text := _text(item, f"instructions.{kind}").strip()))
