from tests.gcs import bucket, gcs
from tests.tiny import tiny_data, tiny_run

__all__ = ["bucket", "gcs", "tiny_data", "tiny_run"]
