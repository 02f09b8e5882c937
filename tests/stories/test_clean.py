"""Cleaning mends what is damaged, drops what is named, and leaves healthy stories to the letter."""

import importlib.util
import json
import timeit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinyjax.errors import UserError
from tinyjax.stories.clean import DEFAULT, RULES, Cleaned, clean, parse_rules

ALL = tuple(RULES)
MENDING = ("mojibake", "control", "separators", "punctuation", "whitespace")
STORY = (
    'Once upon a time, Tom ran. "Look, a ball!" said Anna.\n\nThey played until the sun went down. The end.'
)


def mended(text: str, *rules: str) -> str:
    """What the rules make of a text that they may not drop."""
    cleaned = clean(text, rules or DEFAULT)
    assert cleaned.text is not None, cleaned.fired
    return cleaned.text


def real_stories(path) -> list[str]:
    """The stories of a published file, stripped."""
    pieces = path.read_text(encoding="utf-8").split("<|endoftext|>")
    return [piece.strip() for piece in pieces if piece.strip()]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("â€œDonâ€™t,â€\x9d said Tom â€“ twice.", "“Don’t,” said Tom – twice."),
        ("â€œHello!â€ she said.", "“Hello!” she said."),  # the third byte is lost, the blank is not
        ("â€œHello!â€\n\nâ€œYes.â€", "“Hello!”\n\n“Yes.”"),
        ('She waitedâ€" and waited.', "She waited— and waited."),
        ("â€œA “mixture” of both.â€", "“A “mixture” of both.”"),
        ("The cafÃ©.", "The café."),
        ("Ã¢â‚¬Å“TwiceÃ¢â‚¬â„¢.", "“Twice’."),
        ("\x93Look,\x94 he said.", "“Look,” he said."),
    ],
)
def test_mojibake_is_mended(text, wanted):
    assert clean(text, ["mojibake"]) == Cleaned(wanted, ("mojibake",))


@pytest.mark.parametrize(
    "text",
    [
        STORY,
        "“Curly,” he said — ‘twice’…",
        "Жила-была Маша. «Привет!» — сказала она.",
        "Cześć! Größe, naïve CAFÉ, garçon, Ångström.",
        "小さな猫がいました。おしまい。",
        "家族は👨‍👩‍👧です。❤️!",
        "क्‍ष और माँ।",
        "Ein ﬁeber &amp; <b>ein</b> ＡＢＣ.",
    ],
)
def test_healthy_text_stays_to_the_letter(text):
    assert clean(text, DEFAULT) == Cleaned(text, ())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Tom ran.\n<|endoftext|>\nAnna sang.", "Tom ran.\n\nAnna sang."),
        ("<|im_start|>Tom ran.<|im_end|>", "Tom ran."),
        ("Tom ran.\n\n<End of Story>", "Tom ran."),
        ("Tom ran.\n***\nAnna sang.\n* * *\nThe end.", "Tom ran.\n\nAnna sang.\n\nThe end."),
        ("Tom ran.\n\n---\n\nAnna sang.", "Tom ran.\n\nAnna sang."),
        ("<s>Tom ran.</s>", "Tom ran."),
        ("a cub---be brave <3 *very* a_b.", "a cub---be brave <3 *very* a_b."),
    ],
)
def test_separators_left_in_are_removed(text, wanted):
    assert mended(text, "separators") == wanted


def test_control_and_invisible_characters_go_but_not_where_they_spell():
    assert mended("\ufeffT\u200bo\x00m\u00ad r\x7fan.\x0cHe sat.", "control") == "Tom ran.\nHe sat."
    assert mended("Tom\tran.\n👩‍👧 می‌روم", "control") == "Tom\tran.\n👩‍👧 می‌روم"


def test_whitespace():
    assert mended(" Tom  ran. \r\n\r\n\r\n \r\nHe\t sat.\n ", "whitespace") == "Tom ran.\n\nHe sat."


def test_punctuation_becomes_ascii():
    text = "“It’s late…” he said—twice – or\u00a0thrice.\n— «No!»"
    assert mended(text, "punctuation") == '"It\'s late..." he said - twice - or thrice.\n- "No!"'


