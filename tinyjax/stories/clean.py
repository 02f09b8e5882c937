"""Cleaning rules: each mends one known defect of a story, or drops a story that has it.

They are for the defects of the published TinyStories and of texts from the web: broken encodings,
separators left in, stray blanks, cut-off and repeated stories. Each rule is asked for by name; those of
`DEFAULT` mend or leave out only what is damaged, in whatever language, and don't touch the words.
"""

import dataclasses
import functools
import importlib.util
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tinyjax.errors import UserError, nearest

SHORTEST = 100  # characters that `short` asks for

# UTF-8 quotes and dashes read as Windows-1252 begin so; that of a closing quote has lost its third byte,
# which is no character there, and ftfy would take the space that follows for it.
_LONE_OPENING = re.compile("â€(?:\x9d|\ufffd|(?![€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ\x80-\xbf]))")

_BREAKS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Joiners, and the space of no width, are spelling between letters of some scripts and within emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u2060\ufeff]"
    "|(?<![^\x00-\x7f])[\u200b-\u200d]|[\u200b-\u200d](?![^\x00-\x7f])"
)

_MARKS = ("<", "***", "* *", "---", "###", "===", "~~~", "___")  # one of them is in every separator
_SEPARATOR = re.compile(
    r"""\s* (?: <\| [a-z_]{1,30} \|>                                    # of chats: <|im_start|>
              | </? (?: end (?:\s of (?:\s the)? \s story)? | story | s | bos | eos | pad ) >
              | \*{3,} | \*(?:\ \*)+                                    # *** or * * *
              | (?<! [^\n] ) [ \t]* (?: -{3,} | \#{3,} | ={3,} | ~{3,} | _{3,} ) [ \t]* (?! [^\n] )  # lines
        ) \s*""",
    re.VERBOSE | re.IGNORECASE,
)

_UNTIDY = ("  ", " \n", "\n ", "\t", "\n\n\n", "\r")  # one of them is in every ASCII text that is no tidy one
_BLANKS = re.compile("[ \t]{2,}|\t")
_BLANK_LINES = re.compile("\n{3,}")

_LONG_DASH = re.compile(r"(?<=\S) *[—―] *(?=\S)")
_TO_ASCII = str.maketrans(
    dict.fromkeys("‘’‚‛′´", "'")
    | dict.fromkeys("“”„‟″«»", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f", " ")
    | {"…": "..."}
)


def _mojibake(text: str) -> str:
    if text.isascii():
        return text
    import ftfy

    mended = text.replace('â€"', "—")  # its third byte, a curly quote, was made straight
    return ftfy.fix_text(_LONE_OPENING.sub("”", mended), _ftfy_config())


@functools.cache
def _ftfy_config():
    """Returns options that have ftfy mend encodings and touch nothing that is merely unusual."""
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )


def _control(text: str) -> str:
    if text.replace("\n", "").isprintable():  # far cheaper than looking
        return text
    return _INVISIBLE.sub("", _BREAKS.sub("\n", text))


def _separators(text: str) -> str:
    if not any(mark in text for mark in _MARKS):
        return text
    return _SEPARATOR.sub(lambda found: "\n\n" if "\n" in found[0] else " ", text)


def _punctuation(text: str) -> str:
    return text if text.isascii() else _LONG_DASH.sub(" - ", text).translate(_TO_ASCII)


def _whitespace(text: str) -> str:
    if text.isascii() and text == text.strip() and not any(mark in text for mark in _UNTIDY):
        return text
    lines = text.strip().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    tidy = "\n".join(_BLANKS.sub(" ", line.strip()) for line in lines)
    return _BLANK_LINES.sub("\n\n", tidy)


def _non_ascii(text: str) -> str | None:
    return text if text.isascii() else None


def _short(text: str) -> str | None:
    return text if len(text) >= SHORTEST else None


