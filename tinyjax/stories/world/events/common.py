"""Events many plots share: openings, feelings, moving, finding, giving, quarrelling, mending."""
# ruff: noqa: E501 (one telling stays on one line)
# fmt: off

from __future__ import annotations

from tinyjax.stories.world.events.table import event

# Openings and background

event("open", "A R V W", "", "",
    "Once upon a time, there was {A}.",
    "Once upon a time, {R:ina}, there lived {A}.",
    "Once upon a time, there was {A} who lived {R:ina}.",
    "Once there was {A}.",
    "There once was {A} who lived {R:ina}.",
    "{A} lived {R:ina}.",
    "{A} lived {R:ina} with {A:his} family.",
    "Long ago, {R:ina}, there lived {A}.",
    "A long time ago, there was {A}.",
    "{R:ina} there lived {A}.",
    "This is a story about {A}.",
    "Let me tell you about {A}.",
    "Once upon a time, {A} lived {R:ina}.",
    "Once, {R:ina}, there was {A}.",
    "Far, far away, {R:ina}, lived {A}.",
    "Not so long ago, there was {A}.",
    "Here is a story about {A}.",
    "Have you heard about {A}? {A:n} lived {R:ina}.",
    "In a place not far from here, there was {A}.",
    "Many years ago, {A} lived {R:ina}.",
    "Everyone {R:ina} knew {A}.",
)
event("open_like", "A R V W", "", "",
    "There was once {A} who loved to [V:base].",
    "{A} loved to [V:base] more than anything else.",
    "Every day, {A} liked to [V:base].",
    "Nobody liked to [V:base] as much as {A}.",
    "Once upon a time, there was {A} who loved to [V:base].",
    "There once was {A} who liked to [V:base] all day.",
    "If there was one thing that {A} loved, it was [V:ing].",
)
event("open_day", "A R V W", "", "",
    "{A} woke up early one {W} morning.",
    "It was a {W} morning. {A} woke up with a smile.",
    "It was a {W} day {R:ina}. {A} was ready to [play].",
    "Early one morning, {A} jumped out of bed.",
    "One {W} day, {A} wanted to have some fun.",
    "On a {W} day, {A} was looking for something to do.",
    "One morning, the sun was up, and {A} was ready to [play].",
    "One morning, {A} opened the door and looked outside.",
    "What a {W} day it was! {A} could not wait to go outside.",
    "The birds were singing. It was a {W} morning, and {A} felt good.",
)
event("like", "A V U", "", "",
    "{A} loved to [V:base].", "{A} liked to [V:base] <every day|all day long|in the morning>.",
    "{A} loved to [V:base] and [U:base].", "{A} loved [V:ing] best of all.",
    "{A} liked [V:ing], and {A} liked [U:ing] too.",
    "{A} could [V:base] all day long and never get tired of it.",
    "{A} would [V:base] whenever {A:he} could.",
)
event("own", "A X", "", "A has X",
    "{A} had {X:a}.", "{A} had {X:a} that {A} <loved very much|took everywhere>.",
    "{A:p} favorite thing was {X:a}.", "{A} owned {X:a} and took good care of it.",
    "{A} had just gotten {X:a} for {A:his} birthday.", "{A} was very proud of {A:his} {X:an}.",
)
event("receive", "A X B", "A near B", "A has X",
    "{B} [gave] {A:o} {X:a}.", '{B} [gave] {A:o} {X:a}. "This is for you," [said] {B:n}.',
    "{A} got {X:a} from {B:o}.", '"I have something for you," [said] {B:n}. It was {X:a}.',
    asks=(("Who gave {A} {X}?", "{B}"),),
)
event("play_with", "A X", "A has X", "",
    "{A} [X.use:past] {X:it} again and again.", "{A} loved to [X.use:base] {X:it}.",
    "{A} [played] with {X:it} all morning.", "It was so much fun to [X.use:base] {X:it}.",
    "{A} [X.use:past] {X:it} and [laughed].",
)
event("play_together", "A B", "A near B", "",
    "{A:n} and {B:n} <[played]|[laughed]|[danced]|[sang]> together.",
    "They <[chased]|[tickled]> each other and [laughed].", "They [played] all kinds of games.",
    "{A} and {B:n} [played] tag.", "{A:n} and {B:n} [played] hide and seek.",
)
event("together", "A B P", "", "A at P; B at P",
    "{A} and {B:n} were {P:in}.", "{A} was {P:in} with {B:o}.",
    "{A} and {B:n} [met] {P:in}.", "{A} and {B:n} were [playing] {P:in}.",
)
event("feel", "A F", "", "A feels F",
    "{A} was {F:very}.", "{A} felt {F:very}.", "This made {A:o} feel {F}.",
)
event("be", "A F", "", "A feels F",
    "{A} was {F:very}.", "{A} felt {F:very}.",
)
event("feel_inside", "A F", "", "A feels F",
    "{A} was {F:very}.", "{A} felt {F} inside.", "{A} had never been so {F}.",
    "{A} could not help feeling {F}.", "{A} felt {F:very}.",
)
event("feel_both", "A B F", "", "A feels F; B feels F",
    "They were both {F}.", "{A:n} and {B:n} were {F:very}.", "Both of them felt {F}.",
)
event("cry", "A", "", "",
    "{A} began to [cry].", "A big tear rolled down {A:p} face.", "{A} [cried] and [cried].",
    "{A} [sat] down and [cried].", "{A} [sighed] and [sat] down.", "{A} [wept] a little.",
    "{A} [hung] {A:his} head.",
)
event("cheer", "A", "", "",
    "{A} [jumped] up and down.", '"<Hooray|Yay|Wow>!" [shout:past] {A:n}.', "{A} [clapped] and [cheered].",
    "{A} [giggled] with joy.", "{A} [danced] around.", "{A} [smiled] a big smile.", "{A} [grinned].",
)
event("tremble", "A", "", "",
    "{A} [trembled].", "{A:p} heart beat fast.", "{A} [shivered] and [held] {A:his} breath.",
    "{A} [gasped].", "{A} [shook] like a leaf.", "{A} [froze].",
)

