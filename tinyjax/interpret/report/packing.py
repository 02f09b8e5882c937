"""What the page's script reads: as much of the findings as fits, sentences each once, and short units."""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

# Bytes: with 11 KB for each of up to 200 heads, and what else there is, the page stays below 10 MB.
UNITS_LIMIT, PATTERNS_LIMIT, VALUES_LIMIT = 2_500_000, 3_000_000, 1_000_000
_KEPT = (20, 8)  # top tokens of a unit: fewer where there are many units
_BEFORE, _AFTER = 90, 60  # letters of a long sentence around a token

Unit = dict[str, Any]


def pack(findings: dict[str, Any]) -> dict[str, Any]:
    """Returns the data of the page's script."""
    units = list(_units(findings))
    shown = _fit(findings, units)
    sentences: dict[str, int] = {}
    length = _story_length(findings)
    return {
        "kinds": {
            kind: {
                "layers": [layer["name"] for layer in of["layers"]],
                "whole": sum(len(layer["neurons"]) for layer in of["layers"]),
            }
            for kind, of in findings["units"].items()
        },
        "heads": [[head["layer"], head["head"], head["kind"]] for head in findings["heads"]],
        "first": _first(findings["heads"]),
        "units": [_short(unit, shown.kept, sentences) for unit in shown.units],
        "sentences": list(sentences),
        "edges": findings["edges"],
        "stories": [_cut(findings, story, shown.units, length) for story in findings["stories"]],
        "vocabulary": findings["vocabulary"],
    }


def _first(heads: Sequence[dict[str, Any]]) -> int:
    """Returns the head that the model can do without the least, which is shown first."""
    return max(range(len(heads)), key=lambda i: heads[i]["removal"]["nats_per_token"])


class _Shown(NamedTuple):
    units: Sequence[Unit]
    kept: int  # top tokens of each


def _units(findings: dict[str, Any]) -> Iterator[Unit]:
    """Yields all units with their kind, the number of their layer, and the row of their values in a story."""
    for kind, of in findings["units"].items():
        row = 0
        for number, layer in enumerate(of["layers"]):
            for neuron in layer["neurons"]:
                scale = findings["scales"][kind][row]
                telling = is_telling(neuron, layer["kept"])
                yield neuron | {"kind": kind, "layer": number, "row": row, "scale": scale, "telling": telling}
                row += 1


def _fit(findings: dict[str, Any], units: Sequence[Unit]) -> _Shown:
    """Returns as many units as fit, those of the clearest roles where not all do, in their order."""
    tokens = sum(min(len(story["tokens"]), _story_length(findings)) for story in findings["stories"])
    most = int(VALUES_LIMIT * 3 / 4 / max(tokens, 1))
    for kept in _KEPT:
        sizes = [_size(unit, kept) for unit in units]
        if sum(sizes) <= UNITS_LIMIT and len(units) <= most:
            return _Shown(units, kept)
    order = sorted(range(len(units)), key=lambda i: (-_selectivity(units[i]), i))
    fitting = int(np.searchsorted(np.cumsum([sizes[i] for i in order]), UNITS_LIMIT))
    return _Shown([units[i] for i in sorted(order[: min(fitting, most)])], _KEPT[-1])


def is_telling(unit: Unit, kept: int) -> bool:
    """Returns whether a unit is alive, and has enough top tokens for what they share to say something."""
    return unit["role"] is not None and len(unit["top"]) >= kept


def _selectivity(unit: Unit) -> float:
    return unit["role"]["selectivity"] if unit["telling"] else -1.0


def _size(unit: Unit, kept: int) -> int:
    """Returns how many bytes a unit takes at most: its sentences may be those of others."""
    sentences: dict[str, int] = {}
    short = _short(unit, kept, sentences)
    return len(json.dumps([short, list(sentences)]))


def _short(unit: Unit, kept: int, sentences: dict[str, int]) -> dict[str, Any]:
    return {
        "kind": unit["kind"],
        "layer": unit["layer"],
        "index": unit["index"],
        "dead": unit["dead"],
        "telling": unit["telling"],
        "sign": unit["sign"],
        "scale": _round(unit["scale"]),
        "mean": _round(unit["mean"]),
        "deviation": _round(unit["deviation"]),
        "highest": _round(unit["highest"]),
        "lowest": _round(unit["lowest"]),
        "active": _round(unit["active"]),
        "histogram": unit["histogram"],
        "role": _role(unit["role"]),
        "means": {
            kind: {group: _round(mean) for group, mean in groups.items()}
            for kind, groups in unit["means"].items()
        },
        "explained": {kind: _round(share) for kind, share in unit["explained"].items()},
        "promotes": [[text, _round(value)] for text, value in unit["promotes"]],
        "suppresses": [[text, _round(value)] for text, value in unit["suppresses"]],
        "top": [_top(top, sentences) for top in unit["top"][:kept]],
    }


def _role(role: dict[str, Any] | None) -> list[Any] | None:
    if role is None:
        return None
    return [role["kind"], role["name"], _round(role["share"]), _round(role["selectivity"])]


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _top(top: dict[str, Any], sentences: dict[str, int]) -> list[Any]:
    """Returns which sentence, where the token begins and ends in it, and the activation."""
    before, after = _tail(top["before"]), _head(top["after"])
    sentence = sentences.setdefault(f"{before}{top['token']}{after}", len(sentences))
    start = _letters(before)
    return [sentence, start, start + _letters(top["token"]), _round(top["activation"])]


def _letters(text: str) -> int:
    """Returns how long a text is for a script."""
    return len(text.encode("utf-16-le")) // 2


def _tail(text: str) -> str:
    return text if len(text) <= _BEFORE else f"…{text[-_BEFORE:]}"


def _head(text: str) -> str:
    return text if len(text) <= _AFTER else f"{text[:_AFTER]}…"


def _story_length(findings: dict[str, Any]) -> int:
    """Returns how many tokens of each story can be shown with where all heads look."""
    pairs = PATTERNS_LIMIT * 3 / 4 / max(len(findings["stories"]) * len(findings["heads"]), 1)
    return max(int(math.sqrt(2 * pairs)) - 1, 8)


def _cut(
    findings: dict[str, Any], story: dict[str, Any], units: Sequence[Unit], length: int
) -> dict[str, Any]:
    tokens = story["tokens"][: length + 1]
    whole, length = len(story["tokens"]), min(length, len(story["tokens"]))
    patterns = np.frombuffer(base64.b64decode(story["patterns"]), np.uint8)
    patterns = patterns.reshape(len(findings["heads"]), -1)[:, : length * (length + 1) // 2]
    values = {
        kind: np.frombuffer(base64.b64decode(packed), np.int8).reshape(-1, whole)[:, :length]
        for kind, packed in story["units"].items()
    }
    return {
        "tokens": tokens[:length],
        "whole": whole,
        "next": tokens[length] if whole > length else story["next"],
        "patterns": base64.b64encode(patterns.tobytes()).decode(),
        "values": base64.b64encode(b"".join(values[u["kind"]][u["row"]].tobytes() for u in units)).decode(),
        "lens": [{name: rows[:length] for name, rows in after.items()} for after in story["lens"]],
        "moved": story["moved"][:length],
    }