def _truncated(text: str) -> str | None:
    """Drops what ends within a sentence: with a letter or digit, a comma, an opening quote or the like.

    Scripts without capitals aren't judged: some do without a full stop. Nor is `The End`.
    """
    last = text[-1:]
    amid = last.lower() != last.upper() or last.isdecimal() or last in ",;:-–—([{“‘«„‚"
    opening = last in "\"'" and text[-2:-1].isspace()
    if text and not opening and (not amid or text.endswith(("The end", "The End", "THE END", "the end"))):
        return text
    return None


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to mend a story or to drop it."""

    name: str
    description: str
    apply: Callable[[str], str | None] | None  # text -> text, or None to drop it; None: needs all stories


def _table(*rules: Rule) -> dict[str, Rule]:
    return {rule.name: rule for rule in rules}


# In the order in which they are applied: what is mended first, the later rules see mended.
RULES = _table(
    Rule("mojibake", "Mends text that was decoded wrongly (â€œHello, â€™s), with ftfy.", _mojibake),
    Rule("control", "Removes control characters and invisible ones of no width.", _control),
    Rule(
        "separators",
        "Removes separators left in: <|endoftext|>, <|im_end|>, <End of Story>, *** and lines of dashes.",
        _separators,
    ),
    Rule("punctuation", "Makes curly quotes, dashes and ellipses ASCII.", _punctuation),
    Rule("whitespace", "Removes blanks around lines, and more than one blank or blank line.", _whitespace),
    Rule("non_ascii", "Drops stories that still hold a character beyond ASCII.", _non_ascii),
    Rule("short", f"Drops stories of fewer than {SHORTEST} characters.", _short),
    Rule(
        "truncated", "Drops stories that end within a sentence; 'The End' may do without a stop.", _truncated
    ),
    Rule("duplicates", "Drops all but the first of equal stories.", None),
    Rule(
        "near_duplicates",
        "Drops stories that share 70 % of their runs of five words with an earlier one.",
        None,
    ),
)

DEFAULT = ("mojibake", "control", "separators", "whitespace", "truncated", "duplicates")

_NEEDS = {"mojibake": "ftfy", "near_duplicates": "datasketch"}  # packages of the extra


class Cleaned(NamedTuple):
    """What became of a story."""

    text: str | None  # None: dropped, by the last of the rules that fired
    fired: tuple[str, ...]  # rules that changed or dropped it


def parse_rules(rules: str) -> tuple[str, ...]:
    """Returns the names in `rules`, separated by commas, in the order in which they are applied.

    `default` stands for those of `DEFAULT`, `all` for every rule; an empty string for none. Raises UserError
    for unknown names, and where a rule's package is missing.
    """
    wanted: set[str] = set()
    for name in filter(None, (name.strip() for name in rules.split(","))):
        if name not in RULES and name not in ("default", "all"):
            known = ["default", "all", *RULES]
            raise UserError(
                f"--clean: no rule is named '{name}'{nearest(name, known)}; there are {', '.join(known)}"
            )
        wanted.update({"default": DEFAULT, "all": tuple(RULES)}.get(name, (name,)))
    for rule, package in _NEEDS.items():
        if rule in wanted and importlib.util.find_spec(package) is None:
            raise UserError(
                f"--clean: {rule} needs {package}; run pip install 'tinyjax[audit]', or leave it out"
            )
    return tuple(name for name in RULES if name in wanted)


def clean(text: str, rules: Sequence[str]) -> Cleaned:
    """Applies the named rules in turn, and again until they change nothing; cleaning twice is cleaning once.

    Rules that need all stories are passed over. What is changed is stripped of surrounding whitespace.
    """
    fired: dict[str, None] = {}
    before = None
    while text != before:
        before = text
        for name in rules:
            apply = RULES[name].apply
            changed = apply(text) if apply else text
            if changed is text:
                continue
            if changed != text:
                fired[name] = None
            if changed is None:
                return Cleaned(None, tuple(fired))
            text = changed.strip() if changed != text else text
    return Cleaned(text, tuple(fired))