# Going places

event("go", "A P", "A away-from P", "A at P",
    "{A} [A.go:past] {P:to}.", "{A} [went] {P:to}.", "{A} [went] {P:to} to [play].",
    "{A} [decided] to [go] {P:to}.",
)
event("bring", "A X P", "A has X; A away-from P", "A at P",
    "{A} [took] {X} {P:to}.", "{A} [A.go:past] {P:to} with {X}.", "{A} [went] {P:to} with {X}.",
    "{A} [brought] {X} {P:to}.", "{A} [carried] {X} {P:to}.",
)
event("go_with", "A B P", "A near B; A away-from P", "A at P; B at P",
    "{A} and {B:n} [went] {P:to}.", "{A} and {B:n} [went] {P:to} together.",
    "{A} [went] {P:to} with {B:o}.", "{A} and {B:n} [A.go:past] {P:to}.",
)
event("go_home", "A P", "A away-from P", "A at P",
    "{A} [went] home.", "{A} [A.go:past] home.", "{A} [hurried] home.", "{A} [A.go:past] all the way home.",
)
event("go_home_both", "A B P", "A near B; A away-from P", "A at P; B at P",
    "They [went] home together.", "{A} and {B:n} [went] home.", "{A:n} and {B:n} [A.go:past] home.",
)
event("go_back", "A P", "A away-from P", "A at P",
    "{A} [went] back {P:to}.", "{A} [A.go:past] back {P:to}.", "{A} [hurried] back {P:to}.",
)
event("come", "A B P", "B at P", "A at P",
    "{A} [came] along.", "{A} [came] by.", "{A} [A.go:past] by and [stopped].",
    "{B} [saw] {A:o} coming.",
)
event("meet", "A B P", "A at P", "B at P",
    "{A} [met] {B:o}.", "There {A} [met] {B:o}.", "{A} [saw] {B:o} there.", "{B} was there too.",
    '"Hello!" [said] a voice. It was {B:n}.',
)
event("leave", "A P", "A away-from P", "A at P",
    "{A} [went] out {P:to}.", "{A} had to [go] {P:to}.", "Soon {A} [left] and [went] {P:to}.",
)

