"""Tokenizers: text to ids and back, of our own making and of others'.

Our own are SentencePiece BPE that loses nothing: `decode(encode(text)) == text` for all valid UTF-8. Unknown
characters fall back to bytes, newlines are a piece of their own, no prefix is added, and text never
yields a control id, whatever it says. Others' SentencePiece models and byte-level BPE (GPT-2's kind) can
be used too; what they lose, `losses` measures.
"""

from tinyjax.tokenizer.cutting import cut_vocabulary
from tinyjax.tokenizer.model import Losses, Tokenizer, load_tokenizer, losses
from tinyjax.tokenizer.training import default_vocab_size, train_tokenizer

__all__ = [
    "Losses",
    "Tokenizer",
    "cut_vocabulary",
    "default_vocab_size",
    "load_tokenizer",
    "losses",
    "train_tokenizer",
]
