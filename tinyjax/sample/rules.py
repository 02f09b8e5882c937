"""What stories ask for, as the arrays that choosing tokens goes by; made on the host when stories begin."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.errors import UserError
from tinyjax.sample.choosing import NONE, Past, Rules
from tinyjax.sample.options import Options
from tinyjax.tokenizer import Tokenizer


def make_rules(options: Sequence[Options | None], tokenizer: Tokenizer, size: int) -> Rules:
    """Returns the rules of slots; those of one without options are never used.

    Args:
      options: of each slot.
      tokenizer: the model's.
      size: tokens of the vocabulary, padding included.

    Raises:
      UserError: a token id that the tokenizer doesn't have.
    """
    rows = [option or Options() for option in options]
    return Rules(
        *(_column(rows, f"{name}_penalty") for name in ("repetition", "frequency", "presence")),
        bias_BV=_biases(rows, tokenizer, size),
        banned_BWN=_banned(rows, tokenizer),
        ends_BE=_padded([[tokenizer.eos_id, *_known(row.stop_tokens, tokenizer)] for row in rows]),
        min_tokens_B=jnp.array([row.min_tokens for row in rows], jnp.int32),
        temperature_B=_column(rows, "temperature"),
        top_k_B=jnp.array([row.top_k for row in rows], jnp.int32),
        top_p_B=_column(rows, "top_p"),
        min_p_B=_column(rows, "min_p"),
    )


def make_past(read: Sequence[tuple[Sequence[int], Sequence[int]]], rules: Rules, size: int) -> Past:
    """Returns what the rules need to know of the tokens read: of each slot, its prompt's and those drawn."""
    in_use = any(bool((column != off).any()) for column, off in _penalties(rules))
    prompt_BV = np.zeros((len(read), size if in_use else 0), bool)
    drawn_BV = np.zeros(prompt_BV.shape, np.int32)
    recent_BN = np.full((len(read), max(rules.banned_BWN.shape[2] - 1, 0)), NONE, np.int32)
    for slot, (prompt, drawn) in enumerate(read):
        if prompt_BV.size:
            prompt_BV[slot, list(prompt)] = True
            np.add.at(drawn_BV[slot], list(drawn), 1)
        if recent_BN.size:
            newest = [*prompt, *drawn][-recent_BN.shape[1] :]
            recent_BN[slot, recent_BN.shape[1] - len(newest) :] = newest
    return Past(jnp.asarray(prompt_BV), jnp.asarray(drawn_BV), jnp.asarray(recent_BN))


def _penalties(rules: Rules) -> list[tuple[jax.Array, float]]:
    """Returns each penalty of the rows, and its value that changes nothing."""
    return [(rules.repetition_B, 1.0), (rules.frequency_B, 0.0), (rules.presence_B, 0.0)]


def _column(rows: Sequence[Options], name: str) -> jax.Array:
    return jnp.array([getattr(row, name) for row in rows], jnp.float32)


def _biases(rows: Sequence[Options], tokenizer: Tokenizer, size: int) -> jax.Array:
    bias_BV = np.zeros((len(rows), size if any(row.logit_bias for row in rows) else 0), np.float32)
    for slot, row in enumerate(rows):
        for token, bias in row.logit_bias:
            bias_BV[slot, _known([token], tokenizer)] += bias
    return jnp.asarray(bias_BV)


def _banned(rows: Sequence[Options], tokenizer: Tokenizer) -> jax.Array:
    """Returns what each row may not draw one after the other: int32 [B, W, N], padded at the front."""
    sequences = [[ids for text in row.forbidden for ids in _spellings(text, tokenizer)] for row in rows]
    longest = max((len(ids) for row in sequences for ids in row), default=0)
    banned_BWN = np.full((len(rows), max(map(len, sequences)), longest), NONE, np.int32)
    for slot, row in enumerate(sequences):
        for number, ids in enumerate(row):
            banned_BWN[slot, number, longest - len(ids) :] = ids
    return jnp.asarray(banned_BWN)


def _spellings(text: str, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Returns the tokens of a text at the start of a line, and after a space."""
    tokens = [tuple(map(int, tokenizer.encode(spelling))) for spelling in (text, f" {text}")]
    return list(dict.fromkeys(tokens))


def _padded(rows: Sequence[Sequence[int]]) -> jax.Array:
    width = max(map(len, rows))
    return jnp.array([[*row, *[NONE] * (width - len(row))] for row in rows], jnp.int32)


def _known(tokens: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    for token in tokens:
        if not 0 <= token < tokenizer.vocab_size:
            raise UserError(f"there is no token {token}; the tokenizer's are 0 to {tokenizer.vocab_size - 1}")
    return list(tokens)