# Losing and finding

event("lose", "A X R", "A has X", "X lies R",
    "But when {A} [looked] down, {X:own} was gone.", "{A} [played] and [ran], and {X} slipped away.",
    "After a while, {A} saw that {X:own} was not there any more.", "But then {A} [lost] {X:own}.",
    asks=(("Who lost {X}?", "{A}"),),
)
event("search_together", "A B X R", "A near B; A lacks X", "",
    "{A:n} and {B:n} [looked] {R:in}, but {X} was not there.",
    "They [searched] for {X} {R:in}, but it was not there.",
    '"Maybe it is {R:in}," [said] {B:n}. They [looked], but there was no {X:n}.',
)
event("find", "A X R", "A lacks X", "A has X",
    "{A} [looked] {R:in} and [found] {X}!", "{A} [found] {X} {R:in}.", "{A} [saw] {X} {R:in} and [picked] it up.",
    "{A} [peeked] {R:in}. There was {X}! {A} [picked] it up.", '"Here it is!" [said] {A:n}. {A} [found] {X} {R:in}.',
    asks=(("Where did {A} find {X}?", "{R:in}"), ("Who found {X}?", "{A}")),
)
event("discover", "A X R", "A lacks X", "A has X",
    "{A} [saw] {X:a} {R:in} and [picked] it up.", "{A} [found] {X:a} {R:in}.",
    "{A} [noticed] something {R:in}. It was {X:a}! {A} [picked] it up.",
    "{A} [spotted] {X:a} {R:in} and [grabbed] it.",
    asks=(("Where did {A} find {X}?", "{R:in}"), ("Who found {X}?", "{A}")),
)
event("give_up", "A X", "A lacks X", "X gone",
    "{A} [looked] and [looked], but {A} never [found] {X:own}.", "{X} was nowhere to be found.",
    "{A} [searched] until it was dark, but {X} was gone.",
)
event("ask_wrong", "A B", "A near B", "",
    '"What is wrong, {B:v}?" [asked] {A:n}.', "{A} [asked] {B:o} what was wrong.",
    '"Why are you so sad?" {A:n} [asked].', '{A} [saw] {B:p} face. "What happened?" {A:he} [asked].',
)
event("tell_lost", "A B X", "A near B; A lacks X", "",
    '"I [lost] my {X:n}," [said] {A:n}.', '"My {X:n} is gone," [said] {A:n}. "I cannot [find] it."',
    "{A} [told] {B:o} about {X:own}.",
)
event("offer_help", "A B", "A near B", "",
    '"I will [help] you," [said] {A:n}.', '"Don\'t worry," [said] {A:n}. "I can [help] you."', "{A} wanted to [help] {B:o}.",
    "{A} [offered] to [help] {B:o}.", '"Let me [help] you," {A:n} [said] with a smile.',
    asks=(("Who wanted to help {B}?", "{A}"),),
)
event("give", "A X B", "A has X; A near B", "B has X",
    "{A} [gave] {X} to {B:o}.", "{A} [handed] {X} to {B:o}.", '"Here, this is for you," [said] {A:n} and [gave] {X} to {B:o}.',
    asks=(("Who gave {X} to {B:o}?", "{A}"),),
)
event("give_back", "A X B", "A has X; A near B", "B has X",
    "{A} [gave] {X} back to {B:o}.", "{A} [returned] {X} to {B:o}.",
    '"Here is your {X:n}," [said] {A:n} and [gave] it back to {B:o}.',
    asks=(("Who gave {X} back to {B:o}?", "{A}"),),
)
event("thank", "A B", "A near B", "",
    '"Thank you, {B:v}!" [said] {A:n}.', "{A} [thanked] {B:o}.", "{A} [hugged] {B:o}.", "{A} [gave] {B:o} a big hug.",
    '"Thank you so much," [said] {A:n}. "That is very kind of you."', '"You are so kind!" {A:n} [told] {B:n}.',
)

