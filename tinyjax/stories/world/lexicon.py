"""The words of the story world: nouns with what may be done with them, apt adjectives, names.

Tables are plain text, one noun a line: `noun | fit verbs | own adjectives`. A noun's adjectives
are its own plus its group's, so that nothing absurd ("a sour lamp") can be said. `~` marks a mass
noun ("some honey").
"""

from __future__ import annotations

import dataclasses

from tinyjax.stories.world.grammar import words


@dataclasses.dataclass(frozen=True)
class Noun:
    """A noun that can take part in a story."""

    word: str
    group: str
    uses: tuple[str, ...]  # verb phrases one may do with it ("bang on"), or ways it moves
    adjectives: tuple[str, ...]
    mass: bool = False


COLORS = words("red blue green yellow orange purple pink white brown golden")

# What may be said of any member of a group.
GROUP_ADJECTIVES = {
    "toy": (*COLORS, *words("new old pretty colorful lovely wonderful fancy special")),
    "food": words("yummy tasty delicious fresh big little lovely"),
    "clothes": (*COLORS, *words("new old warm soft striped spotted pretty cozy fancy")),
    "treasure": words("pretty beautiful little special lovely rare strange"),
    "tool": words("old new strong big useful heavy sturdy plain"),
    "fragile": words("fragile beautiful delicate expensive precious fancy white blue"),
    "plant": words("big beautiful healthy lovely huge"),
    "animal": words("little small young tiny"),
    "person": words("old tall kind busy friendly jolly"),
}

TOYS = """
ball | kick, bounce, roll, throw, catch | round bouncy
doll | hug, dress, cuddle | soft
teddy | hug, cuddle, squeeze | soft fluffy fuzzy furry
kite | fly | long light
drum | tap, bang on, play, beat | loud round noisy
robot | wind, fix, race | shiny metal silver
puzzle | solve, finish | difficult tricky hard
book | read, open | thick interesting funny exciting
balloon | bounce, tap | round light shiny
yo-yo | swing, spin | round shiny
truck | push, drive, load | shiny big
train | push, pull, drive | long shiny fast
car | push, drive, race | shiny fast
boat | float, sail, push | tiny wooden
plane | fly, throw, launch | light fast
whistle | blow | loud shiny silver
flute | play, blow | wooden silver
guitar | strum, play, tune | wooden loud
violin | play, tune | wooden
trumpet | blow, play | loud shiny
bell | ring, shake | shiny loud silver
rattle | shake, wave | noisy wooden
top | spin, twirl | wooden round
hoop | roll, spin, twirl | round big
frisbee | throw, toss, catch | round flat light
bat | swing | wooden strong
marble | roll, flick | round shiny smooth
puppet | wave | funny silly wooden
crayon | draw with, color with | bright thick
paintbrush | paint with | soft thin
notebook | write in, draw in, open | thin empty
camera | take pictures with | black silver
scooter | ride, push | fast shiny
bicycle | ride, push | fast shiny
wagon | pull, push, load | wooden big
sled | pull, ride | fast wooden
skateboard | ride | fast flat
flashlight | shine, wave | bright
bucket | fill, carry, empty | round light
shovel | dig with | small strong
mask | wear | funny scary silly
wand | wave, shake, twirl | magic shiny
sword | wave, swing, lift | wooden long
dinosaur | hug | huge scary
harp | play, pluck | golden wooden
tambourine | shake, tap | round noisy
xylophone | play, tap | wooden long
rocket | launch, lift | shiny fast tall
helicopter | launch, fly | shiny fast
telescope | look through | long shiny
lantern | light, swing | bright shiny
pinwheel | spin, wave | bright light
globe | spin, roll | round big
tricycle | ride, push | fast shiny
pencil | write with, draw with | long sharp thin
brush | paint with | soft thin
"""

