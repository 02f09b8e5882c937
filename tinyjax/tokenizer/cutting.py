"""Cutting a vocabulary to its most frequent tokens, as the TinyStories paper does with GPT-Neo's."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinyjax.errors import UserError
from tinyjax.tokenizer.byte_level import byte_characters, is_byte_level
from tinyjax.tokenizer.model import Tokenizer, is_json


def cut_vocabulary(tokenizer: Tokenizer, texts: Iterable[str], size: int) -> Tokenizer:
    """Keeps the `size` most frequent tokens of `texts`; new ids go by frequency, among equals by old id.

    The end of the text is kept, and counted once for each text; all 256 bytes are kept however rare.

    The paper (Eldan & Li 2023) only says, in a footnote, that it keeps GPT-Neo's "top 10K most common
    tokens", and not what becomes of the others. That one of them is spelled by the kept tokens which it
    would have been merged from, so that nothing is lost, is our choice.

    Raises:
      UserError: the tokenizer isn't byte-level BPE, was cut before or lacks bytes, or the size doesn't fit.
    """
    parsed = _whole_byte_level(tokenizer)
    counts = _count_tokens(tokenizer, texts)
    needed = [*_byte_ids(parsed), tokenizer.eos_id]
    if not len(needed) <= size <= len(counts):
        raise UserError(
            f"a vocabulary of {len(counts)} can't be cut to {size} tokens; choose --vocab_size from "
            f"{len(needed)} (the bytes and the end of the text) to {len(counts)}"
        )
    by_frequency = np.argsort(-counts, kind="stable")
    others = by_frequency[~np.isin(by_frequency, needed)]
    kept = np.concatenate([needed, others[: size - len(needed)]])
    in_order = by_frequency[np.isin(by_frequency, kept)].tolist()
    model = json.dumps({"kept": in_order, "tokenizer": parsed}, ensure_ascii=False, separators=(",", ":"))
    return Tokenizer(model.encode())


def _whole_byte_level(tokenizer: Tokenizer) -> dict[str, Any]:
    parsed = json.loads(tokenizer.model) if is_json(tokenizer.model) else {}
    if not is_byte_level(parsed):
        raise UserError(
            "only byte-level BPE that was not cut before can be cut to its most frequent tokens; give a "
            "tokenizer of GPT-2's kind, or leave --vocab_size out"
        )
    return parsed


def _byte_ids(parsed: dict[str, Any]) -> list[int]:
    vocab = parsed["model"]["vocab"]
    missing = [character for character in byte_characters() if character not in vocab]
    if missing:
        raise UserError(
            f"the tokenizer has no tokens for {len(missing)} of the 256 bytes, so that cutting it would lose "
            "text; use one that has all"
        )
    return [vocab[character] for character in byte_characters()]


def _count_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray:
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for text in texts:
        np.add.at(counts, tokenizer.encode(text), 1)
        counts[tokenizer.eos_id] += 1
    return counts
