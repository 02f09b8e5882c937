"""The playground in a real browser, used by mouse, by keyboard, on a phone; with screenshots to look at."""

import json
import pathlib
import shutil
from collections.abc import Callable, Generator

import httpx
import pytest

from tests.binaries import ROOT
from tests.serve.conftest import KEY
from tests.serve.running import Running
from tests.serve.test_completions import LONG
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / ".pytest_cache" / "screenshots"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
]

Page = playwright.Page
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Generator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: playwright.Browser, server: Running) -> Generator[Open]:
    """Opens the playground; at the end, no page may have had an error, or asked another server."""
    errors, asked, contexts = [], [], []

    def opened(url: str = server.url, width: int = 1280, **options: object) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [error for error in errors if "the server responded with a status of 40" not in error] == []
    assert {url.split("/")[0] for url in asked} <= {"http:", "blob:", "data:"}
    assert all("//127.0.0.1:" in url for url in asked if url.startswith("http:"))


def tell(page: Page) -> None:
    page.get_by_role("button", name="Tell").click()
    ended(page)


def ended(page: Page, how: str = "done") -> None:
    page.get_by_role("status").filter(has_text=f"{how}: ").wait_for()


def texts(page: Page) -> list[str]:
    return [text.removesuffix("∎") for text in page.locator(".text").all_text_contents()]


def screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_stories_that_are_asked_for_by_typing_and_clicking(
    open_page: Open, model: Model, tmp_path: pathlib.Path
):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Beginning of the story").fill("Tom saw")
    page.get_by_role("spinbutton", name="Stories").fill("3")
    page.get_by_label("Seed").fill("5")
    page.get_by_text("More options").click()
    page.get_by_label("Top-k").fill("20")
    tell(page)
    wanted = [
        f"Tom saw{story.text}"
        for story in generate(model, ["Tom saw"], num_samples=3, seed=5, options=Options(top_k=20))
    ]
    assert texts(page) == wanted
    page.get_by_role("button", name="Copy story 2").click()
    page.get_by_role("status").filter(has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == wanted[1]
    with page.expect_download() as one:
        page.get_by_role("button", name="Download story 3").click()
    assert pathlib.Path(one.value.path()).read_text() == wanted[2] + "\n"
    with page.expect_download() as all_of_them:
        page.get_by_role("button", name="Download all").click()
    records = [json.loads(line) for line in pathlib.Path(all_of_them.value.path()).read_text().splitlines()]
    assert [record["prompt"] + record["story"] for record in records] == wanted
    assert {(record["seed"], record["top_k"]) for record in records} == {(5, 20)}


def test_what_else_could_have_come_by_mouse_and_by_keyboard(open_page: Open, model: Model):
    page = open_page()
    page.get_by_label("Beginning of the story").fill("Lily")
    page.get_by_label("Seed").fill("5")
    page.get_by_role("spinbutton", name="Stories").fill("1")
    tell(page)
    (story,) = generate(model, ["Lily"], seed=5, alternatives=5)
    tokens = page.locator(".token")
    others = page.get_by_role("tooltip")
    tokens.nth(4).hover()
    assert others.is_visible()
    shown = [row.split("\t") for row in others.inner_text().strip().split("\n")]
    likeliest = [model.tokenizer.decode([token], start=False) for token, _ in story.tokens[4].alternatives]
    assert [name.replace("␣", " ").replace("↵", "\n") for name, _ in shown][:5] == likeliest
    screenshot(page, "playground")
    page.mouse.move(5, 5)
    assert not others.is_visible()
    tokens.nth(0).focus()
    assert others.is_visible()
    for key, number in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", -1), ("Home", 0)):
        page.keyboard.press(key)
        at = number % tokens.count()
        assert page.evaluate("[...document.querySelectorAll('.token')].indexOf(document.activeElement)") == at
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Escape")
    assert not others.is_visible()
    for token, span in zip(story.tokens, tokens.all(), strict=False):
        if token.logprob < -3:
            assert "p4" in span.get_attribute("class")
            break


def test_by_keyboard_alone(open_page: Open, model: Model):
    page = open_page()
    page.get_by_text("context of 64").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("Ben")
    for typed in ("1", "0", "7", ""):
        page.keyboard.press("Tab")
        page.keyboard.press("Control+A")
        page.keyboard.type(typed)
    page.keyboard.press("Control+Enter")
    ended(page)
    (story,) = generate(model, ["Ben"], options=Options(temperature=0.0, max_tokens=7))
    assert texts(page) == [f"Ben{story.text}"]
    assert "cut off" in page.locator(".story").inner_text()


def test_stop_ends_the_stories(open_page: Open, server: Running):
    """By mouse or by keyboard, when they wait because others are told."""
    page = open_page()
    page.get_by_text("context of 64").wait_for()
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG | {"stream": True}) as others:
        lines = others.iter_lines()
        assert next(lines).startswith("data: ")
        for press in (page.get_by_role("button", name="Stop").click, lambda: page.keyboard.press("Escape")):
            page.get_by_role("button", name="Tell").click()
            press()
            ended(page, "stopped")
            assert page.get_by_role("button", name="Tell").is_enabled()


