"""Plots about friends: quarrels, teasing, envy, promises and kindness."""

from __future__ import annotations

from tinyjax.stories.world import lexicon
from tinyjax.stories.world.plots.script import (
    AT_LAST,
    BUT,
    NEXT_DAY,
    ONE_DAY,
    SUDDENLY,
    THEN,
    happy_end,
    lesson,
    plot,
    start,
)  # fmt: skip
from tinyjax.stories.world.plots.things import HOLDABLE
from tinyjax.stories.world.simulation import World
from tinyjax.stories.world.state import HOME, another_home


@plot
def slow_and_steady(w: World) -> None:
    """The fast one boasts and rests; the slow one wins."""
    fast = w.animal(
        None,
        nouns=("bunny", "fox", "horse", "deer", "dog", "cat", "squirrel", "zebra", "goat", "pony"),
        adjective=w.draw.pick(("proud", "quick", "fast")),
        named=True,
    )
    slow = w.animal(
        None,
        nouns=("turtle", "snail", "duck", "mole", "hedgehog", "pig", "penguin", "toad", "koala", "ant"),
        adjective=w.draw.pick(("slow", "patient", "calm", "quiet")),
        named=True,
    )
    place = w.place(lexicon.WILD)
    start(w, fast, likes=0.3)
    w.paragraph()
    w.do("together", fast, slow, place, lead=ONE_DAY)
    w.do("boast", fast, slow)
    w.do("challenge", slow, fast)
    goal = w.spot(place)
    w.do("race_start", fast, slow, goal)
    w.paragraph()
    w.do("far_ahead", fast, slow)
    w.do("rest_in_race", fast)
    w.do("keep_going", slow)
    w.do("wins", slow, fast, goal)
    w.shows("Twist")
    w.paragraph()
    w.do("feel", fast, w.feel("surprised"))
    w.do("apologize", fast, slow)
    lesson(w, fast, ["slow and steady can win the race", "it is not good to boast"], 0.7)
    w.do("feel_inside", slow, w.feel("proud"))
    w.summarize("{A} laughs at {B} and rests during a race, and the slow {B:noun} {B} wins.", A=fast, B=slow)


@plot
def new_in_town(w: World) -> None:
    """Others laugh at someone new; one makes friends."""
    hero = w.hero()
    place = w.place(lexicon.FUN)
    new = w.animal(place, named=True, adjective=w.draw.adjective(("shy", "quiet", "lonely", "small")))
    mocker = w.animal(place, adjective=w.draw.adjective(("rude", "proud", "mean", "bossy")))
    start(w, hero)
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("meet", hero, new, place)
    w.do("is_new", new)
    w.paragraph()
    w.do("boast_at", mocker, new)
    w.do("feel", new, w.feel("lonely"))
    w.do("stand_up", hero, mocker, new)
    w.do("invite", hero, new)
    w.do("play_together", hero, new)
    w.paragraph()
    if w.wanted("Twist", 0.5):
        toy = w.thing("toy", nouns=("ball", "frisbee", "hoop"))
        w.do("toy_rolls_off", mocker, toy, place)
        w.do("brings_toy", new, toy, mocker)
        w.shows("Twist")
        w.do("apologize", mocker, new)
        w.do("all_play", hero, new, mocker)
    lesson(w, hero, ["it is nice to be kind to someone new", "being different is fine"])
    w.do("become_friends", hero, new)
    w.do("feel_inside", new, w.feel("happy"))
    w.summarize("{C} makes fun of {B}, who is new, but {A} becomes {B:p} friend.", A=hero, B=new, C=mocker)