# Quarrels and making up

event("quarrel_over", "A B X", "A near B", "",
    '"It is mine!" [shout:past] {A:n}. "No, it is mine!" [shout:past] {B:n}.',
    "{A:n} and {B:n} both wanted {X}, and they began to [fight].",
    "{A} [pulled] {X} one way, and {B} [pulled] it the other way. They [argued] and [argued].",
    '"Give me {X}!" [said] {A:n}. "I saw it first!" [said] {B:n}.',
    asks=(("What did {A} and {B} fight over?", "{X}"),), shows=("Conflict",),
)
event("boast", "A B", "A near B", "",
    '"I am much better than you," {A:n} [told] {B:o} and [laughed].', "{A} [laughed] at {B:o} and [teased] {B:him}.",
    '"You are so slow!" [said] {A:n} and [laughed] at {B:o}.', "{A} [boasted] and [laughed] at {B:o}.",
    asks=(("Who made fun of {B:o}?", "{A}"),), shows=("Conflict",),
)
event("refuse", "A B X", "A near B; A has X", "",
    '"No!" [said] {A:n}. "{X} is all mine."', "{A} [refused] and [kept] {X} close.", "{A} [shook] {A:his} head. {A} did not want to [share].",
    '"Go away," {A:n} [said]. "I will not [share]."', shows=("Conflict",),
)
event("ask_share", "A B X", "A near B; B has X", "",
    '"May I have some, please?" [asked] {A:n}.', "{A} [asked] {B:o} to [share] {X}.", '"Can you [share] with me?" {A:n} [asked] {B:o}.',
)
event("blame", "A B X", "A near B", "",
    '"You took my {X:n}!" {A:n} [told] {B:o}.', "{A} [blamed] {B:o} and [yelled] at {B:him}.",
    '"I know it was you, {B:v}!" [shouted] {A:n}.', asks=(("Who did {A} blame?", "{B}"),), shows=("Conflict",),
)
event("deny", "A B", "A near B", "",
    '"No, it was not me," [said] {A:n}.', "{A} [said] that it was not true.", '"I did not do it!" [cried] {A:n}.',
)
event("scold", "A B", "A near B", "",
    '"That was not nice," {A:n} [told] {B:o}.', "{A} [told] {B:o} that it was wrong.", "{A} [scolded] {B:o}.",
    shows=("Conflict",),
)
event("apologize", "A B", "A near B", "",
    '"I am sorry, {B:v}," [said] {A:n}.', "{A} [apologized] to {B:o}.", "{A} [said] sorry to {B:o}.",
    '"Please [forgive] me," {A:n} [said] to {B:o}.', asks=(("Who said sorry to {B:o}?", "{A}"),),
)
event("forgive", "A B", "A near B", "",
    '"It is all right," [said] {A:n}.', "{A} [forgave] {B:o}.", "{A} [smiled] and [hugged] {B:o}.", '"I [forgive] you," [said] {A:n}.',
)
event("take_turns", "A B C X", "A near B; C near A", "",
    '"You can take turns," [said] {C:n}. So {A:n} [X.use:past] {X} first, and then {B:n} had a turn.',
    "{C} [told] them to take turns. First {A:n} had a turn with {X}, and then {B:n} had a turn.",
    '{C} [knelt] down. "Why don\'t you [share] it?" {C:he} [asked]. So they took turns with {X}.',
    asks=(("Who told {A} and {B} to take turns?", "{C}"),),
)
event("snatch", "A X B", "B has X; A near B", "A has X",
    "{A} [grabbed] {X} from {B:o}.", "{A} [snatched] {X} from {B:o} and [laughed].", "{A} [took] {X} away from {B:o}.",
    asks=(("Who took {X} from {B:o}?", "{A}"),), shows=("Conflict",),
)
event("stand_up", "A B C", "A near B; C near A", "",
    '"Stop that!" [said] {A:n}. "Be nice to {C:n}!"', "{A} [stood] in front of {B:n} and [told] {B:him} to [stop].",
    '"That is not kind," {A:n} [told] {B:o}.', asks=(("Who stood up to {B:o}?", "{A}"),), shows=("Conflict",),
)

