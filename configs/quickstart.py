"""What ./launch/quickstart trains: 1.1M parameters, good in minutes on two CPU cores.

128 wide costs 1.7 times less per token than 192 wide, and minutes are what is short here. The trials behind
these settings stand in WORKSPACE.md.
"""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(d_model=128, num_layers=4, num_heads=2, num_kv_heads=2, d_ff=384, qk_norm=True),
        data=DataConfig(batch_size=4),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.04, weight_decay=0.0),
        train=TrainConfig(
            num_steps=1000,  # by tinyjax.bin.train; the quickstart trains for minutes instead
            log_every=50,
            eval_every=1_000_000,
            checkpoint_every=1_000_000,
            checkpoint_minutes=1.0,
        ),
    )
