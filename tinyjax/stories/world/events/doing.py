"""Events about doing and learning: skills, seeds, captives, wishes, kitchens, mud and music."""
# ruff: noqa: E501 (one telling stays on one line)
# fmt: off

from __future__ import annotations

from tinyjax.stories.world.events.table import event

event("want_to_learn", "A V", "", "",
    "{A} wanted to learn how to [V:base].", "More than anything, {A} wanted to [V:base].", "All the others could [V:base], but {A} could not.", "{A} had never learned to [V:base].",
    asks=(("What did {A} want to learn?", "to {V}"),),
)
event("try_and_fail", "A V", "", "",
    "{A} [tried] to [V:base], but it did not work.", "{A} [tried] and [tried] to [V:base], but {A} could not.", "It was much harder to [V:base] than it looked.",
)
event("shows_how", "A B V", "A near B", "",
    "{A} [showed] {B:o} how to [V:base], very slowly.", '"[Watch] me," [said] {A:n} and [showed] {B:o} how to do it.', "{A} [explained] every step.", "{A} was patient and [helped] {B:o} again and again.",
)
event("practice", "A V", "", "",
    "{A} [practiced] every day.", "{A} [practiced] and [practiced].", "Day after day, {A} [tried] again.", "{A} did not [stop] trying.",
)
event("gives_up_skill", "A V", "", "",
    '"It is too hard," [said] {A:n} and [stopped].', "But {A} got tired of it and [gave] up.", asks=(("Did {A} learn to {V}?", "no"),),
)
event("can_do", "A V", "", "",
    "{A} could [V:base]!", "{A} [V:past] all alone!", "{A} [V:past] without any help.", asks=(("Did {A} learn to {V}?", "yes"),),
)
event("gets_seed", "A B", "A near B", "",
    "{B} [gave] {A:o} a tiny seed.", '"This is a special seed," [said] {B:n} and [gave] it to {A:o}.', "One day, {B} [handed] {A:o} a little seed.",
    asks=(("Who gave {A} the seed?", "{B}"),),
)
event("plants_seed", "A P", "A at P", "",
    "{A} [dug] a small hole and [planted] the seed.", "{A} [put] the seed into the ground and [covered] it.", "{A} [pushed] the seed into the soft dirt.",
    asks=(("Where did {A} plant the seed?", "{P:in}"),),
)
event("waters", "A", "", "",
    "{A} [watered] it every day.", "{A} [poured] water on it.", "Each morning, {A} [watered] the seed.",
)
event("nothing_grows", "A", "", "",
    "But nothing happened.", "One day went by, and then another. Nothing [grew].", "{A} [looked] and [looked], but there was no green leaf.",
)
event("seed_promise", "A B X", "A near B", "",
    '"If you [wait], it will be {X:a} one day," [said] {A:n}.', "{A} [told] {B:o} that it would become {X:a} if {B:he} [waited].",
)
event("be_patient", "A B", "A near B", "",
    '"You have to [wait]," [said] {A:n}. "It needs time."', "{A} [told] {B:o} to be patient.", '"Good things take time," {A:n} [told] {B:o}.',
)
event("digs_up", "A", "", "",
    "But {A} could not [wait]. {A} [dug] up the seed to look at it, and it [dried] out.", "{A} got tired of it and [stopped] watering. The seed [dried] up.",
    asks=(("Did the seed grow?", "no"),),
)
event("keeps_watering", "A", "", "",
    "So {A} [kept] on watering and [waited].", "{A} [waited] and [cared] for it.", "{A} [pulled] the weeds and [waited] some more.",
)
event("it_grows", "A X", "", "",
    "a green tip [peeked] out of the ground. It [grew] and [grew] until it was {X:a}!", "something green came up. Week by week, it [grew] into {X:a}!", "there it was: {X:a}!",
    asks=(("What grew from the seed?", "{X}"),),
)
event("shows_plant", "A B X", "A near B", "",
    '"Look, {B:v}!" [said] {A:n}. "I did it!"', "{A} [showed] {X} to {B:o}.", "{B} [came] to [admire] {X}.", "{B} [praised] {A:o} for waiting so long.",
)
event("catches_in", "A B T", "A near B", "",
    "{A} [caught] {B:a} and [put] {B:him} in {T}.", "{A} [saw] {B:a}, [caught] {B:him} and [kept] {B:him} in {T}.",
    asks=(("Who did {A} catch?", "{B}"), ("Where did {A} put {B}?", "in {T}")),
)
event("takes_home", "A B P", "A near B", "A at P; B at P",
    '"You will live with me now," [said] {A:n} and [took] {B:o} home.', "{A} [carried] {B:o} home.", "{A} [took] {B:n} home.",
)
event("captive_sad", "A B", "A near B", "",
    "But {A} did not [eat] and did not [play].", '"I want to go home," [said] {A:n}.', "{A} just [sat] there and [looked] out of the window.", "But {A} did not move at all.",
)
event("misses_home", "A B C", "A near B", "",
    '"I think {C} misses home," [said] {A:n}.', "{A} [explained] to {B:o} that {C:n} needed to be free.", '"How would you feel in there?" {A} [asked] {B:o}.',
    asks=(("Who told {B:o} that {C} was not happy?", "{A}"),),
)
event("wants_to_keep", "A B C", "A near B", "",
    '"But {C:n} is mine!" [shouted] {A:n}. "No," [said] {B:n}. "{C:n} is not a toy."', "{A} [argued] with {B:o} because {A} wanted to [keep] {C:n}.", shows=("Conflict",),
)
event("sets_free", "A B P", "A near B; A away-from P", "A at P; B at P",
    "{A} [took] {B:o} back {P:to} and [set] {B:him} free.", "{A} [carried] {B:n} {P:to} and let {B:him} go.", '"You are free now," [said] {A:n} back {P:in}, and [opened] the lid for {B:n}.',
    asks=(("Where did {A} set {B} free?", "{P:in}"),),
)
event("comes_back", "A B P", "", "A at P; B at P",
    "{B:n} was at home, and who [came] to [visit]? It was {A:n}!", "{A:n} [came] to {B:p} house just to visit and [said] hello!",
    asks=(("Who came to visit {B}?", "{A}"),),
)
event("in_trouble", "A T", "", "",
    "{A} {T}.", "{A:n} needed help. {A} {T}.",
)
event("frees", "A B", "A near B", "",
    "{A} [helped] {B:o} get free.", "{A} quickly [pulled] {B:o} out.", "{A} [worked] until {B} was free.", asks=(("Who helped {B:o}?", "{A}"),),
)
event("grants_wish", "A B", "A near B", "",
    '"Thank you," [said] {A:n}. "I will [give] you one wish."', "To thank {B:o}, {A} [gave] {B:him} one wish.", '"You are kind, so you may make a wish," [said] {A:n}.',
    asks=(("Who gave {B} a wish?", "{A}"),),
)
event("wishes_for", "A X", "", "",
    '"I [wish] for {X:a} that never ends!" [said] {A:n}.', "{A} [wished] for {X:a} that would never end.",
    asks=(("What did {A} wish for?", "{X}"),),
)
event("wish_warning", "A B", "A near B", "",
    '"Be careful," [warned] {A:n}. "That may be too much."', "{A} [warned] {B:o} that it could be too much.",
)
event("too_much_food", "A X", "", "A has X",
    "At first it was wonderful. But there was more and more {X:n} everywhere!", "There was more and more and more. It [covered] the ground and would not [stop]!", "{A} [ate] and [ate], but it [grew] and [grew] until it was as high as a tree.",
)
event("buried", "A X", "A has X", "",
    "It [covered] everything, and {A} could not get it to [stop].", "{A} [shouted], but the magic did not [stop].", asks=(("Did the magic stop?", "no"),),
)
event("asks_stop", "A B", "A near B", "",
    '"Please make it [stop]!" [cried] {A:n}.', "{A} [begged] {B:o} to make it [stop].", '"I was too greedy," [said] {A:n} to {B:o}. "Please [help] me!"',
)
event("stops_magic", "A X", "", "X gone",
    "{A} [nodded], and all of it was gone.", "{A} [clapped] once, and the magic [stopped]. Everything was as before.", "{A} [smiled] and [said] a magic word. Poof! It was all gone.",
    asks=(("Who made the magic stop?", "{A}"),),
)
event("decide_bake", "A B X", "A near B", "",
    '"Let us make {X:a}," [said] {B:n}.', "They [decided] to [bake] {X:a}.", "{A} [asked] {B:o} to [help] {A:him} make {X:a}.",
)
event("jar_hint", "A B", "A near B", "",
    '"The jars look the same," [said] {A:n}. "Be careful."', "{A} [told] {B:o} to be careful, because the jars looked the same.",
)
event("mixes", "A", "", "",
    "{A} [mixed] flour, eggs and milk. Then {A} [poured] in a lot of white sugar.", "{A} [stirred] the flour and [poured] in a big cup of sugar.", "{A} [cracked] the eggs and [poured] a lot of sugar into the bowl.",
)
event("bakes", "A B X", "A near B", "A has X",
    "{B} [put] it in the oven. Soon {X} was ready.", "They [waited] until it [smelled] good. {A} [took] {X} out.",
)
event("tastes_bad", "A X", "A has X", "",
    "{A} [took] a bite. Yuck! It was not sweet at all.", "{A} [tasted] {X}. It was so salty!", '{A} [bit] into {X}. "Yuck!" {A:he} [said].',
)
event("was_salt", "A B", "A near B", "",
    '"You [poured] in salt, not sugar!" [said] {B:n}.', "{B} [looked] at the jar. It was salt!", "The white sugar was not sugar. It was salt!",
    asks=(("What did {A} use instead of sugar?", "salt"),),
)
event("throw_away", "A X", "A has X", "X gone",
    "They had to [throw] {X} away, and there was no flour left.", "Nobody could [eat] {X}, and the hens got it all.",
)
event("bake_again", "A B X", "A near B", "",
    '"Let us [try] again," [said] {B:n}. So they [baked] a new one, with real sugar.', "They [baked] a new one, and this time {A:n} [checked] the jar first.",
)
event("tastes_good", "A B X", "A near B", "X gone",
    "This time it was sweet and good.", "They [ate] it together, and it was the best ever.", '"Now it is perfect!" [said] {A:n}.',
)
event("wear_to", "A X P", "A has X; A away-from P", "A at P",
    "{A} [wore] {X} {P:to}.", "{A} [put] on {X} and [went] {P:to}.",
)
event("sees_puddle", "A", "", "",
    "There was a big puddle of mud.", "{A} [saw] a puddle full of mud.", "{A} [noticed] a big, muddy puddle.",
)
event("splashes", "A X", "A has X", "X is muddy",
    "{A} [jumped] right in. Splash! There was mud all over {X}.", "{A} [hopped] and [splashed] until {X} was full of mud.", "Then {A} [slipped], and {X} got all muddy.",
    asks=(("Who got {X} muddy?", "{A}"),),
)
event("misses_party", "A B X", "A near B; X is muddy", "",
    '"You cannot go to the party like that," [said] {A:n}.', "{A} [shook] {A:his} head. {B} could not go to the party.", asks=(("Did {B} go to the party?", "no"),),
)
event("tells_mud", "A B X", "A near B; X is muddy", "",
    '"I did not [listen]," [said] {A:n}. "I am sorry."', "{A} [told] {B:o} about the puddle and [said] sorry.",
)
event("wash_together", "A B X", "A near B; X is muddy", "X not muddy",
    "{A:n} and {B:n} [washed] {X} and [hung] it in the sun.", "{B} [helped] {A:o} [scrub] {X} until it was clean.", "They [washed] and [dried] {X} together.",
    asks=(("Who helped {A:o} wash {X}?", "{B}"),),
)
event("in_time", "A B", "", "",
    "{A} was ready just in time for the party.", "It was clean again just before the party began.", asks=(("Did {A} get to the party in time?", "yes"),),
)
event("too_loud", "A B X", "B has X", "",
    '"[Stop] that noise!" [shouted] {A:n}. "It is too loud!"', "{A} [came] out and [complained] about the noise.", '"Can you be quiet?" [growled] {A:n}. "I want to [sleep]!"',
    shows=("Conflict",), asks=(("Who did not like the noise?", "{A}"),),
)
event("fog_lost", "A B P", "A at P", "",
    "Then a thick fog came. {B:a}, a friend of {A:n}, was lost in it.", "That evening, there was a thick fog. {B:a} was lost in it, and {A:n} [searched] and [searched].",
    asks=(("Who was lost in the fog?", "{B}"),),
)
event("idea_noise", "A B X", "A has X", "",
    '"I have an idea," [said] {A:n}. {A} made as much noise with {X} as {A:he} could.', "{A} [took] {X} and made as much noise as {A:he} could.",
)
event("found_by_noise", "A B C P X", "", "A at P",
    "{A:n} [heard] {X}, [followed] the sound and [found] the way back.", "The sound of {X} [guided] {A:n} back through the fog.",
    asks=(("What guided {A} back?", "{X}"),),
)
