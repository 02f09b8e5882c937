"""Tells stories from a checkpoint; needs nothing but the checkpoint.

    python -m tinyjax.bin.sample --checkpoint=runs/quickstart --prompt="Once upon a time"
    python -m tinyjax.bin.sample --checkpoint=runs/instruct --words=quit,oak,gloomy --features=Dialogue

The checkpoint is a run folder (its newest step is taken), its checkpoints folder, or one step.
Instructions (words, features, a sentence, a summary) are for models that were trained on them.
"""

import sys
from collections.abc import Sequence

from absl import flags

from tinyjax import instruct
from tinyjax.bin import app, backend
from tinyjax.errors import UserError, nearest
from tinyjax.sample.engine import generate, load_model
from tinyjax.sample.options import Options, check

_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Run folder or checkpoint, local or gs://.")
_PROMPT = flags.DEFINE_multi_string(
    "prompt", [""], "Beginning of the story; may be repeated. Without it a new story is told."
)
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
_TEMPERATURE = flags.DEFINE_float(
    "temperature", Options().temperature, "Below 1 plainer, above 1 wilder; 0: the likeliest token."
)
_TOP_K = flags.DEFINE_integer("top_k", Options().top_k, "Only the k likeliest tokens; 0: all.")
_TOP_P = flags.DEFINE_float(
    "top_p", Options().top_p, "Only the likeliest tokens that together have this probability."
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "The same seed and prompt give the same stories.", lower_bound=0, upper_bound=2**32 - 1
)


def run(argv: Sequence[str]) -> None:
    """Prints the stories to standard output."""
    del argv
    if not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give a run folder, such as runs/quickstart")
    options = check(Options(_TEMPERATURE.value, _TOP_K.value, _TOP_P.value))
    instructions = instruct.prompt(_fields())
    backend.start()
    model = load_model(_CHECKPOINT.value, ema=_EMA.value)
    if instructions and not model.instruct:
        _warn("this model wasn't trained on instructions and won't follow them; prepare data with --instruct")
    completions = generate(
        model,
        [instructions + beginning for beginning in _PROMPT.value],
        num_samples=_NUM_SAMPLES.value,
        max_tokens=_MAX_TOKENS.value,
        seed=_SEED.value,
        options=options,
    )
    for number, completion in enumerate(completions, 1):
        if len(completions) > 1:
            print(f"--- story {number} of {len(completions)}")
        story = completion.prompt.removeprefix(instructions) + completion.text
        print(story + ("" if completion.finish == "end" else " [...]"))


def _fields() -> instruct.Fields:
    """Returns the instructions that the flags give, always in the same order."""
    given: instruct.Fields = {
        "words": tuple(filter(None, _WORDS.value)),
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
