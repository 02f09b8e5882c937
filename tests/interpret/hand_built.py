"""A model whose heads do what they are told: what a query looks for is a matrix of features."""

from typing import Any

import jax
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.interpret.corpus import Corpus, WordClass
from tinyjax.model.parameters import abstract_params
from tinyjax.sample.model import Model

LENGTH, VOCAB = 33, 16  # token 0 is bos
WIDTH = LENGTH + 2 * VOCAB + 1  # features: the position, the token, what head 0 of block 0 writes, a constant
NAMES, ARTICLES, NOUNS = (1, 2), (3, 6), (4, 5)
TOKEN, PREVIOUS, ALWAYS = LENGTH, LENGTH + VOCAB, LENGTH + 2 * VOCAB  # positions stand at 0
STRONG = 10.0  # of features that are 5 or so after the norm: attention is all but one-hot


def scores(pairs: list[tuple[int, int]]) -> np.ndarray:
    """Returns the matrix by which queries with a feature look for sources with another."""
    matrix_DD = np.zeros((WIDTH, WIDTH), np.float32)
    for query, source in pairs:
        matrix_DD[query, source] = STRONG
    return matrix_DD


BACK = {d: scores([(p, p - d) for p in range(d, LENGTH)]) for d in (1, 3)}
TO_FIRST = scores([(ALWAYS, 0)])
TO_SAME = scores([(TOKEN + v, TOKEN + v) for v in range(VOCAB)]) - scores([(p, p) for p in range(LENGTH)])
TO_NAMES = scores([(ALWAYS, TOKEN + v) for v in NAMES])
ARTICLES_TO_NOUNS = scores([(TOKEN + v, TOKEN + w) for v in ARTICLES for w in NOUNS])
TO_WHAT_FOLLOWED = scores([(TOKEN + v, PREVIOUS + v) for v in range(VOCAB)])
EVENLY = scores([])
HEADS = [[BACK[1], BACK[3], TO_FIRST, TO_SAME], [TO_WHAT_FOLLOWED, TO_NAMES, EVENLY, ARTICLES_TO_NOUNS]]


def hand_built() -> Model:
    """Returns the model with these heads; the first writes the token before into the residual stream."""
    config = ModelConfig(
        family="gpt_neo", vocab_size=VOCAB, d_model=WIDTH, num_layers=2, num_heads=4, num_kv_heads=4,
        head_dim=WIDTH, d_ff=1, context_length=LENGTH, window=LENGTH, compute_dtype="float32",
        attention="reference", remat="none",
    ).freeze()  # fmt: skip
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), abstract_params(config))
    layers = params["layers"]
    params["embedding"][:, TOKEN : TOKEN + VOCAB] = np.eye(VOCAB)
    params["position_embedding"][:, :LENGTH] = np.eye(LENGTH)
    params["final_norm"][:] = 1
    layers["attention_norm"][:] = layers["mlp_norm"][:] = 1
    layers["attention_norm_bias"][:, ALWAYS] = 1
    for number, matrices in enumerate(HEADS):
        for head, matrix_DD in enumerate(matrices):
            layers["query"][number, :, head] = matrix_DD
            layers["key"][number, :, head] = layers["value"][number, :, head] = np.eye(WIDTH)
    # The norm makes about 5.6 of a 1.
    layers["output"][0, 0, TOKEN : TOKEN + VOCAB, PREVIOUS : PREVIOUS + VOCAB] = np.eye(VOCAB) / 5.6
    tokenizer: Any = None
    return Model(config, jax.tree.map(jax.numpy.asarray, params), tokenizer, 0, False)


def random_stories(rows: int, length: int, vocab_size: int, seed: int = 0) -> Corpus:
    """Returns stories of random tokens, of different lengths; NAMES are names, and so on."""
    rng = np.random.default_rng(seed)
    ids_NT = np.pad(rng.integers(1, vocab_size, (rows, length), np.int32), ((0, 0), (1, 0)))
    segments_NT = (np.arange(length) < rng.integers(length // 2, length + 1, (rows, 1))).astype(np.int32)
    tokens_NT = ids_NT[:, :-1] * segments_NT
    kinds_V = np.arange(vocab_size) % len(WordClass)
    kinds_V[:8] = WordClass.OTHER
    kinds_V[list(NAMES)] = WordClass.NAME
    kinds_V[list(ARTICLES)] = WordClass.ARTICLE
    kinds_V[list(NOUNS)] = WordClass.NOUN
    return Corpus(
        texts=("",) * rows,
        tokens_NT=tokens_NT,
        targets_NT=ids_NT[:, 1:] * segments_NT,
        segments_NT=segments_NT,
        tags_NT=(kinds_V[tokens_NT] * segments_NT).astype(np.int8),
        starts_NT=np.zeros_like(tokens_NT),
    )
