"""What the tests of this folder share."""

from tests.tiny import tiny_data

__all__ = ["tiny_data"]
