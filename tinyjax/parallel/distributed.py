"""Several processes as one run: starting them, keeping watch over them, agreeing on what to do.

JAX connects the processes, but says of one that never came only that time is over, and of one that died
nothing for a minute, then the C++ stack. So each process also holds a line (a TCP connection, to the same
port) to process 0, by which a roll is called at the start, and which the system closes when either end dies.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Generator, Iterable, Sequence

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.errors import Stopped, UserError

GONE = 43  # exit code: another process is gone, and with it this run; the same command goes on

# Words on a line. A process that failed said why; one that died did not, and process 0 says it.
_DONE, _GO, _FAILED, _DIED = "done", "go", "failed: ", "died: "
_GRACE_SECONDS = 2.0  # for a process to say its own error, where another has told of one
_ECHO_SECONDS = 1.0  # within which a line tells of an end that has made a collective fail


class StoppedAlone(Stopped):
    """A signal has ended this process without the others having agreed to stop too.

    With several, the binary is to end by `os._exit`: JAX would wait, at the end, for those that it ends.
    """


@dataclasses.dataclass(frozen=True)
class Job:
    """Which process of how many this one is, and where they meet."""

    coordinator: str  # HOST:PORT of process 0
    num_processes: int
    process_id: int
    local_devices: Sequence[int] | None = None  # None: all

    def __post_init__(self) -> None:
        """Raises UserError where the numbers or the address make no sense."""
        if not 0 <= self.process_id < self.num_processes:
            raise UserError(
                f"--process_id is {self.process_id}; with --num_processes={self.num_processes} it must be "
                f"from 0 to {self.num_processes - 1}"
            )
        if not self.coordinator.rpartition(":")[2].isdecimal():
            raise UserError(f"--coordinator is '{self.coordinator}'; it must be HOST:PORT of process 0")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of process 0."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def detect(timeout_seconds: int) -> Job | None:
    """Returns this process's place in a TPU slice, a SLURM, Kubernetes or MPI job; None where it is alone."""
    # JAX's own detection, which it offers only as a part of starting.
    from jax._src.clusters import ClusterEnv

    detected = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, timeout_seconds)
    coordinator, num_processes, process_id, local_devices = detected
    if coordinator is None or num_processes is None or process_id is None or num_processes == 1:
        return None
    return Job(coordinator, num_processes, process_id, local_devices)


@contextlib.contextmanager
def joined(job: Job | None, *, start_seconds: int = 300, lost_seconds: int = 60) -> Generator[None]:
    """Connects the processes of a job before JAX has started; None: does nothing, this process is alone.

    Inside, this process ends with exit code GONE and a word of whom, when another one fails or dies (at
    once), or its machine no longer answers (after `lost_seconds`).

    Raises:
      UserError: not all came within `start_seconds`; the message names who is missing.
    """
    if job is None:
        yield
        return
    line = _Line(job, _meet(job, start_seconds), lost_seconds)
    try:
        _initialize(job, start_seconds, lost_seconds)
        yield
    except BaseException as error:
        if isinstance(error, Stopped) and not isinstance(error, StoppedAlone):
            line.done()
            raise
        line.give_way(error)
        line.fail(error)
        if isinstance(error, UserError | StoppedAlone):  # whose binary ends at once
            raise
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # JAX would wait, at the end, for those that this failure ends
    line.done()


def _initialize(job: Job, start_seconds: int, lost_seconds: int) -> None:
    """Starts JAX's part."""
    # Its signal handler would take SIGTERM from ours, and knows no Ctrl-C; see Agreement.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        job.coordinator,
        job.num_processes,
        job.process_id,
        local_device_ids=job.local_devices,
        initialization_timeout=start_seconds,
        heartbeat_timeout_seconds=2 * lost_seconds,  # should the line not notice
        shutdown_timeout_seconds=lost_seconds,
    )


@dataclasses.dataclass(frozen=True)
class _Peer:
    """The other end of a line."""

    number: int
    host: str
    line: socket.socket


def _meet(job: Job, seconds: float) -> list[_Peer]:
    """Returns lines from process 0 to all, or from another process to it, when all are there."""
    deadline = time.monotonic() + seconds
    return _call_roll(job, deadline) if job.process_id == 0 else [_answer_roll(job, deadline)]


