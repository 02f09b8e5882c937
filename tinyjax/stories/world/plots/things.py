"""Plots about things lost, broken, swapped, found and given."""

from __future__ import annotations

from tinyjax.stories.world import lexicon
from tinyjax.stories.world.grammar import words
from tinyjax.stories.world.plots.script import (
    AT_LAST,
    LATER,
    NEXT_DAY,
    ONE_DAY,
    SIBLINGS,
    SO,
    SOON,
    SUDDENLY,
    THAT_NIGHT,
    THEN,
    happy_end,
    lesson,
    plot,
    start,
)  # fmt: skip
from tinyjax.stories.world.simulation import World
from tinyjax.stories.world.state import HOME

HOLDABLE = words(
    """ball doll teddy kite drum robot book truck car boat plane whistle flute bell top frisbee
    puppet crayon camera flashlight bucket mask wand dinosaur harp tambourine xylophone rocket
    helicopter telescope lantern pinwheel globe pencil notebook paintbrush yo-yo marble hoop"""
)
FLYING = ("kite", "balloon", "frisbee", "plane", "ball")
CLIMBERS = words("monkey squirrel raccoon koala chipmunk bird owl crow parrot eagle robin")
THROWABLE = ("ball", "frisbee", "plane", "hoop", "bat", "truck")


@plot
def lost_and_found(w: World) -> None:
    """Something loved is lost, looked for, and found (or not)."""
    hero = w.hero()
    toy = w.thing("toy", owner=hero, nouns=HOLDABLE)
    park = w.place(lexicon.FUN)
    friend = w.friend(hero)
    wrong, right = w.spot(park), w.spot(park)
    start(w, hero)
    w.do("own", hero, toy)
    careful = w.wanted("Foreshadowing", 0.3)
    if careful:
        parent = w.parent(hero)
        w.do("warn_plain", parent, hero, f"not to lose the {toy.noun}")
        w.shows("Foreshadowing")
    w.paragraph()
    w.do("bring", hero, toy, park, lead=ONE_DAY)
    w.do("play_with", hero, toy)
    w.do("lose", hero, toy, right)
    w.do("feel", hero, w.feel("sad"))
    if w.draw.chance(0.5):
        w.do("cry", hero)
    w.paragraph()
    w.do("come", friend, hero, park, lead=SOON)
    w.do("ask_wrong", friend, hero)
    w.do("tell_lost", hero, friend, toy)
    w.do("offer_help", friend, hero)
    w.do("search_together", hero, friend, toy, wrong)
    w.paragraph()
    if w.wanted("BadEnding", 0.2):
        w.shows("BadEnding")
        w.do("give_up", hero, toy)
        w.do("go_home", hero, HOME, lead=AT_LAST)
        w.do("feel", hero, w.feel("sad"))
        lesson(w, hero, ["it is wise to take good care of the things you love"])
        w.summarize("{A} loses {A:his} {X:n} {P:in} and never finds it.", A=hero, X=toy, P=park)
        return
    finder = w.draw.pick((hero, friend))
    w.do("find", finder, toy, right, lead=THEN)
    if finder is friend:
        w.do("give_back", friend, toy, hero)
    w.do("thank", hero, friend)
    lesson(w, hero, ["friends make hard things easier", "it is good to ask a friend for help"])
    happy_end(w, hero, friend)
    w.summarize("{A} loses {A:his} {X:n} {P:in}, and {B} helps find it.", A=hero, X=toy, P=park, B=friend)


