"""Whether stories are as they were asked to be, as far as that can be seen without a judge.

Checked by rule are words (in any of their forms), a sentence (to the letter) and dialogue. Stories are asked
for with every combination of kinds of instruction, also with those that the model was never trained on
(Eldan & Li 2023, section 4.3: words with a summary).
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from etils import epath
from jax.sharding import Mesh

from tinyjax import instruct
from tinyjax.evaluate.completions import complete
from tinyjax.evaluate.estimates import Estimate, mean, share
from tinyjax.instruct import Fields
from tinyjax.records import Record as Told
from tinyjax.sample.model import Model
from tinyjax.stories import world
from tinyjax.stories.world import grammar
from tinyjax.textio import Record

# What `Features:` asks for; of the others only a judge can tell.
DIALOGUE = "Dialogue"
_SEED = 7_305_760  # a world that `prepare` doesn't tell of unless it is asked for it
# Summaries alone leave nothing to check.
COMBINATIONS = tuple(
    kinds
    for size in range(1, len(instruct.KINDS) + 1)
    for kinds in itertools.combinations(instruct.KINDS, size)
    if kinds != ("summary",)
)

_SPEECH = re.compile(r"[\"“]([^\"“”\n]*\w[^\"“”\n]*[.,!?…—-])[\"”]")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
# Forms that no rule gives, besides the past tenses that the story world knows.
_OTHER_FORMS = {
    base: tuple(others.split(","))
    for base, _, others in (
        pair.partition("/")
        for pair in grammar.words("""
        be/am,is,are,was,were,been,being have/has do/does,done go/goes,gone eat/eaten give/given take/taken
        see/seen fall/fallen break/broken choose/chosen drive/driven fly/flown,flies forget/forgotten
        freeze/frozen get/gotten grow/grown hide/hidden know/known ride/ridden rise/risen shake/shaken
        show/shown speak/spoken steal/stolen swim/swum throw/thrown wake/woken wear/worn write/written
        begin/begun drink/drunk ring/rung run/running sing/sung sink/sunk bite/bitten blow/blown draw/drawn
        tear/torn good/better,best bad/worse,worst child/children man/men woman/women foot/feet tooth/teeth
        goose/geese mouse/mice leaf/leaves wolf/wolves knife/knives shelf/shelves loaf/loaves wife/wives
        scarf/scarves thief/thieves elf/elves calf/calves half/halves person/people ox/oxen
        """)
    )
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A story that is to be told."""

    kinds: tuple[str, ...]  # of instructions, in the order of `instruct.KINDS`
    fields: Fields

    @property
    def prompt(self) -> str:
        """What stands before the story."""
        return instruct.prompt(self.fields)


def known_records(records: Iterable[Record], count: int) -> list[Record]:
    """Returns the first records that say all that a story can be asked for, or else stories of the world."""
    known = (record for record in records if record.words and record.summary and _sentence(record))
    found = list(itertools.islice(known, count))
    return found if len(found) == count else _of_the_world(count)


def _of_the_world(count: int) -> list[Record]:
    return [
        Record(story.text, words=story.words, summary=story.summary)
        for story in world.stories(count, seed=_SEED)
    ]


def _sentence(record: Record) -> str:
    return record.sentence or instruct.pick_sentence(record.text, _SEED)


@dataclasses.dataclass(frozen=True)
class Obeyed:
    """What a story did of what it was asked; None for what it wasn't asked, but for dialogue."""

    asked: Asked
    words: tuple[bool, ...] | None
    sentence: bool | None
    dialogue: bool

    @property
    def wants_dialogue(self) -> bool:
        """Whether it was to have dialogue."""
        return "features" in self.asked.kinds


def tell(
    model: Model,
    checkpoint: str,
    records: Sequence[Record],
    path: epath.PathLike,
    *,
    seed: int = 0,
    mesh: Mesh | None = None,
    told: Callable[[], None] = lambda: None,
) -> list[Obeyed]:
    """Has stories told with each combination of instructions, and looks at what came of them.

    Args:
      model: from `load_model`.
      checkpoint: the model's name in the file.
      records: of stories; as many are told with each combination.
      path: of the file, local or on gs://; what it holds already isn't told again.
      seed: of all draws.
      mesh: devices; the first one of this process by default.
      told: is called at each story.
    """
    found = []
    for kinds in COMBINATIONS:
        asked = {one.prompt: one for one in _requests(model, records, kinds)}
        stories = complete(
            model,
            checkpoint,
            list(asked),
            path,
            # "Features: Dialogue" is the same of all records.
            num_samples=len(records) // max(len(asked), 1),
            seed=seed,
            mesh=mesh,
            told=lambda done, whole: told(),
        )
        found += [check(asked[story["prompt"]], story) for story in stories]
    return found


def _requests(model: Model, records: Sequence[Record], kinds: tuple[str, ...]) -> Iterator[Asked]:
    """Yields what is asked for of each record, where it leaves half of the model's context to the story."""
    for record in records:
        asked = Asked(kinds, _fields(record, kinds))
        if len(model.tokenizer.encode(asked.prompt)) < model.config.context_length // 2:
            yield asked


