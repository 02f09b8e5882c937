from tests.tiny import devices, tiny_data, tiny_run

__all__ = ["devices", "tiny_data", "tiny_run"]
