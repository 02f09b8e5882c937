"""Folders as `evaluate` writes them, with figures such as models of their sizes have, all drawn."""

import copy
import itertools
import json
import pathlib
import random
from typing import Any

ALL = ("loss", "judge", "probes", "novelty", "quality", "stories")
GRADES = ("grammar", "creativity", "consistency", "plot")
OPENINGS = (
    "Once upon a time there was a little girl named Lucy. One day, she saw a tall tree. She wanted to",
    'Tom and Jane are friends. "What is in the pot?" asked Jane. Tom said, "',
    "Ben was looking for his red ball. He looked under the bed. Then",
    "One day, a mouse and a bird met in the garden. The bird was shy, so the mouse",
    "It was cold outside. Mum told Anna to put on her coat. Anna",
    'Max has two dogs, a white one and a black one. "I have',
    "The sad pumpkin could talk. It said to Sue that",
    "Jack ate too much soup and",
    "A tiger wanted to play the guitar, but the bunny",
    "Dan saw something move behind the curtain. He",
)
_SENTENCES = (
    "She ran to the park and played with her friends.",
    "He was very happy and gave his mum a big hug.",
    '"Thank you," said the bird, "you are a kind friend."',
    "They looked for it all day, but it was not there.",
    "Then the rain came and the flowers were wet.",
    "At last they found it under the old bench.",
    "From that day on, they shared all their toys.",
    "The dog barked and wagged its tail.",
)
_PAPER = [
    {"model": model, "grammar": grammar, "consistency": consistency, "creativity": creativity,
     "plot": None, "source": "Figure 4"}
    for model, grammar, consistency, creativity in (
        ("TinyStories, 64 wide, 8 layers", 6.14, 4.45, 4.68),
        ("TinyStories, 768 wide, 8 layers", 8.62, 9.34, 7.02),
        ("GPT-4", 8.75, 9.93, 8.21),
    )
]  # fmt: skip


def estimate(value: float, half: float, count: int = 100) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "count": count}


def share(value: float, half: float = 0.03, count: int = 200) -> dict[str, Any]:
    return {"value": value, "low": max(value - half, 0.0), "high": min(value + half, 1.0), "count": count}


