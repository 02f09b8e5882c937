"""Loads exported folders with the real `transformers`, offline; runs in .venv-parity, without JAX.

    .venv-parity/bin/python -m tests.parity.transformers_reader request.json answer.npz

The request: {"folders": {name: path}, "texts": [...], "prompts": [...], "tokens": n}. The answer holds for
each folder NAME: NAME/ids/I of each text with what the tokenizer adds, NAME/logits [T, V] and
NAME/gradient/TENSOR for the first text, NAME/told/I (the ids of each prompt and up to n more, greedily), and
in JSON NAME/stories and NAME/decoded: these as texts, and the texts, there and back. Into each folder goes
pytorch_model.bin, by torch.save.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.parity.torch_model import gradients


def read(folder: str, request: dict) -> dict[str, np.ndarray]:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager", dtype="float32"
    )
    torch.save(model.state_dict(), pathlib.Path(folder, "pytorch_model.bin"))
    ids = [tokenizer(text).input_ids for text in request["texts"]]
    logits, found = gradients(model, np.array([ids[0]]))
    told = []
    for prompt in request["prompts"]:
        start = tokenizer(prompt, return_tensors="pt").input_ids
        told.append(model.generate(start, do_sample=False, max_new_tokens=request["tokens"])[0].tolist())
    texts = {
        name: np.array(json.dumps([tokenizer.decode(row, skip_special_tokens=True) for row in rows]))
        for name, rows in (("stories", told), ("decoded", ids))
    }
    return (
        {f"ids/{i}": np.array(row) for i, row in enumerate(ids)}
        | {f"told/{i}": np.array(row) for i, row in enumerate(told)}
        | {f"gradient/{name}": x for name, x in found.items()}
        | {"logits": logits[0], **texts}
    )


def main() -> None:
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    answers = {
        f"{name}/{key}": value
        for name, folder in request["folders"].items()
        for key, value in read(folder, request).items()
    }
    np.savez(sys.argv[2], **answers)


if __name__ == "__main__":
    main()
