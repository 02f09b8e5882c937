"""Plots about doing and learning: skills, gardens, wishes, kitchens and captives."""

from __future__ import annotations

from tinyjax.stories.world import lexicon
from tinyjax.stories.world.plots.script import (
    AT_LAST,
    NEXT_DAY,
    ONE_DAY,
    THEN,
    happy_end,
    lesson,
    plot,
    start,
)  # fmt: skip
from tinyjax.stories.world.simulation import World
from tinyjax.stories.world.state import HOME


@plot
def learn_a_skill(w: World) -> None:
    """Trying, failing, practising with a teacher, and at last doing it."""
    hero = w.hero(kinds="child")
    skill = w.draw.verb(tuple(lexicon.SKILLS))
    place = w.place((lexicon.SKILLS[skill],))
    teacher = w.animal(place, named=True) if w.draw.chance(0.4) else w.friend(hero, place)
    start(w, hero, likes=0.3)
    w.do("want_to_learn", hero, skill)
    w.paragraph()
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("try_and_fail", hero, skill)
    w.do("feel", hero, w.feel("disappointed"))
    if w.wanted("Conflict", 0.3):
        mocker = w.animal(place, adjective=w.draw.adjective(("rude", "mean", "proud")))
        w.do("boast_at", mocker, hero)
    w.paragraph()
    w.do("meet", hero, teacher, place)
    w.do("offer_teach", teacher, hero, skill)
    w.do("shows_how", teacher, hero, skill)
    w.do("practice", hero, skill)
    if w.wanted("BadEnding", 0.12):
        w.shows("BadEnding")
        w.do("gives_up_skill", hero, skill)
        w.do("go_home", hero, HOME)
        w.do("feel_inside", hero, w.feel("sad"))
        w.summarize("{A} tries to learn to {V:base} but gives up.", A=hero, V=skill)
        return
    w.do("can_do", hero, skill, lead=AT_LAST)
    w.do("cheer", hero)
    w.do("thank", hero, teacher)
    lesson(w, hero, ["practice makes things easier", "it is good to keep trying"])
    happy_end(w, hero, teacher, "proud")
    w.summarize("{A} learns to {V:base} with the help of {B}.", A=hero, B=teacher, V=skill)


@plot
def seed_and_patience(w: World) -> None:
    """A seed is planted and nothing happens, until it does."""
    hero = w.hero()
    grown = w.parent(hero)
    plant = w.thing("plant")
    garden = w.place(("garden", "yard", "farm", "field"))
    start(w, hero)
    w.do("gets_seed", hero, grown)
    w.paragraph()
    w.do("go_with", hero, grown, garden, lead=ONE_DAY)
    w.do("plants_seed", hero, garden)
    w.do("waters", hero)
    w.do("nothing_grows", hero)
    w.do("feel", hero, w.feel("impatient"))
    if w.wanted("Foreshadowing", 0.5):
        w.do("seed_promise", grown, hero, plant)
        w.shows("Foreshadowing")
    else:
        w.do("be_patient", grown, hero)
    w.paragraph()
    if w.wanted("BadEnding", 0.2):
        w.shows("BadEnding")
        w.do("digs_up", hero)
        w.do("feel_inside", hero, w.feel("sorry"))
        lesson(w, hero, ["good things need time", "you have to be patient"])
        w.summarize("{A} plants a seed but digs it up too soon.", A=hero)
        return
    w.do("keeps_watering", hero)
    w.do("it_grows", hero, plant, lead=AT_LAST)
    w.do("cheer", hero)
    w.do("shows_plant", hero, grown, plant)
    lesson(w, hero, ["good things need time", "waiting is hard, but it is worth it"])
    happy_end(w, hero, grown, "proud")
    w.summarize("{A} plants a seed, waits, and {X:a} grows.", A=hero, X=plant)


