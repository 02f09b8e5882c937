"""What every binary does with what its libraries log."""

import subprocess
import sys

from tests.binaries import ROOT

PROGRAM = """
import asyncio, gc, logging
import tensorstore
from tinyjax.bin import app
theirs = compile("async def fail(): raise ValueError('echo of a save')", "site-packages/orbax/a.py", "exec")
exec(theirs)
def open_nothing(): return tensorstore.open({"driver": "zarr", "kvstore": "file:///echo of a read/"})
async def fail_too(): raise ValueError("a bug of ours")
def set_only():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("an error nobody raised"))
    return future
async def forget(function):
    task = asyncio.ensure_future(function())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
def run(argv):
    asyncio.run(forget(fail))
    asyncio.run(forget(open_nothing))
    asyncio.run(forget(fail_too))
    asyncio.run(forget(set_only))
app.run(run)
"""


def test_of_orbax_only_what_it_raises_is_shown_and_of_others_all():
    """Its tasks that fail beside the one that is raised are logged by asyncio when they are collected."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "echo of" not in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "a bug of ours" in done.stderr
    assert "an error nobody raised" in done.stderr