FOODS = """
cherry | eat, nibble | sweet juicy red ripe
mango | eat, munch | sweet juicy soft ripe
coconut | eat, crunch | hard brown round
potato | eat, munch | hot soft brown
taco | eat, crunch | spicy crunchy cheesy
burger | eat, munch | hot thick cheesy
biscuit | eat, nibble | crunchy warm golden
brownie | eat, nibble | sweet soft chocolate
egg | eat, munch | warm round white
walnut | eat, crunch | crunchy hard brown
fig | eat, munch | sweet soft ripe
apricot | eat, munch | sweet soft juicy ripe
yogurt~ | eat, lick | creamy cold sweet
rice~ | eat, munch | warm soft white
cereal~ | eat, crunch | crunchy sweet
salad~ | eat, munch | green crunchy
apple | eat, crunch, munch | sweet crunchy juicy shiny ripe
pear | eat, munch | sweet juicy soft ripe
peach | eat, munch | sweet juicy soft fuzzy ripe
banana | eat, munch | sweet soft yellow ripe
orange | eat | sweet juicy round ripe
plum | eat, munch | sweet juicy purple ripe
strawberry | eat, nibble | sweet juicy red ripe
melon | eat | sweet juicy huge round
carrot | eat, crunch, nibble | crunchy orange long
tomato | eat | red juicy ripe
cucumber | eat, crunch | crunchy green long
pickle | eat, crunch | sour crunchy salty
pepper | eat | spicy hot red
cookie | eat, nibble, munch | sweet crunchy round warm
cake | eat | sweet creamy soft chocolate
cupcake | eat | sweet creamy soft pink
pie | eat | sweet warm hot
muffin | eat, nibble | sweet warm soft
pancake | eat | warm sweet flat
waffle | eat | warm sweet crispy
donut | eat | sweet sticky round
sandwich | eat | thick cheesy
pizza | eat | hot cheesy crispy
bun | eat | warm soft sticky
pretzel | eat, crunch | salty crunchy warm
cracker | eat, crunch, nibble | salty crunchy thin
candy~ | eat, lick | sweet sticky colorful
lollipop | lick, suck | sweet sticky round
pudding | eat | sweet creamy cold
honey~ | eat, lick | sweet sticky golden
jam~ | eat | sweet sticky red
bread~ | eat | warm soft brown
cheese~ | eat, nibble | salty yellow soft
popcorn~ | eat, munch | salty crunchy warm
soup~ | eat, sip | hot warm salty spicy
milk~ | drink, sip | cold creamy warm
juice~ | drink, sip | sweet cold sour
lemonade~ | drink, sip | cold sour sweet
nut | eat, munch | crunchy hard brown
"""

CLOTHES = """
glove | wear | woolly thick
apron | wear, tie | long plain
vest | wear, button | woolly
belt | wear, fasten | long shiny
bonnet | wear, tie | silky
helmet | wear, fasten | shiny round
raincoat | wear, button | long shiny
shawl | wear, wrap up in | woolly long
crown | wear, polish | shiny heavy golden
hat | wear, tip | tall wide silly
cap | wear | light
scarf | wear, wrap up in | long woolly
coat | wear, button | thick long
jacket | wear, zip | thick
sweater | wear | woolly itchy thick
shirt | wear, button | clean
cape | wear, swirl | long silky
mitten | wear | woolly fuzzy
sock | wear | woolly stinky
ribbon | tie, wear | silky long shiny
umbrella | open, spin | big wide
backpack | pack, wear | heavy light
necklace | wear, fasten | sparkly shiny
bracelet | wear, fasten | sparkly shiny
dress | wear, iron | long sparkly
skirt | wear | long
"""

TREASURES = """
ruby | polish, kiss | shiny sparkly bright red
diamond | polish, kiss | shiny sparkly clear
locket | open, polish | shiny silver golden
badge | wear, polish | shiny round silver
trophy | lift, polish | shiny golden tall
candle | smell, admire | tall white thin
bookmark | admire, kiss | thin colorful silky
postcard | read, admire | colorful nice
stamp | lick, admire | colorful tiny
violet | smell, admire | purple tiny
clover | smell, admire | green tiny
fossil | clean, polish | ancient gray
charm | kiss, polish | tiny silver golden
shell | admire, wash | shiny smooth pink white
stone | admire, polish | smooth gray round shiny
feather | wave, admire | soft light white long
coin | flip, polish | shiny round golden silver
ring | wear, polish | shiny golden silver sparkly
button | admire, polish | shiny round blue
key | polish, admire | shiny rusty golden ancient
gem | polish, kiss | shiny sparkly bright red
pearl | polish, admire | shiny white smooth round
crystal | lift, polish | clear sparkly bright
acorn | roll, admire | brown round smooth
pinecone | shake, admire | brown dry
leaf | wave, admire | red yellow dry golden
flower | smell, admire | pink yellow white bright
rose | smell, admire | red pink white fragrant
daisy | smell, admire | white bright
tulip | smell, admire | red yellow bright
sticker | peel, lick | shiny colorful bright
card | open, read | colorful nice
picture | admire, hang | colorful bright nice
bead | roll, admire | shiny round tiny
medal | wear, polish | shiny golden round
star | lift, admire | shiny bright golden
pebble | roll, flick | smooth gray round flat
"""

