"""What Google says of queued resources and nodes, and what it means for a run."""

import dataclasses
import enum
import json
from typing import Any

from launch.cloud.gcloud import LABEL


class Request(enum.Enum):
    """Where a queued resource stands, as far as it matters here."""

    ABSENT = "there is none"
    WAITING = "waiting for capacity"
    MOVING = "coming up or going down"
    ACTIVE = "active"
    OVER = "over: it has to be deleted and made again"


# docs.cloud.google.com/tpu/docs/queued-resources, and QueuedResourceState of the API.
_REQUESTS = {
    "CREATING": Request.MOVING,
    "ACCEPTED": Request.WAITING,
    "WAITING_FOR_RESOURCES": Request.WAITING,
    "PROVISIONING": Request.MOVING,
    "ACTIVE": Request.ACTIVE,
    "SUSPENDING": Request.MOVING,
    "DELETING": Request.MOVING,
    "SUSPENDED": Request.OVER,
    "FAILED": Request.OVER,
}


@dataclasses.dataclass(frozen=True)
class RequestState:
    """A queued resource's state."""

    request: Request
    name: str = ""  # as Google has it: WAITING_FOR_RESOURCES
    error: str = ""
    ours: bool = False  # made by launch/tpu

    def __str__(self) -> str:
        """Returns it for people."""
        word = f"{self.name}: {self.request.value}" if self.name else self.request.value
        return f"{word} ({self.error})" if self.error else word


ABSENT = RequestState(Request.ABSENT)


class Machine(enum.Enum):
    """Whether a node can be worked with."""

    READY = "ready"
    MOVING = "not ready yet"
    GONE = "gone, and won't come back"
    STOPPED = "stopped by somebody"


# Node.state of the Cloud TPU API, and Instance.status of Compute Engine, where TERMINATED means stopped: also
# what becomes of a preempted spot VM, which its owner may start again.
_MACHINES = {
    "READY": Machine.READY,
    "RUNNING": Machine.READY,
    "PREEMPTED": Machine.GONE,
    "TERMINATED": Machine.GONE,
    "DELETING": Machine.GONE,
    "STOPPED": Machine.STOPPED,
    "STOPPING": Machine.STOPPED,
    "HIDDEN": Machine.GONE,
    "SUSPENDED": Machine.STOPPED,
    "SUSPENDING": Machine.STOPPED,
}


@dataclasses.dataclass(frozen=True)
class NodeState:
    """A node's state and its number of hosts."""

    machine: Machine
    name: str = "ABSENT"
    num_hosts: int = 1
    health: str = ""


def parse_request(text: str) -> RequestState:
    """Reads what `queued-resources describe --format=json` prints."""
    told: dict[str, Any] = json.loads(text)
    state = told.get("state", {})
    name = state.get("state", "STATE_UNSPECIFIED")
    key, value = LABEL.split("=")
    labels = [spec.get("node", {}).get("labels", {}) for spec in told.get("tpu", {}).get("nodeSpec", [])]
    ours = bool(labels) and all(of_node.get(key) == value for of_node in labels)
    error = state.get("failedData", {}).get("error", {}).get("message", "")
    return RequestState(_REQUESTS.get(name, Request.MOVING), name, error, ours)


def parse_node(text: str) -> NodeState:
    """Reads what `tpu-vm describe` or `instances describe` prints as JSON."""
    told: dict[str, Any] = json.loads(text)
    name = told.get("state") or told.get("status") or "UNKNOWN"
    networks = max(1, len(told.get("networkConfigs", [])))  # each host has an endpoint on each network
    hosts = max(1, len(told.get("networkEndpoints", [])) // networks)
    return NodeState(_MACHINES.get(name, Machine.MOVING), name, hosts, told.get("health", ""))
