"""What ./launch/quickstart trains: about 2M parameters, good in minutes on two CPU cores."""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(d_model=192, num_layers=4, num_heads=3, num_kv_heads=3, d_ff=512),
        data=DataConfig(batch_size=8),
        optimizer=OptimizerConfig(name="muon"),
        train=TrainConfig(eval_every=1_000_000, checkpoint_every=1_000_000, checkpoint_minutes=1.0),
    )
