"""Models of the llama family: --config=configs/llama.py:15M, or for a laptop configs/llama.py:cpu-1M.

260K, 15M, 42M and 110M are close to llama2.c's models of these names (with its vocabularies, 512 for 260K and
32,000 for the others), with widths that are multiples of 128 where that costs nothing; heads are 64 wide, but
for 260K. There is no QK-norm, so that programs that know Llama can run them. Settings are llama2.c's too
(131,072 tokens a step, AdamW, cosine to 0), but for the length: 20,000 steps, a fifth of what it trained.

The cpu presets have the quickstart's settings, tried there for minutes at 1M only, and train by the clock.
"""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from tinyjax.errors import UserError

# width, blocks, query heads, key/value heads, hidden width of the MLP; learning rate of AdamW
SHAPES = {
    "260K": (64, 5, 8, 4, 172, 1e-3),
    "1M": (128, 4, 2, 2, 384, 1e-3),
    "3M": (256, 4, 4, 4, 512, 1e-3),
    "15M": (256, 8, 4, 4, 768, 5e-4),
    "42M": (512, 8, 8, 8, 1408, 5e-4),
    "110M": (768, 12, 12, 12, 2048, 4e-4),
}
CPU_MINUTES = {"260K": 10.0, "1M": 30.0, "3M": 120.0}
NAMES = (*SHAPES, *(f"cpu-{name}" for name in CPU_MINUTES))


def get_config(name: str = "") -> Config:
    if name not in NAMES:
        raise UserError(
            f"there is no preset '{name}' in configs/llama.py; give one of "
            f"{', '.join(NAMES)}, as in --config=configs/llama.py:15M"
        )
    if name.startswith("cpu-"):
        return _on_cpu(name.removeprefix("cpu-"))
    model = _model(name)
    model.remat = "dots"
    return Config(
        model=model,
        data=DataConfig(batch_size=256),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=SHAPES[name][-1], schedule="cosine", warmup_steps=1000
        ),
        train=TrainConfig(num_steps=20_000, loss_chunk=64, eval_every=1000, checkpoint_every=1000),
    )


def _on_cpu(name: str) -> Config:
    model = _model(name)
    model.qk_norm = True
    return Config(
        model=model,
        data=DataConfig(batch_size=4),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.04, weight_decay=0.0),
        train=TrainConfig(minutes=CPU_MINUTES[name], log_every=50, eval_every=2000, checkpoint_every=2000),
    )


def _model(name: str) -> ModelConfig:
    width, blocks, heads, kv_heads, hidden, _ = SHAPES[name]
    return ModelConfig(
        d_model=width,
        num_layers=blocks,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=width // heads,
        d_ff=hidden,
        context_length=512,
    )
