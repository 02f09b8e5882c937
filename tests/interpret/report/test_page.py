"""The page holds what was found, as text, needs nothing else, and stays below 10 MB."""

import base64
import hashlib
import json
import re
from typing import Any

import numpy as np
import pytest

from tests.evaluate.report.test_page import Tree
from tests.interpret.report.findings import HEADS, LAYERS, NEURONS, make
from tinyjax.errors import UserError
from tinyjax.interpret.report import packing
from tinyjax.interpret.report.page import render
from tinyjax.interpret.report.writing import read_report, write_report

_EVIL = '</script><script>alert("x")</script><!--<img src=x onerror=alert(1)>\x00\u2028'


def data_of(page: str) -> dict[str, Any]:
    return json.loads(
        page.partition('<script id="data" type="application/json">')[2].partition("</script>")[0]
    )


def test_the_same_findings_give_the_same_page(tmp_path):
    (first, second) = (write_report(make(), tmp_path / name, [make("b")]) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert render(read_report(first.parent), [make("b")]) == first.read_text()


def test_it_needs_nothing_else():
    tree = Tree(render(make()))
    assert {name for name, attributes in tree.tags if {"src", "style", "onclick"} & set(attributes)} == set()
    assert [link["href"] for link in tree.of("link")] == ["data:,"]


def test_the_policy_lets_only_its_own_script_and_styles_run():
    page = render(make())
    (policy,) = (meta["content"] or "" for meta in Tree(page).of("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for content in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page, re.DOTALL):
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy


def test_text_of_others_stays_text():
    page = render(make(_EVIL, stories=[[_EVIL]], sentence=(_EVIL, _EVIL)), [make(_EVIL)])
    tree = Tree(page)
    assert len(tree.of("script")) == 2
    assert tree.of("img") == []
    assert "Inside </script><script>" in tree.text
    data = data_of(page)
    assert data["stories"][0]["tokens"][1] == f" {_EVIL}"
    assert data["sentences"][0].startswith(_EVIL)


def test_every_head_is_told_of():
    page = Tree(render(make()))
    cells = [one for one in page.of("button") if "cell" in (one["class"] or "")]
    assert len(cells) == LAYERS * HEADS
    assert cells[5]["aria-label"] == "block 1, head 1: punctuation, +0.500 nats/token without it"
    assert "Evidence number 5." in page.text


def test_a_big_model_fits_and_the_clearest_neurons_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "UNITS_LIMIT", 8_000)
    data = packing.pack(make())
    sizes = json.dumps([data["units"], data["sentences"]])
    assert len(sizes) <= 8_000
    assert 0 < len(data["units"]) < LAYERS * NEURONS
    assert data["kinds"]["neurons"]["whole"] == LAYERS * NEURONS
    numbers = [unit["index"] for unit in data["units"]]
    assert max(numbers) < NEURONS - 1  # the selectivity falls with the number
    values = np.frombuffer(base64.b64decode(data["stories"][0]["values"]), np.int8)
    rows = values.reshape(len(data["units"]), -1)
    for unit, row in zip(data["units"], rows, strict=True):
        step = unit["layer"] * NEURONS + unit["index"] + 2
        assert np.flatnonzero(row == 127).tolist() == [i for i in range(2, 18) if i % step == 0]


def test_long_stories_are_cut_where_patterns_of_many_heads_would_not_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "PATTERNS_LIMIT", 1800)
    data = packing.pack(make())
    (story, short) = data["stories"]
    count = len(story["tokens"])
    assert count == 11
    assert (story["whole"], story["next"]) == (18, " and")
    assert (short["whole"], short["next"]) == (8, "⟨end⟩")
    patterns = np.frombuffer(base64.b64decode(story["patterns"]), np.uint8).reshape(LAYERS * HEADS, -1)
    assert patterns.shape[1] == count * (count + 1) // 2
    assert np.flatnonzero(patterns[0][-count:]).tolist() == [count - 2]  # the last looks one back
    assert sum(len(one["patterns"]) for one in data["stories"]) <= 1800


def test_another_file_is_no_report(tmp_path):
    with pytest.raises(
        UserError, match=r"there is no report '.*gone/report.json'|there is no report '.*gone'"
    ):
        read_report(tmp_path / "gone")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_report(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"about": {"name": "x", "parameters": "many"}}')
    with pytest.raises(UserError, match=r"report.about.parameters|report.about"):
        read_report(tmp_path / "a.json")
