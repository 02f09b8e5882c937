"""The studies of the TinyStories paper (Eldan & Li 2023): --sweep=configs/sweeps/paper.py:heads.

grid (Figures 3 and 4): width x depth, 2,500 steps of the settings in configs/paper.py, 16 heads.
heads (Figure 24): 2, 4, 8 and 16 heads, 768 wide, 1 and 2 blocks.
flops (Figure 23): the models that the paper names, 2 to 12 blocks and 64 to 2,048 wide, each for 1e18 FLOPs
or 50,000 steps. With the constant learning rate any point of a curve is the end of a shorter run, so that
one run a model gives the losses for all smaller budgets too. The paper tells no budgets and no batches; here
a step has 128 windows, or fewer where a model would make fewer than 1,000 steps.
"""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from tinyjax.errors import UserError
from tinyjax.sweep.study import Member

# name -> width, blocks, heads
GRID = {
    f"{width}x{blocks}": (width, blocks, 16)
    for width in (64, 128, 256, 512, 768, 1024)
    for blocks in (1, 2, 4, 8, 12)
}
HEADS = {f"768x{blocks}-{heads}heads": (768, blocks, heads) for blocks in (2, 1) for heads in (2, 4, 8, 16)}
FLOPS = {
    f"flops-{width}x{blocks}": (width, blocks, 16)
    for width in (64, 128, 256, 512, 768, 1024, 2048)
    for blocks in (2, 4, 8, 12)
}
SHAPES = GRID | HEADS | FLOPS
SWEEPS = {
    "grid": tuple(map(Member, GRID)),
    "heads": tuple(map(Member, HEADS)),
    "flops": tuple(Member(name, flops=1e18, least_steps=1000, most_steps=50_000) for name in FLOPS),
}


def get_config(name: str = "") -> Config:
    if name not in SHAPES:
        raise UserError(f"there is no model '{name}' in configs/sweeps/paper.py; it has {', '.join(SHAPES)}")
    width, blocks, heads = SHAPES[name]
    return Config(
        model=ModelConfig(
            family="gpt_neo",
            d_model=width,
            num_layers=blocks,
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=width // heads,
            d_ff=4 * width,
            context_length=512,
            window=256,
            remat="dots",
        ),
        data=DataConfig(batch_size=128 if name in FLOPS else 80 * 16),
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
            num_steps=2500,
            accumulation=1 if name in FLOPS else 16,
            loss_chunk=64,
            eval_every=250,
            checkpoint_every=500,
        ),
    )
