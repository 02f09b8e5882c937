"""The tokenizer of llama2.c: its file, and the places that its programs have for some ids.

0 is unknown, 1 begins a text, 2 ends it, byte b is 3 + b. The programs stop where the model says 1, for
llama2.c's own models see a text's beginning after the one before. So the tokenizer of a model that was read
ends texts with 1 (`ending_at_bos`), and for writing, the two ends change places where the model says what
comes next (`arrangement`).

The file holds the length of the longest piece, then score, length and bytes of each.
"""

import struct

import numpy as np
from etils import epath

from tinyjax.errors import UserError
from tinyjax.interop.hf_tokenizer import PROBES
from tinyjax.interop.pieces import SPACE, Kind, Piece, Pieces, ending_with, read_pieces
from tinyjax.tokenizer import Tokenizer, load_tokenizer

PROGRAM = "llama2.c"
BOS = 1

_UNK, _EOS, _FIRST_BYTE = 0, 2, 3
_ENDS = {BOS: "\n<s>\n", _EOS: "\n</s>\n"}  # as the file spells them
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_BYTE_IDS = range(_FIRST_BYTE, _FIRST_BYTE + len(_BYTES))


def read_tokenizer(path: epath.PathLike) -> Tokenizer:
    """Reads a tokenizer.bin, or any tokenizer that `load_tokenizer` knows.

    A tokenizer.bin becomes a SentencePiece model that encodes as llama2.c does: a space before every text,
    bytes for what has no piece, and spaces that follow each other are kept. It takes U+2581 in a text for
    a space, though, and llama2.c for what it is.

    Raises:
      UserError: the file is not there, or damaged.
    """
    path = epath.Path(path)
    if path.suffix != ".bin" or not path.exists():
        return load_tokenizer(path)
    return _built(path.read_bytes(), path)


def _built(data: bytes, path: epath.PathLike) -> Tokenizer:
    kinds = {_UNK: Kind.UNKNOWN} | dict.fromkeys(_ENDS, Kind.CONTROL) | dict.fromkeys(_BYTE_IDS, Kind.BYTE)
    pieces = tuple(
        Piece(piece.text.strip() if i in _ENDS else piece.text, piece.score, kinds.get(i, Kind.NORMAL))
        for i, piece in enumerate(_parse(data, path))
    )
    texts = [piece.text for piece in pieces]
    if tuple(texts[_FIRST_BYTE:][: len(_BYTES)]) != _BYTES or len({"", *texts}) <= len(texts):
        raise UserError(
            f"the tokenizer '{path}' has no bytes at ids 3 to 258, where llama2.c looks for them, or has an "
            "empty piece, or one twice; get the file again, or give the SentencePiece model: --tokenizer=PATH"
        )
    return Tokenizer(Pieces(pieces, bos_id=BOS, eos_id=_EOS, pad_id=-1, adds_space=True).model())


def ending_at_bos(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the tokenizer, ending texts where llama2.c's programs do."""
    return tokenizer if tokenizer.eos_id == tokenizer.bos_id else ending_with(tokenizer, tokenizer.bos_id)


def arrangement(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Returns which id of ours stands at each place of theirs, as an input and as an output: int32[V] each.

    They differ where a text ends with another id than it begins with: as an output, that stands at 1.

    Raises:
      UserError: llama2.c can't imitate the tokenizer.
    """
    pieces = read_pieces(tokenizer, PROGRAM).pieces
    byte_ids = {piece.text: i for i, piece in enumerate(pieces) if piece.kind is Kind.BYTE}
    controls = [i for i, piece in enumerate(pieces) if piece.kind is Kind.CONTROL]
    ends = list(dict.fromkeys((tokenizer.bos_id, tokenizer.eos_id, *controls)))[:2]
    first = [tokenizer.unk_id, *ends, *(byte_ids[text] for text in _BYTES)]
    inputs_V = np.array(first + sorted(set(range(len(pieces))) - set(first)), np.int32)
    outputs_V = inputs_V.copy()
    if tokenizer.eos_id != tokenizer.bos_id:
        outputs_V[[BOS, _EOS]] = inputs_V[[_EOS, BOS]]
    return inputs_V, outputs_V


def tokenizer_bytes(tokenizer: Tokenizer) -> bytes:
    """Returns the file of a tokenizer; UserError where llama2.c can't imitate it."""
    pieces = read_pieces(tokenizer, PROGRAM).pieces
    inputs_V, _ = arrangement(tokenizer)
    entries = [
        (pieces[old].score, _ENDS.get(new, pieces[old].text).replace(SPACE, " ").encode())
        for new, old in enumerate(inputs_V)
    ]
    longest = max(len(text) for _, text in entries)
    packed = [struct.pack("<fi", score, len(text)) + text for score, text in entries]
    return b"".join([struct.pack("<i", longest), *packed])


def unlike(tokenizer: Tokenizer) -> list[str]:
    """Returns texts to which llama2.c gives other ids, its space before a text aside."""
    inputs_V, _ = arrangement(tokenizer)
    there, space = _built(tokenizer_bytes(tokenizer), "the copy"), "" if tokenizer.prefix_bytes else " "
    texts = (text for text in PROBES if text and SPACE not in text)
    return [
        text
        for text in texts
        if not np.array_equal(inputs_V[there.encode(text)], tokenizer.encode(space + text))
    ]


def _parse(data: bytes, path: epath.PathLike) -> list[Piece]:
    pieces, position = [], 4
    try:
        while position < len(data):
            score, length = struct.unpack_from("<fi", data, position)
            text = data[position + 8 : position + 8 + length]
            if not 0 < length == len(text):
                raise ValueError
            pieces.append(Piece(text.decode().replace(" ", SPACE), score))
            position += 8 + length
    except (struct.error, ValueError):
        raise UserError(
            f"'{path}' is no tokenizer of llama2.c, or is damaged at byte {position}; get the file again"
        ) from None
    return pieces
