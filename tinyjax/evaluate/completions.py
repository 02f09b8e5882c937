"""The stories that a model is judged by: how it goes on with openings, kept in a file."""

from collections.abc import Callable, Iterator, Sequence

from etils import epath
from jax.sharding import Mesh

from tinyjax.records import Record
from tinyjax.sample.engine import Engine, bucket
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import SLOTS, Completion, make_requests, tell_whole
from tinyjax.sample.story_file import Key, open_story_file, to_record


def complete(
    model: Model,
    checkpoint: str,
    openings: Sequence[str],
    path: epath.PathLike,
    *,
    num_samples: int,
    seed: int = 0,
    options: Options | None = None,
    mesh: Mesh | None = None,
    told: Callable[[int, int], None] = lambda done, whole: None,
) -> list[Record]:
    """Returns completions of openings, as `sample --output` writes them, those of an opening together.

    Args:
      model: from `load_model`.
      checkpoint: the model's name in the file.
      openings: texts to go on with, each once.
      path: of the file, local or on gs://; what it holds already isn't told again.
      num_samples: completions of each opening.
      seed: of all draws.
      options: how tokens are chosen.
      mesh: devices; the first one of this process by default.
      told: is told how many there are, and how many there will be.
    """
    options = options or Options(temperature=1.0)
    keys = [(opening, sample) for opening in openings for sample in range(num_samples)]
    with open_story_file(path, checkpoint, model.step, seed, options) as records:
        left = [key for key in keys if key not in records]
        for done, (key, story) in enumerate(
            _tell(model, left, seed, options, mesh), len(keys) - len(left) + 1
        ):
            records.add(to_record(key, story))
            told(done, len(keys))
        return [record for key in keys if (record := records.get(*key))]


def _tell(
    model: Model, keys: Sequence[Key], seed: int, options: Options, mesh: Mesh | None
) -> Iterator[tuple[Key, Completion]]:
    """Yields the stories with the given openings and samples, as they end."""
    if not keys:
        return
    requests = {
        number: (opening, make_requests(model, opening, sample + 1, seed=seed, options=options)[sample])
        for number, (opening, sample) in enumerate(keys)
    }
    longest = max(len(request.prompt) for _, request in requests.values())
    length = bucket(longest + (options.max_tokens or model.config.context_length))
    engine = Engine(model, min(SLOTS, len(keys)), length, mesh)
    for number, story in tell_whole(engine, model.tokenizer, requests):
        yield keys[number], story
