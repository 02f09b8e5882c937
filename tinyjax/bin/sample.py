"""Tells stories from a checkpoint; needs nothing but the checkpoint.

    python -m tinyjax.bin.sample --checkpoint=runs/quickstart --prompt="Once upon a time"
    python -m tinyjax.bin.sample --checkpoint=runs/quickstart --interactive
    python -m tinyjax.bin.sample --checkpoint=runs/quickstart \
        --prompts=openings.txt --num_samples=10 --output=stories.jsonl
    python -m tinyjax.bin.sample --checkpoint=runs/instruct --words=quit,oak,gloomy --features=Dialogue
    python -m tinyjax.bin.sample --checkpoint=runs/large --draft=runs/small

The checkpoint is a run folder (its newest step is taken), its checkpoints folder, or one step; or a file or
folder of any format that `import` takes, such as Hugging Face's or llama.cpp's.
Instructions (words, features, a sentence, a summary) are for models that were trained on them; a story that
lacks one of the words is told again, up to --tries times, by any model.
Text comes on standard output as it is told, all else on standard error. With --output, an interrupted run
goes on when the same command is given again.
With --draft, a smaller model of the same tokenizer proposes tokens, several of which the larger one reads at
once. The stories are no less its own; whether they come faster depends on both models and the machine.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence

from absl import flags
from etils import epath
from jax.sharding import Mesh

from tinyjax import instruct
from tinyjax.bin import app, backend
from tinyjax.bin.interactive import converse
from tinyjax.bin.loading import load
from tinyjax.bin.progress import show_count
from tinyjax.checkpoint.preflight import probe
from tinyjax.config import MeshConfig
from tinyjax.errors import UserError, nearest
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.engine import Engine, Request
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options, check
from tinyjax.sample.speculative import DRAFT_TOKENS, SpeculativeEngine
from tinyjax.sample.stories import SLOTS, Completion, make_requests, missing, tell_one, tell_whole
from tinyjax.sample.story_file import Key, open_story_file, to_record

_STEPS = 4  # tokens between two pieces of text on the screen

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "Run folder, checkpoint or model of others, local or gs://."
)
_PROMPT = flags.DEFINE_multi_string(
    "prompt", [""], "Beginning of the story; may be repeated. Without it a new story is told."
)
_PROMPTS = flags.DEFINE_string(
    "prompts",
    "",
    "File of prompts, local or gs://, one a line, or .jsonl with a field prompt; - is standard input.",
)
_INTERACTIVE = flags.DEFINE_bool("interactive", False, "Type prompts, and read the stories as they come.")
_OUTPUT = flags.DEFINE_string(
    "output", "", "Write the stories to this .jsonl file, local or gs://, instead of printing them."
)
_TRIES = flags.DEFINE_integer(
    "tries", 5, "How often a story that lacks one of --words is told at most.", lower_bound=1
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize", "none", ["none", "int8"], "int8: round weights, by channel, to a quarter of their size."
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "bfloat16"],
    "Of computing; default: the checkpoint's. bfloat16 is faster where the processor has it.",
)
_DRAFT = flags.DEFINE_string(
    "draft", "", "A smaller model of the same tokenizer, which proposes tokens to this one."
)
_DRAFT_TOKENS = flags.DEFINE_integer(
    "draft_tokens", DRAFT_TOKENS, "How many tokens --draft proposes at a time.", lower_bound=1
)
_SLOTS = flags.DEFINE_integer("slots", SLOTS, "Stories told at a time, at most.", lower_bound=1)
_WORDS = flags.DEFINE_list("words", [], "Words the story is to use, as in quit,oak,gloomy.")
_FEATURES = flags.DEFINE_list(
    "features", [], f"What the story is to have, of: {', '.join(instruct.FEATURES)}."
)
_SENTENCE = flags.DEFINE_string("sentence", "", "A sentence that is to stand in the story.")
_SUMMARY = flags.DEFINE_string("summary", "", "What is to happen in the story, in a line or two.")
_EMA = flags.DEFINE_bool(
    "ema", True, "Use the moving average of the parameters, where the checkpoint has one."
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Stories for each prompt.", lower_bound=1)
_MAX_TOKENS = flags.DEFINE_integer(
    "max_tokens", 0, "At most so many new tokens; 0: as the model's context allows.", lower_bound=0
)
_MIN_TOKENS = flags.DEFINE_integer(
    "min_tokens", 0, "The story doesn't end before so many new tokens.", lower_bound=0
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", Options().temperature, "Below 1 plainer, above 1 wilder; 0: the likeliest token."
)
_TOP_K = flags.DEFINE_integer("top_k", Options().top_k, "Only the k likeliest tokens; 0: all.")
_TOP_P = flags.DEFINE_float(
    "top_p", Options().top_p, "Only the likeliest tokens that together have this probability."
)
_MIN_P = flags.DEFINE_float(
    "min_p", Options().min_p, "Only tokens with this share of the likeliest one's probability; 0: all."
)
_REPETITION_PENALTY = flags.DEFINE_float(
    "repetition_penalty", 1.0, "Above 1 makes tokens that occurred, in the prompt too, less likely."
)
_FREQUENCY_PENALTY = flags.DEFINE_float(
    "frequency_penalty", 0.0, "Taken off a token's logit for each time that it was drawn."
)
_PRESENCE_PENALTY = flags.DEFINE_float(
    "presence_penalty", 0.0, "Taken off the logits of tokens that were drawn."
)
_LOGIT_BIAS = flags.DEFINE_list("logit_bias", [], "ID:NUMBER, ...: added to the logits of these token ids.")
_FORBIDDEN = flags.DEFINE_list("forbidden", [], "Words that the story may not use, as in dog,sad.")
_STOP = flags.DEFINE_multi_string("stop", [], "Text that the story ends before; may be repeated.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "The same seed and prompt give the same stories.", lower_bound=0, upper_bound=2**32 - 1
)


def run(argv: Sequence[str]) -> None:
    """Prints the stories to standard output, or writes them to a file."""
    del argv
    app.end_on_sigterm()
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give a run folder, such as runs/quickstart")
    options = check(_options())
    if _OUTPUT.value:
        probe(epath.Path(_OUTPUT.value).parent)
    instructions, prompts = instruct.prompt(_fields()), _prompts()
    slots = min(_SLOTS.value, len(prompts) * _NUM_SAMPLES.value)
    backend.start(slots)
    model = _load(_CHECKPOINT.value)
    if instructions and not model.instruct:
        _warn("this model wasn't trained on instructions and won't follow them; prepare data with --instruct")
    if _INTERACTIVE.value:
        engine = _engine(model, 1, model.config.context_length, None)
        converse(model, engine, instructions, options, _SEED.value)
        _tell_statistics(engine)
        return
    requests = {
        (prompt, sample): request
        for prompt in prompts
        for sample, request in enumerate(
            make_requests(model, instructions + prompt, _NUM_SAMPLES.value, seed=_SEED.value, options=options)
        )
    }
    if _OUTPUT.value:
        _write(model, requests, options, slots)
    elif len(requests) == 1 and not _WORDS.value:
        _stream(model, *requests.popitem())
    else:
        _print(model, requests, slots)


def _stream(model: Model, key: Key, request: Request) -> None:
    """Prints a story as it comes."""
    prompt, _ = key
    print(prompt, end="", flush=True)
    finish = ""
    engine = _engine_for(model, [request], 1)
    for piece in tell_one(engine, model.tokenizer, request, _STEPS):
        print(piece.text, end="", flush=True)
        finish = piece.finish
    print(_mark(finish), flush=True)
    _tell_statistics(engine)


def _print(model: Model, requests: dict[Key, Request], slots: int) -> None:
    """Prints stories in the order of their prompts, each as soon as those before it have ended."""
    told: dict[Key, Completion] = {}
    waiting = list(requests)
    for key, story in _tell(model, requests, slots):
        told[key] = story
        while waiting and waiting[0] in told:
            key = waiting.pop(0)
            if len(requests) > 1:
                print(f"--- story {len(requests) - len(waiting)} of {len(requests)}")
            story = told.pop(key)
            print(key[0] + story.text + _mark(story.finish), flush=True)
            if lacking := missing(_words(), key[0] + story.text):
                _warn(f"in {_TRIES.value} tries, no story used {', '.join(lacking)}")


def _write(model: Model, requests: dict[Key, Request], options: Options, slots: int) -> None:
    """Writes the stories to a file as they end, but for those that it has."""
    file = open_story_file(
        _OUTPUT.value,
        _CHECKPOINT.value,
        model.step,
        _SEED.value,
        options,
        draft=_DRAFT.value or None,
        draft_tokens=_DRAFT_TOKENS.value if _DRAFT.value else None,
        quantize="int8" if _int8() else None,
        dtype=_DTYPE.value,
    )
    with file as records:
        left = {key: request for key, request in requests.items() if key not in records}
        if len(left) < len(requests):
            print(f"{_OUTPUT.value} has {len(requests) - len(left):,} of them", file=sys.stderr)
        tokens, started = 0, time.monotonic()
        with show_count("stories", len(left)) as advance:
            for key, story in _tell(model, left, slots):
                records.add(to_record(key, story, _words()))
                tokens += len(story.tokens)
                advance(f"{tokens / (time.monotonic() - started):,.0f} tokens/s")
    print(
        f"{len(left):,} stories, {tokens:,} tokens in {time.monotonic() - started:.1f} s: {_OUTPUT.value}",
        file=sys.stderr,
    )


def _tell(model: Model, requests: dict[Key, Request], slots: int) -> Iterator[tuple[Key, Completion]]:
    """Yields the stories as they end."""
    keys = list(requests)
    if not keys:
        return
    numbered = {number: (key[0], requests[key]) for number, key in enumerate(keys)}
    engine = _engine_for(model, list(requests.values()), slots)
    for number, story in tell_whole(engine, model.tokenizer, numbered, _words(), _TRIES.value):
        yield keys[number], story
    _tell_statistics(engine)


def _engine_for(model: Model, requests: Sequence[Request], slots: int) -> Engine:
    longest = max(len(request.prompt) for request in requests)
    length = longest + (_MAX_TOKENS.value or model.config.context_length)
    return _engine(model, slots, length, make_mesh(MeshConfig()))


def _engine(model: Model, slots: int, length: int, mesh: Mesh | None) -> Engine:
    """Returns what tells stories; UserError where --draft doesn't fit the model."""
    if not _DRAFT.value:
        return Engine(model, slots, length, mesh, int8=_int8())
    return SpeculativeEngine(
        model, _load(_DRAFT.value), _DRAFT_TOKENS.value, slots, length, mesh, int8=_int8()
    )