TOOLS = """
rope | | long thick
ladder | | tall long wooden
net | | long wide
pole | | long thin wooden
stick | | long thin straight
broom | | long wooden
rake | | long rusty
hammer | | metal
basket | | round wide deep
blanket | | wide thick warm
plank | | long wide flat wooden
hook | | metal sharp long
"""

FRAGILE = """
bottle | | tall thin
pitcher | | tall round
dish | | round thin
saucer | | round thin
ornament | | shiny round
frame | | old golden
figurine | | tiny old
vase | | tall shiny
cup | | small thin
plate | | round thin
bowl | | round deep
jar | | round shiny
mirror | | shiny tall round
lamp | | tall bright
clock | | old round tall
teapot | | old round shiny
statue | | old tall
pot | | old round
jug | | old round
glass | | tall thin
"""

PLANTS = """
lily | | white fragrant
daisy | | white bright
cactus | | prickly
fern | | leafy
turnip | | round tasty
cucumber | | long crunchy
radish | | red round crunchy
sunflower | | tall yellow bright
pumpkin | | orange round heavy
tomato | | red juicy ripe
carrot | | orange crunchy long
bean | | green long tasty
rose | | red pink fragrant
tulip | | red yellow bright
tree | | tall green strong leafy shady
melon | | round sweet juicy
strawberry | | red sweet juicy
cabbage | | green round leafy
bush | | tall green leafy thick
"""

