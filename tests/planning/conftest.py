from tests.tiny import devices

__all__ = ["devices"]
