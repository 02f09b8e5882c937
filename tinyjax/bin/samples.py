"""How training tells stories on the way: by the sampling engine, with the parameters it has in memory."""

from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate
from tinyjax.train.run import Run


def go_on(run: Run, step: int, params: dict, prompt: str) -> str:
    """Returns how a story goes on; the same for the same seed, prompt and parameters."""
    mixture, train = run.plan.mixture, run.config.train
    model = Model(run.config.model, params, mixture.tokenizer, step, mixture.instruct)
    (completion,) = generate(
        model, [prompt], seed=train.seed, options=Options(max_tokens=train.sample_tokens)
    )
    return completion.text
