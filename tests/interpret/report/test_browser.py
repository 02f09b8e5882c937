"""The page in a real browser, from a file: hovered, searched, by keyboard, on a phone, printed."""

import pathlib
from collections.abc import Callable

import pytest

from tests.evaluate.report.test_browser import open_page
from tests.interpret.report.findings import HEADS, LAYERS, NEURONS, make
from tests.serve.test_playground import CHROMIUM, SCREENSHOTS, browser, playwright, screenshot
from tinyjax.interpret.report.writing import write_report

__all__ = ["browser", "open_page"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
]

Page = playwright.Page
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    others = [make("other", fingerprint="another", selectivity=0.4)]
    return pathlib.Path(write_report(make(features=True), tmp_path_factory.mktemp("report"), others))


# WCAG's contrast of an element's text with all that is behind it, mixed colours included.
CONTRAST = """selector => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colours) => {
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const chosen = document.querySelector(selector);
  const behind = [];
  for (let at = chosen; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
  const back = light(behind);
  const front = light([getComputedStyle(chosen).color]);
  return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
}"""


def token(page: Page, number: int):
    return page.locator(".tokens .token").nth(number)


def weights(page: Page) -> list[float]:
    """How strongly each token is coloured."""
    tokens = page.locator(".tokens .token")
    return tokens.evaluate_all("all => all.map((one) => Number(one.style.getPropertyValue('--w')))")


def coloured(page: Page) -> list[int]:
    return [i for i, weight in enumerate(weights(page)) if weight]


def looking(page: Page) -> str:
    return page.locator(".looking").inner_text()