def _fields(record: Record, kinds: tuple[str, ...]) -> Fields:
    known: Fields = {
        "words": record.words,
        "features": (DIALOGUE,),
        "sentence": _sentence(record),
        "summary": record.summary,
    }
    return {kind: known[kind] for kind in kinds}


@dataclasses.dataclass(frozen=True)
class Summary:
    """How often instructions are obeyed, by what was asked for; see `shares`."""

    stories: int
    hold_out: str  # kinds that never came together in training, as in words+summary; empty: none is known
    all: dict[str, Estimate]
    trained: dict[str, Estimate]
    held_out: dict[str, Estimate]  # with all of those kinds
    by_combination: dict[str, dict[str, Estimate]]


def check(asked: Asked, told: Told) -> Obeyed:
    """Returns what a story did of what it was asked.

    Args:
      asked: what it was asked.
      told: the record of the story, which begins with its prompt.
    """
    story = told["story"].removeprefix(asked.prompt)
    words, sentence = asked.fields.get("words"), asked.fields.get("sentence")
    return Obeyed(
        asked,
        tuple(uses(word, story) for word in words) if words else None,
        holds(str(sentence), story) if sentence else None,
        has_dialogue(story),
    )


def uses(word: str, text: str) -> bool:
    """Returns whether a text uses a word in any of its forms: run, runs, ran, running."""
    found = {match.lower().removesuffix("'s").removesuffix("’s") for match in _WORD.findall(text)}
    return not found.isdisjoint(forms(word.lower()))


def forms(word: str) -> set[str]:
    """Returns a word with the endings of verbs, nouns and adjectives, and its irregular forms."""
    regular = {word, f"{word}s", _ing(word), *(_stem(word) + end for end in ("es", "ed", "er", "est"))}
    return regular | {grammar.IRREGULAR.get(word, word), *_OTHER_FORMS.get(word, ())}


def _stem(word: str) -> str:
    """Returns what is put before -ed, -er and -est: hop-p, bak, cri."""
    if word.endswith("e"):
        return word[:-1]
    return re.sub(r"(?<=[^aeiou])y$", "i", _doubled(word))


def _ing(word: str) -> str:
    if word.endswith("ie"):
        return f"{word[:-2]}ying"
    return (re.sub(r"(?<=[^eoy])e$", "", word) if word.endswith("e") else _doubled(word)) + "ing"


def _doubled(word: str) -> str:
    """Returns a word of one syllable with its last letter twice where that is so before endings: hopp-ed."""
    return word + word[-1] if re.fullmatch(r"(?:[^aeiou]|qu)*[aeiou][^aeiouwxy]", word) else word


def holds(sentence: str, text: str) -> bool:
    """Returns whether a sentence stands in a text to the letter, wherever its lines break."""
    return " ".join(sentence.split()) in " ".join(text.split())


def has_dialogue(text: str) -> bool:
    """Returns whether someone speaks: quotes around words that end as speech does, in a mark or a comma.

    Names and words that are only quoted, as in the "big" tree, don't count.
    """
    return _SPEECH.search(text) is not None


def summarise(stories: Sequence[Obeyed], hold_out: frozenset[str]) -> Summary:
    """Returns how often instructions are obeyed.

    Args:
      stories: all of them.
      hold_out: kinds that never came together in training; empty: none.
    """
    held_out = [story for story in stories if hold_out and hold_out <= set(story.asked.kinds)]
    trained = [story for story in stories if not hold_out or not hold_out <= set(story.asked.kinds)]
    combinations = dict.fromkeys(story.asked.kinds for story in stories)
    return Summary(
        len(stories),
        "+".join(kind for kind in instruct.KINDS if kind in hold_out),
        shares(stories),
        shares(trained),
        shares(held_out),
        {
            "+".join(kinds): shares([story for story in stories if story.asked.kinds == kinds])
            for kinds in combinations
        },
    )


def shares(stories: Sequence[Obeyed]) -> dict[str, Estimate]:
    """Returns the shares of words used, of stories with all of them, with the sentence and with dialogue.

    Dialogue is counted apart where nobody asked for it: that is what asking is to be compared with. What was
    never asked is left out.
    """
    asked = [story.words for story in stories if story.words]
    found = {"words": _share_of_words(asked)} if asked else {}
    outcomes = {
        "all_words": (all(story.words) for story in stories if story.words is not None),
        "sentence": (story.sentence for story in stories if story.sentence is not None),
        "dialogue": (story.dialogue for story in stories if story.wants_dialogue),
        "dialogue_unasked": (story.dialogue for story in stories if not story.wants_dialogue),
    }
    return found | dict(_shares(outcomes))


def _share_of_words(stories: Sequence[tuple[bool, ...]]) -> Estimate:
    """Returns the share of words used, of which those of a story are alike."""
    used = list(itertools.chain.from_iterable(stories))
    if len(set(used)) == 1:  # whose bootstrapped interval would be a point
        return share(used[0] * len(stories), len(stories))
    return mean(used, [number for number, of_story in enumerate(stories) for _ in of_story])


def _shares(outcomes: Mapping[str, Iterable[bool]]) -> Iterator[tuple[str, Estimate]]:
    for name, hits in outcomes.items():
        if hits := list(hits):
            yield name, share(sum(hits), len(hits))
