"""From stories to batches: packed windows on disk, and the loader that reads them."""
