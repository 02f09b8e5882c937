"""Hugging Face's fast tokenizer: a tokenizer.json that gives the ids of ours.

SentencePiece's BPE merges the pair whose piece has the highest score, the leftmost of equals, whichever two
pieces it is made of; a tokenizer.json ranks pairs. So each piece gives rise to a merge of every two pieces
that it can be made of, in the order of the pieces' scores. Pieces are written with spaces, not U+2581 as
SentencePiece has them: a U+2581 in a text of ours is no space and goes by its bytes.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tinyjax.errors import UserError
from tinyjax.interop.pieces import SPACE, Kind, Piece, Pieces, read_pieces
from tinyjax.tokenizer import Tokenizer
from tinyjax.tokenizer.byte_level import END_OF_TEXT
from tinyjax.tokenizer.model import is_json

# What a tokenizer.json could get wrong; each is encoded by both before the file counts.
PROBES = (
    "", " ", "  ", "\n", "\n\n", " \n ", "Once upon a time, there was a little girl named Lily.",
    " leading", "trailing ", "two  spaces,   three", "a\tb\r\nc", 'She said, "Hello!" \u2014 \u201cHi\u201d',
    "\u00e9\u00fc\u4f60\u597d \u0434\u0430 \U0001f600\U0001f468\u200d\U0001f469 e\u0301", "\x00\x01\x1b\x7f",
    "\u2581", " \u2581a\u2581 b", "<s>", "</s><unk><pad> <s> <|endoftext|>", "<0x41><0x0A>", "aaaaaaaaaaa",
    "......... !!!!!!! ------", "1234567890 3.14", "\ufb01\u2460\u00a0x\u3000y", "the the the the",
    "zzz \n\n\n ZZZ",
)  # fmt: skip


class NotExpressible(UserError):  # noqa: N818
    """The tokenizer does something that a tokenizer.json can't."""


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """Returns the tokenizer.json that gives the ids of `tokenizer`, with bos before a text.

    Special tokens are found in no text where the program is told so (`encode_special_tokens`, or
    `split_special_tokens` of `transformers`).

    Raises:
      NotExpressible: there is none, or it would give other ids.
    """
    parsed = _from_json(tokenizer) if is_json(tokenizer.model) else _from_pieces(tokenizer)
    text = json.dumps(parsed, ensure_ascii=False)
    _check(text, tokenizer)
    return text


def special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """Returns how the tokenizer's special tokens are written: {"bos_token": "<s>", ...}."""
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "unk": tokenizer.unk_id, "pad": tokenizer.pad_id}
    if is_json(tokenizer.model):
        return {f"{name}_token": END_OF_TEXT for name in ids}
    pieces = read_pieces(tokenizer, "a tokenizer.json").pieces
    return {f"{name}_token": pieces[i].text for name, i in ids.items()}


def _from_json(tokenizer: Tokenizer) -> dict[str, Any]:
    parsed = json.loads(tokenizer.model)
    if "kept" in parsed:
        raise NotExpressible(
            "the tokenizer is a byte-level one cut to its most frequent tokens; a tokenizer.json would split "
            "other words differently"
        )
    return parsed | {"post_processor": _bos_first(END_OF_TEXT, tokenizer.bos_id)}


def _from_pieces(tokenizer: Tokenizer) -> dict[str, Any]:
    try:
        pieces = read_pieces(tokenizer, "a tokenizer.json")
    except UserError as error:
        raise NotExpressible(str(error)) from None
    texts = [_written(piece) for piece in pieces.pieces]
    unknown = next(p.text for p in pieces.pieces if p.kind is Kind.UNKNOWN)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_added(pieces)),
        "normalizer": _normalizer(tokenizer, pieces.adds_space),
        "pre_tokenizer": None,
        "post_processor": _bos_first(texts[pieces.bos_id], pieces.bos_id),
        "decoder": _decoder(pieces.adds_space),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: i for i, text in enumerate(texts)},
            "merges": _merges(pieces.pieces),
        },
    }


def _written(piece: Piece) -> str:
    return piece.text.replace(SPACE, " ") if piece.kind is not Kind.BYTE else piece.text


def _added(pieces: Pieces) -> Iterator[dict[str, Any]]:
    """Yields the tokens that BPE doesn't make: control ids, and pieces found before all others."""
    for i, piece in enumerate(pieces.pieces):
        if piece.kind in (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED):
            yield {
                "id": i,
                "content": _written(piece),
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": piece.kind is not Kind.USER_DEFINED,
            }


def _merges(pieces: Sequence[Piece]) -> list[list[str]]:
    scores = {_written(p): p.score for p in pieces if p.kind in (Kind.NORMAL, Kind.UNUSED)}
    by_score = sorted((text for text in scores if len(text) > 1), key=lambda text: -scores[text])
    return [
        [text[:at], text[at:]]
        for text in by_score
        for at in range(1, len(text))
        if text[:at] in scores and text[at:] in scores
    ]


def _normalizer(tokenizer: Tokenizer, adds_space: bool) -> dict[str, Any] | None:
    """Returns what others' models do to a text; ours do nothing."""
    if not adds_space:
        return None
    strips = list(tokenizer.encode("a  b")) == list(tokenizer.encode("a b"))
    spaces = [_replace(r"\A +", ""), _replace(" {2,}", " ")] if strips else []
    end = [_replace(r" +\z", "")] if strips else []
    steps = [*spaces, _replace(SPACE, " "), *end, {"type": "Prepend", "prepend": " "}]
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _decoder(adds_space: bool) -> dict[str, Any]:
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_space else []
    return {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, *strip]}


def _bos_first(token: str, i: int) -> dict[str, Any]:
    """Returns the step that puts bos before a text, as our prompts have it."""
    bos = {"SpecialToken": {"id": token, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [bos, first],
        "pair": [bos, first, bos, second],
        "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]}},
    }


def _check(text: str, tokenizer: Tokenizer) -> None:
    """Raises NotExpressible where a probe gets other ids."""
    import tokenizers

    fast = tokenizers.Tokenizer.from_str(text)
    fast.encode_special_tokens = True
    for probe in PROBES:
        if fast.encode(probe).ids != [tokenizer.bos_id, *tokenizer.encode(probe).tolist()]:
            raise NotExpressible(f"the tokenizer splits texts like {probe!r} as no tokenizer.json does")
