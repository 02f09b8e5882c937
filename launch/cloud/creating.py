"""From whatever state a slice is in to nodes that are ready, or to what is in the way."""

import enum
import math
from collections.abc import Mapping

from launch.cloud import failures
from launch.cloud.cloud import Cloud, workers_of
from launch.cloud.failures import CloudError, Kind
from launch.cloud.slices import Node, Worker
from launch.cloud.states import Machine, NodeState, Request, RequestState
from tinyjax.errors import UserError

_MOST_POLLS = 20  # between two requests


class NoCapacity(Exception):  # noqa: N818
    """The slice didn't come within the time that the user allowed."""


class Step(enum.Enum):
    """What to do next."""

    CREATE = "ask for it"
    REPLACE = "delete what is of no more use, and ask anew"
    WAIT = "wait"
    READY = "all nodes are ready"
    REFUSE = "it can't be had like this"


_BY_NODE = ((Machine.GONE, Step.REPLACE), (Machine.STOPPED, Step.REFUSE), (Machine.MOVING, Step.WAIT))


def next_step(request: RequestState, nodes: Mapping[Node, NodeState]) -> tuple[Step, str]:
    """Returns what to do about a queued resource, and why."""
    if request.request is Request.ABSENT:
        return Step.CREATE, str(request)
    if request.request is Request.ACTIVE:
        return _about_nodes(request, nodes)
    if request.request is not Request.OVER:
        return Step.WAIT, str(request)
    kind, mend = failures.classify(request.error)
    if request.error and kind in (Kind.QUOTA, Kind.PERMISSION, Kind.API_OFF, Kind.ARGUMENT):
        return Step.REFUSE, f"{request}\n  {mend}"
    return _replace(request, str(request))


def _about_nodes(request: RequestState, nodes: Mapping[Node, NodeState]) -> tuple[Step, str]:
    for machine, step in _BY_NODE:
        for node, state in nodes.items():
            if state.machine is machine:
                why = f"'{node.name}' is {state.name}: {machine.value}"
                return _replace(request, why) if step is Step.REPLACE else (step, why)
    return Step.READY, ""


def _replace(request: RequestState, why: str) -> tuple[Step, str]:
    if request.ours:
        return Step.REPLACE, why
    return (
        Step.REFUSE,
        f"{why}\n  launch/tpu didn't make it, and so doesn't delete it: do so, or take another name",
    )


def ensure(cloud: Cloud, wait_seconds: float) -> tuple[tuple[Worker, ...], bool]:
    """Has the slice made, or made again, and waits until all its nodes are ready.

    What is suspended, failed or preempted is deleted first: Google gives nothing else under its name.

    Returns:
      Its workers, and whether they are new.

    Raises:
      NoCapacity: it didn't come in time.
      UserError: something is for the user to mend.
    """
    if cloud.settings.existing:
        return _ensure_existing(cloud, wait_seconds), False
    cloud.runner.note(
        "looked at until it is ACTIVE and its nodes are READY; what is SUSPENDED, FAILED or PREEMPTED, and "
        "was made here, is deleted and asked for anew"
    )
    runner, deadline, requests, told = cloud.runner, cloud.runner.now() + wait_seconds, 0, ""
    while True:
        request = cloud.request("ACTIVE" if requests else "")
        nodes = cloud.nodes() if request.request is Request.ACTIVE else {}
        step, why = next_step(request, nodes)
        left = deadline - runner.now()
        if step is Step.READY:
            return workers_of(nodes), requests > 0
        if step is Step.REFUSE:
            raise UserError(f"'{cloud.settings.name}': {why}")
        if why != told:
            runner.say(f"'{cloud.settings.name}': {why}; {step.value}")
            told = why
        if left <= 0:
            raise NoCapacity(f"'{cloud.settings.name}' didn't come within --wait: {why}")
        if step is Step.WAIT:
            runner.sleep()
        elif step is Step.REPLACE:
            cloud.delete()
        else:
            _pause(cloud, requests)
            _create(cloud, math.ceil(left))
            requests += 1


def _pause(cloud: Cloud, requests: int) -> None:
    """Waits longer before each further request."""
    if requests:
        cloud.runner.sleep(min(2**requests, _MOST_POLLS))


def _create(cloud: Cloud, wait_seconds: int) -> None:
    """Asks for the slice; what may pass by itself is only told."""
    try:
        cloud.create(wait_seconds)
    except CloudError as error:
        if error.kind not in (Kind.CAPACITY, Kind.TRANSIENT):
            raise
        cloud.runner.say(f"{error}")


def _ensure_existing(cloud: Cloud, wait_seconds: float) -> tuple[Worker, ...]:
    deadline = cloud.runner.now() + wait_seconds
    while True:
        nodes = cloud.nodes()
        moving = {n: s for n, s in nodes.items() if s.machine is not Machine.READY}
        for node, state in moving.items():
            if state.machine is not Machine.MOVING or state.name == "ABSENT":
                raise UserError(
                    f"'{node.name}' is {state.name}, and launch/tpu didn't make it (--existing): start it "
                    "or make it again yourself, then 'launch/tpu resume'"
                )
        if not moving:
            return workers_of(nodes)
        if cloud.runner.now() > deadline:
            raise NoCapacity(f"{', '.join(n.name for n in moving)} didn't get ready within --wait")
        cloud.runner.sleep()
