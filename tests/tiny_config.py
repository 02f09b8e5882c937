"""A model and a run small enough for tests; also an experiment file, `--config=tests/tiny_config.py`."""

from tinyjax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(
            d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, d_ff=64,
            context_length=64, compute_dtype="float32",
        ),
        data=DataConfig(batch_size=8),
        optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=5),
        train=TrainConfig(num_steps=200, log_every=1, eval_every=100, checkpoint_every=50),
    )  # fmt: skip
