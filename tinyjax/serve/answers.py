"""What a client is told, in the terms of OpenAI's completions."""

import codecs
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from tinyjax.sample.engine import Token
from tinyjax.sample.stories import Piece
from tinyjax.serve.requests import Asked, Prompt
from tinyjax.tokenizer import Tokenizer

END = "<|endoftext|>"  # how the end of a story is named among tokens
_FINISH = {"": None, "end": "stop", "stop": "stop", "length": "length"}


class Choice:
    """A story as it is handed out, piece by piece."""

    def __init__(
        self, index: int, prompt: Prompt, scored: Sequence[Token], asked: Asked, tokenizer: Tokenizer
    ):
        """Starts before the first piece.

        Args:
          index: of the story in the answer.
          prompt: what it continues.
          scored: the prompt's tokens but for the first, with what the model thought of them; where wanted.
          asked: what the client asked for.
          tokenizer: the model's.
        """
        self._index, self._prompt, self._scored, self._asked = index, prompt, scored, asked
        self._tokenizer = tokenizer
        self._is_first = len(prompt.ids) == 1  # the next token begins a text
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._offset = 0  # characters that the tokens so far stand for

    def opening(self) -> dict[str, Any]:
        """Returns the prompt, where the client wants it back, as a piece of the answer; else nothing."""
        if not self._asked.echo:
            return self._part("", self._logprobs([]), "")
        self._is_first = True
        return self._part(self._prompt.text, self._logprobs(self._scored), "")

    def closing(self) -> dict[str, Any]:
        """Returns what ends an answer without a new token."""
        return self._part("", self._logprobs([]), "length")

    def add(self, piece: Piece) -> dict[str, Any]:
        """Returns what a piece adds."""
        return self._part(piece.text, self._logprobs(piece.tokens), piece.finish)

    def _part(self, text: str, logprobs: dict[str, list | None] | None, finish: str) -> dict[str, Any]:
        return {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": _FINISH[finish]}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, list | None] | None:
        if self._asked.logprobs is None:
            return None
        offsets = [self._pass(token.id) for token in tokens]
        count = self._asked.logprobs
        return {
            "tokens": [self._name(token.id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._top(token, count) for token in tokens] if count else None,
            "text_offset": offsets,
        }

    def _pass(self, token: int) -> int:
        """Returns where the text of a token begins, and goes on after it."""
        offset = self._offset
        data = self._tokenizer.decode_bytes([token], start=self._is_first)
        self._offset += len(self._decoder.decode(data))
        self._is_first = False
        return offset

    def _top(self, token: Token, count: int) -> dict[str, float]:
        """Returns the likeliest tokens, and the one that was drawn if it isn't among them."""
        top: dict[str, float] = {}
        for other, logprob in (*token.alternatives[:count], (token.id, token.logprob)):
            top.setdefault(self._name(other), logprob)
        return top

    def _name(self, token: int) -> str:
        data = self._tokenizer.decode_bytes([token], start=False)
        if not data:
            return END if token == self._tokenizer.eos_id else f"<|{token}|>"
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


@dataclasses.dataclass
class Usage:
    """The tokens of an answer."""

    prompt: int
    completion: int = 0

    def as_json(self) -> dict[str, int]:
        """Returns them under OpenAI's names."""
        total = self.prompt + self.completion
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": total,
        }


def joined(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns the parts of one story as one."""
    whole, *others = parts
    for part in others:
        whole["text"] += part["text"]
        whole["finish_reason"] = part["finish_reason"]
        for name, values in (part["logprobs"] or {}).items():
            whole["logprobs"][name] = None if values is None else whole["logprobs"][name] + values
    return whole


def error(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Returns an error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