@plot
def taken_without_asking(w: World) -> None:
    """Envy makes one take a friend's thing; it is given back with a sorry."""
    hero = w.hero()
    friend = w.friend(hero)
    toy = w.thing("toy", owner=friend, nouns=HOLDABLE)
    place = w.place(lexicon.FUN)
    start(w, hero)
    w.paragraph()
    w.do("together", hero, friend, place, lead=ONE_DAY)
    w.do("shows_off", friend, toy, hero)
    w.do("feel", hero, w.feel("jealous"))
    w.do("take_secretly", hero, toy, friend)
    w.do("go_home", hero, HOME, lead=THEN)
    w.paragraph()
    w.do("cannot_enjoy", hero, toy)
    w.do("feel", hero, w.feel("sorry"))
    w.do("go_back_to", hero, friend, place, lead=NEXT_DAY)
    w.do("own_up", hero, friend, toy)
    w.do("give_back", hero, toy, friend)
    w.paragraph()
    if w.wanted("BadEnding", 0.3):
        w.shows("BadEnding", "Conflict")
        w.do("wont_play", friend, hero)
        w.do("feel_inside", hero, w.feel("sad"))
        lesson(w, hero, ["taking things without asking can cost you a friend"])
        w.summarize("{A} takes {B:p} {X:n} without asking and loses a friend.", A=hero, B=friend, X=toy)
        return
    w.do("apologize", hero, friend)
    w.do("forgive", friend, hero)
    w.do("play_together", hero, friend)
    lesson(w, hero, ["you should ask before you take something", "it is good to give back what is not yours"])
    w.do("feel_both", hero, friend, w.feel("happy"))
    w.summarize(
        "{A} takes {B:p} {X:n} without asking, then gives it back and says sorry.", A=hero, B=friend, X=toy
    )


@plot
def bully_was_lonely(w: World) -> None:
    """A big one takes a toy from a small one; someone speaks up."""
    small = w.animal(None, tag="small", named=True)
    hero = w.hero()
    big = w.animal(
        None, tag="big", adjective=w.draw.adjective(("big", "grumpy", "strong", "rude", "mean", "huge"))
    )
    place = w.place(lexicon.OUTDOORS)
    toy = w.thing("toy", owner=small, nouns=HOLDABLE)
    w.state.at.update({small: place, big: place})
    w.state.give(small, toy)
    start(w, hero)
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("sees_playing", hero, small, toy)
    w.paragraph()
    w.do("snatch", big, toy, small, lead=SUDDENLY)
    w.do("cry", small)
    w.do("tremble", hero)
    w.do("stand_up", hero, big, small)
    if w.wanted("BadEnding", 0.25):
        w.shows("BadEnding")
        far = w.place(("hill", "cave", "river", "harbor"))
        w.do("runs_off_with", big, toy, far)
        w.do("comfort", hero, small)
        w.do("feel_both", hero, small, w.feel("sad"))
        w.summarize(
            "{C} takes {B:p} {X:n} and runs away with it, and {A} cannot stop it.",
            A=hero,
            B=small,
            C=big,
            X=toy,
        )
        return
    w.paragraph()
    w.do("confess_lonely", big, hero)
    w.shows("Twist")
    w.do("give_back", big, toy, small)
    w.do("apologize", big, small)
    w.do("invite", hero, big)
    w.do("all_play", hero, small, big)
    lesson(w, hero, ["sometimes a mean friend is only lonely", "it is good to speak up for others"])
    w.do("feel_inside", big, w.feel("happy"))
    w.summarize("{C} takes {B:p} {X:n}, {A} speaks up, and {C} gives it back.", A=hero, B=small, C=big, X=toy)


@plot
def narrow_bridge(w: World) -> None:
    """Two stubborn ones meet in the middle of a bridge."""
    one = w.hero(adjective=w.draw.pick(("stubborn", "proud", "brave", "impatient")), kinds="animal")
    two = w.animal(
        None, tag="ground", named=True, adjective=w.draw.pick(("stubborn", "proud", "grumpy", "bossy"))
    )
    river = w.place(("river",))
    bridge = w.spot_named(river, "bridge", "on")
    start(w, one, likes=0.3)
    w.do("go", one, river, lead=ONE_DAY)
    w.do("step_on_bridge", one, two, bridge, river)
    w.do("quarrel_way", one, two)
    w.paragraph()
    if w.wanted("BadEnding", 0.5):
        w.shows("BadEnding")
        w.do("both_fall", one, two, bridge)
        w.do("feel_both", one, two, w.draw.adjective(("cold", "embarrassed", "sorry")))
        w.do("go_home", one, HOME)
        lesson(w, one, ["a small quarrel can make a big splash", "someone has to give way"], 0.8)
        w.summarize("{A} and {B} fight on a bridge and both fall into the water.", A=one, B=two)
        return
    w.do("gives_way", one, two, bridge)
    w.do("feel", two, w.feel("surprised"))
    w.do("thank", two, one)
    w.do("become_friends", one, two)
    lesson(w, one, ["being kind is better than being first", "giving way can make a friend"])
    w.do("feel_inside", one, w.feel("happy"))
    w.summarize("{A} and {B} quarrel on a bridge until {A} lets {B} go first.", A=one, B=two)


