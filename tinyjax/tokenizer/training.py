"""Training SentencePiece BPE that loses nothing."""

import io
import re
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import sentencepiece

from tinyjax.errors import UserError
from tinyjax.tokenizer.model import Tokenizer

_RESERVED = "\u2585"  # SentencePiece's trainer skips every sentence that holds it
_SENTENCE = 1 << 12  # characters; the trainer drops what exceeds its limit, so lines are cut before
_NUM_SPECIAL = 4 + 256 + 1  # control ids and unk, bytes, newline
_BATCH = 1 << 14  # sentences whose characters are counted together
_COVERAGE = 0.9995  # share of the characters in training text that get pieces of their own
MIN_VOCAB, MAX_VOCAB = 512, 4096


def default_vocab_size(text_bytes: int) -> int:
    """Returns 4096, or for little text a power of two: a piece per 2 kB or more, at least 512."""
    return min(MAX_VOCAB, max(MIN_VOCAB, 1 << (max(text_bytes // 2048, 1).bit_length() - 1)))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains BPE on `texts`, the same model for the same texts on every machine.

    The vocabulary has `vocab_size` ids, or as many as the text gives rise to. UserError when the
    size leaves no room beside the 256 bytes, or there is no text.
    """
    if vocab_size <= _NUM_SPECIAL:
        raise UserError(
            f"a vocabulary of {vocab_size} is too small; the bytes and control ids alone take "
            f"{_NUM_SPECIAL}: choose --vocab_size={MIN_VOCAB} or more"
        )
    sentences = [s for text in texts for s in _sentences(text)]
    if not sentences:
        raise UserError("there is no text to train a tokenizer on; give stories that are not empty")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_with_common_characters(sentences, vocab_size),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        user_defined_symbols=["\n"],
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        max_sentence_length=4 * _SENTENCE,  # bytes
        num_threads=2,  # stored in the model, so a fixed number keeps its bytes the same
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


def _sentences(text: str) -> Iterator[str]:
    """Yields the lines of `text`, long ones cut; newlines never join a piece, so none is missed."""
    for line in text.replace(_RESERVED, " ").split("\n"):
        for start in range(0, len(line), _SENTENCE):
            yield line[start : start + _SENTENCE]


def _with_common_characters(sentences: list[str], vocab_size: int) -> Iterator[str]:
    """Yields the sentences with rare characters blanked out, which leaves those to the bytes.

    SentencePiece makes a piece of every character it sees and fails when they exceed the
    vocabulary; at most half of the free pieces go to single characters.
    """
    batches = (sentences[i : i + _BATCH] for i in range(0, len(sentences), _BATCH))
    counts = sum(map(_character_counts, batches), np.zeros(sys.maxunicode + 1, np.int64))
    ranked = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    shares = np.cumsum(counts[ranked]) / counts.sum()
    enough = int(np.searchsorted(shares, _COVERAGE)) + 1
    rare = ranked[min(enough, (vocab_size - _NUM_SPECIAL) // 2) :]
    if not len(rare):
        return iter(sentences)
    pattern = re.compile(f"[{re.escape(''.join(map(chr, rare)))}]")
    return (pattern.sub(" ", sentence) for sentence in sentences)


def _character_counts(sentences: Iterable[str]) -> np.ndarray:
    codes = np.frombuffer("".join(sentences).encode("utf-32-le"), np.uint32)
    return np.bincount(codes, minlength=sys.maxunicode + 1)
