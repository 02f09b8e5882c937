"""What may be asked of a story: how its tokens are chosen, and when it ends."""

import dataclasses
import math

from tinyjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """How a story is told. Tokens are chosen in the order of the fields; see `tinyjax.sample.choosing`."""

    repetition_penalty: float = 1.0  # divides positive logits of tokens that occurred, the prompt's too
    frequency_penalty: float = 0.0  # taken off a token's logit for each time that it was drawn
    presence_penalty: float = 0.0  # taken off once, if it was drawn
    logit_bias: tuple[tuple[int, float], ...] = ()  # token ids, and what is added to their logits
    forbidden: tuple[str, ...] = ()  # texts whose usual tokens are never drawn one after the other
    min_tokens: int = 0  # the story doesn't end before
    temperature: float = 0.8  # 0: always the likeliest token
    top_k: int = 0  # only the k likeliest tokens; 0: all
    top_p: float = 1.0  # only the likeliest tokens that together have this probability
    min_p: float = 0.0  # only tokens that have this share of the likeliest one's probability
    max_tokens: int = 0  # at most so many new tokens; 0: as many as the context holds
    stop: tuple[str, ...] = ()  # texts that the story ends before
    stop_tokens: tuple[int, ...] = ()  # ids that it ends at, as at the model's own end


def check(options: Options) -> Options:
    """Returns the options; raises UserError for one out of range."""
    finite = {"repetition_penalty", "frequency_penalty", "presence_penalty", "temperature"}
    for name, holds, rule in (
        *((name, math.isfinite(getattr(options, name)), "a number") for name in sorted(finite)),
        ("repetition_penalty", options.repetition_penalty > 0, "above 0 (1: none)"),
        ("temperature", options.temperature >= 0, "0 or more"),
        ("top_k", options.top_k >= 0, "0 (off) or more"),
        ("top_p", 0 < options.top_p <= 1, "above 0 and at most 1"),
        ("min_p", 0 <= options.min_p < 1, "0 (off) or more, and below 1"),
        ("min_tokens", options.min_tokens >= 0, "0 or more"),
        ("max_tokens", options.max_tokens >= 0, "0 (all that fit) or more"),
        ("stop", all(options.stop), "texts that aren't empty"),
        ("forbidden", all(options.forbidden), "texts that aren't empty"),
        ("logit_bias", all(math.isfinite(bias) for _, bias in options.logit_bias), "finite numbers"),
    ):
        if not holds:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be {rule}")
    if options.max_tokens and options.min_tokens > options.max_tokens:
        raise UserError(
            f"--min_tokens is {options.min_tokens}; it must be at most --max_tokens ({options.max_tokens})"
        )
    return options