def write(folder: pathlib.Path, parts: dict[str, Any]) -> pathlib.Path:
    """Writes the parts of an evaluation: evaluation.json, <part>.json and stories.jsonl."""
    folder.mkdir(parents=True)
    for name, value in parts.items():
        if name == "stories":
            lines = "".join(json.dumps(story, ensure_ascii=False) + "\n" for story in value)
            (folder / "stories.jsonl").write_text(lines, encoding="utf-8")
        else:
            (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return folder


def make(
    name: str,
    *,
    total: int,
    step: int = 2000,
    skill: float = 0.6,
    checkpoint: str = "",
    samples: int = 3,
    openings: tuple[str, ...] = OPENINGS,
) -> dict[str, Any]:
    """Returns a whole evaluation of a model that is as good as its skill, 0 to 1; change it at will."""
    rng = random.Random(name)
    stories = [_story(rng, opening, sample, skill) for opening in openings for sample in range(samples)]
    return copy.deepcopy(
        {
            "evaluation": {
                "name": name,
                "checkpoint": checkpoint or f"runs/{name}",
                "step": step,
                "parameters": {"total": total, "embeddings": total // 5, "body": total - total // 5},
                "model": {"family": "llama", "d_model": 128, "num_layers": 4},
                "tokenizer": {"vocab_size": 2048, "sha256": "0" * 64},
            },
            "loss": _loss(rng, skill),
            "judge": _judge(rng, stories, skill),
            "probes": _probes(rng, skill),
            "novelty": _novelty(rng, stories, skill),
            "quality": _quality(skill),
            "stories": stories,
        }
    )


def _story(rng: random.Random, opening: str, sample: int, skill: float) -> dict[str, Any]:
    told = " ".join(rng.choice(_SENTENCES) for _ in range(rng.randint(2, 7)))
    finish = "end" if rng.random() < 0.5 + skill / 2 else "length"
    return {
        "prompt": opening,
        "story": f"{opening} {told}",
        "sample": sample,
        "finish": finish,
        "tokens": len(told) // 4,
        "logprob": -round(len(told) / 5, 4),
        "options": {"temperature": 1.0},
        "seed": 0,
    }


def _loss(rng: random.Random, skill: float) -> dict[str, Any]:
    bits = 1.6 - 0.9 * skill
    edges = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    lengths = [0, 400, 600, 800, 1200, 2000]
    return {
        "set": {
            "name": "tinystories sample", "split": "validation", "fingerprint": "5f2c9e0b1a7d",
            "stories": 820, "bytes": 690_441,
        },
        "parameters": "ema",
        "quantize": "none",
        "nats_per_token": 1.9 * bits,
        "bits_per_byte": estimate(bits, 0.012, 820),
        "standard_error": 0.006,
        "by_position": [
            {"from": a, "to": b, "tokens": 820 * (b - a),
             "nats_per_token": 1.9 * bits + 2.5 / (1 + b) + rng.random() / 20}
            for a, b in itertools.pairwise(edges)
        ],
        "by_length": [
            {"from": a, "to": b, "bits_per_byte": estimate(bits + 30 / b, 0.02), "stories": 164}
            for a, b in itertools.pairwise(lengths)
        ],
        "by_source": {
            "V1": {"bits_per_byte": estimate(bits + 0.02, 0.02), "stories": 400},
            "V2": {"bits_per_byte": estimate(bits - 0.02, 0.02), "stories": 420},
        },
        "int8_difference": estimate(0.0021, 0.0004),
    }  # fmt: skip


def _judge(rng: random.Random, stories: list[dict[str, Any]], skill: float) -> dict[str, Any]:
    grades: list[dict[str, Any]] = [
        {"prompt": story["prompt"], "sample": story["sample"], "age": rng.choice("ABC")}
        | {name: min(max(round(rng.gauss(3 + 6 * skill, 1.2)), 1), 10) for name in GRADES}
        for story in stories
    ]
    means = {name: sum(one[name] for one in grades) / len(grades) for name in GRADES}
    return {
        "judge": "recorded judge 7B",
        "template": "story-1",
        "asked": len(stories),
        "graded": len(stories),
        "coverage": 1.0,
        "means": {name: estimate(value, 0.3, len(stories)) for name, value in means.items()},
        "normalised": dict.fromkeys(GRADES, skill),
        "ages": {age: sum(one["age"] == age for one in grades) for age in "ABCDEF"},
        "agreement": {
            "judge": "another judge",
            "pairs": 30,
            "by_grade": {n: {"pearson": 0.61, "mean_difference": estimate(0.4, 0.2)} for n in GRADES},
        },
        "grades": grades,
        "reference": _PAPER,
    }


def _probes(rng: random.Random, skill: float) -> dict[str, Any]:
    groups = ("knowledge", "reasoning", "context", "world")
    items: list[dict[str, Any]] = [
        {
            "group": group,
            "prompt": f"Item {number} of {group}: the sky was dark, so Lily took her",
            "right": f"lamp {number}",
            "chosen": f"lamp {number}" if (right := rng.random() < 0.4 + skill / 2) else f"boat {number}",
            "correct": right,
        }
        for group in groups
        for number in range(1, 16)
    ]
    return {
        "groups": {
            group: {
                "accuracy": share(sum(i["correct"] for i in items if i["group"] == group) / 15, 0.12, 15),
                "chance": 0.5,
                "baselines": {"unigram": share(0.52, 0.08, 150), "5-gram": share(0.58, 0.08, 150)},
            }
            for group in groups
        },
        "instruct": {"words": {"trained": share(0.7), "held out": share(0.5)}, "sentence": share(0.3)},
        "items": items,
    }


def _novelty(rng: random.Random, stories: list[dict[str, Any]], skill: float) -> dict[str, Any]:
    def scores(middle: float, spread: float, count: int = 100) -> list[float]:
        return [min(max(rng.gauss(middle, spread), 0.0), 1.0) for _ in range(count)]

    ks = range(1, 6)
    copied = "the bird was shy, so the mouse sang a little song"
    return {
        "training_stories": 8574,
        "kgram_share": {
            "generated": {str(k): share(max(1 - (0.16 - 0.05 * skill) * (k - 1), 0.02)) for k in range(1, 8)},
            "held_out": {str(k): share(max(1 - 0.17 * (k - 1), 0.01), 0.01) for k in range(1, 8)},
        },
        "rouge_original": {str(k): {"precision": share(0.5 / k), "fmeasure": share(0.4 / k)} for k in ks},
        "rouge_original_r2_precision": scores(0.15, 0.06),
        "self_similarity_r2": scores(0.2, 0.07),
        "self_similarity_r2_original": [0.1 + 0.002 * i for i in range(100)],
        "nearest": [
            {"story": story["story"], "nearest_index": i, "precision": 0.2 + 0.01 * i,
             "nearest_text": f"Another story. {OPENINGS[3]} sang."}
            for i, story in enumerate(stories[:8])
        ],
        "nearest_precision": {str(k): scores(0.9 / k, 0.08) for k in ks},
        "nearest_precision_held_out": {str(k): [(0.5 + 0.004 * i) / k for i in range(100)] for k in ks},
        "kgram_frequency": {
            str(k): {"0": 0.12 * (k - 1), "1": 0.05 * k, "2-10": 0.2, "11-100": 0.25, "101-1000": 0.2,
                     ">1000": max(1 - 0.65 - 0.17 * k + 0.12, 0.0)}
            for k in ks
        },
        "distinct": {"1": 0.12, "2": 0.41, "3": 0.67},
        "distinct_original": {"1": 0.14, "2": 0.48, "3": 0.75},
        "longest_copy": {
            "words": 11,
            "text": copied,
            "from": f"One day it was warm. {copied.capitalize()}, and all were glad.",
            "story": f"{OPENINGS[3]} sang a little song. Then they slept.",
        },
    }  # fmt: skip


def _quality(skill: float) -> dict[str, Any]:
    return {
        "stories": 30,
        "finished": share(0.5 + skill / 2, 0.08),
        "repetitive": share(0.3 - 0.3 * skill),
        "reading_level": estimate(2.4, 0.2),
        "unknown_words": share(0.004, 0.002),
        "words": estimate(132.5, 9),
        "grammar_issues": None,
        "held_out": {"finished": share(0.99, 0.01), "repetitive": share(0.0), "words": estimate(151.25, 9)},
        "perplexity_under": {"checkpoint": "runs/large", "bits_per_byte": estimate(0.71, 0.02)},
    }
