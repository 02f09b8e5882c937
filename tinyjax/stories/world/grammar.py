"""English word forms: past tense, -ing form, indefinite article, capitals and lists."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text: how the tables of words are written down."""
    return tuple(text.split())


IRREGULAR = {
    base: past_form
    for base, _, past_form in (
        pair.partition("/")
        for pair in words("""
    be/was beat/beat become/became begin/began bend/bent bite/bit bleed/bled blow/blew
    break/broke bring/brought build/built burst/burst burn/burned buy/bought catch/caught
    choose/chose cling/clung come/came creep/crept cut/cut dig/dug do/did draw/drew
    dream/dreamed drink/drank drive/drove eat/ate fall/fell feed/fed feel/felt fight/fought
    find/found fly/flew forget/forgot forgive/forgave freeze/froze get/got give/gave go/went
    grow/grew hang/hung have/had hear/heard hide/hid hit/hit hold/held hurt/hurt keep/kept
    lay/laid kneel/knelt know/knew lead/led leap/leapt leave/left lend/lent let/let lie/lay
    light/lit lose/lost make/made mean/meant meet/met pay/paid put/put read/read ride/rode
    ring/rang rise/rose run/ran say/said see/saw sell/sold send/sent set/set sew/sewed
    shake/shook shine/shone show/showed shut/shut sing/sang sink/sank sit/sat sleep/slept
    slide/slid speak/spoke spend/spent spin/spun split/split spread/spread spring/sprang
    stand/stood steal/stole stick/stuck sting/stung stride/strode sweep/swept swim/swam
    swing/swung take/took teach/taught tear/tore tell/told think/thought throw/threw
    understand/understood wake/woke wear/wore weep/wept win/won wind/wound write/wrote
    """)
    )
}
DOUBLING = frozenset(
    words(
        """beg chat clap dig drag drip drop fan flap grab grin hop hug hum jog knit let mop nap nod
    pat plan pop put rub run set shop shrug shut sip sit skip slip snap spin split spot stir
    stop strum swap swim tap trim trip trot tug tag wag wrap zip hit cut get win forget zigzag
    scrub step pet admit begin plod tip chop drum flip rip sled strut lap swap"""
    )
)
AN_BEFORE = ("a", "e", "i", "o", "u", "hour", "honest")
NOT_AN_BEFORE = ("uni", "use", "one", "eu")


def past(verb: str) -> str:
    """The past tense of a base form: run -> ran, hop -> hopped."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    if verb in DOUBLING:
        return verb + verb[-1] + "ed"
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


def ing(verb: str) -> str:
    """The -ing form of a base form: run -> running, make -> making."""
    if verb in DOUBLING:
        return verb + verb[-1] + "ing"
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe")) and verb != "be":
        return verb[:-1] + "ing"
    return verb + "ing"


def third(verb: str) -> str:
    """The third person singular of a base form: run -> runs, catch -> catches."""
    if verb in ("be", "have"):
        return {"be": "is", "have": "has"}[verb]
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def forms(verb: str) -> tuple[str, str, str, str]:
    """Every form the stories use: base, past, -ing, third person."""
    return verb, past(verb), ing(verb), third(verb)


def phrase(verb_phrase: str, form: str) -> str:
    """`verb_phrase` ("bang on") with its verb in `form`: base, past, ing or third."""
    verb, _, rest = verb_phrase.partition(" ")
    inflected = {"base": verb, "past": past(verb), "ing": ing(verb), "third": third(verb)}[form]
    return f"{inflected} {rest}" if rest else inflected


def a(words: str) -> str:
    """`words` after the right indefinite article: an apple, a unicorn."""
    an = words.startswith(AN_BEFORE) and not words.startswith(NOT_AN_BEFORE)
    return ("an " if an else "a ") + words


def capital(text: str) -> str:
    """`text` with its first letter as a capital."""
    return text[:1].upper() + text[1:]
