"""A process of its own that starts JAX, and says as JSON which devices it sees and whether they compute.

Of its own, for a device that doesn't start hangs, and one that was started is held as long as its process.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.bin import backend

_SIZE = 256


def seen() -> dict[str, Any]:
    """Returns what is seen."""
    backend.start()
    local = jax.local_devices()
    return {
        "platform": local[0].platform,
        "kind": local[0].device_kind,
        "local": len(local),
        "total": jax.device_count(),
        "processes": jax.process_count(),
        "wrong": [str(device) for device in local if not computes(device)],
    }


def computes(device: jax.Device) -> bool:
    """Returns whether a product on a device is right; its numbers are exact in bfloat16 too."""
    a, b = np.random.default_rng(0).integers(-8, 8, (2, _SIZE, _SIZE))
    product = jnp.dot(
        jax.device_put(a.astype(np.float32), device), jax.device_put(b.astype(np.float32), device)
    )
    return bool(np.array_equal(np.asarray(product), a @ b))


if __name__ == "__main__":
    print(json.dumps(seen()))