@plot
def it_was_here_all_along(w: World) -> None:
    """A thing is looked for everywhere, and was with the seeker all the time."""
    hero = w.hero()
    hat = w.thing(
        "clothes",
        owner=hero,
        nouns=(
            "hat",
            "cap",
            "scarf",
            "mitten",
            "necklace",
            "ribbon",
            "cape",
            "glove",
            "helmet",
            "bonnet",
            "crown",
            "belt",
            "shawl",
        ),
    )
    park = w.place(lexicon.FUN)
    friend = w.friend(hero)
    one, two = w.spot(park), w.spot(park)
    start(w, hero)
    w.do("own", hero, hat)
    w.paragraph()
    w.do("go", hero, park, lead=ONE_DAY)
    w.do("meet", hero, friend, park)
    w.do("play_together", hero, friend)
    w.do("think_lost", hero, hat, lead=SUDDENLY)
    w.do("feel", hero, w.feel("worried"))
    w.paragraph()
    w.do("search_worn", hero, hat, one)
    w.do("search_worn", hero, hat, two)
    w.do("feel", hero, w.feel("sad"))
    w.paragraph()
    w.do("laugh_kindly", friend, hero, lead=THEN)
    w.do("point_out", friend, hero, hat)
    w.shows("Twist")
    w.do("laugh_both", hero, friend)
    lesson(w, hero, ["sometimes what we look for is very near"])
    happy_end(w, hero, friend)
    w.summarize("{A} looks everywhere for {A:his} {X:n}, but {A:he} is wearing it all along.", A=hero, X=hat)


@plot
def one_toy_for_two(w: World) -> None:
    """Two want the same toy; it breaks, or they learn to take turns."""
    hero = w.hero()
    friend = w.friend(hero)
    park = w.place(lexicon.FUN)
    spot = w.spot(park)
    toy = w.thing("toy", nouns=HOLDABLE, at=spot)
    start(w, hero)
    w.do("together", hero, friend, park, lead=ONE_DAY)
    w.paragraph()
    w.do("see_both", hero, friend, toy, spot)
    w.do("quarrel_over", hero, friend, toy)
    if w.wanted("BadEnding", 0.4):
        w.do("break", hero, friend, toy, lead=())
        w.shows("BadEnding")
        w.paragraph()
        w.do("feel_both", hero, friend, w.feel("sad"))
        w.do("no_play", hero, friend, toy)
        w.do("go_home", hero, HOME)
        lesson(w, hero, ["if you do not share, nobody can have fun", "it is better to share than to fight"])
        w.do("feel_inside", hero, w.feel("sorry"))
        w.summarize("{A} and {B} fight over {X:a} and break it.", A=hero, B=friend, X=toy)
        return
    w.paragraph()
    grown = w.parent(hero, None)
    w.do("come", grown, hero, park, lead=SOON)
    w.do("take_turns", hero, friend, grown, toy)
    w.do("apologize", hero, friend)
    w.do("forgive", friend, hero)
    lesson(w, hero, ["sharing is more fun than fighting", "taking turns is fair"])
    w.do("feel_both", hero, friend, w.feel("happy"))
    w.summarize(
        "{A} and {B} fight over {X:a} until {C} tells them to take turns.", A=hero, B=friend, C=grown, X=toy
    )


