from tests.tiny import tiny_data, tiny_run

__all__ = ["tiny_data", "tiny_run"]
