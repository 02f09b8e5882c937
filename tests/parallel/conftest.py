from tests.tiny import devices, tiny_data

__all__ = ["devices", "tiny_data"]