@plot
def forgotten_promise(w: World) -> None:
    """A promise is forgotten and a friend waits in vain."""
    hero = w.hero()
    friend = w.friend(hero, HOME)
    meeting = w.place(lexicon.OUTDOORS)
    other = w.place(lexicon.FUN)
    spot = w.spot(meeting)
    toy = w.thing("toy", owner=hero, nouns=HOLDABLE)
    start(w, hero)
    w.do("own", hero, toy)
    w.paragraph()
    w.do("promise_meet", hero, friend, spot, meeting, lead=ONE_DAY)
    w.do("bring_other", hero, toy, other, lead=BUT)
    w.do("play_with", hero, toy)
    w.do("forget_promise", hero)
    w.paragraph()
    w.do("wait_alone", friend, hero, meeting, spot)
    w.do("feel", friend, w.feel("lonely"))
    w.do("remember", hero, friend, lead=AT_LAST)
    w.do("arrive", hero, meeting)
    w.do("angry_words", friend, hero)
    w.paragraph()
    if w.wanted("BadEnding", 0.3):
        w.shows("BadEnding")
        w.do("go_home", friend, another_home())
        w.do("alone_now", hero)
        w.do("feel_inside", hero, w.feel("sorry"))
        lesson(w, hero, ["a promise is something to keep"])
        w.summarize("{A} forgets to meet {B} {P:in}, and {B} goes home angry.", A=hero, B=friend, P=meeting)
        return
    w.do("apologize", hero, friend)
    w.do("give_sorry", hero, toy, friend)
    w.do("forgive", friend, hero)
    lesson(w, hero, ["it is important to keep a promise", "friends matter more than games"])
    w.do("feel_both", hero, friend, w.feel("happy"))
    w.summarize(
        "{A} forgets a promise to meet {B} and gives {B:him} a {X:n} to say sorry.", A=hero, B=friend, X=toy
    )


@plot
def visit_the_sick(w: World) -> None:
    """A friend is ill; the way there has an obstacle."""
    hero = w.hero()
    friend = w.friend(hero, None)
    w.state.at[friend] = friend_home = w.place(("farm", "valley", "island", "castle", "hill"))
    food = w.thing(
        "food",
        nouns=(
            "soup",
            "honey",
            "pie",
            "muffin",
            "orange",
            "pear",
            "bread",
            "pudding",
            "cupcake",
            "apple",
            "cookie",
        ),
    )
    river = w.place(("river", "pond", "lake"))
    start(w, hero)
    w.do("hear_sick", hero, friend, lead=ONE_DAY)
    w.do("pack_food", hero, food)
    w.paragraph()
    w.do("on_the_way", hero, river)
    w.do("no_bridge", hero, river)
    w.do("feel", hero, w.feel("worried"))
    if w.draw.chance(0.5):
        plank = w.thing("tool", nouns=("plank", "ladder"), at=river)
        w.do("lay_across", hero, plank, river)
    else:
        helper = w.animal(
            river, nouns=("duck", "goose", "turtle", "beaver", "otter", "horse", "elephant", "cow", "camel")
        )
        w.do("carry_across", helper, hero, river)
        w.do("thank", hero, helper)
    w.paragraph()
    w.do("reach_home_of", hero, friend, friend_home)
    w.do("give", hero, food, friend)
    w.do("eat", friend, food)
    w.do("gets_better", friend, hero)
    lesson(w, hero, ["a visit can make a sick friend feel better", "love finds a way"])
    w.do("feel_both", hero, friend, w.feel("happy"))
    w.summarize("{A} crosses the water to bring {X:a} to {B}, who is sick.", A=hero, B=friend, X=food)