# Breaking and mending

event("warn_plain", "A B W", "A near B", "",
    "{A} [warned] {B:o} {W}.", "{A} [told] {B:o} {W}.", "{A} [reminded] {B:o} {W}.",
    asks=(("Who warned {B}?", "{A}"),),
)
event("ignore", "A B", "", "",
    "But {A} did not [listen].", "{A} did not [listen] to {B:o}.", "But {A} [forgot] all about it.", "{A} [nodded], but {A} did not really [listen].",
)
event("forget_warning", "A B", "", "",
    "But {A} [forgot] the warning.", "But {A} did not [think] of the warning.", "{A} [forgot] what {B:n} had said.", "It looked like so much fun that {A} [forgot] the warning.",
)
event("break_by", "A X Y", "A has X", "Y is broken",
    "{X} [flew] through the air and [hit] {Y}. {Y} [broke] into pieces!", "Oh no! {X} [bumped] into {Y}, and {Y} [fell] and [broke].",
    "{A} [threw] {X} too high, and it [knocked] over {Y}. Crash! {Y} [broke].",
    asks=(("Who broke {Y}?", "{A}"),),
)
event("break", "A B X", "X not broken", "X is broken",
    "They [pulled] so hard that {X} [broke].", "Snap! {X} [broke] in two.", "Then there was a loud crack. {X} was broken!",
)
event("confess", "A B Y", "A near B; Y is broken", "",
    '"I [broke] {Y}," {A:n} [told] {B:o}. "I am very sorry."', "{A} [told] {B:o} the truth about {Y}.",
    '"It was me," [said] {A:n}. "I did not mean to [break] {Y}."',
)
event("praise_truth", "A B", "A near B", "",
    '"Thank you for telling the truth," [said] {A:n}.', "{A} was not angry. {A} [hugged] {B:o}.",
    '"I am glad that you [told] me," [said] {A:n}, and [hugged] {B:o}.',
)
event("clean_up", "A B", "A near B", "",
    "{A} [helped] {B:o} [sweep] up the pieces.", "Together they [picked] up all the pieces.", "{A:n} and {B:n} [cleaned] up together.",
)
event("hide_pieces", "A Y", "Y is broken", "",
    "{A} [hid] the pieces and [said] nothing.", "{A} quickly [swept] the pieces under the rug.", "{A} [pushed] the pieces behind the door and [told] nobody.",
)
event("discover_pieces", "A B Y", "A near B; Y is broken", "",
    '{A} [found] the pieces. "Why did you [hide] this from me?" {A:he} [asked].', "{A} [found] the broken {Y:n}.",
)
event("confiscate", "A X B", "B has X; A near B", "A has X",
    "{A} [took] {X} away from {B:o}.", "{A} [put] {X} up on a high shelf and [kept] it there.",
)

# Eating, comfort, endings

