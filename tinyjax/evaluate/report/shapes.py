"""What the parts of an evaluation write, as the report reads it; more keys than these are fine."""

import math
from typing import Any

from tinyjax.errors import UserError

_ANY, _ANY_OR_NULL = "*", "*?"  # any key
_NUMBER, _COUNT, _TEXT, _FLAG = "a number", "a number above 0", "a text", "true or false"

# A key that ends in "?" may be absent or null.
_ESTIMATE = {"value": _NUMBER, "low": _NUMBER, "high": _NUMBER, "count": _NUMBER}
_GRADES = {"grammar?": _NUMBER, "creativity?": _NUMBER, "consistency?": _NUMBER, "plot?": _NUMBER}
_MEANS = dict.fromkeys(_GRADES, _ESTIMATE)
_ESTIMATES = {_ANY_OR_NULL: _ESTIMATE}
_SCORES = {_ANY: [_NUMBER]}

_FIGURES = dict.fromkeys(
    (
        "finished?",
        "repetitive?",
        "repeated_4grams?",
        "reading_level?",
        "unknown_words?",
        "words?",
        "grammar_issues?",
    ),
    _ESTIMATE,
)

SHAPES: dict[str, dict[str, Any]] = {
    "evaluation": {
        "name": _TEXT,
        "checkpoint": _TEXT,
        "step": _NUMBER,
        "parameters": {"total": _COUNT, "embeddings?": _NUMBER, "body?": _NUMBER},
        "model?": {_ANY: None},
        "tokenizer?": {"vocab_size?": _NUMBER},
    },
    "loss": {
        "set": {"name": _TEXT, "split": _TEXT, "fingerprint": _TEXT, "stories": _NUMBER, "bytes": _NUMBER},
        "parameters?": _TEXT,
        "quantize?": _TEXT,
        "nats_per_token": _NUMBER,
        "bits_per_byte": _ESTIMATE,
        "standard_error": _NUMBER,
        "by_position?": [{"from": _NUMBER, "to": _NUMBER, "nats_per_token": _NUMBER, "tokens": _NUMBER}],
        "by_length?": [{"from": _NUMBER, "to": _NUMBER, "bits_per_byte": _ESTIMATE, "stories": _NUMBER}],
        "by_source?": {_ANY: {"bits_per_byte": _ESTIMATE, "stories": _NUMBER}},
        "int8_difference?": _ESTIMATE,
    },
    "judge": {
        "judge": _TEXT,
        "template": _TEXT,
        "asked": _NUMBER,
        "graded": _NUMBER,
        "coverage": _NUMBER,
        "means?": _MEANS,
        "normalised?": _GRADES,
        "ages?": {_ANY: _NUMBER},
        "agreement?": {
            "judge": _TEXT,
            "pairs": _NUMBER,
            "by_grade": {_ANY: {"pearson?": _NUMBER, "mean_difference": _ESTIMATE}},
        },
        "grades?": [
            {"prompt": _TEXT, "sample": _NUMBER, "age?": _TEXT, "story?": _TEXT, "assessment?": _TEXT}
            | _GRADES
        ],
        "reference?": [{"model": _TEXT, "source?": _TEXT} | _GRADES],
    },
    "probes": {
        "groups": {_ANY: {"accuracy": _ESTIMATE, "chance?": _NUMBER, "baselines?": _ESTIMATES}},
        "instruct?": {_ANY: None},
        "items?": [{"group": _TEXT, "prompt": _TEXT, "right": _TEXT, "chosen": _TEXT, "correct": _FLAG}],
    },
    "novelty": {
        "training_stories?": _NUMBER,
        "kgram_share?": {"generated": _ESTIMATES, "held_out?": _ESTIMATES},
        "rouge_original?": {_ANY: {"precision?": _ESTIMATE, "fmeasure?": _ESTIMATE}},
        "rouge_original_r2_precision?": [_NUMBER],
        "self_similarity_r2?": [_NUMBER],
        "self_similarity_r2_original?": [_NUMBER],
        "nearest?": [{"story": _TEXT, "nearest_text": _TEXT, "precision": _NUMBER}],
        "nearest_precision?": _SCORES,
        "nearest_precision_held_out?": _SCORES,
        "kgram_frequency?": {_ANY: {_ANY: _NUMBER}},
        "distinct?": {_ANY_OR_NULL: _NUMBER},
        "distinct_original?": {_ANY_OR_NULL: _NUMBER},
        "longest_copy?": {"words": _NUMBER, "text": _TEXT, "from": _TEXT, "story": _TEXT},
    },
    "quality": {
        "stories": _NUMBER,
        **_FIGURES,
        "perplexity_under?": {"checkpoint": _TEXT, "bits_per_byte": _ESTIMATE},
        "held_out?": _FIGURES,
    },
    "story": {"prompt": _TEXT, "story": _TEXT, "sample": _NUMBER, "finish": _TEXT},
}


def check(value: Any, shape: Any, where: str) -> None:
    """Raises UserError, which names the place, where a value has another shape than it should."""
    if isinstance(shape, dict):
        _check_keys(_is(value, dict, "an object", where), shape, where)
    elif isinstance(shape, list):
        for number, item in enumerate(_is(value, list, "a list", where)):
            check(item, shape[0], f"{where}[{number}]")
    elif shape in (_NUMBER, _COUNT):
        _check_number(_is(value, int | float, shape, where), shape, where)
    elif shape is not None:
        _is(value, str if shape == _TEXT else bool, shape, where)


def _check_number(value: float, shape: str, where: str) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or (shape == _COUNT and value <= 0):
        _refuse(shape, where)


def _check_keys(value: dict, shape: dict, where: str) -> None:
    for key, inner in shape.items():
        name = key.removesuffix("?")
        if name != _ANY and name == key and name not in value:
            _refuse("there", f"{where}.{name}")
        for found in value if name == _ANY else (name,):
            if name == key or value.get(found) is not None:
                check(value[found], inner, f"{where}.{found}")


def _is(value: Any, kind: Any, name: str, where: str) -> Any:
    return value if isinstance(value, kind) else _refuse(name, where)


def _refuse(what: str, where: str) -> None:
    raise UserError(f"{where} is not {what}; evaluate that part again")