@plot
def broken_in_the_house(w: World) -> None:
    """A warning is not heeded and something precious breaks; the truth is told, or hidden."""
    hero = w.hero(kinds="child")
    parent = w.parent(hero)
    ball = w.thing("toy", owner=hero, nouns=THROWABLE)
    vase = w.thing("fragile", at=HOME)
    start(w, hero)
    w.do("own", hero, ball)
    w.do("stands_at_home", parent, vase)
    w.paragraph()
    w.do("warn_plain", parent, hero, f"not to play with the {ball.noun} in the house", lead=ONE_DAY)
    w.shows("Foreshadowing")
    garden = w.place(("garden", "yard", "market", "bakery"))
    w.do("leave", parent, garden, lead=THEN)
    w.do("forget_warning", hero, parent)
    w.do("play_with", hero, ball)
    w.do("break_by", hero, ball, vase)
    w.do("feel", hero, w.feel("worried"))
    w.paragraph()
    if w.wanted("BadEnding", 0.35):
        w.shows("BadEnding")
        w.do("hide_pieces", hero, vase)
        w.do("come_home", parent, HOME, lead=LATER)
        w.do("discover_pieces", parent, hero, vase)
        w.do("feel", parent, w.feel("sad"))
        w.do("confiscate", parent, ball, hero)
        lesson(w, hero, ["hiding the truth only makes things worse", "it is always better to tell the truth"])
        w.do("feel_inside", hero, w.feel("sorry"))
        w.summarize(
            "{A} breaks {X:a} and hides it, and {B} takes the {Y:n} away.", A=hero, X=vase, Y=ball, B=parent
        )
        return
    w.do("come_home", parent, HOME, lead=LATER)
    w.do("confess", hero, parent, vase)
    w.do("praise_truth", parent, hero)
    w.do("clean_up", hero, parent)
    lesson(w, hero, ["telling the truth is brave", "it is good to tell the truth"])
    happy_end(w, hero, parent, "relieved")
    w.summarize(
        "{A} breaks {X:a} with {A:his} {Y:n} and tells {B} the truth.", A=hero, X=vase, Y=ball, B=parent
    )


@plot
def swap_and_regret(w: World) -> None:
    """Something loved is traded for something showy; it may be traded back."""
    hero = w.hero()
    old = w.thing("toy", owner=hero, nouns=HOLDABLE, adjective="old")
    square = w.place((*lexicon.TOWN, "market") if "human" in hero.tags else lexicon.WILD)
    trader = w.animal(square, named=False)
    new = w.thing("treasure", held_by=trader)
    start(w, hero)
    w.do("own", hero, old)
    w.paragraph()
    w.do("bring", hero, old, square, lead=ONE_DAY)
    w.do("meet_with", hero, trader, new)
    w.do("offer_swap", trader, hero, new, old)
    w.do("swap", hero, trader, old, new)
    w.do("feel", hero, w.feel("excited"))
    w.paragraph()
    w.do("go_home", hero, HOME)
    w.do("cannot_play", hero, new, old)
    w.do("miss", hero, old)
    w.do("feel", hero, w.feel("sad"))
    if w.wanted("BadEnding", 0.35):
        w.shows("BadEnding")
        w.do("go_back", hero, square, lead=NEXT_DAY)
        w.do("is_gone", trader, hero, square)
        w.do("go_home", hero, HOME, lead=SO)
        w.do("feel", hero, w.feel("sorry"))
        lesson(w, hero, ["new things are not always better", "it is wise to think before you trade"])
        w.summarize("{A} trades {A:his} old {X:n} for {Y:a} and cannot get it back.", A=hero, X=old, Y=new)
        return
    w.paragraph()
    w.do("go_back", hero, square, lead=NEXT_DAY)
    w.do("still_there", hero, trader)
    w.do("ask_back", hero, trader, old)
    w.do("swap_back", hero, trader, new, old)
    w.do("thank", hero, trader)
    lesson(w, hero, ["new things are not always better", "old things can be the best things"])
    happy_end(w, hero)
    w.summarize("{A} trades {A:his} old {X:n} for {Y:a}, misses it, and trades back.", A=hero, X=old, Y=new)


@plot
def chain_of_swaps(w: World) -> None:
    """One swap leads to the next, and the last thing is just right for someone."""
    hero = w.hero()
    parent = w.parent(hero)
    first = w.thing("treasure")
    place = w.place(lexicon.OUTDOORS)
    spot = w.spot(place)
    w.state.lay(first, spot)
    one, two = w.animal(place), w.animal(place)
    second = w.thing(w.draw.pick(("toy", "clothes")), held_by=one, nouns=())
    third = w.thing("food", held_by=two)
    start(w, hero)
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("discover", hero, first, spot)
    w.paragraph()
    for other, mine, theirs in ((one, first, second), (two, second, third)):
        w.do("meet_with", hero, other, theirs)
        w.do("want", other, mine)
        w.do("swap", hero, other, mine, theirs)
    w.do("feel", hero, w.feel("happy"))
    w.paragraph()
    w.do("go_home", hero, HOME, lead=AT_LAST)
    w.do("be", parent, "hungry")
    w.do("give", hero, third, parent)
    w.do("thank", parent, hero)
    lesson(w, hero, ["one kind swap can lead to another", "a small thing can grow into a nice gift"])
    happy_end(w, hero, parent, "proud")
    w.summarize("{A} swaps {X:a} for {Y:a} and the {Y:n} for {Z:a}, and gives the {Z:n} to {B}.",
          A=hero, X=first, Y=second, Z=third, B=parent)  # fmt: skip


