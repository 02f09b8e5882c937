"""Plots about danger: noises, getting lost, falls, traps and tricks."""

from __future__ import annotations

from tinyjax.stories.world import lexicon
from tinyjax.stories.world.plots.script import (
    AT_LAST,
    NEXT_DAY,
    ONE_DAY,
    ONE_DULL_DAY,
    ONE_NIGHT,
    SIBLINGS,
    SUDDENLY,
    happy_end,
    lesson,
    plot,
    start,
)  # fmt: skip
from tinyjax.stories.world.simulation import World
from tinyjax.stories.world.state import HOME, Character, Place, another_home


@plot
def noise_in_the_night(w: World) -> None:
    """A frightening noise turns out to be someone small who needs help."""
    hero = w.hero()
    sibling = "human" in hero.tags and w.draw.chance(0.5)
    friend = w.friend(hero, HOME, w.draw.pick(SIBLINGS)) if sibling else w.parent(hero)
    noise = w.draw.adjective(lexicon.NOISES)
    start(w, hero)
    w.paragraph()
    w.do("hear_noise", hero, noise, lead=ONE_NIGHT)
    w.do("feel", hero, w.feel("scared"))
    w.do("tremble", hero)
    w.do("wake_up", hero, friend, noise)
    w.do("go_look", hero, friend)
    w.paragraph()
    small = w.animal(
        HOME,
        tag="small",
        adjective=w.draw.adjective(("tiny", "little", "hungry", "cold", "wet", "lonely", "lost")),
    )
    w.do("only_small", hero, friend, small)
    w.shows("Twist")
    w.do("feel", hero, w.feel("relieved"))
    food = w.thing(
        "food", nouns=("bread", "cheese", "milk", "apple", "cracker", "carrot", "nut", "pear", "soup")
    )
    w.do("needs_home", small, hero)
    w.do("fetch", hero, food)
    w.do("give", hero, food, small)
    w.do("eat", small, food)
    w.do("thank", small, hero)
    lesson(w, hero, ["scary things can turn out to be small", "it is good to look before you are afraid"])
    w.do("feel", hero, w.feel("calm"))
    w.do("sleep_well", hero)
    w.summarize("{A} hears a noise at night and finds out that it is only {C}.", A=hero, C=small)


@plot
def shadow_on_the_wall(w: World) -> None:
    """A monster in the dark is only a thing."""
    hero = w.hero(kinds="child")
    parent = w.parent(hero)
    thing = w.thing(
        "clothes",
        nouns=("coat", "hat", "jacket", "umbrella", "dress", "cape", "sweater", "backpack"),
        at=HOME,
    )
    comfort = w.thing("toy", nouns=("teddy", "doll", "flashlight", "dinosaur", "puppet"), owner=hero)
    start(w, hero)
    w.do("own", hero, comfort)
    w.paragraph()
    w.do("go_to_bed", hero, lead=ONE_NIGHT)
    w.do("see_shadow", hero)
    w.do("feel", hero, w.feel("scared"))
    w.do("hold_tight", hero, comfort)
    w.do("call_for", hero, parent)
    w.paragraph()
    w.do("light_on", parent, thing)
    w.shows("Twist")
    w.do("laugh_both", hero, parent)
    w.do("tuck_in", parent, hero)
    lesson(w, hero, ["the dark can play tricks on our eyes", "things look less scary in the light"])
    w.do("feel", hero, w.feel("calm"))
    w.summarize("{A} sees a scary shadow at night, but it is only {X:a}.", A=hero, X=thing)


@plot
def wander_off(w: World) -> None:
    """The hero follows something pretty, is lost, and is led home."""
    hero = w.hero()
    parent = w.parent(hero)
    place = w.place(("park", "meadow", "garden", "market", "farm", "zoo", "orchard", "lake"))
    deep = w.place(("forest", "woods", "jungle", "valley", "hill"))
    lure = w.animal(place, nouns=("butterfly", "bird", "bee", "robin", "frog", "squirrel", "bunny"))
    start(w, hero)
    w.paragraph()
    w.do("go_with", hero, parent, place, lead=ONE_DAY)
    w.do("warn_plain", parent, hero, "to stay close")
    w.shows("Foreshadowing")
    w.do("sees_lure", hero, lure)
    w.do("follow_into", hero, lure, deep)
    w.paragraph()
    w.do("is_lost", hero, lure, deep)
    w.do("feel", hero, w.feel("scared"))
    w.do("cry", hero)
    helper = w.animal(
        deep, nouns=("owl", "deer", "bear", "fox", "crow", "turtle", "wolf", "elephant", "mole", "dog")
    )
    w.do("meet", hero, helper, deep)
    if helper.noun in ("bear", "wolf"):
        w.do("looks_scary", helper, hero)
        w.shows("Twist")
    w.do("ask_wrong", helper, hero)
    w.do("tell_way_lost", hero, helper)
    w.paragraph()
    w.do("lead_back", helper, hero, place)
    w.do("hugs_found", parent, hero)
    w.do("promise_stay", hero, parent)
    lesson(w, hero, ["it is safe to stay close to your family", "it is wise to listen to a warning"])
    happy_end(w, hero, parent, "relieved")
    w.summarize(
        "{A} follows {C} and gets lost {P:in}, and {B} leads {A:him} back to {D}.",
        A=hero,
        B=helper,
        C=lure,
        D=parent,
        P=deep,
    )