@pytest.mark.parametrize(
    ("ending", "kept"),
    [
        ("ran.", True),
        ('"Stop!"', True),
        ("“Stop?”", True),
        ("'Yes.'", True),
        ("ran…", True),
        ("ran. The End", True),
        ("走った。", True),
        ("走った", True),
        ("ran! 😀", True),
        ("побежал", False),
        ("thanked each other for", False),
        ("ran,", False),
        ('She said, "', False),
        ("He was 3", False),
        ("the THE", False),
    ],
)
def test_what_ends_within_a_sentence_is_dropped(ending, kept):
    assert (clean(f"Tom ran.\n{ending}", ["truncated"]).text is not None) == kept


def test_the_rule_that_dropped_a_story_fired_last():
    assert clean("Tom — ran.", parse_rules("all")) == Cleaned(None, ("punctuation", "short"))
    assert clean("naïve.", ["non_ascii"]) == Cleaned(None, ("non_ascii",))
    assert clean("x" * 99 + ".", ["short"]).text == "x" * 99 + "."
    assert clean("x" * 98 + ".", ["short"]).text is None


def test_rules_come_in_their_order_whatever_was_asked():
    assert parse_rules("short, mojibake") == ("mojibake", "short")
    assert parse_rules("all") == ALL
    assert parse_rules("default,short") == tuple(name for name in ALL if name in (*DEFAULT, "short"))
    assert parse_rules("") == ()


def test_an_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no rule is named 'mojibak' \(did you mean 'mojibake'\?\)"):
        parse_rules("default,mojibak")


def test_a_missing_package_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mojibake needs ftfy; run pip install 'tinyjax\[audit\]'"):
        parse_rules("default")
    assert parse_rules("short") == ("short",)


def test_every_rule_says_what_it_does_in_one_sentence():
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.description.count(". ") == 0
        assert rule.description.endswith(".")


ODD = [*" \n\t-*<>|_â€™œ\x9d\u200b\r\x85"]
PARTS = ["â", "€", "<|a|>", "<|", "|>", "\u200b", "***", "\n", " ", "Ã", "end", "”"]
TEXTS = st.one_of(
    st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(ODD)), max_size=60),
    st.lists(st.sampled_from(PARTS)).map("".join),
)


@given(TEXTS, st.lists(st.sampled_from(MENDING), unique=True))
@example("Tomâ\x00€™s", list(MENDING))
@example("<|im_<s>end|>", list(MENDING))
def test_cleaning_twice_is_cleaning_once(text, rules):
    rules = parse_rules(",".join(rules))
    once = mended(text, *rules) if rules else text
    assert clean(once, rules) == Cleaned(once, ())


@given(TEXTS)
def test_what_all_rules_leave_they_would_leave_again(text):
    cleaned = clean(text * 4, ALL).text
    assert cleaned is None or clean(cleaned, ALL) == Cleaned(cleaned, ())


class TestRealStories:
    """What the rules do to genuine stories."""

    def fired(self, path, rules) -> dict[str, int]:
        results = [clean(story, rules).fired for story in real_stories(path)]
        return {rule: sum(rule in fired for fired in results) for rule in rules}

    def test_the_known_mojibake_is_found_and_none_is_left(self, train_sample, shared_data):
        assert self.fired(train_sample, ["mojibake"]) == {"mojibake": 36}
        valid = shared_data / "tinystories" / "valid-sample.txt"
        assert self.fired(valid, ["mojibake"]) == {"mojibake": 43}
        for story in real_stories(train_sample) + real_stories(valid):
            assert "â€" not in mended(story, "mojibake")

    def test_default_leaves_the_words(self, train_sample):
        for story in real_stories(train_sample):
            cleaned = clean(story, DEFAULT)
            if cleaned.text and "mojibake" not in cleaned.fired:
                assert cleaned.text.split() == story.split()

    def test_russian_stories_are_healthy(self, shared_data):
        lines = (
            (shared_data / "tinystories" / "russian-sample.jsonl").read_text(encoding="utf-8").splitlines()
        )
        for line in lines:
            story = json.loads(line)["text"].strip()
            assert set(clean(story, DEFAULT).fired) <= {"whitespace"}


def test_a_healthy_story_costs_little():
    story = (STORY + " ") * 8
    story = story.strip()
    assert clean(story, DEFAULT) == Cleaned(story, ())
    assert min(timeit.repeat(lambda: clean(story, DEFAULT), number=100, repeat=20)) / 100 < 60e-6
