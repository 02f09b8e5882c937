"""Loads GGUF files into the real llama.cpp and asks its server; runs in .venv-parity, without JAX.

    .venv-parity/bin/python -m tests.parity.llama_cpp_reader request.json answer.json

The request: {"models": {name: path}, "texts": [...], "prompts": [...], "tokens": n, "probe": [ids]}. The
answer has for each name "ids" of the texts, without bos; "stories", the prompts' greedy continuations of
up to n tokens; "finish", whether each ended or was cut ("eos" or "limit"); and "steps", the log-probabilities
after each of the probe's ids.
"""

import json
import pathlib
import sys
import urllib.request

import xllamacpp

GREEDY = {"temperature": 0.0, "repeat_penalty": 1.0, "cache_prompt": False}


class Program:
    """llama.cpp's server with one model; everything in float32."""

    def __init__(self, path: str):
        options = xllamacpp.CommonParams()
        options.model.path = path
        options.n_ctx = 0  # the model's own
        options.n_parallel = 1
        options.port = 0  # any
        options.warmup = False
        options.verbosity = 0
        options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
        options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(options)

    def ask(self, path: str, **body: object) -> dict:
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def ids(self, text: str) -> list[int]:
        return self.ask("/tokenize", content=text, add_special=False, parse_special=False)["tokens"]

    def story(self, prompt: str, tokens: int) -> dict:
        return self.ask("/completion", prompt=prompt, n_predict=tokens, **GREEDY)

    def log_probabilities(self, ids: list[int]) -> dict[int, float]:
        """Returns those of the next token, by id."""
        a_letter = [[self.ids("a")[-1], 1e4]]  # what is told; of half a character, it would tell nothing
        told = self.ask(
            "/completion", prompt=ids, n_predict=1, n_probs=1 << 16, logit_bias=a_letter, **GREEDY
        )
        (step,) = told["completion_probabilities"]
        return {choice["id"]: choice["logprob"] for choice in step["top_logprobs"]}


def answer(path: str, request: dict) -> dict:
    program, probe = Program(path), request["probe"]
    told = [program.story(prompt, request["tokens"]) for prompt in request["prompts"]]
    return {
        "ids": [program.ids(text) for text in request["texts"]],
        "stories": [story["content"] for story in told],
        "finish": [story["stop_type"] for story in told],
        "steps": [program.log_probabilities(probe[: i + 1]) for i in range(len(probe))],
    }


def main() -> None:
    request_path, answer_path = map(pathlib.Path, sys.argv[1:])
    request = json.loads(request_path.read_text())
    answers = {name: answer(path, request) for name, path in request["models"].items()}
    answer_path.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
