"""What ./launch/quickstart trains: 1.1M parameters, good in minutes on two CPU cores.

In ten minutes a small model that sees each story several times beats a larger one that sees it once: at
equal time on two cores without AMX, 128 wide beat 192 wide. QK-norm and Muon give most of the rest.
"""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(d_model=128, num_layers=4, num_heads=2, num_kv_heads=2, d_ff=384, qk_norm=True),
        data=DataConfig(batch_size=4),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.04, weight_decay=0.0),
        train=TrainConfig(
            log_every=50, eval_every=1_000_000, checkpoint_every=1_000_000, checkpoint_minutes=1.0
        ),
    )
