"""Answers about the story world are true of its state, and wrong answers are false of it."""

import collections
import re

import pytest

from tinyjax.evaluate.probes.world import GROUPS, SEED, tell_with_world, world_items, wrong_answers
from tinyjax.stories.world import lexicon, tell
from tinyjax.stories.world.facts import plainly
from tinyjax.stories.world.state import Place

ITEMS = world_items()
STORIES = [tell_with_world(SEED, index) for index in range(150)]


def plain(world, telling: str, role: str, value) -> str:
    return plainly(world, telling, {role: value})


def asked():
    """Yields each question that has wrong answers, with its story and world."""
    for story, world, draw in STORIES:
        for fact in story.facts:
            if wrong := wrong_answers(story, world, fact, draw):
                yield story, world, fact, wrong


def test_items_are_the_same_every_time_and_as_many_in_each_group():
    assert world_items() == ITEMS
    assert collections.Counter(item.group for item in ITEMS) == dict.fromkeys(GROUPS, 100)
    assert len({item.prompt for item in ITEMS}) == len(ITEMS)
    assert world_items(5, seed=1) != world_items(5, seed=2)


def test_the_world_is_that_of_the_story():
    for index, (story, world, _) in enumerate(STORIES):
        assert story == tell(SEED, index)
        assert all(re.search(rf"\b{who.name.removeprefix('the ')}\b", story.text) for who in world.cast[:1])


def test_answers_at_the_end_are_those_of_the_last_state():
    checked = collections.Counter()
    for _, world, fact, wrong in asked():
        state = world.state
        people = {who.name: who for who in world.cast}
        if match := re.fullmatch(r"Where is (.+) at the end\?", fact.question):
            who = people.get(match[1])
            things = [thing for thing in world.things if f"the {thing.noun}" == match[1]]
            place = state.at[who] if who else state.lies[things[0]]
            true = {plain(world, "{P:in}", "P", place)}
            if place.within:
                true.add(plain(world, "{P:in}", "P", place.within))
        elif match := re.fullmatch(r"Who has the (.+) at the end\?", fact.question):
            true = {state.holder[thing].name for thing in world.things if thing.noun == match[1]}
        elif match := re.fullmatch(r"How does (.+) feel at the end\?", fact.question):
            feeling = state.feels[people[match[1]]]
            families = [family for family in lexicon.FEELINGS.values() if feeling in family]
            true = {word for family in families for word in family}
        else:
            continue
        checked[fact.question.split()[0]] += 1
        assert fact.answer in true
        assert not true & set(wrong), (fact, wrong)
    assert min(checked[word] for word in ("Where", "Who", "How")) >= 10


def test_a_wrong_place_holds_no_right_one_and_lies_in_none():
    """Who is at home may be in the garden, and who is in the park under its bench."""
    at_home = {"at home", "in the garden", "in the yard", "in the kitchen", "in the attic"}
    checked = 0
    for _, world, fact, wrong in asked():
        places = {
            plain(world, "{P:in}", "P", role): role
            for happening in world.history
            for role in happening.roles.values()
            if isinstance(role, Place)
        }
        for answer in wrong:
            if fact.answer not in places or answer not in places:
                continue
            here, there = places[fact.answer], places[answer]
            assert not {fact.answer, answer} <= at_home
            assert here is not there.within
            assert there is not here.within
            checked += 1
    assert checked >= 50


def test_answers_about_what_happened_are_those_of_its_events():
    """Whatever event asks the same gives the same answer, and none of the wrong ones."""
    checked = 0
    for _, world, fact, wrong in asked():
        answers = {
            plainly(world, a, roles)
            for q, a, roles in world.asks
            if plainly(world, q, roles) == fact.question
        }
        if not answers:
            continue
        checked += 1
        assert answers == {fact.answer}
        assert fact.answer not in wrong
    assert checked >= 100


def test_wrong_answers_are_of_the_same_story_and_different():
    for story, _, fact, wrong in asked():
        assert len(set(wrong)) == len(wrong) <= 3
        if fact.question.startswith("How does"):
            continue
        for answer in wrong:
            noun = answer.split()[-1]
            assert noun == "home" or re.search(rf"\b{noun}\b", story.text), (answer, story.text)


def test_nobody_who_is_named_in_a_question_is_a_wrong_answer_to_it():
    for item in ITEMS:
        if item.group == "world/deed":
            beginning = item.prompt.rpartition("\n\n")[2]
            assert not any(wrong.rstrip(".") in beginning for wrong in item.wrong), item


def test_feelings_that_are_wrong_are_of_the_other_kind():
    for item in ITEMS:
        if item.group == "world/feeling" and item.right == "happy.":
            assert not {"glad.", "proud.", "joyful.", "thankful."} & set(item.wrong)


@pytest.mark.parametrize(
    ("group", "form"),
    [
        ("world/place", r"At the end, .+ was"),
        ("world/owner", r"At the end, the one who had the .+ was"),
        ("world/feeling", r"At the end, .+ felt"),
        ("world/deed", r"The one who (?!did (?!not)).+ was"),
        ("world/questions", r"[A-Z].+\?"),
    ],
)
def test_what_is_asked_stands_behind_the_story(group: str, form: str):
    for item in ITEMS:
        if item.group == group:
            assert re.fullmatch(form, item.prompt.rpartition("\n\n")[2]), item.prompt
