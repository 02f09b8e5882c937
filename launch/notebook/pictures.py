"""What the notebook shows: a curve, stories, tokens in a window, where a head looks. All of it is HTML."""

import html
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tinyjax.sweep import plot
from tinyjax.tokenizer import Tokenizer

_COLOURS = ("#4878cf", "#d98b2b", "#5aa469", "#b565a7", "#7a7a7a")  # readable on white and on black
_CELL, _LABELS = 16, 78  # pixels of an attention map
_TEXT = "font: 11px system-ui, sans-serif; fill: currentColor"


def metrics(run: pathlib.Path) -> list[dict[str, float]]:
    """Returns the whole lines of a run's metrics.jsonl."""
    file = run / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def curve(lines: Sequence[Mapping[str, float]]) -> str:
    """Returns a chart of bits/byte by step, in training and on unseen stories; "" without any."""
    names = {"bits_per_byte": "in training", "validation/bits_per_byte": "on unseen stories"}
    series = [
        plot.Series(label, points, colour, dots=len(points) == 1, line=len(points) > 1)
        for colour, (name, label) in enumerate(names.items())
        if (points := [(line["step"], line[name]) for line in lines if line.get(name)])
    ]
    if not series:
        return ""
    return _chart(plot.make_chart("step", "bits/byte", series, log_x=False))


def _chart(chart: plot.Chart) -> str:
    width, height = plot.WIDTH, plot.HEIGHT
    parts = [*_axes(chart)]
    for row, drawn in enumerate(chart.drawn):
        colour = _COLOURS[drawn.series.colour]
        pixels = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn.pixels)
        if drawn.series.line:
            parts.append(
                f'<polyline points="{pixels}" style="fill: none; stroke: {colour}; stroke-width: 1.5"/>'
            )
        if drawn.series.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in drawn.pixels]
        parts.append(_label(width - 20, 24 + 16 * row, drawn.series.name, "end", colour))
    style = f"max-width: {width:.0f}px; width: 100%; display: block"
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="{style}">{"".join(parts)}</svg>'


def _axes(chart: plot.Chart) -> Iterator[str]:
    bottom = plot.HEIGHT - 38
    for x, text in chart.x_ticks:
        yield _label(x, bottom + 16, text, "middle")
    for y, text in chart.y_ticks:
        yield f'<line x1="52" x2="{plot.WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>'
        yield _label(46, y + 4, text, "end")
    yield _label(plot.WIDTH - 10, bottom + 32, chart.x_label, "end")
    yield _label(6, 12, chart.y_label, "start")


def _label(x: float, y: float, text: str, anchor: str, colour: str = "") -> str:
    style = _TEXT.replace("currentColor", colour or "currentColor")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{html.escape(text)}</text>'


def story(*parts: str) -> str:
    """Returns a story in parts, of which every second one, from the first, was given and is bold."""
    marked = [
        f"<b>{html.escape(part)}</b>" if number % 2 == 0 else html.escape(part)
        for number, part in enumerate(parts)
    ]
    style = "max-width: 46rem; margin: .5rem 0 1rem; padding-left: .8rem; border-left: 3px solid #8886"
    return f'<div style="{style}; white-space: pre-wrap; line-height: 1.5">{"".join(marked)}</div>'


def window(window: Mapping[str, np.ndarray], tokenizer: Tokenizer) -> str:
    """Returns the tokens of a packed window, each story in a colour of its own."""
    spans = [
        _token(piece, _COLOURS[(segment - 1) % len(_COLOURS)] if segment else "")
        for piece, segment in zip(pieces(tokenizer, window["inputs"]), window["segments"], strict=True)
    ]
    return f'<div style="max-width: 46rem; line-height: 1.9">{"".join(spans)}</div>'


def _token(piece: str, colour: str) -> str:
    style = f"border-bottom: 3px solid {colour or '#8884'}; margin-right: 2px; white-space: pre"
    may_break = "<wbr>" if piece.startswith((" ", "⏎", "[")) else ""
    return f'{may_break}<span style="{style}">{html.escape(piece)}</span>'


def pieces(tokenizer: Tokenizer, ids: Sequence[int] | np.ndarray) -> list[str]:
    """Returns what each token stands for, for people."""
    special = {tokenizer.bos_id: "[start]", tokenizer.eos_id: "[end]", tokenizer.pad_id: "·"}
    texts = (tokenizer.decode_bytes([int(i)], start=False).decode(errors="replace") for i in ids)
    shown = (text.replace("\n", "⏎") for text in texts)
    return [special.get(int(i)) or text for i, text in zip(ids, shown, strict=True)]


def attention(names: Sequence[str], pattern_TS: np.ndarray) -> str:
    """Returns where each token (row) looks (columns, before it): the darker, the more."""
    size = _LABELS + _CELL * len(names)
    parts = []
    for row, name in enumerate(names):
        at = _LABELS + _CELL * row + _CELL - 4
        parts.append(_label(_LABELS - 4, at, name, "end"))
        turned = f'<g transform="translate({at} {_LABELS - 4}) rotate(-90)">{_label(0, 0, name, "start")}</g>'
        parts.append(turned)
        parts += [_square(row, column, names, pattern_TS[row, column]) for column in range(row + 1)]
    style = f"max-width: {size}px; width: 100%; display: block"
    return f'<svg viewBox="0 0 {size} {size}" style="{style}">{"".join(parts)}</svg>'


def _square(row: int, column: int, names: Sequence[str], share: float) -> str:
    x, y = (_LABELS + _CELL * place for place in (column, row))
    told = html.escape(f"{names[row]} looks at {names[column]}: {share:.0%}")
    place = f'x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}"'
    colour = f'fill="{_COLOURS[0]}" fill-opacity="{0.06 + 0.94 * math.sqrt(max(share, 0)):.2f}"'
    return f"<rect {place} {colour}><title>{told}</title></rect>"
