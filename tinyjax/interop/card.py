"""The model card: what a folder for others says of the model, in numbers that were measured."""

import json
from collections.abc import Mapping

from etils import epath

from tinyjax.checkpoint.manager import Meta
from tinyjax.config import ModelConfig
from tinyjax.interop.hf_config import architecture_for
from tinyjax.interop.model import Model, num_parameters, without_padding
from tinyjax.model.parameters import count


def validation_at(run_folder: epath.Path, step: int) -> dict[str, float]:
    """Returns the last validation numbers of a run's metrics.jsonl at a step; none where it has none."""
    path, found = run_folder / "metrics.jsonl", {}
    if not path.exists():
        return found
    for line in path.read_text().splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue  # a line that is just being written
        if values.get("step") == step and "validation/bits_per_byte" in values:
            found = {name.removeprefix("validation/"): value for name, value in values.items()}
    return found


def card(model: Model, meta: Meta, validation: Mapping[str, float]) -> str:
    """Returns the README.md of a folder for `transformers`."""
    config = without_padding(model).config
    tokenizer = f"{model.tokenizer.vocab_size:,} ids, sha256 {model.tokenizer.sha256[:12]}"
    rows = [
        ("architecture", architecture_for(config).name),
        ("parameters", _parameters(model, config)),
        ("blocks, width, heads", f"{config.num_layers}, {config.d_model}, {config.num_heads}"),
        ("context", f"{config.context_length:,} tokens"),
        ("tokenizer", tokenizer),
        ("trained", _trained(meta)),
        ("data", meta.dataset),
        *_validated(validation),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return _TEMPLATE.format(table=table, prompt="Once upon a time")


def _parameters(model: Model, config: ModelConfig) -> str:
    total, parts = num_parameters(without_padding(model).params), count(config)
    return f"{total:,} ({parts['body']:,} without embeddings)"


def _trained(meta: Meta) -> str:
    if not meta.step:
        return "elsewhere"
    return f"{meta.step:,} steps of {meta.config.data.batch_size} windows, {meta.seconds / 60:,.0f} minutes"


def _validated(validation: Mapping[str, float]) -> list[tuple[str, str]]:
    if not validation:
        return []
    loss = (
        f"{validation['bits_per_byte']:.4f} ± {validation['standard_error']:.4f} bits/byte, "
        f"{validation['nats_per_token']:.4f} nats/token"
    )
    return [("validation loss", f"{loss}, over {validation['stories']:,} stories")]


_TEMPLATE = """---
library_name: transformers
pipeline_tag: text-generation
language: en
---

# A model that tells little stories

Trained with tinyjax, exported to float32, and compared with the original in logits before it was kept.

| | |
|---|---|
{table}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
ids = tokenizer("{prompt}", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, do_sample=True)[0], skip_special_tokens=True))
```

It knows what the stories it was trained on know, and nothing else. It follows no instructions but those it
may have been trained on, and what it tells is made up.
"""
