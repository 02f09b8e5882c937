"""A corner of the paper's grid for two CPU cores, three minutes a model: --sweep=configs/sweeps/small.py.

Every model trains for the same FLOPs, with the quickstart's settings but for the schedule: a constant
learning rate, whose parameters are averaged in place of a decay. So every evaluation on the way is what a run
of that length would give, and figures by steps, by compute and by size are read from the same runs.
"""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from tinyjax.errors import UserError
from tinyjax.sweep.study import Member

# width, blocks
SHAPES = {f"{width}x{blocks}": (width, blocks) for width in (64, 128) for blocks in (1, 2, 4)}
FLOPS = 6e12
SWEEPS = {
    "corner": tuple(Member(name, flops=FLOPS) for name in SHAPES),
    "test": (Member("64x1", flops=2e11), Member("64x2", flops=2e11)),  # a minute: whether it all works
}


def get_config(name: str = "") -> Config:
    if name not in SHAPES:
        raise UserError(f"there is no model '{name}' in configs/sweeps/small.py; it has {', '.join(SHAPES)}")
    width, blocks = SHAPES[name]
    return Config(
        model=ModelConfig(
            d_model=width,
            num_layers=blocks,
            num_heads=width // 64,
            num_kv_heads=width // 64,
            d_ff=3 * width,
            qk_norm=True,
        ),
        data=DataConfig(batch_size=4),
        optimizer=OptimizerConfig(
            name="muon", learning_rate=0.01, muon_learning_rate=0.04, weight_decay=0.0, schedule="constant"
        ),
        train=TrainConfig(
            num_steps=1000, ema_decay=0.99, log_every=50, eval_every=100, checkpoint_every=1_000_000
        ),
    )