def whole(page: Page, name: str) -> None:
    """Keeps pictures of all of the page."""
    screenshot(page, name)
    for section in page.locator("section").evaluate_all("all => all.map((one) => one.id)"):
        page.locator(f"#{section}").screenshot(path=SCREENSHOTS / f"{name}-{section}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_a_file(scheme: str, open_page: Open):
    page = open_page(color_scheme=scheme)
    assert page.title() == "Inside tiny"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.locator("#neurons summary").first.click()
    token(page, 6).hover()
    for selector in (
        "h1", "nav a", ".soft", ".cell span", ".cell small", ".token.here", ".token.later", ".source small",
        ".tops mark", ".tops.below mark", ".effect", ".facts", ".right, .lens td", ".roles th",
    ):  # fmt: skip
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    page.mouse.move(0, 0)
    whole(page, f"interpret-{scheme}")


def test_strong_colours_leave_text_readable(open_page: Open):
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        strong = page.locator(".tokens .token:nth-child(4)")
        for sign in ("token", "token below"):
            strong.evaluate(
                "(one, sign) => { one.className = sign; one.style.setProperty('--w', '1'); }", sign
            )
            assert page.evaluate(CONTRAST, ".tokens .token:nth-child(4)") >= 4.5, (scheme, sign)


def test_a_head_is_chosen_and_shows_its_evidence(open_page: Open):
    page = open_page()
    assert page.locator("article.head:visible").get_attribute("id") == "head-1-1"  # the most is lost without
    page.get_by_role("button", name="block 0, head 0: local, +0.000").click()
    shown = page.locator("article.head:visible")
    assert shown.get_attribute("id") == "head-0-0"
    assert "Evidence number 0." in shown.inner_text()
    assert shown.locator("svg .bar").count() == 9  # distances 0 to 4, and in four bins
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("article.head:visible").get_attribute("id") == "head-1-1"
    page.locator("article.head:visible .to-story").click()
    assert "Block 1, head 1 (punctuation) looks at" in looking(page)


def test_hovering_a_token_shows_where_a_head_looks(open_page: Open):
    page = open_page()
    page.locator("[name=head]").select_option("block 0, head 0: local")
    token(page, 6).hover()
    assert coloured(page) == [5]
    assert " red 100 %" in looking(page)
    assert page.locator(".at h3").inner_text() == "Token 6:  ball"
    token(page, 9).hover()
    assert coloured(page) == [8]
    page.locator(".source").nth(1).click()
    assert coloured(page) == [0]
    assert "head 1 (first token)" in looking(page)
    page.locator(".source").nth(3).click()
    assert coloured(page) == list(range(10))
    first = [text.split("\n") for text in page.locator(".source").all_inner_texts()]
    assert [[text, note] for text, note in first[:3]] == [
        [" She", "100 %, 1 back"], ["⟨start⟩", "100 %, 9 back"], [" was", "100 %, itself"],
    ]  # fmt: skip


def test_a_click_keeps_a_token(open_page: Open):
    page = open_page()
    token(page, 6).click()
    token(page, 9).hover()
    assert page.locator(".at h3").inner_text() == "Token 6:  ball"
    token(page, 6).click()
    token(page, 9).hover()
    assert page.locator(".at h3").inner_text() == "Token 9:  was"


def test_predictions_after_each_block_mark_the_right_one(open_page: Open):
    page = open_page()
    token(page, 5).hover()  # " red", before " ball"
    lens = page.locator(".lens tbody tr, .lens > tr")
    assert lens.count() == LAYERS + 1
    assert " ".join(lens.first.inner_text().split()) == "embedding dragon 70 % Lily 20 % ball 5.0 % 0.5 %"
    assert page.locator(".lens .right").all_inner_texts() == [" ball 5.0 %"] * 3


def test_what_moved_a_logit_leads_to_it(open_page: Open):
    page = open_page()
    token(page, 5).click()
    assert page.locator(".moved li").all_inner_texts() == ["block 1, head 1 +1.25", "block 0, neuron 3 −0.5"]
    page.get_by_role("button", name="block 0, neuron 3").click()
    assert coloured(page) == [1, 5, 10, 15]


def test_a_neuron_colours_the_story(open_page: Open):
    page = open_page()
    page.locator("[name=view]").select_option("a neuron or feature")
    page.locator("#stories [name=layer]").select_option("neurons of block 1")
    page.locator("[name=unit]").fill("1")  # the 13th: every 15th token
    assert coloured(page) == [1, 15]
    assert token(page, 1).get_attribute("class").split().count("below") == 1
    assert "neuron 1" in looking(page)
    page.locator("[name=unit]").fill("99")
    assert coloured(page) == []
    assert "see report.json" in page.locator("#stories output").inner_text()


def test_another_story_is_read(open_page: Open):
    page = open_page()
    page.locator("[name=story]").select_option("1")
    assert page.locator(".tokens .token").all_inner_texts()[:3] == ["⟨start⟩", " Tom", " ran"]


def test_neurons_are_searched_and_sorted(open_page: Open):
    page = open_page()
    count, found = LAYERS * NEURONS, page.locator("#neurons .unit")
    output = page.locator("#neurons output")
    assert output.inner_text() == f"{count} of {count} neurons"
    assert found.count() == 8
    page.locator("#neurons .more").click()
    assert found.count() == 16
    search = page.locator("#neurons [name=query]")
    search.fill("DRAGON  one")
    assert output.inner_text() == f"6 of {count} neurons"
    assert all("dragon" in text for text in found.locator(".tops li").all_inner_texts())
    assert set(found.locator(".tops mark").all_inner_texts()) == {"dragon"}
    page.locator("#neurons [name=layer]").select_option("1")
    assert output.inner_text() == f"3 of {count} neurons"
    page.locator("#neurons [name=sort]").select_option("number")
    names = [text.split(":")[0] for text in found.locator("h3").all_inner_texts()]
    assert names == ["Block 1, neuron 3", "Block 1, neuron 7", "Block 1, neuron 11"]
    assert found.nth(2).locator("h3").inner_text().endswith("dead")
    search.fill("1.7")
    assert found.count() == 1
    found.locator("summary").click()
    found.locator(".histogram rect").nth(3).wait_for()
    assert "noun\t1" in found.locator(".roles").inner_text()
    assert found.locator(".promotes").inner_text() == " cake 1.5"
    assert found.locator(".tops li").count() == 9
    found.get_by_role("button", name="Colour a story by it").click()
    assert "Block 1, neuron 7" in looking(page)
    search.fill("unicorn")
    assert output.inner_text() == f"0 of {count} neurons"


def test_features_are_searched_and_colour_a_story(open_page: Open):
    page = open_page()
    features = page.locator("#features")
    assert "keeps 95.0 % of what the activation does for the loss" in features.inner_text()
    assert features.locator("output").inner_text() == f"{NEURONS} of {NEURONS} features"
    features.locator("[name=query]").fill("dragon")
    assert features.locator("output").inner_text() == f"3 of {NEURONS} features"
    assert features.locator("h3").first.inner_text() == "Feature 3: the word “dragon”"
    features.get_by_role("button", name="Colour a story by it").first.click()
    assert coloured(page) == [1, 5, 10, 15]
    assert "Feature 3" in looking(page)


def test_models_are_compared(open_page: Open):
    page = open_page()
    text = page.locator("#models").inner_text()
    assert "different stories" in text
    for name in ("tiny", "other"):
        assert page.locator("#models tbody th, #models tr th[scope=row]", has_text=name).count() >= 1
    assert page.locator("#models figure").count() == 2


def test_by_keyboard_alone(open_page: Open):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Heads"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.locator(".tokens .token[tabindex='0']").count() == 1
    assert page.locator(".cell[tabindex='0']").count() == 1
    page.locator(".tokens .token[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".at h3").inner_text() == "Token 2:  saw"
    assert page.locator(".token[aria-selected=true]").inner_text() == " saw"
    page.keyboard.press("End")
    assert page.locator(".at h3").inner_text() == "Token 17:  ."
    assert "really ⟨end⟩" in page.locator(".lens").inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#neurons [name=query]").focus()
    page.keyboard.type("happy")
    page.keyboard.press("Enter")  # sends no form
    assert page.locator("#neurons output").inner_text() == "6 of 24 neurons"
    more = page.locator("#neurons .more")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    more.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "unit"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off(scheme: str, open_page: Open):
    page = open_page(width=360, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#neurons summary").first.tap()
    token(page, 6).tap()
    assert page.locator(".at h3").inner_text() == "Token 6:  ball"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    heights = "all => Math.max(...all.map((one) => one.getBoundingClientRect().height))"
    assert page.locator(".lens th").evaluate_all(heights) < 60
    whole(page, f"interpret-phone-{scheme}")


def test_it_prints(open_page: Open, tmp_path: pathlib.Path):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    for selector in ("nav", ".filters", ".to-story", ".more"):
        assert page.locator(f"{selector}:visible").count() == 0, selector
    assert page.locator(".cell:visible").count() == LAYERS * HEADS
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 35)"
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_script_heads_are_there(open_page: Open):
    page = open_page(java_script_enabled=False)
    assert page.locator("article.head:visible").count() == LAYERS * HEADS
    assert page.get_by_text("need JavaScript").is_visible()


def test_text_of_others_runs_nothing(open_page: Open, tmp_path: pathlib.Path):
    evil = '<img src="http://127.0.0.1:9/x" onerror="alert(1)"></script><script>alert(2)</script>\u200b<!--'
    made = make(evil, stories=[[evil, "b"]], sentence=(f"{evil} \U0001f409", evil))
    page = open_page(pathlib.Path(write_report(made, tmp_path / "report")))
    assert page.title().startswith("Inside <img")
    assert token(page, 1).inner_text() == f" {evil}"
    assert page.locator("#neurons .tops mark").first.inner_text() == "Lily"  # after letters of two halves
    assert evil[:50] in page.locator("#neurons .tops li").first.inner_text()
    assert page.locator("img").count() == 0
