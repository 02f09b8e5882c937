"""Loss over the validation split of each source and of all together, logged and printed."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from tinyjax.data.loader import evaluation_batches
from tinyjax.data.windows import Window
from tinyjax.evaluate.loss import Evaluation, compile_scores, summarise, sums_of_stories
from tinyjax.parallel.sharding import local_rows
from tinyjax.train.plan import source_metrics
from tinyjax.train.report import Report
from tinyjax.train.run import Progress, Run


def make_evaluate(
    run: Run, report: Report, watch: Callable[[Iterator[Window]], Iterator[Window]] = iter
) -> Callable[[Progress], Evaluation]:
    """Returns the function that evaluates every source, tells of each, and returns the loss over all.

    It reads its batches through `watch`, which may raise Stopped between them.
    """
    plan = run.plan
    windows = {source.name: plan.windows(source, "validation") for source in plan.mixture.sources}
    scores = compile_scores(run.config.model, run.mesh, plan.mixture.tokenizer, run.config.train.loss_chunk)
    batch_size = plan.batch_size // run.config.train.accumulation  # as many as a step holds at a time
    rows = local_rows(run.mesh, batch_size)

    def evaluate(progress: Progress) -> Evaluation:
        params = progress.state.best_params
        parts = {
            name: sums_of_stories(
                scores, params, watch(evaluation_batches(split, batch_size, rows=rows)), run.mesh
            )
            for name, split in windows.items()
        }
        results = {f"{name}/": summarise(*part) for name, part in parts.items()} if len(parts) > 1 else {}
        pooled = summarise(*(np.concatenate(column) for column in zip(*parts.values(), strict=True)))
        results[""] = pooled
        report.metrics(progress.step, _metrics(results) | source_metrics(plan, progress.step))
        for prefix, result in results.items():
            report.say(f"step {progress.step}: {f'validation/{prefix}'.rstrip('/')} {_describe(result)}")
        return pooled

    return evaluate


def _metrics(results: dict[str, Evaluation]) -> dict[str, float]:
    return {
        f"validation/{prefix}{name}": value
        for prefix, result in results.items()
        for name, value in dataclasses.asdict(result).items()
    }


def _describe(result: Evaluation) -> str:
    return (
        f"{result.bits_per_byte:.4f} ± {result.standard_error:.4f} bits/byte, "
        f"{result.nats_per_token:.4f} nats/token over {result.stories:,} stories"
    )
