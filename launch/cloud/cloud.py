"""A slice as seen from here: its state, and what is called on its workers."""

import shlex
from collections.abc import Mapping, Sequence

from launch.cloud import failures, gcloud, jobs, states
from launch.cloud.failures import CloudError, Kind
from launch.cloud.runner import Result, Runner
from launch.cloud.slices import Node, Slice, Worker, workers
from launch.cloud.states import Machine, NodeState, RequestState
from tinyjax.errors import UserError

SCRIPT = "tinyjax-worker.sh"
_RUNNING = 3  # its exit code where a job is in the way
_API_SECONDS, _CREATE_SECONDS, _LOOK_SECONDS = 90, 1200, 90
_TRIES = 10
_AGAIN = {Kind.SSH, Kind.TRANSIENT}
_NOISE = (
    "Using ssh batch size",
    "Using scp batch size",
    "SSH: Attempting",
    "SCP: Attempting",
    "SSH key found",
)


class Cloud:
    """Calls about one slice."""

    def __init__(self, settings: Slice, runner: Runner):
        """Takes the slice's settings and what runs commands."""
        self.settings, self.runner = settings, runner
        self.exists = False  # as far as was seen: Google knows something of that name

    def request(self, expected: str = "") -> RequestState:
        """Returns the queued resource's state. Printed only, it is as expected: ACTIVE, or "" for none."""
        told = f'{{"state": {{"state": "{expected}"}}}}' if expected else ""
        doing = f"asking for the state of '{self.settings.name}'"
        try:
            text = self._ask(gcloud.describe(self.settings), doing, told)
        except CloudError as error:
            if error.kind is Kind.NOT_FOUND:
                return states.ABSENT
            raise
        self.exists |= bool(text)
        return states.parse_request(text) if text else states.ABSENT

    def create(self, wait_seconds: int) -> None:
        """Asks for the slice."""
        command = gcloud.create(self.settings, wait_seconds)
        self._ask(command, f"asking for '{self.settings.name}'", tries=1, timeout=_CREATE_SECONDS)
        self.exists = True

    def delete(self) -> None:
        """Deletes the queued resource and its nodes."""
        command = gcloud.delete(self.settings)
        self._ask(command, f"deleting '{self.settings.name}'", timeout=_CREATE_SECONDS)

    def nodes(self) -> dict[Node, NodeState]:
        """Returns the state of each node."""
        nodes = self.settings.nodes()
        return dict(zip(nodes, self.runner.each(nodes, self._node), strict=True))

    def _node(self, node: Node) -> NodeState:
        endpoints = ", ".join(["{}"] * self.settings.num_hosts())
        told = f'{{"state": "READY", "networkEndpoints": [{endpoints}]}}'
        command = gcloud.describe_node(self.settings, node)
        try:
            text = self._ask(command, f"asking for the state of '{node.name}'", told)
        except CloudError as error:
            if error.kind is Kind.NOT_FOUND:
                return NodeState(Machine.MOVING)
            raise
        self.exists = True
        return states.parse_node(text)

    def workers(self) -> tuple[Worker, ...]:
        """Returns the workers of nodes that are all ready; raises UserError where one isn't."""
        nodes = self.nodes()
        for node, state in nodes.items():
            if state.machine is not Machine.READY:
                raise UserError(
                    f"'{node.name}' is {state.machine.value} ({state.name}); see 'launch/tpu status "
                    f"{self.settings.name}', and have it made (again) by 'create', 'resume' or 'up'"
                )
        return workers_of(nodes)

    def knock(self, worker: Worker) -> None:
        """Waits until a new VM lets us in; this first call makes the ssh key that all others use."""
        self.on(worker, "true", timeout=300)

    def copy(self, worker: Worker, files: Sequence[str]) -> None:
        """Copies files into a worker's home folder."""
        command = gcloud.scp(self.settings, worker, files)
        self._ask(command, f"copying to {worker}", tries=_TRIES, timeout=900)

    def script(self, worker: Worker, *words: str, timeout: float = 300) -> str:
        """Calls the worker's script; returns what it printed.

        Raises:
          UserError: it refused, or failed.
        """
        return self.on(worker, shlex.join(["sh", SCRIPT, *words]), timeout)

    def on(self, worker: Worker, command: str, timeout: float = 300) -> str:
        """Calls a shell command on a worker; tries again while the VM doesn't let us in."""
        doing = f"calling {worker}"
        return self._ask(gcloud.ssh(self.settings, worker, command), doing, tries=_TRIES, timeout=timeout)

    def ssh(self, worker: Worker, *words: str) -> gcloud.Command:
        """Returns the command that calls the worker's script."""
        return gcloud.ssh(self.settings, worker, shlex.join(["sh", SCRIPT, *words]))

    def look(self, workers: Sequence[Worker], expected: str = "idle") -> list[jobs.Report]:
        """Asks each worker once what its job does. Printed only, all say what is expected."""
        told = f"tinyjax-worker {expected} started=0 ended=0 exit=0 token= source="

        def ask(worker: Worker) -> jobs.Report:
            result = self.runner.call(self.ssh(worker, "state"), _LOOK_SECONDS, told)
            if _is_bare(result):
                return jobs.Report(worker, "bare")
            if result.code:
                self._raise_if_mine(result)
            return jobs.parse(worker, result.out or result.err)

        return self.runner.each(workers, ask)

    def _raise_if_mine(self, result: Result) -> None:
        """Raises what no waiting mends: no login, no permission."""
        error = failures.failure("asking the workers", result.err)
        if error.kind in (Kind.LOGIN, Kind.PERMISSION, Kind.API_OFF):
            raise error

    def _ask(
        self,
        command: gcloud.Command,
        doing: str,
        expected: str = "",
        tries: int = 3,
        timeout: float = _API_SECONDS,
    ) -> str:
        for attempt in range(tries):
            result = self.runner.call(command, timeout, expected)
            if result.code == 0:
                return result.out
            if not _is_gclouds(result):
                raise _refusal(doing, result)
            error = failures.failure(doing, result.err)
            if error.kind not in _AGAIN or attempt == tries - 1:
                raise error
            self.runner.say(f"{doing}: {error.kind.value}; again")
            self.runner.sleep()
        raise AssertionError("the last try returns or raises")


def workers_of(nodes: Mapping[Node, NodeState]) -> tuple[Worker, ...]:
    """Returns the workers of nodes."""
    return workers({node: state.num_hosts for node, state in nodes.items()})


def _is_gclouds(result: Result) -> bool:
    """Tells gcloud's own failures from those of what it called on a worker."""
    return result.code == 255 or "ERROR: (gcloud" in result.err


def _is_bare(result: Result) -> bool:
    """Tells whether a worker has no script yet."""
    return result.code != 0 and f"{SCRIPT}: No such file" in result.err


def _refusal(doing: str, result: Result) -> UserError:
    lines = [line for line in result.err.splitlines() if not line.startswith(_NOISE)]
    said = "\n  ".join(lines[-15:]) or f"exit code {result.code}, without a word"
    bare = "\n  it isn't set up: run 'launch/tpu setup'" if _is_bare(result) else ""
    busy = "\n  see 'launch/tpu status' and 'launch/tpu stop'" if result.code == _RUNNING else ""
    return UserError(f"{doing} failed:\n  {said}{bare}{busy}")
