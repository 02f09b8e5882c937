"""The data card counts what is there, says what to mend, and is one page that needs nothing else."""

import html.parser
import importlib.util
import json
import random
import sys
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.conftest import make_stories
from tinyjax import textio
from tinyjax.data.audit import audit, number, percent, render
from tinyjax.errors import UserError
from tinyjax.stories.clean import DEFAULT, clean
from tinyjax.textio import Record

HEALTHY = make_stories(120)


def records(texts) -> list[Record]:
    return [Record(text) for text in texts]


def found(card, rule: str) -> dict:
    """The problem of a rule, which must be there."""
    return next(problem for problem in card["problems"] if problem["rule"] == rule)


@pytest.fixture(scope="module")
def damaged(prepared) -> dict:
    """The card of a train split with each kind of damage, and a validation split that overlaps with it."""
    near = HEALTHY[0].replace("child", "boy", 1) + " It was late."
    train = [
        *HEALTHY[:100],
        *[HEALTHY[3]] * 4,
        *[HEALTHY[4]] * 2,
        near,
        HEALTHY[5] + " â€œStop!â€ he said.",
        HEALTHY[6] + " <script>alert('x')</script>\x00 “Yes.”",
        HEALTHY[7] + "\n<|endoftext|>",
        HEALTHY[8] + "  \n\n\n\nThe end.",
        HEALTHY[9][:-1],
        HEALTHY[10] + " Zoë went & sat.",
        "Tom sat.",
    ]
    kept = [Record(text, source="GPT-4", features=("Dialogue",)) for text in train[:50]]
    validation = records([*HEALTHY[100:], HEALTHY[1], HEALTHY[2], near.replace("late", "dark")])
    return audit([*kept, *records(train[50:])], validation, prepared.tokenizer)


def test_counts_and_lengths(damaged, prepared):
    counts = damaged["counts"]["train"]
    assert counts["stories"] == damaged["counts"]["train"]["stories measured"] == 114
    card = audit(records(["One two.", "Three four five.", "Six."]), [], prepared.tokenizer)
    assert card["counts"] == {
        "train": {"stories": 3, "words": 6, "characters": 28, "bytes": 28, "stories measured": 3}
    }
    words = card["lengths"]["words"]["train"]
    assert [words[key] for key in ("min", "median", "mean", "max")] == [1, 2, 2.0, 3]
    tokens = [len(prepared.tokenizer.encode(text)) for text in ("One two.", "Three four five.", "Six.")]
    assert card["lengths"]["tokens"]["train"]["mean"] == sum(tokens) / 3


@pytest.mark.parametrize("kind", ["words", "characters", "tokens"])
def test_histograms_count_every_story_once_within_few_bins(damaged, kind):
    distribution = damaged["lengths"][kind]
    assert 5 < len(distribution["edges"]) - 1 <= 40
    for name, counts in damaged["counts"].items():
        assert sum(distribution[name]["histogram"]) == counts["stories"]


@pytest.mark.parametrize(
    ("rule", "count", "mend"),
    [
        ("mojibake", 1, True),
        ("control", 1, True),
        ("separators", 1, True),
        ("whitespace", 1, True),
        ("truncated", 1, True),
        ("duplicates", 6, True),
        ("near_duplicates", 7, False),  # stories to which little was added are such too
        ("punctuation", 1, False),
        ("non_ascii", 3, False),
        ("short", 1, False),
    ],
)
def test_each_problem_is_counted_and_says_which_rule_mends_it(damaged, rule, count, mend):
    problem = found(damaged, rule)
    assert problem["counts"]["train"] == count
    assert problem["mend"] == mend
    assert problem["sentence"].count(". ") == 0
    assert f"{problem['counts']['train']} in train (" in problem["sentence"]
    assert f"--clean={rule} " in problem["sentence"]


def test_the_verdict_says_what_to_mend_and_only_that(damaged, prepared):
    assert damaged["verdict"].startswith("Before training, prepare again with --clean=default. Found: ")
    assert "wrongly decoded text (1); " in damaged["verdict"]
    assert "copies of an earlier story of the split (6)" in damaged["verdict"]
    assert "validation stories that are in train too (2)" in damaged["verdict"]
    assert "curly" not in damaged["verdict"]
    card = audit(records(HEALTHY[:100]), records(HEALTHY[100:]), prepared.tokenizer)
    assert card["verdict"] == "Nothing has to be mended before training."
    assert not [problem for problem in card["problems"] if problem["mend"]]


