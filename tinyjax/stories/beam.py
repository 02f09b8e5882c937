"""Jobs done by Apache Beam, on a local runner or on Dataflow, Flink, Spark (extra `beam`)."""

import contextlib
import functools
import pickle
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from etils import epath

from tinyjax.errors import UserError
from tinyjax.workers import Mapper


def parse_options(text: str) -> Any:
    """Returns Beam's PipelineOptions of `runner=DirectRunner,direct_num_workers=2` and the like."""
    beam = _beam()
    return beam.options.pipeline_options.PipelineOptions([f"--{option}" for option in text.split(",")])


@contextlib.contextmanager
def beam_workers(options: Any, runner: Any = None) -> Generator[Mapper]:
    """Yields a mapper that runs a pipeline for each call; results pass through Beam's temp_location."""
    beam = _beam()
    cloud = options.view_as(beam.options.pipeline_options.GoogleCloudOptions)
    with tempfile.TemporaryDirectory() as local:
        folder = epath.Path(cloud.temp_location or local) / f"tinyjax-{uuid.uuid4().hex[:8]}"

        def map_jobs(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
            results = folder / uuid.uuid4().hex[:8]
            results.mkdir(parents=True)
            with _pipeline(beam, runner, options) as pipeline:
                numbered = pipeline | beam.Create(list(enumerate(jobs))) | beam.Reshuffle()
                numbered | beam.Map(functools.partial(_do, function, str(results)))
            for number in range(len(jobs)):
                outcome = pickle.loads((results / str(number)).read_bytes())
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome

        try:
            yield map_jobs
        finally:
            folder.rmtree(missing_ok=True)


def _pipeline(beam: Any, runner: Any, options: Any) -> Any:
    try:
        return beam.Pipeline(runner=runner, options=options)
    except ValueError as error:
        raise UserError(f"Apache Beam can't work with these options: {error}; mend --beam") from None


def _do(function: Callable[[Any], Any], results: str, numbered: tuple[int, Any]) -> None:
    """Writes what the function makes of a job; errors a user can mend too, for trying again won't."""
    number, job = numbered
    try:
        outcome = function(job)
    except (UserError, OSError) as error:
        outcome = error
    (epath.Path(results) / str(number)).write_bytes(pickle.dumps(outcome))


def _beam() -> Any:
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError:
        raise UserError("Apache Beam is not installed; install it with pip install 'tinyjax[beam]'") from None
    return apache_beam