def _call_roll(job: Job, deadline: float) -> list[_Peer]:
    """As process 0: waits for all the others, then lets them go; tells them who is missing otherwise."""
    peers: dict[int, _Peer] = {}
    try:
        listener = socket.create_server(("", job.address[1]), backlog=job.num_processes)
    except OSError as error:
        raise UserError(
            f"process 0 can't listen on port {job.address[1]} ({error.strerror}); is another run using it? "
            "End that, or choose another port"
        ) from error
    with listener:
        while len(peers) < job.num_processes - 1 and (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if peer := _greet(job, listener.accept()[0]):
                    peers[peer.number] = peer
    missing = sorted(set(range(1, job.num_processes)) - peers.keys())
    came = ", ".join(f"{peer.number} ({peer.host})" for _, peer in sorted(peers.items()))
    problem = (
        f"process{'es' if len(missing) > 1 else ''} {_ranges(missing)} of {job.num_processes} did not come; "
        f"there were 0 ({socket.gethostname()}){', ' if came else ''}{came}. Start the same command on all "
        "machines at about the same time (gcloud ... --worker=all), and let them reach "
        f"{job.coordinator}"
    )
    for peer in peers.values():
        _send(peer.line, f"{_FAILED}{problem}" if missing else _GO)
    if missing:
        raise UserError(problem)
    return list(peers.values())


def _greet(job: Job, line: socket.socket) -> _Peer | None:
    """Returns who called; None, and hangs up, where it is nobody of this job."""
    line.settimeout(5)
    try:
        hello = json.loads(_receive(line))
        if hello["processes"] == job.num_processes and 0 < hello["process"] < job.num_processes:
            line.settimeout(None)
            return _Peer(hello["process"], hello["host"], line)
        _send(
            line,
            f"{_FAILED}this is process {hello['process']} of {hello['processes']}, but process 0 was started "
            f"with --num_processes={job.num_processes}; give all the same",
        )
    except (ValueError, KeyError, TypeError, OSError):
        pass  # a port scanner
    line.close()
    return None


def _answer_roll(job: Job, deadline: float) -> _Peer:
    """As another process: calls process 0 until it answers, and waits until it says that all are there."""
    host = socket.gethostname()
    hello = {"process": job.process_id, "processes": job.num_processes, "host": host}
    said, line = "", socket.socket()
    while not said and (left := deadline - time.monotonic()) > 0:
        try:
            line = socket.create_connection(job.address, timeout=left)
            _send(line, json.dumps(hello))
            # It started later, and will wait for as long as we do, but from then.
            line.settimeout(left + deadline - time.monotonic() + 5)
            said = _receive(line)
        except OSError:
            time.sleep(min(0.2, max(deadline - time.monotonic(), 0)))
    if not said:
        raise UserError(
            f"process 0 did not answer at {job.coordinator} (this is process {job.process_id} of "
            f"{job.num_processes}, on {host}); start it there, and check that the port is open"
        )
    if said != _GO:
        raise UserError(said.removeprefix(_FAILED))
    line.settimeout(None)
    return _Peer(0, job.address[0], line)


class _Line:
    """The lines of this process: tells when another end is gone, and ends this process then."""

    def __init__(self, job: Job, peers: Iterable[_Peer], lost_seconds: int):
        """Starts a thread for each line."""
        self._num_processes = job.num_processes
        self._is_first = job.process_id == 0
        self._name = _name(job.process_id, job.num_processes, socket.gethostname())
        self._peers = list(peers)
        self._any_gone = threading.Event()
        self._any_died = threading.Event()
        self._failed = threading.Event()
        self._threads = [threading.Thread(target=self._listen, args=(p,), daemon=True) for p in self._peers]
        for peer, thread in zip(self._peers, self._threads, strict=True):
            _keep_alive(peer.line, lost_seconds)
            thread.start()

    def done(self) -> None:
        """Tells the other ends that this process has come to its end, and waits until all have.

        JAX waits for a set time only, then aborts the last one, which may be writing to a bucket.
        """
        if not self._is_first:
            self._tell(self._peers, _DONE)
        for thread in self._threads:
            thread.join()
        if self._is_first:
            self._tell(self._peers, _DONE)

    def fail(self, error: BaseException) -> None:
        """Tells the other ends why this process will go; process 0 lets them go first.

        JAX's service runs in it, and its end is to the others that of C++.
        """
        self._failed.set()
        what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        self._tell(self._peers, f"{_FAILED}{self._name} ended: {what}")
        deadline = time.monotonic() + (_GRACE_SECONDS + 1 if self._is_first else 0)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def give_way(self, error: BaseException) -> None:
        """Ends here where `error` may be but the echo of another process's end, which is told instead.

        When another has failed too, and said so, a UserError stands: it is likely the same one.
        """
        gone = self._any_died if isinstance(error, UserError) else self._any_gone
        if gone.wait(_ECHO_SECONDS):
            time.sleep(2 * _GRACE_SECONDS)

    def _listen(self, peer: _Peer) -> None:
        try:
            word = _receive(peer.line)
        except OSError:  # nothing for long, or reset
            word = ""
        if word == _DONE or self._failed.is_set():
            return
        word = word or f"{_DIED}{_name(peer.number, self._num_processes, peer.host)} is gone"
        self._any_gone.set()
        self._tell((other for other in self._peers if other is not peer), word)
        if word.startswith(_DIED):
            self._any_died.set()
        elif self._failed.wait(_GRACE_SECONDS):
            return  # it says so itself
        print(
            f"error: {word.partition(': ')[2]}; this process ends too. Start the same command on all "
            "machines: it goes on from the newest complete checkpoint",
            file=sys.stderr,
            flush=True,
        )
        os._exit(GONE)

    @staticmethod
    def _tell(peers: Iterable[_Peer], word: str) -> None:
        for peer in peers:
            with contextlib.suppress(OSError):
                _send(peer.line, word)


def _name(number: int, count: int, host: str) -> str:
    return f"process {number} of {count} ({host})"


def _keep_alive(line: socket.socket, seconds: int) -> None:
    """Lets the system end a line whose other end's machine does not answer for so long."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(seconds // 2, 1)),
        ("TCP_KEEPINTVL", max(seconds // 6, 1)),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, name):  # not on every system
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(line: socket.socket, text: str) -> None:
    line.sendall(" ".join(text.split()).encode()[:60_000] + b"\n")


def _receive(line: socket.socket) -> str:
    """Returns the next line that the other end sends, empty where it has hung up."""
    received = b""
    while not received.endswith(b"\n") and len(received) < 2**16:
        if not (more := line.recv(2**16)):
            return ""
        received += more
    return received.decode(errors="replace").strip()


def _ranges(numbers: Sequence[int]) -> str:
    """Returns sorted numbers in words: 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


class Agreement:
    """What all processes of a run agree on: of some numbers, the largest that any of them has given.

    All processes ask the same number of times, once a step. With several, the answer is that of the
    question before, which the devices have worked out by then: it costs a small all-reduce a step, but no
    waiting, and all processes get the same answer at the same step. Alone, it is the numbers given.

    Why not JAX's preemption service: it knows of SIGTERM only, takes the handler of it from Python, and a
    step agreed on by it says nothing of the clock, which must be agreed on too.
    """

    def __init__(self) -> None:
        """Prepares the all-reduce."""
        self._pending: jax.Array | None = None
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        mesh = Mesh(np.array(devices).reshape(jax.process_count(), -1), ("process", "device"))
        self._sharding = NamedSharding(mesh, PartitionSpec("process"))
        replicated = NamedSharding(mesh, PartitionSpec())
        self._largest = jax.jit(lambda values: values.max(0), out_shardings=replicated)

    def __call__(self, *numbers: int) -> list[int]:
        """Asks with non-negative numbers below 2**31; the first answer, with several processes, is zeros."""
        if jax.process_count() == 1:
            return list(numbers)
        own = np.array([numbers], np.int32)
        before = self._pending
        self._pending = self._largest(jax.make_array_from_process_local_data(self._sharding, own))
        return [0] * len(numbers) if before is None else np.asarray(before).tolist()


def check_shared(folder: epath.Path) -> None:
    """Raises UserError where `folder` is not one folder that all processes see; made where it isn't there."""
    if jax.process_count() == 1:
        return
    file = folder / f".shared-{_from_process_0(uuid.uuid4().bytes).hex()}"
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    multihost_utils.sync_global_devices("written")
    seen = multihost_utils.process_allgather(np.array([_appears(file)]), tiled=True)
    if jax.process_index() == 0:
        file.unlink()
    if not seen.all():
        raise UserError(
            f"'{folder}' is not the same folder for all processes: {_which(~seen)} can't see what process 0 "
            "writes there; give one that is shared, on gs:// or a network disk"
        )


def check_equal(what: str, value: str) -> None:
    """Raises UserError, naming the processes, where `value` is not the same for all of them."""
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(value.encode()).digest()
    same = multihost_utils.process_allgather(np.array([_from_process_0(digest) == digest]), tiled=True)
    if not same.all():
        raise UserError(
            f"{what} of {_which(~same)} differ from those of process 0; start the same command everywhere, "
            "on machines of the same kind and with the same data"
        )


def _from_process_0(value: bytes) -> bytes:
    return bytes(multihost_utils.broadcast_one_to_all(np.frombuffer(value, np.uint8)))


def _which(differs: np.ndarray) -> str:
    numbers = np.flatnonzero(differs).tolist()
    return f"process{'es' if len(numbers) > 1 else ''} {_ranges(numbers)}"


def _appears(file: epath.Path, seconds: float = 5.0) -> bool:
    """Whether a file is there; on a network disk that may take a moment."""
    deadline = time.monotonic() + seconds
    while not (there := file.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return there
