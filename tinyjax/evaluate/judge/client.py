"""A judge behind an OpenAI-compatible address: asked again where that helps, within a budget.

Whether an endpoint takes JSON schemas, a temperature or `max_tokens` is found by asking: what it refuses is
left out from then on. The key is taken out of every text that comes back.
"""

import asyncio
import dataclasses
import datetime
import email.utils
import random
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tinyjax.errors import UserError
from tinyjax.evaluate.judge.protocol import Messages, Reply, Turn

_TRIES = 6
_LONGEST_WAIT = 300.0  # seconds in all; who is told to wait longer had better come back later
_SHORTEST_KEY = 8  # characters; what is shorter is no secret, and may be a word of a story
_OPTIONAL = ("response_format", "temperature", "max_tokens", "max_completion_tokens")


class StopAskingError(Exception):
    """The judge can't be asked any more for now; says why."""


class NoAnswerError(Exception):
    """A question wasn't answered, however often it was asked; says why."""


class _TransientError(Exception):
    """Worth asking again; after `wait` seconds, where the judge says so."""

    def __init__(self, problem: str, wait: float | None = None):
        super().__init__(problem)
        self.wait = wait


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A judge, and how it is asked."""

    judge: str  # the model's name
    base_url: str
    key: str = dataclasses.field(default="", repr=False)
    temperature: float = 0.0
    max_tokens: int = 1024  # of each reply
    timeout: float = 120.0  # seconds, for a whole reply
    backoff: float = 1.0  # seconds, doubled with each try

    @property
    def options(self) -> str:
        """What a judgement depends on, beside judge, template and story."""
        return f"temperature={self.temperature:g} max_tokens={self.max_tokens}"

    @property
    def shown(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self.base_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


@dataclasses.dataclass
class Budget:
    """Requests and dollars that may be spent, and were; every request counts, refused ones too."""

    max_calls: int = 0  # 0: any number
    max_usd: float = 0.0  # 0: any sum
    usd_per_million_in: float = 0.0
    usd_per_million_out: float = 0.0
    calls: int = 0
    usd: float = 0.0

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Returns the price of a call in dollars."""
        return (input_tokens * self.usd_per_million_in + output_tokens * self.usd_per_million_out) / 1e6

    def reserve(self, messages: Messages, max_tokens: int) -> float:
        """Takes the most that a call can cost, and returns it; StopAskingError where that is too much.

        A token stands for at least a byte.
        """
        most = self.cost(sum(len(message["content"].encode()) + 16 for message in messages), max_tokens)
        if self.max_calls and self.calls >= self.max_calls:
            raise StopAskingError(f"the budget of {self.max_calls:,} calls is used up")
        if self.max_usd and self.usd + most > self.max_usd:
            raise StopAskingError(
                f"the next call may cost ${most:.4f}, and ${self.usd:.4f} of ${self.max_usd:g} are spent"
            )
        self.calls += 1
        self.usd += most
        return most

    def settle(self, reserved: float, spent: float) -> None:
        """Puts what was spent in the place of what was reserved."""
        self.usd += spent - reserved


