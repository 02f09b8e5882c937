"""Findings as `gather` returns them, of a model whose parts do what their names say."""

import base64
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyjax.interpret.activity import EDGES
from tinyjax.interpret.corpus import WordClass
from tinyjax.interpret.features import Quality
from tinyjax.interpret.heads import ClassShare, Head, Removal, Share
from tinyjax.interpret.neurons import Layer, Neuron, Top, summarise
from tinyjax.interpret.roles import Role

LAYERS, HEADS, NEURONS = 2, 4, 12
# Block 0: to the token before, to the first, to itself, evenly. Block 1: the same with other kinds.
KINDS = ["local", "first token", "mixed", "semantic", "induction", "punctuation", "same token", "mixed"]
STORY = re.findall(r"\S+", "Lily saw a big red ball . She was happy and said thank you to Tom .")
WORDS = ("Lily", "ball", "happy", "dragon")  # that neurons fire on, in turn


def make(
    name: str = "tiny",
    stories: Sequence[Sequence[str]] = (STORY, ["Tom", "ran", ".", "\n", "Lily", "fell", "."]),
    sentence: tuple[str, str] = ("One day, ", " was there."),
    fingerprint: str = "same",
    selectivity: float = 0.9,
    neurons: int = NEURONS,
    features: bool = False,
) -> dict[str, Any]:
    """Returns findings; each neuron's top tokens are a word with the sentence around it."""
    findings = _without_features(name, stories, sentence, fingerprint, selectivity, neurons)
    if features:
        layer = dataclasses.replace(
            _layer(5, neurons, sentence, selectivity), name="features of block1/residual"
        )
        findings["units"]["features"] = _units([layer]) | {
            "settings": {"source": "block1/residual", "target": "block1/residual", "features": neurons},
            "quality": dataclasses.asdict(Quality(999, 1.5, 1.75, 6.5, 0.95, 0.875, 15.5, 2)),
        }
        findings["scales"]["features"] = [2.0] * neurons
        for story in findings["stories"]:
            story["units"]["features"] = _values(len(story["tokens"]), neurons)
    return findings


def _without_features(
    name: str,
    stories: Sequence[Sequence[str]],
    sentence: tuple[str, str],
    fingerprint: str,
    selectivity: float,
    neurons: int,
) -> dict[str, Any]:
    layers = [_layer(number, neurons, sentence, selectivity) for number in range(LAYERS)]
    return {
        "about": {
            "name": name, "checkpoint": f"runs/{name}", "step": 7, "parameters": 260_032, "vocab_size": 300,
            "model": {"family": "llama", "num_layers": LAYERS, "num_heads": HEADS, "d_ff": neurons},
        },
        "corpus": {"source": "stories.txt", "stories": 20, "tokens": 4321, "fingerprint": fingerprint},
        "heads": [_head(i) for i in range(LAYERS * HEADS)],
        "measured": {"heads": 4321, "losses": 1234},
        "lens_losses": [6.5, 3.0, 1.5],
        "units": {"neurons": _units(layers)},
        "edges": EDGES.tolist(),
        "scales": {"neurons": [2.0] * (LAYERS * neurons)},
        "stories": [_story(["⟨start⟩", *(f" {word}" for word in words)], neurons) for words in stories],
        "vocabulary": {"1": " dragon", "2": " Lily", "3": " ball"},
    }  # fmt: skip


def _units(layers: list[Layer]) -> dict[str, Any]:
    return {
        "layers": [dataclasses.asdict(layer) for layer in layers],
        "summary": dataclasses.asdict(summarise(layers)),
    }


def _head(i: int) -> dict[str, Any]:
    share = Share(0.3, 0.1)
    classes = {kind.name: ClassShare(0.125, 0.1, 0.11) for kind in WordClass}
    head = Head(
        layer=i // HEADS, head=i % HEADS, kind=KINDS[i], evidence=f"evidence number {i}",
        by_distance=(0.1, 0.6, *[0.3 / 38] * 38), reach=(0, 1, 20), reach_even=(2, 10, 30), explained=0.25,
        explained_beyond=0.5, explained_source=0.05, entropy=Share(1.5, 3.0),
        own=0.1, previous=0.6, first=0.05, same=share, induction=share, induction_random=share,
        classes=classes, by_query=dict.fromkeys(classes, classes), queries=dict.fromkeys(classes, 50),
    )  # fmt: skip
    removal = Removal(head.layer, head.head, 0.5 if i == 5 else 0.001 * i, 0.01)
    return dataclasses.asdict(head) | {"removal": dataclasses.asdict(removal)}


def _layer(number: int, neurons: int, sentence: tuple[str, str], selectivity: float) -> Layer:
    described = tuple(_neuron(i, number, sentence, selectivity) for i in range(neurons))
    return Layer(f"block{number}/neurons", 4321, described, ((0, 1, 0.97),), 9, 0.2)


def _neuron(index: int, layer: int, sentence: tuple[str, str], selectivity: float) -> Neuron:
    word = WORDS[index % len(WORDS)]
    top = tuple(
        Top(i, 3, f"{sentence[0]}number {layer} {index} ", word, sentence[1], 2.0 - i / 10) for i in range(9)
    )
    return Neuron(
        index=index, dead=index == 11, sign=-1 if index % 2 else 1, mean=0.1, deviation=0.5, highest=2.0,
        lowest=-1.0, active=1.0, histogram=(0,) * 12 + (100, 4000, 200, 21) + (0,) * 16, top=top,
        role=None if index == 11 else Role("word", word.lower(), 0.9, selectivity - index / 100),
        means={"word class": {"noun": 0.6, "verb": -0.4}, "place": {"sentence 1": 0.2}},
        explained={"word class": 0.3, "place": 0.01},
        promotes=((" cake", 1.5),), suppresses=((" sad", -1.2),),
    )  # fmt: skip


def _story(tokens: list[str], neurons: int) -> dict[str, Any]:
    count = len(tokens)
    queries, sources = np.tril_indices(count)
    patterns = [
        sources == np.maximum(queries - 1, 0), sources == 0, sources == queries, 1 / (1 + queries),
    ]  # fmt: skip
    packed = np.rint(255 * np.stack(patterns * LAYERS)).astype(np.uint8)
    guesses = [{"tokens": [[1, 2, 3]] * count, "probabilities": [[700, 200, 50, 5]] * count}] * (LAYERS + 1)
    return {
        "tokens": tokens,
        "next": "⟨end⟩",
        "patterns": base64.b64encode(packed.tobytes()).decode(),
        "units": {"neurons": _values(count, LAYERS * neurons)},
        "lens": guesses,
        "moved": [[["head", 1, 1, 1.25], ["neuron", 0, 3, -0.5]]] * count,
    }


def _values(tokens: int, units: int) -> str:
    """Returns units that are highest on the tokens that its number and 2 divides, lowest on the first."""
    numbers = np.arange(tokens)
    values = np.stack([127 * (numbers % (i + 2) == 0) for i in range(units)]).astype(np.int8)
    values[:, 0] = 0
    values[:, 1] = -127
    return base64.b64encode(values.tobytes()).decode()
