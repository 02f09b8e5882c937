"""What a model thinks of given texts: the log-probability of every token, and of the likeliest others.

Axes: B texts, T positions, D d_model, V vocabulary, A alternatives.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.decoder import hidden_states, logits
from tinyjax.sample.engine import Token, bucket
from tinyjax.sample.model import Model

_AT_ONCE = 8  # texts read by one program


@dataclasses.dataclass(frozen=True)
class Score:
    """A text, token by token."""

    prompt: str
    text: str
    tokens: tuple[Token, ...]  # of the text

    @property
    def logprob(self) -> float:
        """The log-probability of the text after its prompt, in nats."""
        return sum(token.logprob for token in self.tokens)


def score(
    model: Model,
    texts: Sequence[tuple[str, str]],
    *,
    ends: bool = False,
    alternatives: int = 0,
) -> list[Score]:
    """Returns the log-probabilities of texts, each after its prompt.

    Both are tokenized together; the text begins at the first token that the prompt alone doesn't have.

    Args:
      model: from `load_model`.
      texts: prompts and texts; a text after an empty prompt is a story from its beginning.
      ends: whether the end of the story is a token of each text.
      alternatives: how many of the likeliest tokens to tell beside each one.

    Raises:
      UserError: a text is longer than the model's context.
    """
    rows = [_tokens(model, prompt, text, ends) for prompt, text in texts]
    told = score_ids(model, [ids for ids, _ in rows], alternatives)
    return [
        Score(*pair, tokens[start - 1 :]) for pair, (_, start), tokens in zip(texts, rows, told, strict=True)
    ]


def score_ids(model: Model, rows: Sequence[Sequence[int]], alternatives: int = 0) -> list[tuple[Token, ...]]:
    """Returns the log-probabilities of rows of tokens, but for the first of each; see `score`."""
    told: list[tuple[Token, ...]] = [()] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for group in (order[i : i + _AT_ONCE] for i in range(0, len(order), _AT_ONCE)):
        for i, tokens in zip(group, _read(model, [rows[i] for i in group], alternatives), strict=True):
            told[i] = tokens
    return told


def _tokens(model: Model, prompt: str, text: str, ends: bool) -> tuple[list[int], int]:
    """Returns the tokens of prompt and text, and where those of the text begin."""
    tokenizer, context = model.tokenizer, model.config.context_length
    own, ids = (tokenizer.encode(part).tolist() for part in (prompt, prompt + text))
    same = next(
        (i for i, (a, b) in enumerate(zip(own, ids, strict=False)) if a != b), min(len(own), len(ids))
    )
    row = [tokenizer.bos_id, *ids, *([tokenizer.eos_id] if ends else [])]
    if len(row) - 1 > context:
        raise UserError(
            f"the text that begins {(prompt + text)[:40]!r} has {len(row) - 1} tokens but the model's "
            f"context is {context}; shorten it"
        )
    return row, 1 + same


def _read(model: Model, rows: Sequence[Sequence[int]], alternatives: int) -> Iterator[tuple[Token, ...]]:
    """Returns the tokens of each row but for the first one, with what the model thought of them."""
    width = min(model.config.context_length, bucket(max(len(row) - 1 for row in rows)))
    tokens_BT = np.full((_AT_ONCE, width + 1), model.tokenizer.pad_id, np.int32)
    for target, row in zip(tokens_BT, rows, strict=False):
        target[: len(row)] = row
    found = _logprobs(model.config, alternatives, model.params, tokens_BT[:, :-1], tokens_BT[:, 1:])
    for row, logprobs, others, values in zip(rows, *jax.device_get(found), strict=False):
        alternatives_T = (
            tuple(zip(ids, p, strict=True)) for ids, p in zip(others.tolist(), values.tolist(), strict=True)
        )
        told = zip(row[1:], logprobs.tolist(), alternatives_T, strict=False)
        yield tuple(Token(*token) for token in told)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _logprobs(
    config: ModelConfig, alternatives: int, params: dict, inputs_BT: jax.Array, targets_BT: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns log-probabilities [B, T] of targets, and the likeliest tokens [B, T, A] and theirs.

    Logits of one text are in memory at a time.
    """
    hidden_BTD = hidden_states(config, params, inputs_BT)

    def of_text(row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        hidden_TD, targets_T = row
        logprobs_TV = jax.nn.log_softmax(logits(config, params, hidden_TD[None])[0])
        values_TA, others_TA = jax.lax.top_k(logprobs_TV, alternatives)
        return jnp.take_along_axis(logprobs_TV, targets_T[:, None], axis=1)[:, 0], others_TA, values_TA

    return jax.lax.map(of_text, (hidden_BTD, targets_BT))
