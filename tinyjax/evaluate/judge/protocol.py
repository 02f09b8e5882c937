"""What a judge is asked: the two turns of the paper's GPT-Eval (section 3, Figure 5), in our own words.

First an assessment in prose of what the model wrote, as a pupil's exercise, then grades. A reply that can't
be read is asked for once more in the same conversation.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tinyjax import instruct
from tinyjax.evaluate.judge.grades import AGES, BEST, NAMES, Grades, UnreadableError, read_grades

Messages = list[dict[str, str]]

_OPENING = """\
You help to mark the work of a pupil. The pupil was given the beginning of a story and was to carry it on \
to its end; the exercise is about language and imagination. The first *** below stands where the given \
beginning ends, often within a sentence, and the pupil's part begins.

{opening}***{completion}

Look only at the pupil's part, after the first ***. In one paragraph, say what you think of it: Is the \
grammar right? Does it finish the sentence that the *** cuts, if it cuts one? Does it agree with the \
beginning? Is it imaginative, and does what happens make sense? Give no marks yet."""

_INSTRUCTIONS = """\
You help to mark the work of a pupil. The pupil was to write a short story; the exercise is about language \
and imagination, and about doing what was asked. This was asked:

{instructions}

The pupil wrote, after ***:

***{completion}

In one paragraph, say what you think of it: Is the grammar right? Does the story do each thing that was \
asked? Is it imaginative, and does what happens make sense? Give no marks yet."""

_ASKED = {
    "words": "Use the words: {}.",
    "features": "The story is to have these features: {}.",
    "sentence": "The story is to contain this sentence: {}",
    "summary": "This is to happen, and more may: {}",
}

_GRADES = """\
Now mark the pupil's part, each from 0 to {best}: grammar; creativity; consistency with {given}; and plot, \
which is whether what happens makes sense. Then guess, from the writing alone, how old the pupil is: \
{ages}.
Reply with a JSON object and nothing else: {form}"""

_GIVEN = ("the beginning", "what was asked")  # of an opening, of instructions

_AGAIN = """\
That can't be read: {problem}. Send all of it again, as a JSON object and nothing else: {form}"""

_FORM = (
    "{"
    + ", ".join(f'"{name}": N' for name in NAMES)
    + ', "age_group": "X"}, where N is a number from 0 to 10 and X one of the letters A to F.'
)

# For endpoints that hold a reply to a JSON schema. Enumerated, since few of them know ranges.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "integer", "enum": list(range(BEST + 1))} for name in NAMES}
    | {"age_group": {"type": "string", "enum": list(AGES)}},
    "required": [*NAMES, "age_group"],
    "additionalProperties": False,
}

# Kept with every judgement: after a change, a story is judged anew.
TEMPLATE = "1-" + hashlib.sha256(
    json.dumps([_OPENING, _INSTRUCTIONS, _ASKED, _GRADES, _AGAIN, _FORM, _GIVEN, AGES, SCHEMA]).encode()
).hexdigest()[:8]  # fmt: skip

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Exercise:
    """What a model was given, a beginning or instructions, and how it went on."""

    prompt: str
    completion: str


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a judge said in one turn."""

    text: str
    finish: str = "stop"  # length: it was cut off; refusal, content_filter: it won't
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def said(self) -> str:
        """The text without what a reasoning model thinks aloud; empty where it was cut off at that."""
        return _THOUGHT.sub("", self.text).strip()

    @property
    def refused(self) -> bool:
        """Whether it won't."""
        return self.finish in ("refusal", "content_filter")


@dataclasses.dataclass(frozen=True)
class Turn:
    """What is to be asked next."""

    messages: Messages
    schema: Mapping[str, Any] | None  # of the reply, None: prose


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a conversation."""

    grades: Grades | None
    problem: str = ""  # why there are no grades


def next_step(exercise: Exercise, replies: Sequence[Reply]) -> Turn | Verdict:
    """Returns what is to be asked after these replies, or what they come to."""
    if not replies:
        return Turn(_assessment(exercise), None)
    if replies[0].refused or not replies[0].said:
        return Verdict(None, f"no assessment: {_fault(replies[0])}")
    grades, problem = _read(replies[-1]) if len(replies) > 1 else (None, "")
    if len(replies) == 1 or (len(replies) == 2 and problem):
        return Turn(_conversation(exercise, replies, problem), SCHEMA)
    # A judge that names no age when it is asked twice has still given grades.
    grades = grades or _read(replies[1])[0]
    return Verdict(grades) if grades else Verdict(None, problem)


def _read(reply: Reply) -> tuple[Grades | None, str]:
    """Returns the grades of a reply, and what is to be mended in it."""
    if reply.refused:
        return None, _fault(reply)
    try:
        grades = read_grades(reply.said)
    except UnreadableError as error:
        return None, _fault(reply) if reply.finish == "length" or not reply.said else str(error)
    return grades, "" if grades.age else "the age group is not one of the letters A to F"


def _fault(reply: Reply) -> str:
    return {
        "length": "the reply was cut off",
        "refusal": "the judge refused",
        "content_filter": "the judge's filter withheld the reply",
    }.get(reply.finish, "the reply was empty")


def _assessment(exercise: Exercise) -> Messages:
    if instruct.is_instruct(exercise.prompt):
        fields = instruct.parse(exercise.prompt).fields
        text = _INSTRUCTIONS.format(instructions=_told(fields), completion=exercise.completion.lstrip())
    else:
        text = _OPENING.format(opening=exercise.prompt, completion=exercise.completion)
    return [{"role": "user", "content": text}]


def _told(fields: instruct.Fields) -> str:
    """Returns instructions as a person would give them."""
    lines = {kind: value if isinstance(value, str) else ", ".join(value) for kind, value in fields.items()}
    return "\n".join(f"- {_ASKED[kind].format(value)}" for kind, value in lines.items())


def _conversation(exercise: Exercise, replies: Sequence[Reply], problem: str) -> Messages:
    """Returns all that was said, and the next question."""
    given = _GIVEN[instruct.is_instruct(exercise.prompt)]
    questions = [_grades_question(given), _AGAIN.format(problem=problem, form=_FORM)]
    messages = _assessment(exercise)
    for reply, question in zip(replies, questions, strict=False):
        # Some endpoints take no empty messages.
        messages.append({"role": "assistant", "content": reply.said or "(nothing)"})
        messages.append({"role": "user", "content": question})
    return messages


@functools.cache
def _grades_question(given: str) -> str:
    ages = ", ".join(f"{letter}: {years}" for letter, years in AGES.items())
    return _GRADES.format(best=BEST, given=given, ages=ages, form=_FORM)