@plot
def caught_and_set_free(w: World) -> None:
    """A small captive is sad; set free, it comes back by itself."""
    hero = w.hero(kinds="child")
    grown = w.parent(hero)
    place = w.place(lexicon.OUTDOORS)
    small = w.animal(place, nouns=("bird", "butterfly", "frog", "bee", "robin", "turtle", "snail", "mouse"))
    jar = w.draw.pick(("a jar", "a box", "a small cage", "a basket"))
    start(w, hero)
    w.paragraph()
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("catches_in", hero, small, jar)
    w.do("takes_home", hero, small, HOME)
    w.do("feel", hero, w.feel("excited"))
    w.paragraph()
    w.do("captive_sad", small, hero)
    w.do("feel", small, w.feel("sad"))
    w.do("misses_home", grown, hero, small)
    if w.wanted("Conflict", 0.4):
        w.do("wants_to_keep", hero, grown, small)
    w.do("think_about", hero)
    w.do("sets_free", hero, small, place, lead=AT_LAST)
    w.paragraph()
    if w.wanted("Twist", 0.6):
        w.do("comes_back", small, hero, HOME, lead=NEXT_DAY)
        w.shows("Twist")
        w.do("feel", hero, w.feel("surprised"))
        w.do("become_friends", hero, small)
    lesson(w, hero, ["wild animals want to be free", "you cannot keep a friend in a box"])
    w.do("feel_inside", hero, w.feel("happy"))
    w.summarize("{A} catches {B} and later sets {B:him} free.", A=hero, B=small)


@plot
def three_wishes_too_many(w: World) -> None:
    """Someone magic is helped and grants a wish; the wish goes wrong."""
    hero = w.hero()
    place = w.place(("lake", "pond", "river", "forest", "woods", "beach", "meadow"))
    if place.noun in ("forest", "woods", "meadow"):
        magic = w.person(place, nouns=("fairy", "wizard"))
        trouble = "had a foot stuck under a rock"
    else:
        magic = w.animal(place, nouns=("frog", "turtle", "duck", "otter"), adjective="magic")
        trouble = "was caught in an old net"
    food = w.thing(
        "food", nouns=("candy", "popcorn", "honey", "jam", "soup", "cheese", "bread", "juice", "lemonade")
    )
    start(w, hero)
    w.paragraph()
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("meet", hero, magic, place)
    w.do("in_trouble", magic, trouble)
    w.do("frees", hero, magic)
    w.do("grants_wish", magic, hero)
    w.paragraph()
    w.do("wishes_for", hero, food)
    if w.wanted("Foreshadowing", 0.5):
        w.do("wish_warning", magic, hero)
        w.shows("Foreshadowing")
    w.do("too_much_food", hero, food)
    w.shows("Twist")
    w.do("feel", hero, w.feel("scared"))
    if w.wanted("BadEnding", 0.25):
        w.shows("BadEnding")
        w.do("buried", hero, food)
        w.do("feel_inside", hero, w.feel("sorry"))
        lesson(w, hero, ["it is better to want just enough", "you should think before you wish"])
        w.summarize("{A} wishes for {X:n} without end, and there is far too much of it.", A=hero, X=food)
        return
    w.paragraph()
    w.do("asks_stop", hero, magic)
    w.do("stops_magic", magic, food)
    w.do("thank", hero, magic)
    lesson(w, hero, ["it is better to want just enough", "you should think before you wish"])
    happy_end(w, hero, magic, "relieved")
    w.summarize("{A} wishes for too much {X:n}, and {B} makes it stop.", A=hero, B=magic, X=food)


@plot
def salt_for_sugar(w: World) -> None:
    """A baking mistake, a funny taste, and a second try."""
    hero = w.hero(kinds="child")
    grown = w.parent(hero)
    kitchen = w.place(("kitchen",))
    food = w.thing(
        "food",
        nouns=("cake", "pie", "cookie", "muffin", "pancake", "waffle", "cupcake", "pudding", "bun", "donut"),
    )
    start(w, hero)
    w.paragraph()
    w.do("go_with", hero, grown, kitchen, lead=ONE_DAY)
    w.do("decide_bake", hero, grown, food)
    if w.wanted("Foreshadowing", 0.5):
        w.do("jar_hint", grown, hero)
        w.shows("Foreshadowing")
    w.do("mixes", hero)
    w.do("bakes", hero, grown, food)
    w.paragraph()
    w.do("tastes_bad", hero, food)
    w.shows("Twist")
    w.do("feel", hero, w.feel("surprised"))
    w.do("was_salt", hero, grown)
    if w.wanted("BadEnding", 0.2):
        w.shows("BadEnding")
        w.do("throw_away", hero, food)
        w.do("feel_inside", hero, w.feel("disappointed"))
        lesson(w, hero, ["it is good to look twice"])
        w.summarize("{A} bakes {X:a} with salt instead of sugar and has to throw it away.", A=hero, X=food)
        return
    w.do("laugh_both", hero, grown)
    w.do("bake_again", hero, grown, food)
    w.do("tastes_good", hero, grown, food)
    lesson(w, hero, ["everyone makes mistakes", "you can learn from a mistake"])
    happy_end(w, hero, grown)
    w.summarize(
        "{A} bakes {X:a} with salt instead of sugar, and bakes again with {B}.", A=hero, B=grown, X=food
    )


