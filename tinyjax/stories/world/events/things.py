"""Events about things lost, broken, swapped, found and given."""
# ruff: noqa: E501 (one telling stays on one line)
# fmt: off

from __future__ import annotations

from tinyjax.stories.world.events.table import event

event("think_lost", "A X", "A has X", "",
    "{A} could not [see] {X:own}.", "{A} [thought] that {X:own} was gone.", '"Where is my {X:n}?" [cried] {A:n}.', "{A} [wondered] where {X:own} was.",
    asks=(("What was {A} looking for?", "{X}"),),
)
event("search_worn", "A X R", "A has X", "",
    "{A} [looked] {R:in}, but there was no {X:n}.", "{A} [searched] {R:in}. No {X:n}!", '"Is it {R:in}?" [asked] {A:n}. It was not.',
    "{A} [peeked] {R:in}, but {X} was not there.",
)
event("laugh_kindly", "A B", "A near B", "",
    "{A} began to [laugh].", "{A} [looked] at {B:o} and [giggled].", "{A} [smiled] and [pointed] at {B:o}.",
)
event("point_out", "A B X", "A near B; B has X", "",
    '"You are wearing it!" [said] {A:n}. It was true. {X} had been on {B:o} the whole time.', "{A} [told] {B:o} the truth: {B} was wearing {X} all the time!",
    '"Silly {B:v}," [said] {A:n}, "you have {X} on!" And so it was.', "{A} [touched] {X}. {B} had been wearing it all along!",
    asks=(("Where was {X} all along?", "on {B}"), ("Who saw where {X} was?", "{A}")),
)
event("see_both", "A B X R", "A near B", "",
    "{A:n} and {B:n} [saw] {X:a} {R:in}.", "They [found] {X:a} {R:in}.", "There was {X:a} {R:in}, and they both [ran] to get it.",
    asks=(("What did {A} and {B} see?", "{X}"),),
)
event("no_play", "A B X", "X is broken", "",
    "Now nobody could [play] with {X}.", "Now {X} was no good to anyone.", "{A} [looked] at {B:o}. There was nothing left to fight over.",
)
event("stands_at_home", "A X", "", "",
    "In the house there was {X:a} that {A} loved.", "{A} had {X:a} that nobody was allowed to touch.", "At home there was also {X:a}. It was {A:p} favorite thing.",
    asks=(("Who loved {X}?", "{A}"),),
)
event("meet_with", "A B X", "A near B; B has X", "",
    "{A} [met] {B:o}, who had {X:a}.", "There {A} [saw] {B:o} with {X:a}.", "{B} was there with {X:a}.", "{A} [came] to {B:o}, who was holding {X:a}.",
)
event("offer_swap", "A B X Y", "A has X; B has Y; A near B", "",
    '"I will [give] you {X} for {Y}," [said] {A:n}.', '"Do you want to [trade]?" [asked] {A:n}. "Your {Y:n} for my {X:n}!"', "{A} [offered] to [trade] {X} for {Y}.",
)
event("want", "A X", "", "",
    '"I would love to have {X}," [said] {A:n}.', "{A} wanted {X} very much.", '"Oh, what a nice {X:n}!" [said] {A:n}. "I need one just like it."', "{A} [stared] at {X} and wanted it.",
    asks=(("What did {A} want?", "{X}"),),
)
event("swap", "A B X Y", "A has X; B has Y; A near B", "A has Y; B has X",
    "So {A:n} [gave] {X} to {B:n} and got {Y}.", "{A:n} and {B:n} [traded]. Now {A:n} had {Y}, and {B:n} had {X}.", "{A} [swapped] {X} for {Y}.",
    asks=(("What did {A} trade for {Y}?", "{X}"), ("Who gave {Y} to {A:o}?", "{B}")),
)
event("swap_back", "A B X Y", "A has X; B has Y; A near B", "A has Y; B has X",
    "{B} [smiled] and [gave] {Y} back, and {A:n} [returned] {X}.", "So they [traded] again. {A:n} had {Y} back, and {B:n} had {X}.",
)
event("cannot_play", "A X Y", "A has X", "",
    "{A} [looked] at {X}, but {A} could not [play] with it the way {A:he} [played] with {Y}.", "{X} was nice, but soon {A} did not know what to do with it.", "{A} [put] {X} on the table. It just lay there.",
)
event("miss", "A X", "A lacks X", "",
    "{A} [missed] {X:own}.", "{A} wished {A:he} still had {X:own}.", "All {A} could [think] about was {X:own}.", asks=(("What did {A} miss?", "{X}"),),
)
event("is_gone", "A B P", "B at P", "",
    "But {A} was not there any more.", "But {A} had left and nobody knew where.", "{B} [looked] all over for {A:o}, but {A} was gone.",
)
event("still_there", "A B", "A near B", "",
    "{B} was still there.", "There {A} [saw] {B:o} again.", "{A} was happy to [see] that {B} was still there.",
)
event("ask_back", "A B X", "A near B; B has X", "",
    '"May I have my {X:n} back, please?" [asked] {A:n}.', "{A} [asked] {B:o} to [trade] back.", '"I made a mistake," [said] {A:n}. "I [miss] my {X:n}."',
)
event("birthday", "A B", "", "",
    "It was the birthday of {A:o}.", "{A} had a birthday, and {B:n} wanted to [bring] a gift.", "{B} wanted to [surprise] {A} on {A:his} birthday.",
    asks=(("Whose birthday was it?", "{A:p}"),),
)
event("make_food", "A X", "", "A has X",
    "{A} [baked] {X:a} as a gift.", "So {A} made {X:a}.", "{A} [worked] all morning and made {X:a}.", "{A} [cooked] and [baked] until {X:a} was ready.",
)
event("trip_over", "A X", "A has X", "X gone",
    "{A} [tripped] over a root, and {X} [fell] into the dirt.", "Oh no! {A} [slipped] in the mud and [dropped] {X}. It was ruined.", "{A} [stumbled] over a stone. {X} [fell] down and was ruined.",
    asks=(("Who dropped {X}?", "{A}"),),
)
event("no_gift", "A B", "", "",
    "Now {A} had no gift for {B:o}.", '"Now I have no gift," [said] {A:n}.', "{A} did not know what to [give] {B} now.",
)
event("bring_to_friend", "A B X P", "A has X; B at P", "A at P",
    "{A} [took] {X} to {B:o}, who was {P:in}.", "{A} [carried] {X} {P:to}, where {B} was waiting.", "{B} was {P:in}. {A} [went] there with {X}.",
)
event("loves_gift", "A X", "A has X", "",
    '"This is the best gift of all!" [said] {A:n}.', "{A} loved {X} more than anything.", '"How lovely!" [said] {A:n}. "I will [keep] it forever."', "{A:p} eyes [sparkled]. {A} loved {X}.",
)
event("find_map", "A P", "", "",
    "{A} [found] an old map in a book. It showed the way {P:to}.", "{A} [opened] an old book, and a map [fell] out. There was a mark {P:in}.",
    asks=(("What did {A} find in the book?", "a map"),),
)
event("show_map", "A B", "A near B", "",
    '"Look, a treasure map!" [said] {A:n} to {B:o}.', "{A} [showed] the map to {B:o}.", "{A} [told] {B:o} about the map.",
)
event("walk_steps", "A B R", "A near B", "",
    "They [followed] the map and [stopped] {R:in}.", "The map [led] them to a place {R:in}.", "They [counted] ten steps and [stopped] {R:in}.",
    asks=(("Where did the map lead?", "{R:in}"),),
)
event("dig", "A B X R", "A has X; A near B", "",
    "{A} [dug] with {X} until it [hit] something hard. It was a box!", "{A} had {X:a} and began to [dig]. Soon there was a box.", "{A} [used] {X} to [dig] a hole, and {B} [pulled] out a box.",
    asks=(("Who dug the hole?", "{A}"),),
)
event("expect_gold", "A", "", "",
    '"It must be full of gold!" [said] {A:n}.', "{A} [hoped] for gold and silver.", "{A} was sure that the box was full of gold.", '"It must be gold!" [cried] {A:n}. "We will be rich!"',
    asks=(("What did {A} hope to find?", "gold"),),
)
event("open_box", "A B X", "A near B; A near X", "A has X",
    "{A} [opened] the box. There was no gold in it. There was only {X:a}!", "But when {A} [lifted] the lid, there was only {X:a}.", "{A:n} and {B:n} [opened] the box together. It was not gold. It was {X:a}, and {A:n} [took] it out.",
    asks=(("What was in the box?", "{X}"),),
)
event("share_found", "A B X", "A near B; A has X", "",
    '"We can [share] it," [said] {A:n}.', "They [laughed] and [agreed] to [share] it.", "{A} [carried] {X} and [sang]. It was better than gold.",
)
event("find_box", "A R", "", "",
    "{A} [found] a closed box {R:in}.", "{R:in} {A} [saw] a wooden box. It was closed.", "There was a big box {R:in}. {A} [heard] a soft sound from it.",
    asks=(("Where was the box?", "{R:in}"),),
)
event("try_open", "A", "", "",
    "{A} [pulled] and [pushed], but the box was locked.", "{A} [shook] the box and [knocked] on it, but it would not open.", "{A} [tried] to [open] it, but {A} could not.",
)
event("show_key", "A B X", "A has X; A near B", "",
    '"I [found] {X:a} today," [said] {A:n}. "Let us [try] it."', "{A} had {X:a} with {A:him}.", '{A} [showed] {B:o} {X:a}. "Maybe this will [help]," {A:he} [said].',
)
event("unlock", "A X", "A has X", "",
    "{A} [turned] {X}. Click! The box [opened].", "{A} [unlocked] the box with {X}.", "{A} [put] {X} into the lock and [turned] it. The lid [opened].",
    asks=(("Who opened the box?", "{A}"),),
)
event("jump_out", "A B C", "A near B; C near B", "",
    "Out [jumped] {A:a}!", "There was no treasure inside. It was {A:a}!", "And then {A} [peeked] out of the box.", asks=(("Who was in the box?", "{A}"),),
)
event("was_trapped", "A B", "A near B", "",
    '"I [climbed] in to [sleep], and the lid [shut]," [said] {A:n}.', "{A} had been in there all night.", '"I was stuck in there," [said] {A:n}.',
)
event("wind_hint", "A", "", "",
    "The wind was getting stronger and stronger.", "{A} [felt] a strong wind, but {A} did not [worry].", "The trees [shook] in the wind.",
)
event("blown_into", "A X R", "A has X", "X lies R",
    "Then a strong wind [blew] {X} up into a tall tree.", "{A} let {X} go too high, and it got stuck in a tree.", "Whoosh! {X} [flew] up and got stuck in a tall tree.",
    asks=(("Where did {X} get stuck?", "in a tree"),),
)
event("jump_for", "A X", "A lacks X", "",
    "{A} [jumped] and [jumped], but {X} was too high.", "{A} [stretched] and [reached], but {A} could not [touch] {X}.", "{A} [shook] the tree, but {X} did not come down.",
)
event("poke_with", "A X Y", "A near X", "",
    "{A} [found] {X:a} and [tried] to [reach] {Y}, but it did not work.", "Then {A} [tried] with {X:a}. It was too short.", "{A} [got] {X:a}, but even that was not long enough.",
)
event("stays_stuck", "A X", "A lacks X", "",
    "It was getting dark, and {X} was still up in the tree.", "{A} [waited] and [waited], but nobody came, and {X} stayed in the tree.",
    asks=(("Did {A} get {X} back?", "no"),),
)
event("fetch_down", "A X R", "A lacks X", "A has X",
    "{A} [A.go:past] up into the tree and [took] {X} down.", "Up went {A:n}, and soon {A:he} [held] {X}.", "{A} got up to {X} and [pulled] it free.",
    asks=(("Who got {X} down?", "{A}"),),
)
event("receive_from", "A X B", "A near B; B has X", "A has X",
    "There {B} [bought] {A:o} {X:a}.", "{B} [gave] {A:o} {X:a}.", '"This is for you," [said] {B:n} and [handed] {A:o} {X:a}.',
    asks=(("Who gave {X} to {A:o}?", "{B}"),),
)
event("let_go", "A X", "A has X", "X gone",
    "{A} [waved] to a bird and let {X} go. Up and away it [flew]!", "{A} [opened] {A:his} hand for just a moment, and {X} [floated] away.", "The wind [pulled], and {X} [slipped] away into the sky.",
    asks=(("Who let {X} go?", "{A}"),),
)
event("never_again", "A X", "", "",
    "{A} [watched] the sky for a long time, but {X} never came back.", "{X} got smaller and smaller until it was gone.",
)
event("own_food", "A X", "", "A has X",
    "{A} had {X:a} that {A} wanted to [save] for later.", "{A} had {X:a} for a snack.", "{A} [put] aside {X:a} to [eat] later.",
)
event("wake_missing", "A X", "A has X", "X gone",
    "{A} [looked] for {X:own}, but it was gone.", "{A} wanted to [eat] {X:own}. The plate was empty!", "{X:own} was not on the table any more.",
)
event("watch_night", "A X", "", "A has X",
    "{A} [put] {X:a} on a plate and [hid] behind the door to [watch].", "{A} [hid] in the dark and [watched]. There was {X:a} on the table.",
)
event("creep_in", "A X", "", "",
    "In [crept] {A:a}, who [sniffed] at {X}.", "Soon {A} [came] in through the window and [looked] at {X}.", "After a while, {A:a} [tiptoed] in.",
    asks=(("Who came in at night?", "{A}"),),
)
event("admit_hungry", "A B X", "A near B", "",
    '"I took {X}," [said] {A:n}. "I was so hungry."', "{A} [admitted] that {A} had eaten {X}.", '"Please don\'t be mad," [said] {A:n}. "I [ate] {X} because I was hungry."',
    asks=(("Who really ate {X}?", "{A}"),),
)
event("feed", "A X B", "A has X; A near B", "X gone",
    "Then {A:n} [fed] {X} to {B:n}.", "And {A:n} let {B:n} [eat] {X}.", "{A} [shared] {X} with {B:o}, and soon it was all gone.",
)
event("surprise_gift", "A X B", "A has X; A near B", "B has X",
    '"I have something for you too," [said] {A:n} and [gave] {B:o} {X:a}.', "Then {A} [pulled] out {X:a} and [gave] it to {B:o}.", "To {B:p} surprise, {A} [gave] {B:him} {X:a}.",
    asks=(("Who gave {X} to {B:o}?", "{A}"),),
)
event("fetch", "A X", "", "A has X",
    "{A} [fetched] {X:a}.", "{A} [ran] to get {X:a}.", "{A} [looked] around and [found] {X:a}.",
)
event("had_along", "A X", "", "A has X",
    "{A} had {X:a} in {A:his} bag.", "{A} [pulled] {X:a} out of {A:his} bag.", "{A} had [packed] {X:a} that morning.",
)