@plot
def birthday_present(w: World) -> None:
    """A present is spoiled on the way, but a gift from the heart is better."""
    hero = w.hero()
    friend = w.friend(hero, None)
    gift = w.thing("food", nouns=("cake", "pie", "cupcake", "cookie", "muffin", "pancake"))
    place = w.place(lexicon.WILD)
    start(w, hero)
    w.do("birthday", friend, hero)
    w.do("make_food", hero, gift)
    w.do("feel", hero, w.feel("proud"))
    w.paragraph()
    w.do("bring", hero, gift, place, lead=THEN)
    w.do("trip_over", hero, gift)
    w.do("feel", hero, w.feel("sad"))
    w.do("no_gift", hero, friend)
    w.paragraph()
    other = w.thing(
        "treasure",
        nouns=("flower", "rose", "daisy", "tulip", "feather", "shell", "stone", "leaf", "pinecone"),
    )
    spot = w.spot(place)
    w.state.lay(other, spot)
    w.do("discover", hero, other, spot, lead=THEN)
    house = w.place(("garden", "farm", "yard", "orchard"))
    w.state.at[friend] = house
    w.do("bring_to_friend", hero, friend, other, house)
    w.do("give", hero, other, friend)
    w.shows("Twist")
    w.do("loves_gift", friend, other)
    w.do("use_gift", friend, other)
    lesson(
        w,
        hero,
        ["a small gift from the heart is the best gift", "it is the thought that makes a gift special"],
    )
    w.do("feel_both", hero, friend, w.feel("happy"))
    w.summarize(
        "{A} spoils the {X:n} for {B:p} birthday, but {B} loves {Y:a} even more.",
        A=hero,
        B=friend,
        X=gift,
        Y=other,
    )


@plot
def map_and_treasure(w: World) -> None:
    """A map leads to a buried box; what is inside is not what was expected."""
    hero = w.hero()
    friend = w.friend(hero, HOME)
    place = w.place(
        ("beach", "forest", "woods", "hill", "island", "meadow", "valley", "garden", "farm", "jungle")
    )
    spot = w.spot(place)
    shovel = w.thing("toy", nouns=("shovel",), held_by=friend)
    inside = w.thing(w.draw.pick(("toy", "treasure", "clothes")))
    w.state.lay(inside, spot)
    start(w, hero)
    w.paragraph()
    w.do("find_map", hero, place, lead=ONE_DAY)
    w.do("show_map", hero, friend)
    w.do("feel_both", hero, friend, w.feel("excited"))
    w.do("go_with", hero, friend, place)
    w.do("walk_steps", hero, friend, spot)
    w.do("dig", friend, hero, shovel, spot)
    w.paragraph()
    w.do("expect_gold", hero)
    w.do("open_box", hero, friend, inside)
    w.shows("Twist")
    w.do("feel_both", hero, friend, w.feel("surprised"))
    w.do("share_found", hero, friend, inside)
    lesson(w, hero, ["the best treasure is a friend", "looking for treasure together is the best part"])
    happy_end(w, hero, friend)
    w.summarize("{A} and {B} follow a map {P:to} and dig up {X:a}.", A=hero, B=friend, P=place, X=inside)