@plot
def branch_breaks(w: World) -> None:
    """A warning about a weak branch (or ice, or wall) comes true."""
    hero = w.hero(adjective=w.draw.adjective(("bold", "careless", "proud", "curious", "brave", "stubborn")))
    friend = w.friend(hero)
    where, creak, fall = w.draw.pick(DARES if "human" in hero.tags else DARES[2:])
    place = w.place(where)
    start(w, hero)
    w.do("together", hero, friend, place, lead=ONE_DAY)
    w.do("dare", hero, friend, creak)
    w.do("weak_hint", friend, hero)
    w.shows("Foreshadowing")
    w.do("ignore", hero, friend)
    w.paragraph()
    w.do("dare_fails", hero, fall, lead=SUDDENLY)
    w.do("hurts", hero)
    w.do("runs_for_help", friend, hero)
    if w.wanted("BadEnding", 0.6):
        w.shows("BadEnding")
        w.do("no_play_long", hero, friend)
        lesson(w, hero, ["it is wise to listen to a warning", "being careful is better than showing off"])
        w.do("feel_inside", hero, w.feel("sorry"))
        w.summarize("{A} does not listen to {B} and gets hurt.", A=hero, B=friend)
        return
    w.paragraph()
    doctor = w.person(place, nouns=("doctor", "nurse", "farmer", "gardener", "neighbor", "firefighter"))
    w.do("bandage", doctor, hero)
    w.do("thank", hero, doctor)
    lesson(w, hero, ["it is wise to listen to a warning", "a good friend tells you to be careful"])
    w.do("feel_inside", hero, w.feel("relieved"))
    w.summarize("{A} does not listen to {B} and gets hurt, and {C} helps.", A=hero, B=friend, C=doctor)


DARES = (  # the first two only for children: hoofs do not climb
    (("park", "garden", "orchard", "forest", "yard"), "climb high up a thin branch", "the branch broke"),
    (("farm", "barn", "garden"), "walk along the top of an old wall", "the wall crumbled"),
    (("hill", "beach", "valley"), "jump down from a tall rock", "the rock wobbled"),
    (("pond", "lake", "river"), "cross on a wet, thin log", "the log rolled over"),
)


@plot
def freed_from_the_hole(w: World) -> None:
    """Someone small is stuck; alone it does not work, with a tool and a friend it does."""
    hero = w.hero()
    place = w.place(lexicon.OUTDOORS)
    stuck = w.animal(place, tag="small", without="flyer")
    start(w, hero)
    w.paragraph()
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("hear_cry", hero, stuck)
    trap = w.draw.pick(("in a deep hole", "in the mud", "under a heavy log", "in a thick bush"))
    w.do("is_stuck", stuck, trap)
    w.do("feel", stuck, w.feel("scared"))
    w.do("pull_alone", hero, stuck)
    w.paragraph()
    helper = w.parent(hero)
    tool = w.thing("tool", nouns=("rope", "plank", "pole", "ladder", "stick"), held_by=helper)
    w.do("go_home_fetch", hero, HOME)
    w.do("tell_stuck", hero, helper, stuck)
    w.do("brings_tool", helper, tool, hero, place)
    w.do("free_with", helper, hero, tool, stuck)
    w.do("thank", stuck, helper)
    w.paragraph()
    lesson(w, hero, ["some jobs need more than one helper", "asking for help is a smart thing to do"])
    w.do("feel", stuck, w.feel("relieved"))
    happy_end(w, hero, helper, "proud")
    w.summarize(
        "{A} finds {B} stuck {T}, and {C} helps with {X:a}.", A=hero, B=stuck, C=helper, X=tool, T=trap
    )