def _load(checkpoint: str) -> Model:
    """Reads a model, to be computed in --dtype."""
    model = load(checkpoint, ema=_EMA.value)
    dtype = _DTYPE.value or model.config.compute_dtype
    return dataclasses.replace(model, config=dataclasses.replace(model.config, compute_dtype=dtype).freeze())


def _int8() -> bool:
    return _QUANTIZE.value == "int8"


def _tell_statistics(engine: Engine) -> None:
    """Says how the draft of an engine did, if it has one."""
    if isinstance(engine, SpeculativeEngine):
        told = engine.statistics
        print(
            f"{told.acceptance:.1%} of the {told.proposed:,} tokens that the draft proposed were accepted: "
            f"{told.tokens_per_step:.2f} tokens for each step of the model",
            file=sys.stderr,
        )


def _mark(finish: str) -> str:
    return " [...]" if finish == "length" else ""


def _words() -> list[str]:
    return [word.strip() for word in _WORDS.value if word.strip()]


def _prompts() -> list[str]:
    """Returns the prompts of --prompt and of the file, each once."""
    if not _PROMPTS.value:
        return list(dict.fromkeys(_PROMPT.value))
    lines = _lines(_PROMPTS.value)
    if not lines:
        raise UserError(f"there is no prompt in '{_PROMPTS.value}'; write one a line")
    return list(dict.fromkeys([*filter(None, _PROMPT.value), *lines]))