@plot
def box_without_key(w: World) -> None:
    """A closed box, a key from a friend, and somebody inside."""
    hero = w.hero()
    friend = w.friend(hero, None)
    place = w.place(lexicon.OUTDOORS)
    spot = w.spot(place)
    key = w.thing("treasure", nouns=("key",), held_by=friend)
    start(w, hero)
    w.paragraph()
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("find_box", hero, spot)
    w.do("try_open", hero)
    w.do("feel", hero, w.feel("confused"))
    w.paragraph()
    w.do("come", friend, hero, place, lead=SOON)
    w.do("show_key", friend, hero, key)
    w.do("unlock", friend, key)
    pet = w.animal(place, nouns=("kitten", "puppy", "bunny", "mouse", "frog", "turtle", "hedgehog", "duck"))
    w.do("jump_out", pet, hero, friend)
    w.shows("Twist")
    w.do("feel_both", hero, friend, w.feel("surprised"))
    w.paragraph()
    w.do("was_trapped", pet, hero)
    w.do("thank", pet, friend)
    w.do("play_together", hero, pet)
    w.do("become_friends", hero, pet)
    w.do("feel_inside", hero, w.feel("happy"))
    w.summarize("{A} finds a closed box, {B} unlocks it, and {C} jumps out.", A=hero, B=friend, C=pet)


@plot
def stuck_in_a_tree(w: World) -> None:
    """A thing is stuck high up; trying fails until someone who can climb or fly helps."""
    hero = w.hero()
    toy = w.thing("toy", owner=hero, nouns=FLYING)
    park = w.place(("park", "garden", "forest", "meadow", "hill", "orchard", "yard", "farm", "zoo"))
    tree = w.spot_named(park, "tree", "in")
    start(w, hero)
    w.do("own", hero, toy)
    w.paragraph()
    w.do("bring", hero, toy, park, lead=ONE_DAY)
    if w.wanted("Foreshadowing", 0.4):
        w.do("wind_hint", hero)
        w.shows("Foreshadowing")
    w.do("blown_into", hero, toy, tree)
    w.do("feel", hero, w.feel("sad"))
    w.paragraph()
    w.do("jump_for", hero, toy)
    stick = w.thing("tool", nouns=("stick", "pole", "ladder"), at=park)
    w.do("poke_with", hero, stick, toy)
    if w.wanted("BadEnding", 0.2):
        w.shows("BadEnding")
        w.do("stays_stuck", hero, toy)
        w.do("go_home", hero, HOME, lead=AT_LAST)
        w.do("feel", hero, w.feel("disappointed"))
        w.summarize("{A:p} {X:n} gets stuck in a tree and {A} cannot get it down.", A=hero, X=toy)
        return
    w.paragraph()
    helper = w.animal(None, nouns=CLIMBERS)
    w.do("come", helper, hero, park, lead=SOON)
    w.do("offer_help", helper, hero)
    w.do("fetch_down", helper, toy, tree)
    w.do("give_back", helper, toy, hero)
    w.do("thank", hero, helper)
    lesson(w, hero, ["everyone is good at something", "asking for help is a smart thing to do"])
    happy_end(w, hero, helper)
    w.summarize("{A:p} {X:n} gets stuck in a tree, and {B} gets it down.", A=hero, X=toy, B=helper)