@plot
def small_helps_big(w: World) -> None:
    """A small creature is spared, and later frees the big one."""
    big = w.animal(None, tag="big", named=True)
    place = w.place(lexicon.WILD)
    small = w.animal(None, nouns=("mouse", "squirrel", "hedgehog", "bunny", "mole", "ant"))
    w.state.at[big] = HOME
    start(w, big, likes=0.3)
    w.do("go", big, place, lead=ONE_DAY)
    w.do("catches_small", big, small, place)
    w.do("begs", small, big)
    w.do("promise_help", small, big)
    w.do("laugh_let_go", big, small)
    w.paragraph()
    w.do("caught_in_net", big, lead=NEXT_DAY)
    w.do("feel", big, w.feel("scared"))
    w.do("roars", big)
    w.do("hears_and_comes", small, big)
    w.do("chews_net", small, big)
    w.shows("Foreshadowing", "Twist")
    w.paragraph()
    w.do("thank", big, small)
    lesson(w, big, ["even a small friend can be a big help", "kindness comes back to you"])
    w.do("become_friends", big, small)
    w.do("feel_inside", big, w.feel("relieved"))
    w.summarize("{A} lets {B} go, and later {B} frees {A} from a net.", A=big, B=small)


@plot
def false_alarm(w: World) -> None:
    """Crying for help as a joke, until it is not one."""
    hero = w.hero(adjective=w.draw.adjective(("silly", "bored", "careless", "cheeky", "playful")))
    friend = w.friend(hero, HOME)
    place = w.place(("hill", "meadow", "lake", "river", "pond", "field", "forest", "valley"))
    foe = w.animal(
        None,
        nouns=("wolf", "bear", "tiger", "lion", "fox"),
        adjective=w.draw.adjective(("big", "angry", "hungry", "huge")),
    )
    start(w, hero)
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("be", hero, w.feel("bored"))
    w.do("joke_call", hero, friend, foe.noun, place)
    w.do("was_joke", hero, friend)
    w.do("scold", friend, hero)
    w.do("go_home", friend, another_home())
    w.paragraph()
    w.do("real_danger", foe, hero, place, lead=NEXT_DAY)
    w.do("feel", hero, w.feel("scared"))
    w.do("real_call", hero, friend)
    w.do("not_believed", friend, hero)
    w.paragraph()
    if w.wanted("BadEnding", 0.5):
        w.shows("BadEnding")
        w.do("nobody_comes", hero)
        lesson(w, hero, ["nobody believes someone who tells lies", "it is wrong to trick your friends"], 0.8)
        w.do("feel_inside", hero, w.feel("sorry"))
        w.summarize(
            "{A} tricks {B} with a false alarm, and nobody comes when there is real danger.", A=hero, B=friend
        )
        return
    w.do("comes_anyway", friend, hero, foe, place)
    w.do("apologize", hero, friend)
    w.do("forgive", friend, hero)
    lesson(
        w, hero, ["it is wrong to trick your friends", "you should only call for help when you need it"], 0.8
    )
    w.do("feel_inside", hero, w.feel("relieved"))
    w.summarize(
        "{A} tricks {B} with a false alarm, but {B} still comes when there is real danger.", A=hero, B=friend
    )


@plot
def picnic_in_the_rain(w: World) -> None:
    """A dark cloud is seen and not heeded; the picnic gets wet."""
    hero = w.hero()
    friend = w.friend(hero, HOME)
    place = w.place(("meadow", "hill", "lake", "park", "field", "beach", "river"))
    food = w.thing(
        "food",
        nouns=("sandwich", "pie", "cake", "pizza", "bread", "melon", "pudding", "cheese", "popcorn"),
        owner=None,
    )
    start(w, hero)
    w.paragraph()
    w.do("plan_picnic", hero, friend, food, lead=ONE_DULL_DAY)
    w.do("go_with", hero, friend, place)
    w.do("dark_cloud", friend, hero)
    w.do("waves_off", hero, friend)
    w.shows("Foreshadowing")
    w.paragraph()
    w.do("starts_to_rain", hero, friend, lead=SUDDENLY)
    if w.wanted("BadEnding", 0.35):
        w.shows("BadEnding")
        w.do("food_ruined", hero, food)
        w.do("go_home_both", hero, friend, HOME)
        w.do("feel_both", hero, friend, w.draw.adjective(("cold", "disappointed", "hungry")))
        lesson(w, hero, ["it is good to listen to a friend"])
        w.summarize(
            "{A} and {B} have a picnic {P:in}, but the rain ruins the {X:n}.",
            A=hero,
            B=friend,
            P=place,
            X=food,
        )
        return
    shelter = w.place(("cave", "barn"))
    w.do("run_to_shelter", hero, friend, shelter)
    w.do("eat_there", hero, friend, food)
    w.do("sing_songs", hero, friend)
    w.shows("Twist")
    lesson(w, hero, ["a rainy day can be fun with a friend", "even bad weather can bring fun"])
    w.do("feel_both", hero, friend, w.feel("happy"))
    w.summarize(
        "Rain comes while {A} and {B} have a picnic, so they eat {P:in}.", A=hero, B=friend, P=shelter
    )


