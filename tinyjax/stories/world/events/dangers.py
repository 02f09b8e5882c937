"""Events about danger: noises, shadows, getting lost, falls, traps, tricks, rain and water."""
# ruff: noqa: E501 (one telling stays on one line)
# fmt: off

from __future__ import annotations

from tinyjax.stories.world.events.table import event

event("hear_noise", "A F", "", "",
    "{A} [heard] {F:a} noise outside.", "{A} [woke] up. There was {F:a} noise at the door.", "{A} was in bed and [heard] {F:a} noise.", "{F:a} noise [woke] {A:o} up.",
    asks=(("What did {A} hear?", "{F:a} noise"),),
)
event("wake_up", "A B F", "A near B", "",
    '"Did you [hear] that, {B:v}?" [whispered] {A:n}.', "{A} [tiptoed] to {B:o} and [told] {B:him} about the noise.", '"There is a monster outside!" {A:n} [told] {B}.',
    asks=(("Who did {A} tell about the noise?", "{B}"),),
)
event("go_look", "A B", "A near B", "",
    "They [took] a light and [opened] the door.", '"Let us [look]," [said] {B:n}. They [opened] the door.', "{A:n} and {B:n} [crept] to the door and [looked] out.", "{B} [opened] the door, and {A} [peeked] out.",
)
event("only_small", "A B C", "", "",
    "It was not a monster at all. It was only {C:a}!", "There [sat] {C:a} and [looked] up at them.", "And what did they [see]? It was {C:a}!",
    asks=(("Who made the noise?", "{C}"),),
)
event("needs_home", "A B", "A near B", "",
    '"I am so hungry," [said] {A:n}.', "{A} was hungry and cold.", '"I did not mean to [scare] you," [said] {A:n}. "I am looking for food."', "{A} had not eaten all day.",
)
event("sleep_well", "A", "", "",
    "{A:n} [went] back to bed and [slept] well.", "Soon {A:n} was fast asleep.", "After that, {A:n} [slept] until the morning.",
)
event("go_to_bed", "A", "", "",
    "{A} [lay] in bed.", "{A} [went] to bed, but {A} could not [sleep].", "it was time for {A:o} to [sleep]. The room was very dark.",
)
event("see_shadow", "A", "", "",
    "There was a big, dark shadow on the wall!", "{A} [saw] a tall shadow in the corner. It looked like a monster.", "{A} [noticed] a shadow with two long arms.",
)
event("hold_tight", "A X", "A has X", "",
    "{A} [held] {X:own} tight.", "{A} [grabbed] {X:own} and [hid] under the covers.", "With {X:own} in {A:his} arms, {A} [trembled].",
)
event("call_for", "A B", "A near B", "",
    '"{B:v}, come quickly!" [shout:past] {A:n}.', "{A} [called] for {B:o}.", '"Help! There is a monster in my room!" [cried] {A:n}.', "{A} [shouted] for {B:o}, who [came] at once.",
)
event("light_on", "A X", "", "",
    '{A} [turned] on the light. "Look," {A:he} [said]. The monster was only {X:a} on a hook!', "{A} [lit] a lamp. There was no monster, only {X:a} on a hook.", "{A} [came] in with a light. The shadow was only {X:a}!",
    asks=(("What was the shadow?", "{X}"), ("Who turned on the light?", "{A}")),
)
event("tuck_in", "A B", "A near B", "",
    "{A} [kissed] {B:o} good night.", "{A} [hugged] {B:o} and [sang] a soft song.", "{A} [sat] with {B:o} for a while.", '"Sleep tight," [whispered] {A:n}.',
)
event("sees_lure", "A C", "A near C", "",
    "Then {A} [noticed] {C:a}.", "Then {A} [saw] {C:a} nearby.", '"Oh, look!" [said] {A:n}. There was {C:a}!',
)
event("follow_into", "A C P", "A near C", "A at P; C at P",
    "{A} [followed] {C:o} all the way {P:to}.", "{A} [chased] {C:o} farther and farther, {P:to}.", "{C} [C.go:past] off {P:to}, and {A} [followed].",
    asks=(("Who did {A} follow?", "{C}"),),
)
event("is_lost", "A C P", "A at P", "",
    "Soon {C} was gone, and {A} did not know the way back.", "{A} [stopped]. Everything looked strange. {A} was lost.", "Then {C} was out of sight. {A} [looked] around and was lost.",
    asks=(("Where did {A} get lost?", "{P:in}"),),
)
event("looks_scary", "A B", "A near B", "",
    "{A} looked big and scary, and {B:n} wanted to [run].", "At first {B} was afraid of {A:o}. But {A} was very kind.", "{B:n} [shook] with fear, but {A:n} [smiled].",
)
event("tell_way_lost", "A B", "A near B", "",
    '"I am lost," [said] {A:n}. "I want to go home."', "{A} [told] {B:o} that {A:he} was lost.", '"I cannot [find] my way back," [cried] {A:n}.',
)
event("lead_back", "A B P", "A near B", "A at P; B at P",
    "{A} [led] {B:o} back {P:to}.", '"[Follow] me," [said] {A:n}. {A} [showed] {B:o} the way back {P:to}.', "{A} [guided] {B:o} through the trees, back {P:to}.",
    asks=(("Who led {B} back?", "{A}"),),
)
event("hugs_found", "A B", "A near B", "",
    '"There you are!" [cried] {A:n} and [hugged] {B:o}.', "{A} [ran] to {B:o} and [hugged] {B:him} tight.", "{A} had been so worried and [kissed] {B:o}.",
)
event("promise_stay", "A B", "A near B", "",
    '"I will always [stay] close," [promised] {A:n}.', "{A} [promised] to [listen] next time.", '"I am sorry that I did not [listen]," [said] {A:n}.',
    asks=(("What did {A} do wrong?", "{A:he} did not stay close"),),
)
event("dare", "A B W", "A near B", "",
    '"I am going to {W}," [said] {A:n}. "Just [watch] me!"', "{A} wanted to {W}.", '"I bet I can {W}," {A:n} [told] {B:o}.', "{A} [decided] to {W}.",
    asks=(("What did {A} want to do?", "{W}"),),
)
event("weak_hint", "A B", "A near B", "",
    '"It does not look safe," [warned] {A:n}. "You could [fall]."', "{A} [warned] {B:o} that it was not safe.", '"Please don\'t," [begged] {A:n}. "You will get hurt."', "{A} [heard] a soft creak and [told] {B:o} to be careful.",
    asks=(("Who warned {B}?", "{A}"),),
)
event("dare_fails", "A W", "", "",
    "there was a loud crack. Then {W}, and {A} [fell].", "{W}, and down [fell] {A}!", "{W}. {A} [screamed] and [fell] down.",
    asks=(("Who fell?", "{A}"),),
)
event("hurts", "A", "", "",
    '"Ouch! My leg!" [cried] {A:n}.', "{A} had [hurt] {A:his} leg and could not [stand] up.", "{A:p} leg [hurt] very much.",
    asks=(("What did {A} hurt?", "{A:his} leg"),),
)
event("runs_for_help", "A B", "A near B", "",
    "{A} [ran] over and [helped] {B:o} [sit] up.", "{A} [hurried] over to [help] {B:o}.", "{A} [held] {B:p} head and [called] for help.", "{A} [called] for help as loud as {A} could.",
)
event("no_play_long", "A B", "", "A leaves; B leaves",
    "For many days, {A:n} could not [run] or [play].", "{A:n} had to [lie] in bed for two weeks.", "{A:n} could only [watch] the others play for a long time.",
)
event("bandage", "A B", "A near B", "",
    "{A} [came] and [wrapped] {B:p} leg.", "{A} [heard] the noise and [came]. {A} [cleaned] {B:p} leg and [tied] a cloth around it.", "{A} [came] by, [washed] the sore leg and [wrapped] it up.",
    asks=(("Who took care of {B:o}?", "{A}"),),
)
event("hear_cry", "A B", "A near B", "",
    "{A} [heard] a small voice. It was {B:a}!", '"Help, help!" [cried] a small voice. It was {B:a}.', "There {A} [noticed] {B:a} in trouble.",
)
event("is_stuck", "A T", "", "",
    "{A:n} was stuck {T}.", "{A:n} was stuck {T} and could not get out.", '"I am stuck {T}," [said] {A:n}.',
    asks=(("Where was {A} stuck?", "{T}"),),
)
event("pull_alone", "A B", "A near B", "",
    "{A} [pulled] and [pulled], but it was no use.", "{A:n} [tried] to [free] {B:o}, but {A:he} was not strong enough.", '"I cannot do it alone," [said] {A:n}. "I will get help."',
)
event("go_home_fetch", "A P", "A away-from P", "A at P",
    "So {A:n} [ran] home to get help.", "{A:n} [hurried] home to [find] help.", "{A:n} [rushed] home as fast as {A} could.",
)
event("tell_stuck", "A B C", "A near B", "",
    '"Please come! Someone is stuck!" [said] {A:n} to {B:o}.', "{A} [told] {B:o} about {C:o} and [asked] for help.", "{A} [asked] {B:o} for help.",
    asks=(("Who did {A} ask for help?", "{B}"),),
)
event("brings_tool", "A X B P", "A has X; A near B", "A at P; B at P",
    "{A} [grabbed] {X:a}, and they [hurried] {P:to}.", "{A} [took] {X:a} and [went] back {P:to} with {B:o}.", "They [carried] {X:a} {P:to} together.",
)
event("free_with", "A B X C", "A has X; A near B; C near A", "",
    "{A:n} [used] {X}, and {B:n} [pulled]. Pop! {C} was free!", "With {X}, {A:n} and {B:n} [pulled] and [pushed] until {C:n} was free.", "{A:n} [held] {X}, and {B:n} [helped]. Soon {C:n} was free.",
    asks=(("What did they use to free {C}?", "{X}"), ("Who helped {B:o} free {C}?", "{A}")),
)
event("catches_small", "A B P", "A at P", "B at P",
    "{A} [caught] {B:a} and held on tight.", "There {A} [caught] {B:a} and would not let {B:him} go.", "{A} almost [stepped] on {B:a} and [grabbed] {B:him}.",
    asks=(("Who did {A} catch?", "{B}"),),
)
event("begs", "A B", "A near B", "",
    '"Please let me go!" [begged] {A:n}.', "{A} [begged] and [trembled].", '"Please don\'t hurt me," [squeaked] {A:n}.',
)
event("promise_help", "A B", "A near B", "",
    '"One day I will [help] you," [promised] {A:n}.', "{A} [promised] to [help] {B:o} one day.", '"If you let me go, I will [help] you one day," [said] {A:n}.',
    asks=(("What did {A} promise?", "to help {B}"),),
)
event("laugh_let_go", "A B", "A near B", "",
    '{A} [laughed]. "You are too small to [help] me!" But {A} let {B:n} go.', "{A} [laughed] at the idea, but {A} let {B:n} go.", "That made {A:n} [laugh] so much that {A:he} let {B:n} go.",
)
event("caught_in_net", "A", "", "",
    "{A:n} [walked] into a big net and could not get out.", "{A:n} got caught in a strong net.", "a net [fell] on {A:n}. {A} was trapped!",
    asks=(("What was {A} caught in?", "a net"),),
)
event("roars", "A", "", "",
    '"Help! Help!" [shouted] {A:n}.', "{A} [cried] for help as loud as {A} could.", "{A} [pulled] and [kicked], but the net was too strong.",
)
event("hears_and_comes", "A B", "A near B", "",
    "{A:n} [heard] it and [A.go:past] to {B:n}.", '"I am coming!" [called] {A:n}.', "{A:n} [heard] that {B:n} was in trouble and [came] at once.",
)
event("chews_net", "A B", "A near B", "",
    "{A:n} [chewed] and [nibbled] until there was a big hole in the net. {B:n} was free!", "With small, sharp teeth, {A:n} [bit] through the net and [freed] {B:n}.",
    asks=(("Who freed {B} from the net?", "{A}"),),
)
event("joke_call", "A B W P", "A at P", "B at P",
    '"Help! A {W}!" [shouted] {A:n}. {B} [came] running {P:to}.', "{A} [cried] that there was a {W}. {B} [heard] it and [ran] {P:to} to [help].",
    asks=(("What did {A} pretend to see?", "a {W}"),),
)
event("was_joke", "A B", "A near B", "",
    'But there was nothing there. "I [tricked] you!" [said] {A:n} and [laughed].', "But it was only a joke. {A} [laughed] and [laughed].", "{A} [giggled]. It was all a trick.",
)
event("real_danger", "A B P", "B at P", "A at P",
    "{B:n} [saw] {A:a}. This time it was real!", "{A} [jumped] out in front of {B:n}.", "{A} really [came] and [growled] at {B:n}.",
    asks=(("Who did {B} really meet?", "{A}"),),
)
event("real_call", "A B", "", "",
    '"Help! This time it is true!" [shouted] {A:n}.', "{A} [shouted] and [shouted] for help.", '"Help me, {B:v}!" [screamed] {A:n}.',
)
event("not_believed", "A B", "", "",
    "{A:n} [heard] it at home, but {A} did not [believe] it.", '"It is just another joke," [thought] {A:n} at home.', "At home, {A:n} [shook] {A:his} head. {A} [thought] it was a trick again.",
)
event("nobody_comes", "A", "", "A leaves",
    "Nobody [came]. {A} had to [run] and [hide] all night, cold and hungry.", "Nobody came to [help]. {A} [hid] in a hole, and it was a long, cold night.", "{A} [ran] and [ran] and got away, but nobody came to [help].",
    asks=(("Did anyone come to help {A}?", "no"),),
)
event("comes_anyway", "A B C P", "A away-from P; B at P; C at P", "A at P; C leaves",
    "But then {A:n} [changed] {A:his} mind, [ran] {P:to} and [scared] {C:n} away.", "Still, {A:n} [came] {P:to} to look. {A} made so much noise that {C:n} [ran] away.",
    "But {A:n} [came] {P:to} after all. {A} [threw] stones until {C:n} [ran] off.",
    asks=(("Who saved {B}?", "{A}"),),
)
event("plan_picnic", "A B X", "A near B", "A has X",
    "{A} and {B:n} wanted to have a picnic. {A:n} [packed] {X:a}.", '"Let us have a picnic!" [said] {A:n} to {B:o}. {A} [packed] {X:a}.', "{A} [packed] {X:a} for a picnic with {B:o}.",
    asks=(("What did {A} pack for the picnic?", "{X}"),),
)
event("dark_cloud", "A B", "A near B", "",
    '"There is a dark cloud," [said] {A:n}.', "{A} [pointed] at a big, dark cloud.", "{A} [noticed] a gray cloud far away.",
    asks=(("Who saw the dark cloud?", "{A}"),),
)
event("waves_off", "A B", "A near B", "",
    '"It is only a small cloud," [said] {A:n}.', "{A} did not [worry] about it.", '"It will not rain," [said] {A:n} and [laughed].',
)
event("starts_to_rain", "A B", "", "",
    "it began to rain very hard.", "big drops of rain [fell] from the sky.", "there was thunder, and the rain [poured] down.",
)
event("food_ruined", "A X", "A has X", "X gone",
    "{X} got so wet that nobody could [eat] it.", "The rain [ruined] {X}.", "In a moment, {X} was ruined.", asks=(("What did the rain ruin?", "{X}"),),
)
event("run_to_shelter", "A B P", "A near B", "A at P; B at P",
    "{A:n} and {B:n} [ran] {P:to}.", '"Quick, {P:to}!" [shouted] {A:n}, and they [ran].', "They [dashed] {P:to} and [waited] there.", asks=(("Where did {A} and {B} hide from the rain?", "{P:in}"),),
)
event("eat_there", "A B X", "A near B; A has X", "X gone",
    "There they [shared] {X}.", "They [sat] down and [ate] {X} together.", "It was dry in there, and they [enjoyed] {X}.",
)
event("sing_songs", "A B", "A near B", "",
    "They [sang] songs and [told] stories until the rain [stopped].", "They [listened] to the rain and [laughed].", "It was more fun than any picnic in the sun.",
)
event("find_boat", "A B", "A near B", "",
    "They [found] a little boat.", "There was a little boat at the edge of the water, and they [climbed] in.", "They [noticed] an old boat.",
)
event("argue_boat", "A B", "A near B", "",
    '"We should ask first," [said] {A:n}. "No, we should not!" [said] {B:n}. They [argued], but then {A} [gave] in.', "{A} did not want to take it without asking, and they [argued]. At last {A} [agreed].",
    shows=("Conflict",),
)
event("row_out", "A B", "A near B", "",
    "They [rowed] far out on the water.", "{A} [rowed] and [rowed] until the land looked small.", "They [pushed] off and [paddled] away.",
)
event("lose_oar", "A B", "A near B", "",
    "Then {A} [dropped] the oar, and it [sank]. They could not get back!", "Splash! The oar [fell] into the water and [drifted] away.", asks=(("What did they lose?", "the oar"),),
)
event("shout_help", "A B", "A near B", "",
    '"Help!" they both [shouted].', "They [waved] and [called] for help.", '"Can anyone [hear] us?" [yelled] {A:n}.',
)
event("swims_up", "A B", "A near B", "",
    "{A} [heard] them and [swam] up.", "Soon {A} [swam] up to the boat.", '"What is the matter?" [asked] {A:n}, who had swum up to the boat.',
)
event("push_boat", "A B C", "A near B; C near A", "",
    "{A} [pushed] the boat back to land.", "{A} [pulled] on the rope until they were back on land.", "With all {A:his} might, {A} [pushed] them back to land.",
    asks=(("Who brought the boat back?", "{A}"),),
)
event("has_pet", "A B", "", "",
    "{A} had {B:a}. They [played] together every day.", "{A} loved {A:his} pet. It was {B:a}.", "{A} lived with {B:a}, and they did everything together.",
)
event("gate_hint", "A B", "", "",
    "The gate did not [close] very well, but nobody [fixed] it.", "There was an old gate that {A} often [forgot] to [shut].", "{A} often [left] the gate open.",
)
event("pet_gone", "A B", "", "B leaves",
    "{A} [left] the gate open, and {B:n} [ran] away.", "the gate was open, and {B:n} was gone.", "{A} [went] out and [saw] the open gate. {B:n} was not there.",
    asks=(("Why did {B} get away?", "because the gate was open"),),
)
event("call_pet", "A B", "", "",
    '"{B:v}! {B:v}! Where are you?" [called] {A:n}.', "{A} [called] and [called], but {B:n} did not come.", "{A} [searched] the whole street for {B:n}.",
)
event("pet_never", "A B", "", "",
    "{A} [searched] there too, but {A} never [saw] {B:n} again.", "But {B:n} was not there, and {B:n} never [came] back.",
)
event("pet_with", "A B C P", "A at P; C at P", "B at P",
    "There was {B:n}, on the lap of {C:a}!", "{A} [saw] {B:n} at last. {C} was petting {B:him}.", "There [sat] {C:a}, and next to {C:him} [sat] {B:n}.",
    asks=(("Who was with {B:o}?", "{C}"),),
)
event("was_company", "A B C", "A near B; C near A", "",
    '"{C:n} kept me company," [said] {A:n}. "I was all alone."', "{A} had been all alone, and {C:n} had [cheered] {A:him} up.", '"I have no one to talk to," [said] {A:n}. "It was so nice to have a guest."',
)
event("visit_offer", "A B C", "A near B", "",
    '"We will [visit] you every week," [said] {A:n}.', "{A} [promised] to [visit] {B:o} with {C:n} every week.",
    asks=(("Who did {A} promise to visit?", "{B}"),),
)
