"""How fast stories are told: reading prompts, drawing tokens, and how near that is to what memory allows.

Run by ./tools/bench sample; prints one line of JSON. Each figure is the best of some runs, of greedy decoding
from prompts of 16 tokens in a cache that holds 128 positions; compare figures of one run only. With --torch
the same is done by PyTorch's transformers right after, in float32 and bfloat16 (needs ./tools/parity).
"""

import json
import pathlib
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from tinyjax.bin import app, backend
from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.decoder import Decoder
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.engine import Engine, Request
from tinyjax.sample.model import Model, load_model
from tinyjax.sample.options import Options

_SHAPE = flags.DEFINE_list(
    "shape",
    ["288", "6", "6", "6", "768", "32000"],
    "Width, blocks, heads, key/value heads, width of the MLP, vocabulary of a llama with random weights.",
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Time this one instead.")
_BATCHES = flags.DEFINE_list("batches", ["1", "8", "64"], "Stories told at a time.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of computing, with --shape.")
_DEVICES = flags.DEFINE_integer("devices", 0, "Devices to use; 0: as `sample` does.")
_QUANTIZE = flags.DEFINE_enum("quantize", "none", ["none", "int8"], "As of `sample`.")

_TORCH = flags.DEFINE_bool("torch", False, "Time PyTorch's transformers on the same --shape too.")

PROMPT, TOKENS, RUNS = 16, 100, 5
TORCH_RUNS = 2  # it may take minutes
_PYTHON = pathlib.Path(__file__).parent.parent / ".venv-parity" / "bin" / "python"


class _AnyTokenizer:
    """Stands for the tokenizer of a model that has none: its story never ends."""

    pad_id, bos_id, eos_id, unk_id = 0, 1, 2, 3

    def __init__(self, vocab_size: int):
        """Knows its size only."""
        self.vocab_size = vocab_size


def _model() -> Model:
    if _CHECKPOINT.value:
        return load_model(_CHECKPOINT.value)
    width, blocks, heads, kv_heads, hidden, vocabulary = map(int, _SHAPE.value)
    config = ModelConfig(
        d_model=width,
        num_layers=blocks,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=width // heads,
        d_ff=hidden,
        vocab_size=vocabulary,
        context_length=512,
        compute_dtype=_DTYPE.value,
    ).freeze()
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    tokenizer: Any = _AnyTokenizer(vocabulary)
    return Model(config, params, tokenizer, 0, False)


def bandwidth() -> float:
    """Returns how many bytes the devices together read from memory in a second, in sums of 256 MB on each."""
    parts = [jax.device_put(np.ones(2**26, np.float32), device) for device in jax.devices()]
    add = jax.jit(lambda x: x.reshape(64, -1).sum(1))
    return sum(part.nbytes for part in parts) / best(
        lambda: jax.block_until_ready([add(part) for part in parts])
    )


def best(function: Callable[[], Any]) -> float:
    """Returns the seconds of the fastest of some runs, after one that may compile."""
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def time_batch(model: Model, batch: int) -> dict[str, float]:
    """Returns what the engine does with so many stories at a time."""
    engine = Engine(model, batch, model.config.context_length, make_mesh(MeshConfig()), int8=_int8())
    rng = np.random.default_rng(0)
    options = Options(temperature=0.0, min_tokens=TOKENS)
    last = model.tokenizer.vocab_size
    prompts = [tuple(rng.integers(4, last, PROMPT).tolist()) for _ in range(batch)]

    def free() -> None:
        for slot in engine.in_use:
            engine.drop(slot)

    def first_token() -> None:
        free()
        engine.admit([Request(prompt, options) for prompt in prompts])
        engine.advance(1, batch)

    first = best(first_token)
    rates = []
    for _ in range(RUNS):
        first_token()
        started = time.perf_counter()
        drawn = sum(len(tokens) for tokens, _ in engine.advance(TOKENS - 1, batch).values())
        rates.append((time.perf_counter() - started) * batch / drawn)
    free()
    return {
        "first_token_ms": 1e3 * first,
        "prompt_tokens_per_s": batch * PROMPT / first,
        "step_ms": 1e3 * min(rates),
        "tokens_per_s": batch / min(rates),
    }


def time_torch(batch: int) -> dict[str, float]:
    """Returns the milliseconds that PyTorch's transformers take for a step, by dtype."""
    if not _PYTHON.exists():
        raise UserError(f"--torch: there is no '{_PYTHON}'; make it with ./tools/parity")
    sizes = {"batch": batch, "prompt": PROMPT, "tokens": TOKENS, "runs": TORCH_RUNS}
    arguments = [f"--shape={','.join(_SHAPE.value)}", *(f"--{name}={size}" for name, size in sizes.items())]
    script = pathlib.Path(__file__).with_name("bench_torch.py")
    done = subprocess.run([_PYTHON, script, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(found: dict[str, float], torch_ms: dict[str, float]) -> dict[str, float]:
    """Returns PyTorch's figures, and how many times faster ours is than the better one of them."""
    times = {f"torch_{dtype}_ms": ms for dtype, ms in torch_ms.items()}
    return times | {"times_faster": min(torch_ms.values()) / found["step_ms"]}


def _int8() -> bool:
    return _QUANTIZE.value == "int8"


def weight_bytes(model: Model) -> int:
    """Returns the bytes of weights that a step has to read: all but those of the input's embedding."""
    config = model.config
    size = 1 if _int8() else 2 if config.compute_dtype == "bfloat16" else 4
    rows = config.vocab_size * config.d_model
    count = sum(x.size for x in jax.tree.leaves(model.params))
    return size * (count if config.tie_embeddings else count - rows)


def run(argv: Sequence[str]) -> None:
    """Prints the figures."""
    del argv
    batches = [int(batch) for batch in _BATCHES.value]
    backend.start(_DEVICES.value or min(batches))
    model = _model()
    speed = bandwidth()
    results = {batch: time_batch(model, batch) for batch in batches}
    if _TORCH.value:
        results = {batch: found | compare(found, time_torch(batch)) for batch, found in results.items()}
    floor_ms = 1e3 * weight_bytes(model) / speed
    print(
        json.dumps(
            {
                "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
                "parameters": sum(x.size for x in jax.tree.leaves(model.params)),
                "bandwidth_GB_per_s": round(speed / 1e9, 1),
                "weights_read_once_ms": round(floor_ms, 3),
                **{
                    f"batch_{batch}": {name: round(value, 2) for name, value in found.items()}
                    | {"share_of_bandwidth": round(floor_ms / found["step_ms"], 3)}
                    for batch, found in results.items()
                },
            }
        )
    )


if __name__ == "__main__":
    app.run(run)
