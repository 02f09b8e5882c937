"""The models of the TinyStories paper (Eldan & Li 2023) as they were released: --config=configs/paper.py:33M.

The published settings: context 512, AdamW at a constant 5e-4 with betas 0.9 and 0.95 and decay 0.1, batches
of 80 windows accumulated over 16, which are the 1,280 windows (655,360 tokens) of a step here. Not published:
no warm-up and gradients clipped at 1.0 are the defaults of Hugging Face's Trainer; 2,500 steps are about 3.5
times through the stories of V1. One thing differs: decay leaves out the embeddings.

Remat and the chunks of the loss change no result, and halve memory and traffic on a TPU (configs/PLANS.md).

The Instruct models have the same shapes and settings, on other data: configs/paper.py:instruct-33M. On a mesh
that 80 rows don't divide over, lower the accumulation: the step stays the same.
"""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from tinyjax.errors import UserError

# width, blocks
SHAPES = {
    "1M": (64, 8),
    "3M": (128, 8),
    "8M": (256, 8),
    "28M": (512, 8),
    "33M": (768, 4),
    "1layer-21M": (1024, 1),
    "2layers-33M": (1024, 2),
}
HEADS = 16
NAMES = (*SHAPES, *(f"instruct-{name}" for name in SHAPES))


def get_config(name: str = "") -> Config:
    if name not in NAMES:
        raise UserError(
            f"there is no preset '{name}' in configs/paper.py; give one of "
            f"{', '.join(NAMES)}, as in --config=configs/paper.py:33M"
        )
    width, blocks = SHAPES[name.removeprefix("instruct-")]
    return Config(
        model=ModelConfig(
            family="gpt_neo",
            d_model=width,
            num_layers=blocks,
            num_heads=HEADS,
            num_kv_heads=HEADS,
            head_dim=width // HEADS,
            d_ff=4 * width,
            context_length=512,
            window=256,
            remat="dots",
        ),
        data=DataConfig(batch_size=80 * 16),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=5e-4,
            schedule="constant",
            warmup_steps=0,
            beta1=0.9,
            beta2=0.95,
            weight_decay=0.1,
            clip_norm=1.0,
        ),
        train=TrainConfig(
            num_steps=2500, accumulation=16, loss_chunk=64, eval_every=250, checkpoint_every=250
        ),
    )