# animal | ways it moves | own adjectives ; tags after the name
ANIMALS = """
bunny small ground | hop, run, dash, skip | fluffy soft white brown
puppy small ground | run, trot, scamper, bounce | fluffy brown spotted playful
kitten small | run, creep, scamper, trot | fluffy soft gray furry
dog ground | run, trot, race, bound | brown spotted shaggy furry
cat | run, creep, trot, stroll | gray furry black fluffy
mouse small ground | run, scurry, creep, scamper | gray brown quick
squirrel small climber | scamper, run, scurry, leap | red furry quick
fox ground | run, trot, sneak, creep | red furry sly
bear big ground | walk, stomp, march, lumber | brown furry strong
wolf big | run, trot, sneak, prowl | gray shaggy hungry
lion big ground | walk, march, prowl, stride | golden strong hungry
tiger big ground | walk, prowl, creep, leap | striped strong hungry
elephant big ground tall | walk, stomp, march, plod | gray strong wrinkly
giraffe big ground tall | walk, stroll, gallop, trot | spotted yellow
monkey climber | swing, run, climb, leap | brown noisy cheeky
pig ground | trot, run, waddle, plod | pink muddy chubby
sheep ground | trot, walk, wander, plod | white woolly fluffy
goat | trot, walk, climb, leap | white shaggy hungry
cow big ground she | walk, plod, wander, stroll | brown spotted black
horse big ground | gallop, trot, walk, race | brown white strong
pony ground | gallop, trot, walk, race | brown white
donkey ground | trot, walk, plod, wander | gray shaggy stubborn
duck ground | waddle, walk, paddle, swim | white yellow noisy
goose | waddle, walk, march | white noisy
hen ground she | strut, walk, run | red brown white
frog small ground | hop, jump, leap, swim | green slimy noisy
toad small | hop, jump, crawl | brown bumpy lumpy
turtle small ground | crawl, walk, plod, creep | green slow wrinkly
snail small ground | crawl, creep, slide | slow brown
hedgehog small ground | walk, shuffle, scurry, trot | prickly brown spiky
raccoon climber | run, creep, climb, sneak | gray striped furry
beaver ground | walk, swim, waddle | brown busy
otter ground | swim, run, slide | brown playful sleek
deer | run, walk, leap, gallop | brown graceful gentle
mole small ground | scurry, crawl, creep | black blind
bird small flyer | fly, flap, flutter, glide | blue red yellow
owl flyer | fly, glide, flap | brown wise
crow flyer | fly, flap, glide | black noisy clever
robin small flyer | fly, flutter, flap | red brown
parrot flyer | fly, flap, glide | green colorful noisy
eagle flyer | fly, soar, glide | brown strong proud
bee small flyer | fly, buzz, flutter | yellow busy striped
butterfly small flyer | fly, flutter, float | blue colorful pretty
ant small | march, crawl, scurry | black red busy
penguin ground | waddle, walk, slide | black chubby
camel big ground | walk, plod, stride | brown slow
panda big ground | walk, wander, climb | chubby fluffy black
koala climber | climb, crawl, walk | gray fluffy sleepy
kangaroo ground | hop, jump, leap | brown
zebra ground | gallop, run, trot | striped
lamb small ground | trot, skip, leap | white woolly fluffy
calf ground | trot, walk, run | brown spotted
badger ground | walk, shuffle, trot | gray black
chipmunk small climber | scamper, run, scurry | striped brown quick
lizard small | crawl, scurry, creep | green quick
crab small | crawl, scurry | red
swan | glide, swim, waddle | white graceful
peacock | strut, walk, stroll | blue proud colorful
moose big ground | walk, stride, plod | brown strong
llama ground | walk, trot, stroll | woolly white
hippo big ground | walk, stomp, plod | gray chubby
gorilla big ground | walk, stomp, climb | black strong
ladybug small flyer | fly, crawl, flutter | red spotted
cricket small | hop, jump, leap | green noisy
seal | slide, swim, waddle | gray sleek
"""

# person | gender
PEOPLE = """
farmer | he | strong
baker | he | chubby
teacher | she | patient
gardener | she | patient
fisherman | he | patient
shopkeeper | he | polite
librarian | she | quiet
doctor | she | gentle
nurse | she | gentle
sailor | he | brave
painter | she | cheerful
neighbor | she | cheerful
mailman | he | cheerful
firefighter | he | brave
fairy | she | tiny
wizard | he | wise
queen | she | wise
king | he | wise
knight | he | brave
pirate | he | funny
princess | she | clever
prince | he | brave
clown | he | funny
dancer | she | graceful
tailor | he | patient
carpenter | he | strong
captain | he | brave
shepherd | he | patient
cook | she | cheerful
singer | she | cheerful
pilot | she | brave
"""

