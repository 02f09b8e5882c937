"""The report in a real browser, from a file: searched, by keyboard, on a phone, printed; with screenshots."""

import pathlib
from collections.abc import Callable, Generator

import pytest

from tests.evaluate.report.evaluations import OPENINGS, make, write
from tests.serve.test_playground import CHROMIUM, CONTRAST, SCREENSHOTS, browser, playwright, screenshot
from tinyjax.evaluate.report.reading import Evaluation
from tinyjax.evaluate.report.writing import write_report

__all__ = ["browser"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
]

Page = playwright.Page
Open = Callable[..., Page]

_STORIES = len(OPENINGS) * 3 * 4  # samples of each opening, models


@pytest.fixture(scope="module")
def report(folders: list[pathlib.Path], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return pathlib.Path(write_report(folders, tmp_path_factory.mktemp("report")))


@pytest.fixture
def open_page(browser: playwright.Browser, report: pathlib.Path) -> Generator[Open]:
    """Opens a report; at the end, no page may have had an error, or asked for anything but itself."""
    errors, asked, contexts, opened = [], [], [], []

    def open_one(path: pathlib.Path = report, width: int = 1280, **options: object) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        opened.append(path.as_uri())
        page.goto(path.as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert errors == []
    assert {url for url in asked if not url.startswith("data:")} == set(opened)


def shown(page: Page, selector: str) -> int:
    return page.locator(f"{selector}:visible").count()


def said(page: Page, section: str) -> str:
    return page.locator(f"#{section} output").inner_text()


def whole(page: Page, name: str) -> None:
    """Keeps a picture of all of the page."""
    screenshot(page, name)
    sections = page.locator("section").evaluate_all("all => all.map((one) => one.id)")
    for section in sections:
        page.locator(f"#{section}").screenshot(path=SCREENSHOTS / f"{name}-{section}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_a_file(scheme: str, open_page: Open, evaluations: list[Evaluation]):
    page = open_page(color_scheme=scheme)
    assert page.title() == f"Evaluation of {', '.join(evaluation.name for evaluation in evaluations)}"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    for selector in (
        "h1",
        "nav a",
        ".soft",
        "td small",
        ".badge",
        "summary",
        ".who",
        ".told mark",
        ".no",
        ".yes",
    ):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    whole(page, f"report-{scheme}")


def test_stories_are_searched_and_filtered(open_page: Open, evaluations: list[Evaluation]):
    page = open_page()
    assert said(page, "stories") == f"{_STORIES} stories"
    assert shown(page, "#stories article") == 8
    assert shown(page, "#stories article:first-of-type .story") == 4  # one of each model
    page.locator("#stories .more").click()
    assert shown(page, "#stories article") == len(OPENINGS)
    page.get_by_role("button", name="Show all 3 of this opening").first.click()
    assert shown(page, "#stories article:first-of-type .story") == 12

    page.locator("#stories [name=query]").fill("pumpkin  SUE")
    assert said(page, "stories") == f"12 of {_STORIES} stories"
    assert shown(page, "#stories article") == 1
    page.locator("#stories [name=model]").select_option("small")
    assert said(page, "stories") == f"3 of {_STORIES} stories"
    assert shown(page, "#stories .story") == 3
    page.locator("#stories [name=query]").fill("")
    page.locator("#stories [name=ending]").select_option("cut off")
    cut = [story for story in evaluations[0].stories if story["finish"] == "length"]
    assert said(page, "stories") == f"{len(cut)} of {_STORIES} stories"
    page.locator("#stories [name=grade]").select_option("no grade")
    assert said(page, "stories") == f"0 of {_STORIES} stories"
    assert shown(page, "#stories article") == 0


def test_grades_filter_stories(open_page: Open, evaluations: list[Evaluation]):
    page = open_page()
    means = [
        sum(one[name] for name in ("grammar", "creativity", "consistency", "plot")) / 4
        for evaluation in evaluations
        for one in evaluation.parts["judge"]["grades"]
    ]
    for name, count in {
        "8 or more": sum(mean >= 8 for mean in means),
        "5 to 8": sum(5 <= mean < 8 for mean in means),
        "less than 5": sum(mean < 5 for mean in means),
    }.items():
        page.locator("#stories [name=grade]").select_option(name)
        assert said(page, "stories").startswith(f"{count} of "), name


def test_probes_are_searched_and_filtered(open_page: Open):
    page = open_page()
    assert said(page, "probes") == "60 items"
    assert shown(page, "#probes .item") == 20
    page.locator("#probes .more").click()
    assert shown(page, "#probes .item") == 40
    page.locator("#probes [name=group]").select_option("context")
    assert said(page, "probes") == "15 of 60 items"
    counts = []
    for outcome in ("right", "wrong", "differ"):
        page.locator("#probes [name=outcome]").select_option(outcome)
        counts.append(shown(page, "#probes .item"))
        for row in page.locator("#probes .item:visible").all():
            right, wrong = row.locator(".yes").count(), row.locator(".no").count()
            assert right + wrong == 4
            assert {"right": not wrong, "wrong": not right, "differ": right and wrong}[outcome]
    assert sum(counts) == 15
    page.locator("#probes [name=outcome]").select_option("")
    page.locator("#probes [name=query]").fill("item 7 of")
    assert said(page, "probes") == "1 of 60 items"


def test_by_keyboard_alone(open_page: Open):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Overview"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**#loss")
    page.locator("#loss summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#loss details[open] table").is_visible()
    page.locator("#stories [name=query]").focus()
    page.keyboard.type("tiger")
    page.keyboard.press("Enter")  # sends no form
    assert said(page, "stories") == f"12 of {_STORIES} stories"
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    button = page.locator("#stories .others").first
    button.focus()
    page.keyboard.press("Enter")
    assert not button.is_visible()
    assert page.evaluate("document.activeElement.className") == "story c0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off(scheme: str, open_page: Open):
    page = open_page(width=360, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    whole(page, f"report-phone-{scheme}")
    small = page.locator("figure svg text").evaluate_all(
        "all => Math.min(...all.map((one) => one.getBoundingClientRect().height))"
    )
    assert small >= 9
    page.locator("#stories .others").first.tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_prints(open_page: Open, tmp_path: pathlib.Path):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    for selector in ("nav", ".filters", "button", ".numbers"):
        assert shown(page, selector) == 0, selector
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 35)"
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_script_all_is_there(open_page: Open):
    page = open_page(java_script_enabled=False)
    assert shown(page, ".story") == _STORIES
    assert shown(page, "#probes .item") == 60


def test_text_of_others_runs_nothing(open_page: Open, tmp_path: pathlib.Path):
    evil = '<img src="http://127.0.0.1:9/x" onerror="alert(1)"></script><script>alert(2)</script>'
    made = make(evil, total=10, openings=(evil,))
    made["stories"][0]["story"] = evil + evil
    page = open_page(pathlib.Path(write_report([write(tmp_path / "evil", made)], tmp_path / "report")))
    assert page.locator(".story").first.locator("mark").inner_text() == evil
    assert page.locator("img").count() == 0