class Client:
    """Asks a judge; one for all conversations, inside of one event loop, closed at its end."""

    def __init__(self, endpoint: Endpoint, budget: Budget):
        """Opens no connection yet."""
        try:
            import openai
        except ImportError:
            raise UserError(
                "asking a judge needs the package 'openai', which is missing; pip install 'tinyjax[judge]'"
            ) from None
        self._openai, self._endpoint, self._budget = openai, endpoint, budget
        self._client = openai.AsyncOpenAI(
            api_key=endpoint.key or "none", base_url=endpoint.base_url, max_retries=0, timeout=None
        )
        self._refused: set[str] = set()  # options that the endpoint doesn't take
        self._pause_until = 0.0  # by the event loop's clock: Retry-After is meant for all conversations

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def ask(self, turn: Turn) -> Reply:
        """Returns the judge's reply.

        Raises:
          NoAnswerError: there was none, in several tries.
          StopAskingError: the budget is used up, or the judge's account.
          UserError: the endpoint doesn't know the judge or the key, or refuses the question as such.
        """
        tries, waited = 0, 0.0
        while True:
            await self._pause()
            try:
                return await self._ask_once(turn)
            except _TransientError as error:
                if error.wait is None:
                    tries += 1
                    await self._back_off(tries, error)
                else:
                    waited += max(error.wait, self._endpoint.backoff)
                    self._wait_as_told(waited, error.wait, error)

    async def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._pause_until - loop.time()) > 0:
            await asyncio.sleep(left)

    async def _back_off(self, tries: int, error: Exception) -> None:
        if tries >= _TRIES:
            raise NoAnswerError(str(error))
        await asyncio.sleep(self._endpoint.backoff * 2 ** (tries - 1) * random.uniform(0.5, 1))

    def _wait_as_told(self, waited: float, wait: float, error: Exception) -> None:
        if waited > _LONGEST_WAIT:
            raise StopAskingError(f"{error}; it asks to wait for more than {_LONGEST_WAIT:g} s")
        self._pause_until = max(self._pause_until, asyncio.get_running_loop().time() + wait)

    async def _ask_once(self, turn: Turn) -> Reply:
        """Asks, and again at once for each option that the endpoint doesn't take.

        Without an answer, what was reserved counts as spent: the judge may have written some of it.
        """
        while True:
            options = self._options(turn)
            reserved = self._budget.reserve(turn.messages, self._endpoint.max_tokens)
            try:
                return self._settle(reserved, await self._send(turn.messages, options))
            except self._openai.APIStatusError as error:
                self._budget.settle(reserved, 0)
                if not self._leave_out(options, error):
                    return self._explain(error)
            except self._openai.APIConnectionError as error:
                raise _TransientError(f"{self._endpoint.shown} can't be reached: {error.__cause__}") from None
            except TimeoutError:
                raise _TransientError(f"no reply within {self._endpoint.timeout:g} s") from None
            except (self._openai.APIError, ValueError):
                raise _TransientError("the reply is not what the protocol says") from None

    def _options(self, turn: Turn) -> dict[str, Any]:
        schema = {"name": "grades", "strict": True, "schema": turn.schema}
        options = {
            "temperature": self._endpoint.temperature,
            "max_tokens": self._endpoint.max_tokens,
            **({"response_format": {"type": "json_schema", "json_schema": schema}} if turn.schema else {}),
        }
        if "max_tokens" in self._refused:  # its newer name
            options["max_completion_tokens"] = self._endpoint.max_tokens
        return {name: value for name, value in options.items() if name not in self._refused}

    async def _send(self, messages: Messages, options: Mapping[str, Any]) -> Any:
        async with asyncio.timeout(self._endpoint.timeout):
            return await self._client.chat.completions.create(  # ty: ignore[no-matching-overload]
                model=self._endpoint.judge, messages=messages, **options
            )

    def _settle(self, reserved: float, answer: Any) -> Reply:
        """Returns the reply in an answer, which is now paid for."""
        choices = getattr(answer, "choices", None)  # a text where a gateway answers with a page
        if not choices or not choices[0].message:
            raise ValueError
        message, usage = choices[0].message, answer.usage
        tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
        if usage:  # where the endpoint doesn't say, what was reserved counts as spent
            self._budget.settle(reserved, self._budget.cost(*tokens))
        refusal = getattr(message, "refusal", None)
        return Reply(
            text=self._clean(refusal or (message.content if isinstance(message.content, str) else "")),
            finish="refusal" if refusal else choices[0].finish_reason or "stop",
            input_tokens=tokens[0],
            output_tokens=tokens[1],
        )

    def _leave_out(self, options: Mapping[str, Any], error: Any) -> bool:
        """Remembers which of the options the endpoint doesn't take; returns whether it is one of them."""
        if error.status_code not in (400, 422) or error.code == "content_filter":
            return False
        named = [name for name in _OPTIONAL if name in options and re.search(rf"\b{name}\b", str(error))]
        # Many say nothing of what they refuse, and schemas are what they refuse most often.
        refused = named[:1] or [name for name in ("response_format",) if name in options]
        self._refused.update(refused)
        return bool(refused)

    def _explain(self, error: Any) -> Reply:
        """Returns a refusal of the judge's filter; raises what any other status comes to."""
        status, said = error.status_code, f"{error.status_code}: {self._clean(error.message)[:300]}"
        if error.code == "content_filter":
            return Reply("", "content_filter")
        if error.code == "insufficient_quota":
            raise StopAskingError(f"the judge's account is used up ({said})")
        if status in (408, 409, 425, 429) or status >= 500:
            raise _TransientError(said, _retry_after(error.response.headers.get("retry-after")))
        raise UserError(
            f"the judge '{self._endpoint.judge}' at {self._endpoint.shown} answers {said}; check the judge's "
            "name, the address and the key"
        )

    def _clean(self, text: str) -> str:
        """Returns a text without the key: some endpoints repeat it in their errors."""
        key = self._endpoint.key
        return text.replace(key, "[key]") if len(key) >= _SHORTEST_KEY else text


def _retry_after(value: str | None) -> float | None:
    """Returns the seconds that a header says, as a number or as the time to wait for."""
    if re.fullmatch(r"\d+(\.\d+)?", value or ""):
        return float(value or 0)
    try:
        until = email.utils.parsedate_to_datetime(value or "")
    except ValueError:
        return None
    now = datetime.datetime.now(until.tzinfo and datetime.UTC)
    return max((until - now).total_seconds(), 0.0)
