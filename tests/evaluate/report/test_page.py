"""The page holds what was measured, as text and escaped, needs nothing else, and says what is missing."""

import base64
import hashlib
import html
import html.parser
import json
import pathlib
import re
import sys

import pytest

from tests.evaluate.report.evaluations import ALL, make, write
from tinyjax.errors import UserError
from tinyjax.evaluate.report.page import around, clipped, render, render_json
from tinyjax.evaluate.report.reading import Evaluation, read_evaluations
from tinyjax.evaluate.report.writing import write_report

_EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>\x00'


class Tree(html.parser.HTMLParser):
    """The tags of a page, which must be closed in order, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder: pathlib.Path, *made: dict) -> str:
    return render(read_evaluations([write(folder / str(i), one) for i, one in enumerate(made)]))


def text_of(page: str) -> str:
    return " ".join(Tree(page).text.split())


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def test_it_needs_nothing_else(page: str):
    tree = Tree(page)
    assert {tag for tag, _ in tree.tags}.isdisjoint({"img", "iframe", "object", "base", "embed"})
    assert [link["href"] for link in tree.of("link")] == ["data:,"]
    for _, attributes in tree.tags:
        assert attributes.keys().isdisjoint({"src", "onclick", "onload", "style"})
        assert (attributes.get("href") or "#")[0] in "#d"
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page


def test_the_same_evaluations_make_the_same_bytes(folders: list[pathlib.Path], tmp_path: pathlib.Path):
    first, second = (write_report(folders, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/report.json").read_bytes() == (tmp_path / "b/report.json").read_bytes()


def test_every_model_and_every_interval_is_there(evaluations: list[Evaluation], page: str):
    text = text_of(page)
    for evaluation in evaluations:
        assert evaluation.name in text
        loss = evaluation.parts["loss"]
        bits = loss["bits_per_byte"]
        assert f"{bits['value']:.3f}{bits['low']:.3f} to {bits['high']:.3f}" in text
        for mean in evaluation.parts["judge"]["means"].values():
            assert f"{mean['value']:.2f}{mean['low']:.2f} to {mean['high']:.2f}" in text
        for group in evaluation.parts["probes"]["groups"].values():
            value, low, high = (f"{100 * group['accuracy'][key]:.1f} %" for key in ("value", "low", "high"))
            assert f"{value}{low} to {high}" in text
        for k, share in evaluation.parts["novelty"]["kgram_share"]["generated"].items():
            assert f"{evaluation.name}, {k}: {100 * share['value']:.1f} %" in text
        for story in evaluation.stories:
            assert " ".join(story["story"].removeprefix(story["prompt"]).split()) in text
        for item in evaluation.parts["probes"]["items"]:
            assert item["prompt"] in text
    assert "132.50123.50 to 141.50" in text  # words of a story


def test_the_papers_rows_are_told_apart_from_what_was_measured(page: str):
    measured, _, papers = section(page, "grades").partition('<tbody class="paper">')
    assert "measured here" in measured
    assert "recorded judge 7B" in measured
    papers = papers.partition("</tbody>")[0]
    assert "from the paper" in papers
    assert "not comparable" in papers
    for figure in ("GPT-4", "8.75", "9.93", "8.21"):
        assert figure in papers
    assert "recorded judge" not in papers
    assert page.count("TinyStories, 64 wide, 8 layers") == 1


def test_losses_of_other_sets_and_grades_of_other_judges_are_not_compared(page: str, tmp_path: pathlib.Path):
    assert "can't be compared" not in html.unescape(page)
    made = [make("a", total=10), make("b", total=20)]
    made[0]["loss"]["set"]["fingerprint"] = "another"
    made[1]["judge"]["judge"] = "another"
    other = page_of(tmp_path, *made)
    for name in ("loss", "grades"):
        assert "so they can't be compared" in html.unescape(section(other, name))


@pytest.mark.parametrize("part", ALL)
def test_what_was_not_evaluated_is_said(part: str, tmp_path: pathlib.Path):
    lacking, whole = make("lacking", total=10), make("whole", total=20)
    del lacking[part]
    both, alone = (
        text_of(page_of(tmp_path / "both", lacking, whole)),
        text_of(page_of(tmp_path / "alone", lacking)),
    )
    said = {
        "loss": "The loss was not evaluated",
        "judge": "Grades were not evaluated",
        "probes": "Probes were not evaluated",
        "novelty": "Novelty was not evaluated",
        "quality": "Quality was not evaluated",
        "stories": "No stories were told",
    }[part]
    assert f"{said} for lacking." in both
    assert f"{said}." in alone


def test_an_evaluation_of_nothing_is_a_page(tmp_path: pathlib.Path):
    text = text_of(page_of(tmp_path, {"evaluation": make("a", total=10)["evaluation"]}))
    assert text.count("not evaluated.") == 6  # the note on dashes too
    assert "No stories were told." in text


def test_coverage_that_is_too_low_is_said(tmp_path: pathlib.Path):
    made = make("a", total=10)
    made["judge"] |= {"means": None, "normalised": None, "graded": 20, "coverage": 20 / 30}
    text = text_of(section(page_of(tmp_path, made), "grades"))
    assert "20 of 3067 %" in text
    assert "too few stories have a grade for a mean" in text


def test_text_of_others_stays_text(tmp_path: pathlib.Path):
    made = make(_EVIL, total=10, checkpoint=f"runs/{_EVIL}", openings=(_EVIL,))
    made["stories"][0]["story"] = f"{_EVIL}{_EVIL}"
    made["judge"] |= {"judge": _EVIL, "template": _EVIL}
    made["judge"]["grades"][0] |= {"assessment": _EVIL, "age": _EVIL}
    made["loss"]["by_source"][_EVIL] = made["loss"]["by_source"]["V1"]
    made["loss"]["set"]["name"] = _EVIL
    made["probes"]["groups"][_EVIL] = made["probes"]["groups"]["world"]
    made["probes"]["items"][0] |= dict.fromkeys(("group", "prompt", "right", "chosen"), _EVIL)
    made["probes"]["instruct"][_EVIL] = made["probes"]["instruct"]["sentence"]
    made["novelty"]["longest_copy"] = {"words": 3, **dict.fromkeys(("text", "from", "story"), _EVIL)}
    made["novelty"]["nearest"][0] |= dict.fromkeys(("story", "nearest_text"), _EVIL)
    made["novelty"]["kgram_frequency"]["1"][_EVIL] = 0.1
    page = page_of(tmp_path, made)
    tree = Tree(page)
    assert len(tree.of("script")) == len(tree.of("style")) == 1
    assert tree.of("img") == []
    assert "\x00" not in page
    assert tree.text.count('<script>alert("x")</script>') > 15
    assert "⟨0000⟩" in tree.text


def test_half_a_character_doesnt_stop_it(tmp_path: pathlib.Path):
    made = make("a", total=10)
    made["stories"][0]["story"] += "\ud83d"
    made["novelty"]["nearest"][0]["story"] = "\ud83d"
    folder = tmp_path / "a"
    write(folder, {"evaluation": made["evaluation"]})
    (folder / "stories.jsonl").write_text(json.dumps(made["stories"][0]) + "\n")
    (folder / "novelty.json").write_text(json.dumps(made["novelty"]))
    page = write_report([folder], folder)
    assert "⟨D83D⟩" in page.read_text()
    assert json.loads((folder / "report.json").read_text())["evaluations"][0]["novelty"] == made["novelty"]


def test_the_policy_lets_only_its_own_script_and_style_run(page: str):
    (policy,) = (meta["content"] or "" for meta in Tree(page).of("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_charts_are_told_to_those_who_dont_see_them(page: str):
    tree = Tree(page)
    images = [svg for svg in tree.of("svg") if "role" in svg]
    assert len(images) > 30
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in images)
    assert all(svg.get("aria-hidden") == "true" for svg in tree.of("svg") if "role" not in svg)
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert len(figures) == len(images) - 1  # the probes' table stands beside their chart
    assert all("<table>" in figure and "<title>" in figure for figure in figures)
    labels = [region["aria-label"] for region in tree.of("div") if region.get("role") == "region"]
    assert len(labels) == len(tree.of("table"))
    assert all(label["scope"] for label in tree.of("th"))


def test_judged_stories_that_were_not_told_here_are_shown(tmp_path: pathlib.Path):
    made = make("a", total=10)
    del made["stories"]
    graded = {"grammar": 7, "creativity": 6, "consistency": 5, "plot": None, "age": "C"}
    made["judge"]["grades"] = [
        {"prompt": "", "sample": 0, "story": "Sue ran.", "assessment": "Well done.", **graded},
        {"prompt": "", "sample": 1, "story": "Tim sat.", **graded},
        {"prompt": "", "sample": 2, "story": "", **dict.fromkeys(graded)},
    ]
    page = page_of(tmp_path, made)
    shown = section(page, "stories")
    assert shown.count("<article") == 2
    text = text_of(shown)
    assert "no opening a no. 1 *** Sue ran. grammar 7 creativity 6 consistency 5 age C" in text
    assert "Well done." in text


def test_what_was_copied_is_marked_in_both_stories(page: str):
    marked = re.findall(r"<mark>(.*?)</mark>", section(page, "novelty"))
    words = "the bird was shy, so the mouse sang a little song"
    assert [mark.lower() for mark in marked[:3]] == [words] * 3


@pytest.mark.parametrize(
    ("text", "part", "found"),
    [
        ("A b c d", "b c", ("A ", "b c", " d")),
        ("A 'B,\nc' d", "b c", ("A '", "B,\nc", "' d")),
        ("Ab c d", "b c", ("Ab c d", "", "")),
        ("A b", "", ("A b", "", "")),
        ("a.b (c", "b (", ("a.", "b", " (c")),
    ],
)
def test_a_part_is_found_by_its_words(text: str, part: str, found: tuple[str, str, str]):
    assert around(text, part) == found


def test_long_names_are_clipped():
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcde fgh", 7) == "abcde…"


def test_without_jinja2_the_extra_is_named_and_the_numbers_are_there(
    folders: list[pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=r"pip install 'tinyjax\[audit\]'"):
        write_report(folders, tmp_path / "report")
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [one["name"] for one in written["evaluations"]][:1] == ["small"]
    assert not (tmp_path / "report" / "report.html").exists()


def test_the_pages_numbers_are_those_of_the_json(evaluations: list[Evaluation]):
    written = json.loads(render_json(evaluations))["evaluations"]
    for evaluation, one in zip(evaluations, written, strict=True):
        assert one["name"] == evaluation.name
        assert {part: one[part] for part in evaluation.parts} == evaluation.parts
