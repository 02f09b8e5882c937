from tests.gcs import bucket, gcs
from tests.tiny import devices, tiny_data, tiny_run

__all__ = ["bucket", "devices", "gcs", "tiny_data", "tiny_run"]