@plot
def stage_fright(w: World) -> None:
    """A show, a frightened performer, and a friend's good word."""
    hero = w.hero()
    friend = w.friend(hero, None)
    place = w.place(("park", "school", "square", "library", "castle", "farm", "barn", "playground"))
    w.state.at[friend] = place
    act = w.draw.verb(lexicon.VERB_CLASSES["act"])
    start(w, hero, likes=0.2)
    w.do("practice_show", hero, act, lead=())
    w.paragraph()
    w.do("go", hero, place, lead=ONE_DAY)
    w.do("big_crowd", hero, act)
    w.do("feel", hero, w.feel("scared"))
    w.do("tremble", hero)
    w.paragraph()
    w.do("encourage", friend, hero)
    w.do("breathe", hero)
    w.do("performs", hero, act)
    w.do("crowd_claps", hero)
    if w.wanted("Twist", 0.3):
        w.do("friend_was_scared_too", friend, hero, act)
        w.shows("Twist")
    lesson(w, hero, ["being brave means trying even when you are scared", "a kind word can make us brave"])
    happy_end(w, hero, friend, "proud")
    w.summarize(
        "{A} is too scared to {V:base} in front of a crowd, but {B} helps {A:him} be brave.",
        A=hero,
        B=friend,
        V=act,
    )


@plot
def build_together(w: World) -> None:
    """Something is built, knocked down by wind or water, and built again (or not)."""
    hero = w.hero()
    friend = w.friend(hero)
    place = w.place(("beach", "park", "meadow", "hill", "yard", "farm", "garden", "field"))
    thing = (
        "a castle of sand"
        if place.noun == "beach"
        else w.draw.pick(
            ("a tower of blocks", "a tower of stones", "a little house of sticks", "a fort of boxes")
        )
    )
    start(w, hero)
    w.do("together", hero, friend, place, lead=ONE_DAY)
    w.do("builds", hero, friend, thing)
    if w.wanted("Foreshadowing", 0.6):
        w.do("wind_grows", friend, hero)
        w.shows("Foreshadowing")
    w.do("feel_both", hero, friend, w.feel("proud"))
    w.paragraph()
    w.do("knocked_down", hero, thing, lead=SUDDENLY)
    w.do("feel_both", hero, friend, w.feel("sad"))
    if w.wanted("BadEnding", 0.25):
        w.shows("BadEnding")
        w.do("too_tired", hero, friend)
        w.do("go_home_both", hero, friend, HOME)
        w.summarize("{A} and {B} build {T} {P:in}, but it falls down.", A=hero, B=friend, T=thing, P=place)
        w.do("feel_inside", hero, w.feel("disappointed"))
        return
    w.do("try_again", friend, hero)
    w.do("carry_parts", hero, friend)
    w.do("builds_again", hero, friend, thing)
    w.paragraph()
    lesson(w, hero, ["if something falls down, you can build it again", "two friends can do more than one"])
    w.do("feel_both", hero, friend, w.feel("proud"))
    w.summarize(
        "{A} and {B} build {T} {P:in}, and build it again after it falls down.",
        A=hero,
        B=friend,
        T=thing,
        P=place,
    )


@plot
def too_many_for_one(w: World) -> None:
    """One keeps all the food and gets a bad tummy, or learns to share in time."""
    hero = w.hero(adjective=w.draw.adjective(("greedy", "selfish", "hungry")))
    friend = w.friend(hero, None)
    parent = w.parent(hero)
    place = w.place(lexicon.OUTDOORS)
    food = w.thing(
        "food",
        nouns=(
            "cake",
            "pie",
            "pizza",
            "pudding",
            "candy",
            "popcorn",
            "honey",
            "bread",
            "melon",
            "jam",
            "cheese",
        ),
    )
    start(w, hero, likes=0.2)
    w.do("receive", hero, food, parent)
    w.do("warn_plain", parent, hero, "not to eat it all alone")
    w.shows("Foreshadowing")
    w.paragraph()
    w.do("bring", hero, food, place, lead=ONE_DAY)
    w.do("meet", hero, friend, place)
    w.do("ask_share", friend, hero, food)
    w.do("refuse", hero, friend, food)
    w.do("feel", friend, w.feel("sad"))
    w.do("go_home", friend, another_home())
    w.paragraph()
    w.do("eat_all", hero, food)
    w.do("tummy_hurts", hero)
    w.do("feel", hero, w.feel("sick"))
    w.do("go_home", hero, HOME)
    if w.wanted("BadEnding", 0.6):
        w.shows("BadEnding")
        w.do("in_bed", hero)
        w.do("feel_inside", hero, w.feel("sorry"))
        lesson(w, hero, ["being greedy can make you sick", "food is better when you share it"], 0.7)
        w.summarize("{A} will not share {A:his} {X:n} with {B} and gets sick.", A=hero, B=friend, X=food)
        return
    w.do("visit", hero, friend, w.state.at[friend], lead=NEXT_DAY)
    w.do("apologize", hero, friend)
    w.do("forgive", friend, hero)
    lesson(w, hero, ["food is better when you share it", "sharing makes everyone happy"], 0.7)
    w.do("feel_inside", hero, w.feel("relieved"))
    w.summarize("{A} eats all the {X:n} alone, gets sick, and says sorry to {B}.", A=hero, B=friend, X=food)


