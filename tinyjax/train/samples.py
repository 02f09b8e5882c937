"""Stories told on the way, always from the same beginnings, so that one can read how a model learns."""

from collections.abc import Callable, Iterator

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.errors import UserError
from tinyjax.train.report import Report
from tinyjax.train.run import Progress, Run

# (run, step, parameters on one device, prompt) -> how the story goes on: another job's part, so it is given.
Continue = Callable[[Run, int, dict, str], str]
Watch = Callable[[Iterator[str]], Iterator[str]]


def prompts_of(run: Run) -> list[str]:
    """Returns the beginnings in `config.train.sample_prompts`; UserError for one that fills the context."""
    written, context = run.config.train.sample_prompts, run.config.model.context_length
    prompts = written.split("|") if written else []
    for prompt in prompts:
        tokens = 1 + len(run.plan.mixture.tokenizer.encode(prompt))
        if tokens >= context:
            raise UserError(
                f"config.train.sample_prompts: the one that begins {prompt[:40]!r} has {tokens} tokens but "
                f"the model's context is {context}; shorten it to leave room for a story"
            )
    return prompts


def make_tell(
    run: Run, report: Report, go_on: Continue | None, watch: Watch = iter
) -> Callable[[Progress], None]:
    """Returns the function that tells a story from each prompt, which it takes through `watch`.

    All processes tell the same ones, each on a device of its own, so that all can be stopped in between.
    """
    prompts = prompts_of(run) if go_on else []

    def tell(progress: Progress) -> None:
        if go_on is None or not prompts:
            return
        params = on_one_device(run.mesh, progress.state.best_params)
        for number, prompt in enumerate(watch(iter(prompts))):
            text = prompt + go_on(run, progress.step, params, prompt)
            report.story(progress.step, number, prompt, text)
            if not number:
                report.say(f"step {progress.step}: {' '.join(text.split())}")

    return tell


def on_one_device(mesh: Mesh, params: dict) -> dict:
    """Returns parameters, sharded over `mesh`, whole on one of this process's devices."""
    whole = jax.jit(lambda params: params, out_shardings=NamedSharding(mesh, PartitionSpec()))(params)
    return jax.tree.map(lambda x: x.addressable_data(0), whole)