@plot
def balloon_lost(w: World) -> None:
    """A light thing flies off for good; comfort helps, or it does not."""
    hero = w.hero()
    parent = w.parent(hero)
    toy = w.thing("toy", nouns=("balloon", "kite"), held_by=parent)
    place = w.place(lexicon.FUN)
    start(w, hero)
    w.paragraph()
    w.do("go_with", hero, parent, place, lead=ONE_DAY)
    w.do("receive_from", hero, toy, parent)
    w.do("feel", hero, w.feel("excited"))
    w.do("warn_plain", parent, hero, "to hold it tight")
    w.do("ignore", hero, parent)
    w.shows("Foreshadowing")
    w.do("let_go", hero, toy)
    w.paragraph()
    w.do("cry", hero)
    w.do("comfort", parent, hero)
    if w.wanted("BadEnding", 0.5):
        w.shows("BadEnding")
        w.do("never_again", hero, toy)
        w.do("go_home_both", hero, parent, HOME)
        w.do("feel_inside", hero, w.feel("sad"))
    else:
        food = w.thing("food", held_by=parent)
        w.do("give", parent, food, hero)
        w.do("eat", hero, food)
        w.do("feel", hero, w.feel("happy"))
    lesson(
        w, hero, ["it is good to listen to those who love you", "some things are gone when you let them go"]
    )
    w.summarize("{A} does not hold {A:his} {X:n} tight, and it flies away.", A=hero, X=toy)


@plot
def night_thief(w: World) -> None:
    """Food goes missing, the wrong one is blamed, and a watch at night shows the truth."""
    hero = w.hero()
    sibling = w.friend(hero, HOME, kin=w.draw.pick(SIBLINGS))
    food = w.thing(
        "food",
        nouns=("cookie", "cake", "pie", "apple", "muffin", "pear", "bun", "pretzel", "donut", "peach"),
        owner=hero,
    )
    start(w, hero, likes=0.3)
    w.do("own_food", hero, food)
    w.paragraph()
    w.do("wake_missing", hero, food, lead=ONE_DAY)
    w.do("feel", hero, w.feel("angry"))
    w.do("blame", hero, sibling, food)
    w.do("deny", sibling, hero)
    w.do("feel", sibling, w.feel("sad"))
    w.paragraph()
    bait = w.thing("food", nouns=("cracker", "carrot", "nut", "banana", "strawberry", "tomato", "pancake"))
    w.do("watch_night", hero, bait, lead=THAT_NIGHT)
    thief = w.animal(
        HOME,
        nouns=("mouse", "raccoon", "squirrel", "fox", "hedgehog", "kitten", "puppy", "crow", "monkey"),
        adjective=w.draw.pick(("hungry", "little", "thin")),
    )
    w.do("creep_in", thief, bait)
    w.shows("Twist")
    w.do("admit_hungry", thief, hero, food)
    w.paragraph()
    w.do("apologize", hero, sibling, lead=())
    w.do("forgive", sibling, hero)
    w.do("feed", hero, bait, thief)
    lesson(
        w,
        hero,
        ["we should not blame others before we know the truth", "it is wrong to blame someone too fast"],
    )
    w.do("feel_inside", hero, w.feel("relieved"))
    w.summarize("{A} blames {B} for taking {X:a}, but the thief is {C}.", A=hero, B=sibling, X=food, C=thief)


@plot
def kept_for_someone_else(w: World) -> None:
    """A treat saved for oneself is given to one who needs it more; kindness comes back."""
    hero = w.hero()
    food = w.thing("food", owner=hero)
    place = w.place(lexicon.OUTDOORS)
    start(w, hero)
    w.do("own_food", hero, food)
    w.paragraph()
    w.do("bring", hero, food, place, lead=ONE_DAY)
    poor = w.animal(place)
    w.do("meet", hero, poor, place)
    w.do("be", poor, "hungry")
    w.do("ask_share", poor, hero, food)
    w.do("think_about", hero)
    w.do("give", hero, food, poor)
    w.do("eat", poor, food)
    w.do("thank", poor, hero)
    w.paragraph()
    gift = w.thing("treasure", held_by=poor)
    w.do("surprise_gift", poor, gift, hero)
    w.do("use_gift", hero, gift)
    w.shows("Twist")
    lesson(w, hero, ["kindness comes back to you", "giving can feel better than having"])
    happy_end(w, hero, poor)
    w.summarize("{A} gives {A:his} {X:n} to {B}, who gives {A:him} {Y:a}.", A=hero, X=food, Y=gift, B=poor)