@plot
def chores_first(w: World) -> None:
    """Someone has too much work; the hero helps and is thanked."""
    hero = w.hero()
    if w.draw.chance(0.5):
        place = w.place(tuple(WORKERS))
        busy = w.person(place, nouns=WORKERS[place.noun])
        start(w, hero)
        w.do("go", hero, place, lead=ONE_DAY)
        w.do("meet", hero, busy, place)
    else:
        busy = w.parent(hero)
        start(w, hero)
        w.paragraph()
        w.do("is_working", busy, hero, lead=ONE_DAY)
    w.do("be", busy, w.feel("tired"))
    chores = CHORES["inside" if w.state.at[busy].noun in INSIDE else "outside"]
    first = w.draw.verb(chores)
    second = w.draw.pick([job for job in chores if job != first])
    w.do("too_much_work", busy, hero)
    if w.wanted("Conflict", 0.25):
        w.do("does_not_want", hero, busy)
    w.do("offer_help", hero, busy, lead=("But then",) if "Conflict" in w.features else ())
    w.paragraph()
    w.do("does_chore", hero, first, second)
    w.do("works_hard", hero, busy)
    w.do("feel", hero, w.feel("tired"))
    w.do("work_done", busy, hero)
    gift = w.thing(w.draw.pick(("food", "treasure", "toy", "clothes")), held_by=busy)
    w.do("reward", busy, gift, hero)
    w.do("thank", hero, busy)
    if gift.group != "food":
        w.do("use_gift", hero, gift)
    lesson(w, hero, ["helping others feels good", "work goes faster when we help each other"])
    happy_end(w, hero, busy, "proud")
    w.summarize("{A} helps {B} with the work and gets {X:a}.", A=hero, B=busy, X=gift)


CHORES = {
    "outside": (
        "water the plants", "feed the hens", "rake the leaves", "paint the fence", "carry the bags",
        "pack the baskets", "load the cart", "pick the beans", "count the eggs", "empty the buckets",
        "tie the ropes", "collect the eggs", "gather the sticks", "scrub the gate", "sort the apples",
        "pull the weeds", "chop the wood", "brush the pony", "dig the holes", "stack the crates",
        "fix the fence", "plant the seeds",
    ),
    "inside": (
        "sweep the floor", "wash the windows", "stack the boxes", "wipe the table", "scrub the pots",
        "fold the towels", "carry the bags", "clean the door", "polish the spoons", "stir the soup",
        "tidy the shelf", "dry the cups", "dust the lamp", "move the chairs", "fill the jars",
        "mop the steps", "store the apples", "unpack the bags", "peel the carrots", "slice the bread",
        "pour the milk", "bake the rolls", "hang the curtains", "squeeze the lemons", "sew the pillows",
        "glue the labels", "decorate the room", "serve the tea",
    ),
}  # fmt: skip
INSIDE = ("home", "bakery", "library", "school", "castle", "kitchen")
WORKERS = {
    "farm": ("farmer", "shepherd", "carpenter"),
    "garden": ("gardener", "neighbor", "painter"),
    "market": ("shopkeeper", "tailor", "mailman"),
    "bakery": ("baker",),
    "library": ("librarian",),
    "school": ("teacher",),
    "harbor": ("sailor", "fisherman", "pirate", "captain"),
    "orchard": ("farmer", "gardener", "neighbor"),
    "castle": ("queen", "king", "knight", "princess", "prince"),
    "kitchen": ("cook",),
    "square": ("clown", "dancer", "singer", "firefighter"),
    "field": ("pilot", "shepherd"),
}
