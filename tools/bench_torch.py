"""How fast PyTorch's transformers tell stories with a llama of the same shape; called by bench_sample.py.

Runs in `.venv-parity`; prints one line of JSON: milliseconds a step in float32 and in bfloat16, each the best
of some runs of greedy `generate` with its KV cache, from prompts of as many tokens as ours.
"""

import argparse
import json
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def make_model(shape: list[int], dtype: torch.dtype) -> LlamaForCausalLM:
    """Returns a llama with random weights, whose story never ends."""
    width, blocks, heads, kv_heads, hidden, vocabulary = shape
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
        vocab_size=vocabulary,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def step_ms(model: LlamaForCausalLM, ids_BT: torch.Tensor, tokens: int, runs: int) -> float:
    """Returns the milliseconds of a step, the reading of the prompt left out."""

    def seconds(count: int) -> float:
        started = time.perf_counter()
        model.generate(
            ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=None,
            pad_token_id=0,
        )
        return time.perf_counter() - started

    seconds(2)
    first = min(seconds(1) for _ in range(runs))
    return 1e3 * (min(seconds(tokens) for _ in range(runs)) - first) / (tokens - 1)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", required=True)
    for name in ("batch", "prompt", "tokens", "runs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    shape = [int(size) for size in args.shape.split(",")]
    ids_BT = torch.randint(4, shape[-1], (args.batch, args.prompt))
    with torch.inference_mode():
        found = {
            name: step_ms(make_model(shape, getattr(torch, name)), ids_BT, args.tokens, args.runs)
            for name in ("float32", "bfloat16")
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