@plot
def muddy_clothes(w: World) -> None:
    """New clothes, a warning, a puddle."""
    hero = w.hero(kinds="child")
    grown = w.parent(hero)
    girlish = ("dress", "skirt") if hero.pronoun == "she" else ()
    wear = w.thing(
        "clothes",
        nouns=(*girlish, "coat", "shirt", "jacket", "sweater", "cape", "scarf", "hat"),
        adjective=w.draw.adjective(("new", "white", "yellow", "clean", "pretty", "fancy", "pink")),
        held_by=grown,
    )
    place = w.place(("park", "garden", "farm", "yard", "playground", "meadow"))
    start(w, hero)
    w.do("receive", hero, wear, grown)
    w.do("warn_plain", grown, hero, "to keep it clean for the party")
    w.shows("Foreshadowing")
    w.paragraph()
    w.do("wear_to", hero, wear, place, lead=ONE_DAY)
    w.do("sees_puddle", hero)
    w.do("forget_warning", hero, grown)
    w.do("splashes", hero, wear)
    w.do("feel", hero, w.feel("worried"))
    w.do("go_home", hero, HOME, lead=THEN)
    w.paragraph()
    if w.wanted("BadEnding", 0.4):
        w.shows("BadEnding")
        w.do("misses_party", grown, hero, wear)
        w.do("cry", hero)
        w.do("feel_inside", hero, w.feel("sad"))
        lesson(w, hero, ["it is wise to listen to a warning", "it is good to think before you play"])
        w.summarize("{A} gets {A:his} {X:n} muddy and misses the party.", A=hero, X=wear)
        return
    w.do("tells_mud", hero, grown, wear)
    w.do("wash_together", hero, grown, wear)
    w.do("in_time", hero, grown)
    lesson(w, hero, ["it is wise to listen to a warning", "telling the truth helps to make things right"])
    happy_end(w, hero, None, "relieved")
    w.summarize(
        "{A} gets {A:his} {X:n} muddy, and {B} helps wash it in time for the party.", A=hero, B=grown, X=wear
    )


@plot
def empty_stage_for_music(w: World) -> None:
    """A noisy toy annoys a neighbour, and then turns out to be just what is needed."""
    hero = w.hero()
    toy = w.thing("toy", owner=hero, nouns=("drum", "whistle", "trumpet", "bell", "rattle"), adjective=None)
    place = w.place(("forest", "hill", "meadow", "farm", "valley", "field", "woods"))
    grump = w.animal(
        place,
        nouns=("owl", "bear", "goat", "donkey", "toad", "goose", "wolf", "camel"),
        adjective=w.draw.adjective(("grumpy", "old", "sleepy", "tired")),
    )
    start(w, hero, likes=0.3)
    w.do("own", hero, toy)
    w.paragraph()
    w.do("bring", hero, toy, place, lead=ONE_DAY)
    w.do("play_with", hero, toy)
    w.do("too_loud", grump, hero, toy)
    w.do("feel", hero, w.feel("sad"))
    w.paragraph()
    lost = w.animal(
        None,
        tag="small",
        without="flyer",
        adjective="little",
        nouns=("mouse", "bunny", "frog", "hedgehog", "kitten", "puppy"),
    )
    w.do("fog_lost", grump, lost, place)
    w.do("feel", grump, w.feel("worried"))
    w.do("idea_noise", hero, grump, toy)
    w.do("found_by_noise", lost, hero, grump, place, toy)
    w.shows("Twist")
    w.do("apologize", grump, hero)
    w.do("thank", grump, hero)
    lesson(w, hero, ["what bothers us one day may help us the next", "everyone has something to give"])
    happy_end(w, hero, grump, "proud")
    w.summarize(
        "{B} says the {X:n} is too loud, but {A} uses it to guide {C} back.", A=hero, B=grump, C=lost, X=toy
    )