event("eat", "A X", "A has X", "X gone",
    "{A} [X.use:past] {X} and [smiled].", "{A} [X.use:past] {X:it} until it was all gone.", "{A} [enjoyed] {X} down to the last bit.", '"Yum!" [said] {A:n}. {X} was gone in no time.',
    asks=(("Who finished {X}?", "{A}"),),
)
event("use_gift", "A X", "A has X", "",
    "{A} [X.use:past] {X:it} right away.", "{A} [X.use:past] {X:it} with a big smile.", "{A} [X.use:past] {X:it} at once.", "{A} wanted to [keep] {X:it} forever.",
)
event("comfort", "A B", "A near B", "",
    "{A} [hugged] {B:o}.", '"I am here with you," [said] {A:n}.', "{A} [sat] down next to {B:o} and [comforted] {B:him}.",
    '"Do not [cry]," [said] {A:n}.', "{A} [held] {B:o} close.",
)
event("laugh_both", "A B", "A near B", "",
    "They both [laughed].", "{A:n} and {B:n} [laughed] and [laughed].", "Then they both began to [giggle].", "{A} [laughed], and {B} [laughed] too.",
)
event("become_friends", "A B", "", "",
    "From that day on, {A:n} and {B:n} were friends.", "{A:n} and {B:n} became <good|best> friends.", '"Will you be my friend?" [asked] {A:n}. "Yes!" [said] {B:n}.',
    "After that, {A:n} and {B:n} [met] every day.", asks=(("Who became friends with {A:o}?", "{B}"),),
)
event("moral", "A W", "", "",
    "{A} [learned] that {W}.", "{A} [learned] an important lesson: {W}.", "That day, {A} [learned] that {W}.", "From then on, {A:n} knew that {W}.",
    "Now {A} knew that {W}.", "The moral of the story is that {W}.", "And so {A} [learned] that {W}.", "{A} never [forgot] that {W}.",
    "{A} [understood] now that {W}.", shows=("MoralValue",), asks=(("What did {A} learn?", "that {W}"),),
)
event("close_together", "A B", "A near B", "",
    "{A:n} and {B:n} [smiled] at each other.", "It was a day they would never [forget].", "{A:n} and {B:n} [talked] about it for a long time.",
    "They [laughed] and [played] until the sun went down.", "What a good day it was!",
)
event("close_alone", "A", "", "",
    "That night, {A:n} [slept] very well.", "{A:n} had a big smile on {A:his} face.", "What a day it was!", "{A} could not [stop] smiling.",
    "{A} would always [remember] that day.", "And that is how the story ends.", "{A} [hummed] a happy song.",
)
event("offer_teach", "A B V", "A near B", "",
    '"I can [teach] you to [V:base]," [said] {A:n}.', "{A} [offered] to [teach] {B:o} to [V:base].", '"Do you want me to [show] you how to [V:base]?" [asked] {A:n}.',
    "{A} [saw] that {B} needed help and wanted to [teach] {B:him}.", asks=(("Who wanted to teach {B}?", "{A}"),),
)
event("invite", "A B", "A near B", "",
    '"Do you want to [play] with us?" {A:n} [asked] {B:o}.', "{A} [invited] {B:o} to [play].", '"Come and [play]!" {A:n} [said] to {B:o}.', "{A} [asked] {B:o} to [join] in.",
    asks=(("Who asked {B:o} to play?", "{A}"),),
)
event("all_play", "A B C", "A near B; C near A", "",
    "{A:n}, {B:n} and {C:n} all [played] together.", "Soon all three were playing and laughing.", "The three of them [played] until the sun went down.",
)
event("think_about", "A", "", "",
    "{A} [thought] about it for a while.", "{A} did not know what to do at first.", "{A} [thought] long and hard.", "{A} [closed] {A:his} eyes and [thought].",
)
event("boast_at", "A B", "A near B", "",
    '"You look funny!" {A} [shouted] at {B:o}.', "{A} [laughed] at {B:o}.", '{A} [pointed] at {B:o}. "Ha ha! Look at {B:him}!" {A:he} [said].', "{A} [teased] {B:o} and made a face.",
    asks=(("Who made fun of {B:o}?", "{A}"),), shows=("Conflict",),
)
event("visit", "A B P", "B at P; A away-from P", "A at P",
    "{A} [went] to see {B:o} at home.", "{A} [visited] {B:o} at home.", "{A} [walked] over to see {B:o} at home.",
)
event("come_home", "A P", "A away-from P", "A at P",
    "{A} [came] home.", "{A} [walked] back home.", "{A} [returned] home.", "{A} [came] home and [opened] the door.",
)
