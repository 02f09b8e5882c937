"""The bucket, the coordinator's port and the clock, against servers and sockets on 127.0.0.1."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.bin.checks.conftest import Metadata
from tests.gcs import BUCKET, CALLER, Gcs
from tinyjax.bin.checks import network
from tinyjax.errors import UserError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens at a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def number(listener: socket.socket) -> int:
    return listener.getsockname()[1]


# The bucket.


def test_each_permission_is_a_line(gcs: Gcs, bucket: str):
    assert [str(found) for found in network.bucket(bucket)] == [
        f"ok       bucket: may write at '{bucket}' (storage.objects.create)",
        f"ok       bucket: may read at '{bucket}' (storage.objects.get)",
        f"ok       bucket: may list at '{bucket}' (storage.objects.list)",
        f"ok       bucket: may delete at '{bucket}' (storage.objects.delete)",
        f"ok       bucket: may see its bucket at '{bucket}' (storage.buckets.get)",
    ]


@pytest.mark.parametrize(
    ("verb", "permission", "role"),
    [
        ("write", "storage.objects.create", "storage.objectAdmin"),
        ("read", "storage.objects.get", "storage.objectAdmin"),
        ("list", "storage.objects.list", "storage.objectAdmin"),
        ("delete", "storage.objects.delete", "storage.objectAdmin"),
        ("look", "storage.buckets.get", "storage.legacyBucketReader"),
    ],
)
def test_what_is_refused_is_a_line_with_the_mend(
    verb: str, permission: str, role: str, gcs: Gcs, bucket: str
):
    with gcs.forbidding(f"^{verb} "):
        found = network.bucket(bucket)
    (problem,) = (finding for finding in found if finding.level == "problem")
    assert len(found) == 5
    assert f"{CALLER} lacks {permission} on the bucket '{BUCKET}'" in problem.text
    assert problem.mend.endswith(f"--member=serviceAccount:{CALLER} --role=roles/{role}")
    assert ("stays there" in problem.text) == (verb == "delete")


def test_a_missing_bucket_is_told(gcs: Gcs):
    with pytest.raises(UserError, match="there is no bucket 'tinyjax-nowhere'"):
        network.bucket("gs://tinyjax-nowhere/run")


# The port.


def test_a_port_that_is_taken_is_a_problem_that_names_the_process():
    code = "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        taken = int(process.stdout.readline())
        (found,) = network.port(taken)
        process.communicate("\n")
    assert found.level == "problem"
    assert f"{taken} can't be bound: Address already in use (by process {process.pid}, " in found.text
    assert str(network.port(taken)[0]) == f"ok       port: {taken} can be bound"


# The coordinator.


def test_a_coordinator_that_listens_is_reached(listener: socket.socket):
    address = f"127.0.0.1:{number(listener)}"
    assert str(network.coordinator(address)[0]) == f"ok       coordinator: '{address}' can be reached"


def test_a_coordinator_that_is_not_there_yet_is_a_warning(listener: socket.socket):
    port = number(listener)
    listener.close()
    (found,) = network.coordinator(f"127.0.0.1:{port}")
    assert str(found) == (
        f"warning  coordinator: '127.0.0.1' answers, but nobody listens at {port}; "
        "fine as long as process 0 isn't started"
    )


def test_a_coordinator_that_does_not_answer_is_a_problem():
    """Its queue is full, so that it answers no more than one behind a firewall."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        address = f"127.0.0.1:{number(full)}"
        (found,) = network.coordinator(address, seconds=0.2)
    assert str(found) == (
        f"problem  coordinator: '{address}' can't be reached (timed out); "
        "check the address, and let the port through the firewall"
    )


# The clock.


@pytest.mark.parametrize(("ahead", "told"), [(3600, "3600 s behind"), (-90, "90 s ahead of")])
def test_a_wrong_clock_is_a_problem(ahead: float, told: str, metadata_server: Metadata):
    metadata_server.ahead = ahead
    (found,) = network.clock("")
    url = f"http://{os.environ['GCE_METADATA_HOST']}/"
    assert found.level == "problem"
    near = {told, told.replace("3600", "3599"), told.replace("3600", "3601"), told.replace("90", "91"),
            told.replace("90", "89")}  # fmt: skip
    assert found.text in {f"{text} {url}; credentials may be refused" for text in near}
    assert "timedatectl" in found.mend


def test_a_clock_that_is_nearly_right_is_fine(metadata_server: Metadata):
    metadata_server.ahead = 20
    assert network.clock("")[0].level == "ok"


def test_elsewhere_the_clock_is_compared_with_the_bucket_s(gcs: Gcs, bucket: str, monkeypatch):
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    (found,) = network.clock(bucket)
    assert found.text == f"within 1 s of {os.environ['STORAGE_EMULATOR_HOST']}/storage/v1/b/{BUCKET}"
    assert network.clock("")[0].text.startswith("nothing to compare it with")


def test_a_server_that_is_gone_is_a_problem(listener: socket.socket, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{number(listener)}")
    listener.close()
    assert str(network.clock("")[0]).startswith("problem  clock: http://127.0.0.1:")