def test_what_the_server_refuses_is_said(open_page: Open):
    page = open_page()
    page.get_by_text("context of 64").wait_for()
    page.get_by_label("Beginning of the story").fill("Lily saw a boat. " * 40)
    page.get_by_role("button", name="Tell").click()
    page.get_by_role("alert").filter(has_text="the model's context is 64; shorten it").wait_for()
    page.get_by_label("Beginning of the story").fill("<b>Lily</b>")
    tell(page)
    assert page.get_by_role("alert").inner_text() == ""
    assert texts(page)[0].startswith("<b>Lily</b>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_all_can_be_read(scheme: str, open_page: Open):
    page = open_page(width=360, color_scheme=scheme, has_touch=True, is_mobile=True)
    page.get_by_label("Beginning of the story").fill("Lily saw " + "W" * 30)
    tell(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".token").nth(3).tap()
    page.get_by_role("tooltip").wait_for()
    screenshot(page, f"playground-phone-{scheme}")
    for kind in ("p1", "p2", "p3", "p4"):
        page.evaluate("kind => document.querySelector('.token').className = 'token ' + kind", kind)
        assert page.evaluate(CONTRAST, ".token") >= 4.5
    for selector in (".prompt", "label", "#status", "#tell", "#hint"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


# WCAG's contrast of an element's text with what is behind it.
CONTRAST = """selector => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = numbers(color).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let at = document.querySelector(selector);
  const front = light(getComputedStyle(at).color);
  while (numbers(getComputedStyle(at).backgroundColor)[3] === 0) at = at.parentElement;
  const back = light(getComputedStyle(at).backgroundColor);
  return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
}"""


def test_a_key_and_instructions(open_page: Open, guarded: Running, model: Model):
    page = open_page(guarded.url)
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("API key").press("Enter")
    page.get_by_label("Words, with commas").fill("boat, kite")
    page.get_by_label("Twist").check()
    page.get_by_label("Summary").fill("Lily sees a boat.")
    page.get_by_label("Beginning of the story").fill("Lily")
    page.get_by_role("spinbutton", name="Stories").fill("1")
    page.get_by_label("Seed").fill("2")
    page.get_by_label("Tokens at most").fill("9")
    tell(page)
    before = "Words: boat, kite\nFeatures: Twist\nSummary: Lily sees a boat.\nStory: \n\n"
    (story,) = generate(model, [f"{before}Lily"], seed=2, options=Options(max_tokens=9))
    assert texts(page) == [f"Lily{story.text}"]
    screenshot(page, "playground-instruct")


def test_a_model_without_instructions_shows_no_fields_for_them(open_page: Open):
    page = open_page()
    page.get_by_text("context of 64").wait_for()
    assert not page.get_by_label("Words, with commas").is_visible()
