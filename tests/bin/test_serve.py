"""The serve binary: it listens where it is told to, ends when it is told to, and says what it can't do."""

import pathlib
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests import binaries
from tests.binaries import assert_refused
from tests.serve.running import serving

pytestmark = pytest.mark.alone


@pytest.mark.slow
def test_interrupted_it_lets_stories_end_and_ends(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    with serving(tmp_path, tiny_run, "--slots=1") as server:
        asked = {"prompt": "Lily", "n": 60, "min_tokens": 60, "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=asked) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGINT)
            last = [line for line in lines if line][-1]
        assert last == "data: [DONE]"
        assert server.process.wait(10) == 130
        assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_stories_that_do_not_end_are_ended(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    """And what was begun says so."""
    with serving(tmp_path, tiny_run, "--slots=1", "--max_queue=20000") as server:
        asked = {"prompt": "Lily", "n": 20_000, "min_tokens": 60, "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=asked, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            told = time.monotonic()
            last = [line for line in lines if line][-1]
        assert "the server is being stopped" in last
        assert server.process.wait(10) == 0
        assert 4 < time.monotonic() - told < 10
        assert "Traceback" not in server.log.read_text()


def test_a_mistake_is_one_line(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    checkpoint = f"--checkpoint={tiny_run}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, said in (
            ([], "--checkpoint is missing"),
            (["--checkpoint=nowhere"], "no checkpoint at 'nowhere'"),
            ([checkpoint, f"--port={port}"], f"can't listen at --host=127.0.0.1 --port={port}"),
            ([checkpoint, "--host=256.1.1.1"], "can't listen at --host=256.1.1.1"),
            ([checkpoint, "--api_key_env=NOT_SET"], "the variable NOT_SET is not set"),
            ([checkpoint, "--slots=0"], "slots"),
        ):
            assert_refused(binaries.run(tmp_path, "serve", *arguments), said)


def test_without_the_extra_it_says_what_to_install(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv = ['serve', '--checkpoint=x'];"
        "from tinyjax.bin import serve; serve.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=binaries.ROOT, capture_output=True, text=True)
    assert_refused(result, "needs uvicorn; run pip install 'tinyjax[serve]'")