def test_what_cleaning_mends_is_a_problem_no_more(prepared):
    texts = [*HEALTHY[:20], HEALTHY[20] + " â€œStop!â€ he said.", HEALTHY[21][:-1]]
    texts.append(HEALTHY[22] + "  \n***\nThe end")
    assert audit(records(texts), [], prepared.tokenizer)["verdict"].count("(1)") == 4
    cleaned = [clean(text, DEFAULT).text for text in texts]
    card = audit(records(text for text in cleaned if text), [], prepared.tokenizer)
    assert card["verdict"] == "Nothing has to be mended before training."


def test_copies_and_overlap(damaged):
    assert damaged["duplicates"]["copies"] == {"train": 6, "validation": 0}
    assert damaged["duplicates"]["largest"] == 5
    assert damaged["duplicates"]["example"].startswith(HEALTHY[3][:40])
    assert damaged["duplicates"]["overlap"] == 2
    assert damaged["near_duplicates"]["overlap"] == 1
    pair = next(pair for pair in damaged["near_duplicates"]["pairs"] if pair["where"] == "both splits")
    assert 0.7 <= pair["similarity"] < 1
    assert any(differs for _, differs in pair["a"])


def test_a_language_beyond_ascii_is_no_problem(prepared):
    texts = [f"Жила-была Маша номер {i}. Она любила гулять в лесу, и петь, и танцевать." for i in range(50)]
    card = audit(records(texts), [], prepared.tokenizer)
    assert "non_ascii" not in {problem["rule"] for problem in card["problems"]}
    assert card["characters"][0]["share"] == 1
    assert "CYRILLIC" in card["characters"][0]["name"]
    assert "train" not in card["reading_level"]


def test_what_is_known_of_stories(damaged):
    assert damaged["features"] == [{"item": "Dialogue", "count": 50, "share": 50 / 114}]
    assert damaged["sources"] == [{"item": "GPT-4", "count": 50, "share": 50 / 114}]
    assert damaged["openings"][0]["item"].startswith("Story ")
    assert damaged["reading_level"]["train"]["count"] == 114


def test_vocabulary_says_what_the_tokenizer_splits(prepared):
    texts = ["Once upon a time a child took the ball."] * 3 + ["Tom saw kites, boats and a xylophone."]
    vocabulary = audit(records(texts), [], prepared.tokenizer)["vocabulary"]
    assert vocabulary["words"] == 34
    assert vocabulary["distinct"] == 14
    assert vocabulary["once"] == 6
    assert vocabulary["frequent"][0] == {"item": "a", "count": 7, "share": 7 / 34}
    split = {entry["item"]: entry["pieces"] for entry in vocabulary["split"]}
    words = {word.strip(".,") for text in texts for word in text.split()}
    lengths = {word: len(prepared.tokenizer.encode(f" {word}")) for word in words}
    assert 2 in lengths.values()
    assert {word: len(pieces) for word, pieces in split.items()} == {
        w: n for w, n in lengths.items() if n > 1
    }
    assert "".join(split["xylophone"]) in ("xylophone", "␣xylophone")
    tokens = sum(len(prepared.tokenizer.encode(text)) for text in texts)
    assert vocabulary["tokens_per_word"] == tokens / 34
    assert vocabulary["bytes_per_token"] == sum(map(len, texts)) / tokens


def test_the_sample_is_even_bounded_and_said(prepared):
    texts = [f"{i} {HEALTHY[i % 100]}" for i in range(1000)]
    card = audit(records(texts), [], prepared.tokenizer, sample=200)
    assert card["counts"]["train"]["stories"] == 1000
    assert card["counts"]["train"]["stories measured"] == card["lengths"]["tokens"]["train"]["count"] == 125