# name | preposition | own adjectives | spots to hide, fall or be found in
PLACES = """
park | in | big green sunny busy | bench/under slide/under swing/behind tree/under bush/under fountain/behind
garden | in | big green pretty colorful quiet | bush/under wall/behind shed/behind tree/under gate/behind
forest | in | big dark quiet shady green | tree/under log/behind bush/under rock/behind stump/behind
woods | in | dark quiet shady deep | tree/under log/behind bush/under rock/behind stump/behind
beach | on | sunny sandy wide warm windy | rock/behind umbrella/under towel/under log/behind
farm | on | big busy muddy quiet noisy | barn/behind fence/behind tractor/under cart/under haystack/behind
meadow | in | green sunny wide quiet peaceful | bush/under rock/behind tree/under log/behind
field | in | green sunny wide windy open | haystack/behind fence/behind bush/under tree/under
hill | on | steep windy green high grassy | rock/behind tree/under bush/under stump/behind
lake | by | calm blue deep cool peaceful | rock/behind bench/under log/behind bush/under
river | by | wide cool calm long blue | rock/behind log/behind bush/under bridge/under
pond | by | small quiet round shady cool | rock/behind log/behind bush/under bench/under
playground | on | busy noisy sunny new big | slide/under swing/behind bench/under ladder/behind
yard | in | small big sunny shady | tree/under bush/behind fence/behind bench/under
market | at | busy noisy crowded colorful | table/under cart/under tent/behind barrel/behind
orchard | in | big green shady peaceful | tree/under ladder/behind fence/behind wagon/under
barn | in | big old dark dusty warm | haystack/behind ladder/behind cart/under barrel/behind
library | in | quiet big old calm | table/under shelf/behind chair/under desk/under
school | at | new big noisy busy | desk/under table/under chair/under door/behind
kitchen | in | warm clean cozy small | table/under stove/behind chair/under cupboard/in
attic | in | dark dusty old quiet | trunk/in chair/under shelf/behind box/behind
bakery | at | warm cozy small busy | table/under oven/behind counter/under shelf/behind
castle | in | huge old cold tall grand | throne/behind table/under curtain/behind door/behind
zoo | at | big busy noisy crowded | bench/under fence/behind tree/under fountain/behind
harbor | at | busy windy noisy | barrel/behind rope/under net/under bench/under
jungle | in | hot green wet thick | tree/under bush/behind rock/behind log/under
valley | in | green quiet peaceful wide | rock/behind tree/under bush/under log/behind
square | in | busy wide crowded sunny | fountain/behind bench/under statue/behind tree/under
cave | in | dark cold deep damp | rock/behind log/behind
island | on | small sunny faraway lonely | rock/behind tree/under bush/under boat/under
"""
OUTDOORS = words("park garden forest beach farm meadow field hill lake river pond yard orchard valley")
WILD = words("forest woods meadow field hill lake river pond valley")
FUN = words("park garden forest beach farm meadow field hill lake river pond playground orchard zoo")
TOWN = words("park market library playground square garden")

# Where the hero's home is: said in the opening only ("lived in a quiet village").
REGIONS = {
    "child": dict.fromkeys(("village", "town", "city", "house", "cottage"), "in"),
    "animal": dict.fromkeys(("forest", "meadow", "valley", "jungle"), "in") | {"farm": "on"},
}
REGION_ADJECTIVES = {
    "village": words("little quiet pretty peaceful faraway"),
    "town": words("little quiet busy friendly sunny"),
    "city": words("big busy noisy beautiful"),
    "house": words("small little cozy pretty yellow"),
    "cottage": words("small little cozy pretty old"),
    "forest": words("big green quiet deep"),
    "meadow": words("green sunny wide grassy"),
    "valley": words("green quiet peaceful"),
    "jungle": words("green hot thick"),
    "farm": words("big busy noisy sunny"),
}

TRAITS = words(
    """kind brave shy clever curious silly gentle cheerful friendly helpful playful quiet smart
    polite thoughtful generous adventurous honest lively energetic bold sweet happy bright
    creative"""
)
# Faults a plot may give.
FAULTS = words("greedy selfish lazy proud bossy careless stubborn impatient rude grumpy mean")
GOOD_FRIEND = words("kind helpful patient gentle loyal caring wise calm clever")

# Adjectives that "little" may follow: a kind little girl, but a little brown dog.
OPINIONS = frozenset((*TRAITS, *FAULTS, *GOOD_FRIEND))

FEELINGS = {
    "happy": "happy glad joyful cheerful delighted",
    "proud": "proud happy",
    "excited": "excited happy",
    "relieved": "relieved happy glad thankful grateful",
    "sad": "sad unhappy upset miserable gloomy",
    "lonely": "lonely sad",
    "scared": "scared afraid frightened nervous",
    "worried": "worried nervous anxious uneasy",
    "angry": "angry mad furious cross",
    "sorry": "sorry ashamed guilty",
    "surprised": "surprised amazed shocked astonished",
    "tired": "tired exhausted weary",
    "hungry": "hungry",
    "bored": "bored restless",
    "sick": "sick ill dizzy",
    "jealous": "jealous envious",
    "confused": "confused puzzled",
    "disappointed": "disappointed sad",
    "calm": "calm",
    "impatient": "impatient restless",
}
EXTREME = frozenset(  # not "very" delighted
    words("delighted miserable furious shocked astonished amazed exhausted guilty safe grateful")
)
FEELINGS = {family: words(text) for family, text in FEELINGS.items()}