def _lines(path: str) -> list[str]:
    lines = (
        [line.rstrip("\n") for line in sys.stdin]
        if path == "-"
        else epath.Path(path).read_text().splitlines()
    )
    if not path.endswith(".jsonl"):
        return [line for line in lines if line.strip()]
    try:
        return [json.loads(line)["prompt"] for line in lines if line.strip()]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"a line of '{path}' is no JSON object with a field prompt; mend it") from None


def _options() -> Options:
    return Options(
        repetition_penalty=_REPETITION_PENALTY.value,
        frequency_penalty=_FREQUENCY_PENALTY.value,
        presence_penalty=_PRESENCE_PENALTY.value,
        logit_bias=tuple(map(_bias, _LOGIT_BIAS.value)),
        forbidden=tuple(_FORBIDDEN.value),
        min_tokens=_MIN_TOKENS.value,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        min_p=_MIN_P.value,
        max_tokens=_MAX_TOKENS.value,
        stop=tuple(_STOP.value),
    )


def _bias(text: str) -> tuple[int, float]:
    token, _, bias = text.partition(":")
    try:
        return int(token), float(bias)
    except ValueError:
        raise UserError(f"--logit_bias: '{text}' is not ID:NUMBER, as in 17:-5") from None


def _fields() -> instruct.Fields:
    """Returns the instructions that the flags give, always in the same order."""
    given: instruct.Fields = {
        "words": tuple(_words()),
        "features": tuple(filter(None, _FEATURES.value)),
        "sentence": _SENTENCE.value.strip(),
        "summary": _SUMMARY.value.strip(),
    }
    known = ", ".join(instruct.FEATURES)
    for name in given["features"]:
        if name not in instruct.FEATURES:
            meant = nearest(name, instruct.FEATURES)
            _warn(f"--features: models may not know '{name}'{meant}; known are {known}")
    return {kind: value for kind, value in given.items() if value}


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
