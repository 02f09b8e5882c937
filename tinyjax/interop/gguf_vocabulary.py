"""Tokenizers as GGUF's fields `tokenizer.ggml.*`: SentencePiece and byte-level BPE."""

import json
from collections.abc import Mapping
from typing import Any

from tinyjax.errors import UserError
from tinyjax.interop.pieces import Kind, Piece, Pieces, read_pieces
from tinyjax.tokenizer import Tokenizer
from tinyjax.tokenizer.byte_level import END_OF_TEXT, from_vocab_and_merges, is_byte_level
from tinyjax.tokenizer.model import is_json

PREFIX = "tokenizer.ggml."
_GPT2_SPLIT = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


def to_fields(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the fields of a file; UserError for a tokenizer that llama.cpp can't imitate."""
    fields = _byte_level_fields(tokenizer) if is_json(tokenizer.model) else _sentencepiece_fields(tokenizer)
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "unknown": tokenizer.unk_id}
    ids |= {"padding": tokenizer.pad_id}
    fields |= {f"{name}_token_id": i for name, i in ids.items()}
    fields |= {"add_bos_token": True, "add_eos_token": False}
    return {PREFIX + name: value for name, value in fields.items()}


def from_fields(fields: Mapping[str, Any]) -> Tokenizer:
    """Builds the tokenizer that the fields of a file describe, of the same ids.

    Raises:
      UserError: of a kind not known here.
      KeyError, ValueError, IndexError: the fields are damaged.
    """
    fields = {key.removeprefix(PREFIX): x for key, x in fields.items() if key.startswith(PREFIX)}
    kind = fields["model"]
    if kind == "llama":
        return _from_sentencepiece(fields)
    if kind == "gpt2" and fields.get("pre", "gpt-2") in ("gpt-2", "default"):
        vocab = {token: i for i, token in enumerate(fields["tokens"])}
        merges = "\n".join(fields["merges"])
        return Tokenizer(from_vocab_and_merges(json.dumps(vocab).encode(), merges.encode()))
    raise UserError(
        f"its tokenizer is of the kind {kind} {fields.get('pre', '')}, and known here are llama and gpt2; "
        "give the tokenizer in a file of its own: --tokenizer=PATH"
    )


def _sentencepiece_fields(tokenizer: Tokenizer) -> dict[str, Any]:
    pieces = read_pieces(tokenizer, "llama.cpp")
    return {
        "model": "llama",
        "pre": "default",
        "tokens": [piece.text for piece in pieces.pieces],
        "scores": [piece.score for piece in pieces.pieces],
        "token_type": [int(piece.kind) for piece in pieces.pieces],
        "add_space_prefix": pieces.adds_space,
    }


def _from_sentencepiece(fields: Mapping[str, Any]) -> Tokenizer:
    columns = (fields["tokens"], fields["scores"], map(Kind, fields["token_type"]))
    pieces = tuple(Piece(*row) for row in zip(*columns, strict=True))
    made = Pieces(
        pieces,
        bos_id=fields.get("bos_token_id", 1),  # these are llama.cpp's defaults
        eos_id=fields.get("eos_token_id", 2),
        pad_id=fields.get("padding_token_id", -1),
        adds_space=fields.get("add_space_prefix", True),
    )
    return Tokenizer(made.model())


def _byte_level_fields(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the fields of GPT-2's own kind, which llama.cpp has a name for."""
    parsed = json.loads(tokenizer.model)
    if not is_byte_level(parsed) or not _is_as_gpt2s(parsed):
        raise UserError(
            "llama.cpp knows byte-level BPE that is whole and splits words as GPT-2's, and this tokenizer "
            "was cut or splits them in another way; export with --format=hf, or train with SentencePiece"
        )
    model, added = parsed["model"], parsed["added_tokens"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    names = {i: token for token, i in model["vocab"].items()} | {t["id"]: t["content"] for t in added}
    controls = {token["id"] for token in added}
    ids = range(tokenizer.vocab_size)
    kinds = [Kind.CONTROL if i in controls else Kind.NORMAL if i in names else Kind.UNUSED for i in ids]
    return {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": [names.get(i, f"[unused{i}]") for i in ids],
        "token_type": [int(kind) for kind in kinds],
        "merges": merges,
    }


def _is_as_gpt2s(parsed: dict[str, Any]) -> bool:
    split, added = parsed["pre_tokenizer"] or {}, parsed["added_tokens"]
    specials = [token["content"] for token in added if token["special"]]
    return not parsed["normalizer"] and split.items() >= _GPT2_SPLIT.items() and specials == [END_OF_TEXT]