WEATHER = words("sunny warm bright windy cool nice fine lovely beautiful breezy clear")
NOISES = words("strange loud odd soft weird scary funny mysterious creepy")

# Every verb a story may be asked for.
VERBS = words(
    """admire admit agree apologize argue ask bake balance bang beat beg begin believe bite blame
    blow boast bounce bound bow break breathe bring brush build bump button buy buzz call care
    carry catch change chase check cheer chew chop clap clean climb close collect color come
    comfort complain cook count cover crack crash crawl creep cross crunch cry cuddle dance
    dash decide decorate dig dive do draw dress drift drink drive drop dry dust eat empty
    enjoy explain explore fall fasten feed feel fetch fight fill find finish fish fix flap
    flick flip float flutter fly fold follow forget forgive free freeze gallop gasp gather get
    giggle give glide glue go grab grin grow growl guide hand hang hear help hide hike hit
    hold hop hope hug hum hurry hurt invite iron jog join joke juggle jump keep kick kiss
    kneel knit knock laugh launch lay lead leap learn leave lick lie lift light listen load
    look lose lumber march meet milk miss mix mop move munch nap nibble nod notice offer open
    pack paddle paint pass peek peel pick plant play plod pluck point polish pour practice
    praise pretend promise prowl pull push put race rake reach read refuse remember remind
    rest return ride ring roll row ruin run rush sail save say scamper scare scold scream
    scrub scurry search see serve set sew shake share shine shiver shout shove show shuffle
    shut sigh sing sink sip sit skate ski skip sleep slice slide slip smell smile snatch sneak
    sniff soar solve sort sparkle spell spin splash spot squeak squeeze stack stand stare
    start stay steal step stir stomp stop store stretch stride stroll strum strut stumble suck
    surprise swap sweep swim swing swirl take talk tap taste teach tease tell thank think
    throw tickle tidy tie tip tiptoe toss touch trade travel tremble trick trip trot try
    tumble tune turn twirl understand unlock unpack use visit waddle wait wake walk wander
    warn wash watch water wave wear weep whisper whistle win wind wipe wish wonder work worry
    wrap write yawn yell zip"""
)

# Verbs picked by class: [go:ed] in a telling takes one of these.
VERB_CLASSES = {
    "go": words("walk run skip march hurry rush hike stroll wander dash race jog"),
    "like": words(
        """run jump dance sing draw paint read swim climb dig explore build bake cook hop skip twirl
    hum gallop sew write play help learn laugh travel joke splash slide swing bounce juggle
    pretend"""
    ),
    "act": [
        "sing",
        "dance",
        "juggle",
        "play the drum",
        "whistle",
        "tell jokes",
        "do tricks",
        "read a poem",
        "play a song",
    ],
    "shout": ["shout", "call", "yell", "cry"],
}

# What can be learned, and where.
SKILLS_BY_PLACE: dict[str, tuple[str, ...]] = {
    "lake": ("swim", "dive", "row a boat"),
    "pond": ("skate",),
    "park": ("whistle", "ride a bike", "throw a ball", "catch a ball"),
    "square": ("juggle", "play the drum"),
    "school": ("dance", "sing", "sew", "write", "draw", "count to ten", "spell words"),
    "hill": ("climb", "ski", "fly a kite"),
    "kitchen": ("knit", "cook", "bake"),
    "garden": ("paint",),
    "library": ("read",),
    "meadow": ("hop on one foot",),
    "river": ("fish",),
    "farm": ("ride a horse", "milk a cow"),
    "harbor": ("tie a knot", "sail a boat"),
    "playground": ("stand on one hand", "jump rope"),
    "valley": ("build a fire",),
    "forest": ("balance on a log",),
}
SKILLS = {skill: place for place, skills in SKILLS_BY_PLACE.items() for skill in skills}