@plot
def adrift(w: World) -> None:
    """A little boat drifts away with friends in it, and someone pushes it back."""
    hero = w.hero()
    friend = w.friend(hero, None)
    lake = w.place(("lake", "river", "pond"))
    helper = w.animal(lake, nouns=("turtle", "duck", "goose", "otter", "beaver"))
    start(w, hero)
    w.do("together", hero, friend, lake, lead=ONE_DAY)
    w.do("find_boat", hero, friend)
    if w.wanted("Conflict", 0.3):
        w.do("argue_boat", friend, hero)
    w.do("row_out", hero, friend)
    w.do("lose_oar", hero, friend)
    w.do("feel_both", hero, friend, w.feel("scared"))
    w.paragraph()
    w.do("shout_help", hero, friend)
    w.do("swims_up", helper, hero)
    w.do("push_boat", helper, hero, friend)
    w.do("thank", hero, helper)
    w.paragraph()
    food = w.thing("food", nouns=("bread", "cookie", "cracker", "apple", "carrot", "sandwich"))
    w.do("had_along", hero, food)
    w.do("give", hero, food, helper)
    w.do("eat", helper, food)
    lesson(w, hero, ["it is wise to ask before you take a boat out", "help can come from a small friend"])
    w.do("feel_both", hero, friend, w.feel("relieved"))
    w.summarize(
        "{A} and {B} drift away in a boat, and {C} pushes them back to land.", A=hero, B=friend, C=helper
    )


@plot
def gate_left_open(w: World) -> None:
    """A pet runs off through an open gate and is found with someone lonely."""
    hero = w.hero(kinds="child")
    pet = w.animal(
        HOME,
        nouns=("puppy", "kitten", "bunny", "duck", "pony", "goat", "hen"),
        named=True,
        kin="",
        adjective=w.draw.adjective(("playful", "fluffy", "white", "brown", "little", "lively", "curious")),
    )
    place = w.place(("park", "forest", "market", "farm", "river", "meadow", "square", "harbor"))
    start(w, hero, likes=0.3)
    w.do("has_pet", hero, pet)
    w.do("gate_hint", hero, pet)
    w.shows("Foreshadowing")
    w.paragraph()
    w.do("pet_gone", hero, pet, lead=ONE_DULL_DAY)
    w.do("feel", hero, w.feel("worried"))
    w.do("call_pet", hero, pet)
    if w.wanted("BadEnding", 0.25):
        _pet_is_gone_for_good(w, hero, pet)
    else:
        _pet_is_found_with_someone_lonely(w, hero, pet, place)


def _pet_is_gone_for_good(w: World, hero: Character, pet: Character) -> None:
    w.shows("BadEnding")
    w.do("go", hero, w.place(("hill", "beach", "lake")))
    w.do("pet_never", hero, pet)
    w.do("go_home", hero, HOME, lead=AT_LAST)
    lesson(w, hero, ["it is important to close the gate"])
    w.do("feel_inside", hero, w.feel("sad"))
    w.summarize("{A} leaves the gate open, and {A:his} {B:noun} {B} runs away for good.", A=hero, B=pet)


def _pet_is_found_with_someone_lonely(w: World, hero: Character, pet: Character, place: Place) -> None:
    w.do("go", hero, place)
    w.paragraph()
    person = w.person(
        place,
        adjective="lonely",
        nouns=(
            "sailor",
            "farmer",
            "neighbor",
            "painter",
            "fisherman",
            "gardener",
            "tailor",
            "singer",
            "mailman",
            "pilot",
        ),
    )
    w.do("pet_with", hero, pet, person, place)
    w.do("feel", hero, w.feel("relieved"))
    w.do("was_company", person, hero, pet)
    w.shows("Twist")
    w.do("visit_offer", hero, person, pet)
    w.do("feel", person, w.feel("happy"))
    w.do("go_home_both", hero, pet, HOME)
    lesson(w, hero, ["it is important to close the gate", "a visit can make a lonely person happy"])
    w.do("feel_inside", hero, w.feel("happy"))
    w.summarize(
        "{A:p} {B:noun} {B} runs away, and {A} finds {B:him} {P:in} with {C}.",
        A=hero,
        B=pet,
        C=person,
        P=place,
    )
