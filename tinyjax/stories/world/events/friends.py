"""Events about friends: races, teasing, envy, promises, visits, shows, building, chores."""
# ruff: noqa: E501 (one telling stays on one line)
# fmt: off

from __future__ import annotations

from tinyjax.stories.world.events.table import event

event("challenge", "A B", "A near B", "",
    '"Then let us [race]!" [said] {A:n}.', "{A} [asked] {B:o} to [race].", '"I may be slow, but I can still [win]," [said] {A:n}. "Let us [race]!"',
    asks=(("Who asked for a race?", "{A}"),),
)
event("race_start", "A B R", "A near B", "",
    "They would [race] to the {R:n}.", "The first one at the {R:n} would [win].", "They [agreed] to [run] to the {R:n}.",
)
event("far_ahead", "A B", "A near B", "",
    "{A} [A.go:past] so fast that {B} was soon far behind.", "Soon {A} was far ahead of {B:o}.", "{A} [rushed] off and [left] {B:o} behind.",
)
event("rest_in_race", "A", "", "",
    '"I have lots of time," [said] {A:n} and [lay] down to [nap].', "{A} [stopped] and [took] a long nap.", "{A} [sat] down to [rest] and soon [fell] asleep.", "{A} [yawned] and [slept] in the shade.",
    asks=(("Who fell asleep during the race?", "{A}"),),
)
event("keep_going", "A", "", "",
    "But {A} [kept] going, step by step.", "{A} did not [stop]. {A} just [kept] going.", "{A} [A.go:past] on and on and never [rested].",
)
event("wins", "A B R", "A near B", "",
    "When {B:n} [woke] up, it was too late. {A:n} was already at the {R:n}!", "{A:n} [reached] the {R:n} first and [won] the race!", "{A:n} [passed] {B:n} and [won]!",
    asks=(("Who won the race?", "{A}"), ("Where did the race end?", "at the {R:n}")),
)
event("is_new", "A", "", "",
    "{A} was new there and had no friends yet.", "{A} had just moved there and did not know anyone.", "{A} [sat] all alone because {A} was new.",
    asks=(("Who was new there?", "{A}"),),
)
event("toy_rolls_off", "A X P", "A at P", "X lies P",
    "Then {A} [lost] {X:a}. It [rolled] into a very small hole.", "Just then, {A} [dropped] {X:a}, and it [rolled] far away.",
)
event("brings_toy", "A X B", "A near B; A near X", "B has X",
    "{A} [hurried] after {X} and [brought] it back to {B:o}.", "Nobody could get it but {A}. {A} [fetched] {X} and [gave] it to {B:o}.",
    asks=(("Who got {X} back for {B:o}?", "{A}"),),
)
event("shows_off", "A X B", "A near B", "A has X",
    '"Look at my {X:an}!" [said] {A:n}.', "{A} [showed] {B:o} {A:his} {X:an}.", "{A} had {X:a} and [X.use:past] it all day.",
    asks=(("Who did {X} belong to?", "{A}"),),
)
event("take_secretly", "A X B", "B has X; A near B", "A has X",
    "When {B} [looked] away, {A} [took] {X} and [hid] it.", "{A} [waited] until {B} was not looking and [stole] {X}.", "{A} quietly [grabbed] {X} and [put] it in {A:his} bag.",
    asks=(("Who took {X}?", "{A}"),),
)
event("cannot_enjoy", "A X", "A has X", "",
    "{A} [X.use:past] {X}, but it was no fun.", "At home, {A} could not [enjoy] {X}.", "{A} [hid] {X} under the bed and [thought] about what {A:he} had done.",
)
event("go_back_to", "A B P", "A away-from P; B at P", "A at P",
    "{A} [went] back {P:to} and [found] {B:o} there.", "{A} [hurried] back {P:to}, where {B} was looking for something.", "{A} [A.go:past] {P:to}. {B} was there and looked sad.",
)
event("own_up", "A B X", "A near B; A has X", "",
    '"I took your {X:n}," [said] {A:n}. "I was wrong."', "{A} [told] {B:o} what {A:he} had done.", '"I have your {X:n}," [whispered] {A:n}.',
)
event("wont_play", "A B", "A near B", "",
    '"I do not want to [play] with you," [said] {A:n}.', "{A} [turned] around and [walked] off without a word.", "{A} was too angry to [forgive] {B:o}.",
)
event("sees_playing", "A B X", "A near B; B has X", "",
    "There {A} [saw] {B:o} with {X:a}.", "{B} was there and was playing with {X:a}.", "{A} [watched] {B:o}, who was playing with {X:a}.",
)
event("runs_off_with", "A X P", "A has X; A away-from P", "A at P",
    "But {A} only [laughed] and [ran] away {P:to} with {X}.", "{A} did not [listen]. {A} [took] {X} and [went] off {P:to}.",
    asks=(("Did {A} give {X} back?", "no"),),
)
event("confess_lonely", "A B", "A near B", "",
    '{A} [looked] at the ground. "I am lonely," {A:he} [said]. "I wanted someone to [play] with."', "Then {A} [began] to [cry]. {A} was lonely and had no friends.", '"I am lonely and I have no friends," {A:n} [whispered].',
    asks=(("Why was {A} mean?", "because {A:he} was lonely"),),
)
event("step_on_bridge", "A B R P", "A at P", "B at P",
    "{A} [stepped] onto a narrow bridge. From the other side [came] {B}.", "There was only a very narrow bridge. {A} and {B:n} [met] in the middle.", "In the middle of a narrow bridge, {A} [met] {B:o}.",
    asks=(("Where did {A} and {B} meet?", "on the bridge"),),
)
event("quarrel_way", "A B", "A near B", "",
    '"[Move]!" [said] {A:n}. "No, you [move]!" [said] {B:n}.', "{A:n} would not [step] back, and {B:n} would not [step] back.", "Both wanted to go first, and they [argued] loudly.",
    '"I was here first!" [shouted] {A:n}. "I don\'t care!" [shouted] {B:n}.', shows=("Conflict",),
)
event("both_fall", "A B R", "A near B", "",
    "They [pushed] and [shoved] until they both [fell] into the water. Splash!", "Then both of them [slipped], and splash! They were in the water.", "{A:n} [pushed] {B:n}, {B:n} [pushed] back, and they both [tumbled] into the river.",
    asks=(("Who fell into the water?", "{A} and {B}"),),
)
event("gives_way", "A B R", "A near B", "",
    '"You can go first," {A:n} [said] at last and [stepped] back.', '"After you," [said] {A:n} and [moved] aside.', "Then {A:n} [thought] of something. {A} [smiled] and [moved] aside.", "{A} [took] a deep breath and [went] back to let {B:o} pass.",
    asks=(("Who let {B} go first?", "{A}"),),
)
event("promise_meet", "A B R P", "A near B", "",
    '"I will [meet] you {P:in} {R:in}," {A:n} [promised] {B:o}.', "{A} [promised] to [meet] {B:o} {P:in}.", '"[Meet] me {P:in} today," [said] {B:n}. "I [promise]!" [said] {A:n}.',
    asks=(("Where did {A} promise to meet {B}?", "{P:in}"),),
)
event("bring_other", "A X P", "A has X; A away-from P", "A at P",
    "{A} [took] {X} {P:to} to [play].", "{A} [went] {P:to} with {X}.", "{A} [A.go:past] {P:to} with {X} instead.",
)
event("forget_promise", "A", "", "",
    "{A} had so much fun that {A} [forgot] the promise.", "{A} did not [think] of the promise any more.", "The promise was all forgotten.",
)
event("wait_alone", "A B P R", "", "A at P",
    "{A:n} [waited] {R:in} {P:in}, but {B:n} did not come.", "All that time, {A:n} [waited] {P:in}. {A} [looked] left and right, but nobody came.", "{A:n} [sat] {R:in} {P:in} and [waited] for {B:n}.",
    asks=(("Who waited {P:in}?", "{A}"),),
)
event("remember", "A B", "", "",
    '{A:n} [remembered]. "Oh no, {B:n} is waiting for me!" {A:he} [said].', "{A:n} [remembered] the promise.", "{A:n} [gasped]. {A} had forgotten to [meet] {B}!",
)
event("arrive", "A P", "A away-from P", "A at P",
    "{A} [ran] {P:to} as fast as {A:he} could.", "{A} [rushed] {P:to}.", "{A} [hurried] {P:to}.",
)
event("angry_words", "A B", "A near B", "",
    '"You [broke] your promise!" [said] {A:n}. {A} was angry.', "{A} was angry with {B:o} and [turned] away.", '"I [waited] and [waited] for you!" [cried] {A:n}. {A} was very angry.',
    asks=(("Who was angry with {B:o}?", "{A}"),), shows=("Conflict",),
)
event("give_sorry", "A X B", "A has X; A near B", "B has X",
    "To make up for it, {A} [gave] {A:his} {X:n} to {B:o}.", '"You can have my {X:n}," [said] {A:n} and [gave] it to {B:o}.', "{A} [handed] {A:his} {X:n} to {B:o} as a gift.",
    asks=(("Who gave {X} to {B:o}?", "{A}"),),
)
event("alone_now", "A", "", "",
    "{A} [stood] there all alone.", "Now {A} was the one who was alone.", "{A} [called] after {A:his} friend, but it was too late.",
)
event("hear_sick", "A B", "", "",
    "{A} [heard] that {B} was sick.", "{A} [heard] some bad news. {B} was sick in bed.", "{A} [learned] that {B} was sick and could not [play].",
    asks=(("Who was sick?", "{B}"),),
)
event("pack_food", "A X", "", "A has X",
    "{A} wanted to [bring] {A:his} friend {X:a}.", "{A} [packed] {X:a} to [cheer] {A:his} friend up.", "So {A} [put] {X:a} in a basket for {A:his} friend.",
)
event("on_the_way", "A P", "A away-from P", "A at P",
    "On the way, {A} [came] {P:to}.", "{A} [walked] and [walked] and [came] {P:to}.", "Soon {A} [reached] {P}.",
)
event("no_bridge", "A P", "A at P", "",
    "There was no way to [cross] the water.", "But the old bridge was gone!", "The water was deep, and there was no bridge.",
)
event("lay_across", "A X P", "A at P; A near X", "A has X",
    "{A} [found] {X:a} and [laid] it over the water. Then {A} [walked] across.", "Then {A} had an idea. {A} [used] {X:a} as a bridge and [crossed] the water.",
    asks=(("How did {A} cross the water?", "with {X:a}"),),
)
event("carry_across", "A B P", "A near B", "",
    '"[Climb] on my back," [said] {A:n}. {A} [carried] {B:o} to the other side.', "{A} [saw] {B:o} and [carried] {B:him} across the water.", "{A} [came] by and [helped] {B:o} [cross] the water.",
    asks=(("Who helped {B:o} cross the water?", "{A}"),),
)
event("reach_home_of", "A B P", "A away-from P; B at P", "A at P",
    "At last {A:n} [came] {P:to}, where {B:n} lived.", "{A:n} [walked] on until {A:he} [came] {P:to}. There was {B:n}, in bed.", "Soon {A:n} was {P:in}, next to the bed of {B:n}.",
)
event("gets_better", "A B", "A near B", "",
    '"I feel much better now," [said] {A:n}.', "{A} [smiled] for the first time in days.", '"You came all this way for me!" [said] {A:n}. "Now I feel better."', "Soon {A:n} felt well enough to [sit] up and [laugh].",
)
event("practice_show", "A V", "", "",
    "Every day, {A} [practiced] for the big show. {A} wanted to [V:base].", "There was going to be a show, and {A} was going to [V:base].",
    asks=(("What was {A} going to do in the show?", "{V}"),),
)
event("big_crowd", "A V", "", "",
    "It was time for {A:o} to [V:base], but there were so many people.", "Everyone was looking at {A:o}.", "{A} [saw] the big crowd and could not move.",
)
event("encourage", "A B", "A near B", "",
    '"You can do it, {B:v}!" [called] {A:n}.', "{A} [came] and [held] {B:o} close.", '"Just [look] at me," [whispered] {A:n}. "You will be great."', "{A} [waved] to {B:o} and [smiled].",
    asks=(("Who helped {B:o} be brave?", "{A}"),),
)
event("breathe", "A", "", "",
    "{A} [took] a deep breath.", "{A} [closed] {A:his} eyes and [breathed] in and out.", "{A} [nodded] and [stood] up straight.",
)
event("performs", "A V", "", "",
    "Then {A} began to [V:base].", "And then {A} [V:past] better than ever before.", "{A} [V:past], and the fear was gone.", "{A} [stepped] forward and [V:past].",
)
event("crowd_claps", "A", "", "",
    "Everyone [clapped] and [cheered].", "The crowd [clapped] for a long time, and {A} [bowed].", '"<Bravo|Hooray|More>!" [shouted] the crowd.', "All the people [stood] up and [clapped].",
)
event("friend_was_scared_too", "A B V", "A near B", "",
    '"I could never do that," [said] {A:n}. "I was more scared than you!"', "Then {A} [told] {B:o} a secret: {A} had been even more scared.",
)
event("builds", "A B T", "A near B", "",
    "They [built] {T}.", "{A:n} and {B:n} [built] {T}. It was very big.", "All morning they [worked] and [built] {T}.", '"Let us [build] {T}," [said] {A:n}. And so they did.',
    asks=(("What did {A} and {B} build?", "{T}"),),
)
event("wind_grows", "A B", "A near B", "",
    '"The wind is getting strong," [said] {A:n}.', "{A} [felt] a strong wind coming and [told] {B:o}.", "{A} [looked] at the sky. The wind was getting strong.",
)
event("knocked_down", "A T", "", "",
    "a big wind [blew] and [knocked] it all down.", "the wind [blew] hard. Everything [fell] down.", "a strong wind came, and it all [crashed] down.",
    asks=(("What knocked everything down?", "the wind"),),
)
event("too_tired", "A B", "", "",
    "It was late, and they were too tired to [build] it again.", "They did not want to [try] again.", "{B} [kicked] the ground. {A} [sighed]. They [gave] up.",
)
event("try_again", "A B", "A near B", "",
    '"We can [build] it again," [said] {A:n}.', "{A} [said] that they could [try] again.", '"Don\'t be sad," {A:n} [said]. "We know how to do it now."',
    asks=(("Who wanted to try again?", "{A}"),),
)
event("carry_parts", "A B", "A near B", "",
    "{A} [gathered] all the parts, and {B} [stacked] them.", "They [collected] everything and [started] over.", "{A} [carried], and {B} [held] everything in place.",
)
event("builds_again", "A B T", "A near B", "",
    "This time it was even better and did not [fall].", "Soon it [stood] again, and it was stronger than before.", "They made it wide and strong, and this time it [held].",
)
event("eat_all", "A X", "A has X", "X gone",
    "Then {A} [ate] {X} all alone, down to the last bite.", "{A} [ate] and [ate] until {X} was gone.", "{A} [filled] {A:his} mouth until there was nothing left of {X}.",
    asks=(("Who ate {X}?", "{A}"),),
)
event("tummy_hurts", "A", "", "",
    "Soon {A:p} tummy began to [hurt].", '"Ow, my tummy!" [cried] {A:n}.', "{A} [held] {A:his} tummy and [sighed].",
)
event("in_bed", "A", "", "",
    "{A} had to [rest] in bed all day.", "{A} [lay] in bed and could not go out to [play].",
)
event("is_working", "A B", "A near B", "",
    "{A:n} was very busy at home.", "there was a lot to do at home, and {A} was busy.", "{A:n} was working hard at home.",
)
event("too_much_work", "A B", "A near B", "",
    '"There is so much to do," [said] {A:n}.', "{A} had too much work.", '"I will never [finish] all this work," {A:n} [sighed].', "{A} [wiped] {A:his} face and [looked] at all the work.",
    asks=(("Who had too much work?", "{A}"),),
)
event("does_not_want", "A B", "A near B", "",
    '"I want to [play]!" [said] {A:n}. "You always want to play," [said] {B:n}. They [argued] for a bit.', "At first {A} did not want to help, and they [argued] about it.",
    shows=("Conflict",),
)
event("does_chore", "A V U", "", "",
    "{A} [V:past] and [U:past].", "First {A} [V:past], and then {A} [U:past].", "{A} began to [V:base]. After that, {A} [U:past].", '"I will [V:base]," [said] {A:n}. Then {A} [U:past] too.',
)
event("works_hard", "A B", "A near B", "",
    "It was hard work, but {A} did not [stop].", "{A} and {B:n} [worked] side by side.", "They [sang] while they [worked].", "{A} [worked] until {A:his} arms were tired.",
)
event("work_done", "A B", "A near B", "",
    '"You are such a big help," [said] {A:n}.', "Soon all the work was done.", "{A} [smiled], because the work was done at last.", '"We are finished!" [said] {A:n}.',
)
event("reward", "A X B", "A has X; A near B", "B has X",
    "{A} [gave] {B:o} {X:a} to say thank you.", '"This is for you," [said] {A:n} and [gave] {B:o} {X:a}.', "{A} [surprised] {B:o} with {X:a}.",
    asks=(("Who gave {X} to {B:o}?", "{A}"), ("What did {A} give {B}?", "{X}")),
)
