"""Byte-level BPE, as GPT-2's: read from JSON, encoded by the package `tokenizers`.

The JSON is a tokenizer.json, or {"tokenizer": the same, "kept": old ids in the order of new ones} of a
vocabulary that was cut.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tinyjax.errors import UserError
from tinyjax.tokenizer.vocabulary import Encode, UnitIds, Vocabulary, encode_whole

_Ids = Callable[[str], list[int]]

END_OF_TEXT = "<|endoftext|>"
_PARTS = {"model", "decoder", "added_tokens", "normalizer", "pre_tokenizer"}
_GPT2_SPLIT = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}

# GPT-2's words never reach from a character that is no whitespace to one that is, and none depends on what
# is before it (Radford et al. 2019, section 2.2, and the pattern published with the model). Which other
# characters are whitespace, Unicode and Python don't quite agree on.
_UNITS = re.compile(r"[ \n]*[^ \n]+|[ \n]+")
_OTHER_WHITESPACE = re.compile(r"[^\S \n]")


def read_byte_level(model: bytes) -> Vocabulary:
    """Reads the JSON of a byte-level BPE, whole or cut.

    Raises:
      ValueError: it is none.
      UserError: it has no <|endoftext|>, or the package `tokenizers` is missing.
    """
    parsed = json.loads(model)
    is_cut = isinstance(parsed, dict) and "kept" in parsed
    whole = parsed["tokenizer"] if is_cut else parsed
    if not is_byte_level(whole):
        raise ValueError("not byte-level BPE")
    pieces, end, encode = read_pieces(whole), end_of_text(whole), _encoder(whole)
    if is_cut:
        kept = parsed["kept"]
        encode = _respell(encode, spellings(whole, pieces, kept))
        pieces, end = tuple(pieces[old] for old in kept), kept.index(end)
    encode_text = _encode_by_units(encode) if _splits_like_gpt2(whole) else encode_whole(encode)
    probe = b"".join(pieces[i] for i in encode_text("a"))  # may come with a space before it
    return Vocabulary(
        pieces=pieces,
        pad_id=end,
        bos_id=end,
        eos_id=end,
        unk_id=end,
        encode=encode_text,
        prefix=probe.removesuffix(b"a"),
    )


def is_byte_level(parsed: Any) -> bool:
    """Tells byte-level BPE from whatever else a JSON can hold."""
    if not isinstance(parsed, dict) or not parsed.keys() >= _PARTS:
        return False
    decoder = parsed["decoder"] or {}
    return parsed["model"].get("type") == "BPE" and decoder.get("type") == "ByteLevel"


def read_pieces(parsed: dict[str, Any]) -> tuple[bytes, ...]:
    """Returns the bytes each id stands for; empty for special tokens and ids that are not in use."""
    vocab, added = parsed["model"]["vocab"], parsed["added_tokens"]
    pieces = [b""] * (max([*vocab.values(), *(token["id"] for token in added)]) + 1)
    for token, i in vocab.items():
        is_coded = _BYTE_OF.keys() >= set(token)
        pieces[i] = bytes(_BYTE_OF[character] for character in token) if is_coded else token.encode()
    for token in added:  # written as they are in text
        pieces[token["id"]] = b"" if token["special"] else token["content"].encode()
    return tuple(pieces)


def end_of_text(parsed: dict[str, Any]) -> int:
    """Returns the id of <|endoftext|>, which stands before and after each text; UserError without it."""
    for token in parsed["added_tokens"]:
        if token["special"] and token["content"] == END_OF_TEXT:
            return token["id"]
    raise UserError(
        f"the tokenizer has no special token {END_OF_TEXT}, which marks where a story begins and ends; "
        "use one of GPT-2's kind, which has"
    )


def byte_characters() -> str:
    """Returns the 256 characters that stand for the bytes in byte-level BPE.

    Printable Latin-1 stands for itself, the other bytes in their order for U+0100 and what follows.
    """
    shown = [chr(byte) if chr(byte).isprintable() and byte != ord(" ") else "" for byte in range(256)]
    others = iter(range(0x100, 0x200))
    return "".join(character or chr(next(others)) for character in shown)


_BYTE_OF = {character: byte for byte, character in enumerate(byte_characters())}


def _encoder(parsed: dict[str, Any]) -> _Ids:
    """Returns the function text -> ids of a tokenizer.json that never takes text for a special token."""
    library = _library()
    model = parsed["model"] | {"dropout": None}  # the same ids every time
    try:
        tokenizer = library.Tokenizer.from_str(json.dumps(parsed | {"model": model}))
    except Exception as error:  # the library raises nothing more special
        raise ValueError("not byte-level BPE") from error
    tokenizer.encode_special_tokens = True  # as the text they are
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def _respell(encode: _Ids, spelled: Sequence[Sequence[int]]) -> _Ids:
    return lambda text: [new for old in encode(text) for new in spelled[old]]


def _encode_by_units(encode: _Ids) -> Encode:
    """Gives the same ids at several times the speed, where words are split as GPT-2 does."""
    unit_ids, whole = UnitIds(encode), encode_whole(encode)
    return lambda text: whole(text) if _OTHER_WHITESPACE.search(text) else unit_ids.join(_UNITS.findall(text))


def _splits_like_gpt2(parsed: dict[str, Any]) -> bool:
    if parsed["normalizer"] or not all(token["special"] for token in parsed["added_tokens"]):
        return False
    return _GPT2_SPLIT.items() <= (parsed["pre_tokenizer"] or {}).items()


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise UserError(
            "byte-level BPE needs the package 'tokenizers', which is missing; pip install 'tinyjax[hf]'"
        ) from None
    return tokenizers


def spellings(parsed: dict[str, Any], pieces: Sequence[bytes], kept: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns the new ids of each old one: its own, or those of the tokens that it is merged from."""
    vocab, merged_from = parsed["model"]["vocab"], _merges(parsed)
    new_ids: dict[int, tuple[int, ...]] = {old: (new,) for new, old in enumerate(kept)}
    byte_ids = [new_ids[vocab[character]][0] for character in byte_characters()]

    @functools.cache
    def spell(token: str) -> tuple[int, ...]:
        if vocab[token] in new_ids:
            return new_ids[vocab[token]]
        if token in merged_from:
            first, second = merged_from[token]
            return spell(first) + spell(second)
        return in_bytes(vocab[token])

    def in_bytes(old: int) -> tuple[int, ...]:
        return tuple(byte_ids[byte] for byte in pieces[old])

    tokens = {old: token for token, old in vocab.items()}
    return [
        spell(tokens[old]) if old in tokens else new_ids.get(old) or in_bytes(old)
        for old in range(len(pieces))
    ]


def _merges(parsed: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Returns the two tokens that each token is merged from, by its first merge."""
    merged_from: dict[str, tuple[str, str]] = {}
    for merge in parsed["model"]["merges"]:  # pairs; in older files "first second"
        first, second = merge.split(" ") if isinstance(merge, str) else merge
        merged_from.setdefault(first + second, (first, second))
    return merged_from


def from_vocab_and_merges(vocab_json: bytes, merges_txt: bytes) -> bytes:
    """Returns the tokenizer.json of GPT-2's two files; ValueError when they are damaged."""
    library = _library()
    lines = merges_txt.decode().split("\n")
    merges = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    try:
        tokenizer = library.Tokenizer(library.models.BPE(json.loads(vocab_json), merges))
    except Exception as error:  # the library raises nothing more special
        raise ValueError("not byte-level BPE") from error
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    if tokenizer.token_to_id(END_OF_TEXT) is not None:
        tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer.to_str().encode()