def test_stories_are_streamed_and_progress_is_told(prepared):
    told = []
    stream = iter(records(HEALTHY * 10))
    audit(stream, iter(()), prepared.tokenizer, progress=lambda *where: told.append(where))
    stages = dict.fromkeys(stage for stage, _, _ in told)
    assert list(stages) == [
        "looking at train stories",
        "looking at validation stories",
        "measuring train stories",
        "comparing stories",
    ]
    assert ("looking at train stories", 1200, 0) in told
    assert ("measuring train stories", 1200, 1200) in told
    assert ("comparing stories", 120, 120) in told


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stories(prepared):
    def stories(count: int) -> Iterator[Record]:
        rng = random.Random(0)
        for _ in range(count):
            yield Record(" ".join(f"w{rng.randrange(5000)}" for _ in range(60)) + ".")

    peaks = []
    for count in (1000, 2000, 8000):  # the first brings the imports
        tracemalloc.start()
        audit(stories(count), [], prepared.tokenizer, sample=500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 6000 * 300  # the text alone has 350 bytes; openings are counted


def test_no_story_is_refused(prepared):
    with pytest.raises(UserError, match="no train story to audit"):
        audit([], [], prepared.tokenizer)


@pytest.mark.parametrize("package", ["ftfy", "datasketch", "jinja2"])
def test_a_missing_package_is_said_before_any_work(prepared, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(UserError, match=rf"needs {package}; run pip install 'tinyjax\[audit\]'"):
        audit(iter(records(HEALTHY)), [], prepared.tokenizer)


class Page(html.parser.HTMLParser):
    """Collects the tags of a page, checks that they are closed in order, and what text is in it."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


class TestPage:
    """What `render` makes of a card."""

    def test_it_is_whole_and_needs_nothing_else(self, damaged):
        page = Page(render(damaged))
        assert page.open == []
        tags = {tag for tag, _ in page.tags}
        assert tags.isdisjoint({"script", "link", "img", "iframe"})
        for _, attributes in page.tags:
            assert attributes.keys().isdisjoint({"src", "onclick", "onload"})
            assert not (attributes.get("href") or "#").startswith("http")
        assert "url(" not in render(damaged)
        assert "@import" not in render(damaged)

    def test_it_says_the_verdict_and_every_problem(self, damaged):
        text = " ".join(Page(render(damaged)).text.split())
        assert damaged["verdict"] in text
        for problem in damaged["problems"]:
            assert problem["sentence"] in text
        assert "The most repeated story of train occurs 5 times." in text

    def test_stories_are_quoted_as_text(self, damaged):
        page = render(damaged)
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "\x00" not in page
        assert "⟨0000⟩" in page

    def test_histograms_say_their_numbers_without_colour_or_script(self, damaged):
        page = Page(render(damaged))
        images = [attributes for tag, attributes in page.tags if tag == "svg"]
        assert len(images) == 4
        assert all(image["role"] == "img" and image["aria-label"] for image in images)

    def test_a_card_read_from_json_makes_the_same_page(self, damaged):
        assert render(json.loads(json.dumps(damaged))) == render(damaged)

    def test_a_bare_card_is_a_page_too(self, prepared):
        Page(render(audit([Record("Tom ran.")], [], prepared.tokenizer)))
        Page(render(audit([Record("…")], [Record("?")], prepared.tokenizer)))

    def test_without_jinja2_the_extra_is_named(self, damaged, monkeypatch):
        monkeypatch.setitem(sys.modules, "jinja2", None)
        with pytest.raises(UserError, match=r"pip install 'tinyjax\[audit\]'"):
            render(damaged)


def test_numbers_are_for_people():
    assert [number(value) for value in (3, 1234567, 12.34, 0.456, 2.0, 1234.5)] == [
        "3", "1,234,567", "12.3", "0.46", "2", "1,234"
    ]  # fmt: skip
    assert [percent(share) for share in (0, 1, 0.5, 0.034, 0.0042, 1e-6)] == [
        "0 %", "100 %", "50 %", "3.4 %", "0.42 %", "< 0.01 %"
    ]  # fmt: skip


@pytest.mark.slow
def test_the_known_truth_about_the_real_sample(train_sample, shared_data, prepared):
    valid = textio.read(shared_data / "tinystories" / "valid-sample.txt")
    card = audit(textio.read(train_sample), valid, prepared.tokenizer)
    assert card["counts"]["train"]["stories"] == 8574
    assert card["counts"]["validation"]["stories"] == 820
    assert found(card, "mojibake")["counts"] == {"train": 36, "validation": 43}
    assert card["duplicates"]["copies"] == {"train": 0, "validation": 0}
    assert card["duplicates"]["overlap"] == 0
    assert card["openings"][0]["item"] == "Once upon a time"
    assert 0.5 < card["openings"][0]["share"] < 0.7
    assert 1 < card["reading_level"]["train"]["median"] < 5
    Page(render(card))