GIRLS = words(
    """Lily Mia Anna Emma Zoe Lucy Sara Amy Ella Rose Nina Ruby Maya Ava Chloe Grace Hannah Ivy
    Julia Kate Leah Molly Nora Olivia Penny Rita Sophie Tina Wendy Daisy Ellie Fiona Gina
    Holly Jenny Kim Lola May Poppy Sally Bella Clara Dora Eva Jane Laura Maria Polly Tess Vera
    Alice Betty Cora Mary Susie Jill"""
)
BOYS = words(
    """Tom Tim Ben Max Sam Jack Leo Noah Adam Alex Billy Charlie Danny Eli Finn George Henry Ian
    Jake Kevin Liam Mike Nick Oliver Peter Ryan Scott Theo Will Zack Bob Carl David Eric Frank
    Greg Harry Jim Joe Luke Mark Oscar Paul Roy Simon Ted Toby Anton Bert Felix Hugo Ray Nate
    Omar Owen Gus"""
)
PETS = words(
    """Pip Fluffy Coco Bubbles Ginger Rusty Patch Sunny Pepper Biscuit Nibbles Ziggy Muffin Tiny
    Bingo Dash Fuzzy Hazel Jingle Kiki Loopy Mango Noodle Olive Peanut Pumpkin Rocky Scout
    Waffle Berry Clover Dot Flip Goldie Honey Inky Jasper Moss Puff Roo Snow Tuck Willow"""
)


def table(text: str, group: str) -> dict[str, Noun]:
    """The nouns of a table, by word (an animal's or person's tags come after its name)."""
    nouns = {}
    for line in text.strip().splitlines():
        name, uses, adjectives = (cell.strip() for cell in line.split("|"))
        word = name.split()[0].rstrip("~")
        mass = "~" in name
        shared = (a for a in GROUP_ADJECTIVES[group] if not (mass and a in ("big", "little")))
        pool = dict.fromkeys((*adjectives.split(), *shared))
        nouns[word] = Noun(
            word, group, tuple(u.strip() for u in uses.split(",") if u.strip()), tuple(pool), mass
        )
    return nouns


THINGS = {
    "toy": table(TOYS, "toy"),
    "food": table(FOODS, "food"),
    "clothes": table(CLOTHES, "clothes"),
    "treasure": table(TREASURES, "treasure"),
    "tool": table(TOOLS, "tool"),
    "fragile": table(FRAGILE, "fragile"),
    "plant": table(PLANTS, "plant"),
}
ANIMAL_NOUNS = table(ANIMALS, "animal")
ANIMAL_TAGS: dict[str, frozenset[str]] = {
    line.split()[0]: frozenset(line.split("|")[0].split()[1:]) for line in ANIMALS.strip().splitlines()
}
PEOPLE_NOUNS = table(PEOPLE.replace("| he |", "| |").replace("| she |", "| |"), "person")
PEOPLE_PRONOUNS: dict[str, str] = {
    line.split("|")[0].strip(): line.split("|")[1].strip() for line in PEOPLE.strip().splitlines()
}
SPOT_ADJECTIVES = ("big", "", "")


def place_entry(line: str) -> tuple[str, tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]]:
    """A line of the place table: name, (preposition, adjectives, spots)."""
    name, preposition, adjectives, spots = (cell.strip() for cell in line.split("|"))
    pairs = tuple((word, how) for word, how in (spot.split("/") for spot in spots.split()))
    return name, (preposition, tuple(adjectives.split()), pairs)


PLACE_TABLE = dict(place_entry(line) for line in PLACES.strip().splitlines())

VOCABULARY = {
    "verb": frozenset(VERBS),
    "noun": frozenset(
        (
            *(word for group in THINGS.values() for word in group),
            *ANIMAL_NOUNS,
            *PEOPLE_NOUNS,
            *PLACE_TABLE,
            *(spot for _, _, spots in PLACE_TABLE.values() for spot, _ in spots),
            *REGION_ADJECTIVES,
        )
    ),
    "adjective": frozenset(
        (
            *(a for group in THINGS.values() for noun in group.values() for a in noun.adjectives),
            *(a for noun in (*ANIMAL_NOUNS.values(), *PEOPLE_NOUNS.values()) for a in noun.adjectives),
            *(a for _, adjectives, _ in PLACE_TABLE.values() for a in adjectives),
            *(a for words in (*REGION_ADJECTIVES.values(), *FEELINGS.values()) for a in words),
            *TRAITS,
            *FAULTS,
            *GOOD_FRIEND,
            *WEATHER,
            *NOISES,
        )
    ),
}
