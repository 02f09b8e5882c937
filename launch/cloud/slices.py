"""What a slice is made of: its settings, its nodes and their workers."""

import dataclasses
import re

from launch.cloud import accelerators
from tinyjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Node:
    """One TPU VM of the Cloud TPU API, of one or several hosts, or one VM of Compute Engine."""

    name: str
    compute_engine: bool = False


@dataclasses.dataclass(frozen=True)
class Worker:
    """One host of a node."""

    number: int  # among the workers of all nodes
    node: Node
    index: int  # within the node

    def __str__(self) -> str:
        """Returns what it is called in messages: worker 5 (stories-1, its worker 1)."""
        own = self.index != self.number and not self.node.compute_engine
        where = f", its worker {self.index}" if own else ""
        return f"worker {self.number} ({self.node.name}{where})"


@dataclasses.dataclass(frozen=True)
class Slice:
    """The settings of a queued resource, or of VMs that are there already."""

    name: str
    zone: str
    project: str = ""
    type: str = ""
    slices: int = 1
    runtime: str = ""
    spot: bool = False
    reserved: bool = False
    service_account: str = ""
    network: str = ""
    subnetwork: str = ""
    internal_ips: bool = False
    existing: bool = False
    vms: tuple[str, ...] = ()  # of Compute Engine

    def nodes(self) -> tuple[Node, ...]:
        """Returns the nodes, by the names that queued resources give them."""
        if self.vms:
            return tuple(Node(vm, compute_engine=True) for vm in self.vms)
        if self.slices == 1:
            return (Node(self.name),)
        return tuple(Node(f"{self.name}-{i}") for i in range(self.slices))

    def num_hosts(self) -> int:
        """Returns how many hosts a node should have, by its type; 1 where that isn't known."""
        return accelerators.parse(self.type).num_hosts if self.type and not self.vms else 1


def resolve(settings: Slice) -> Slice:
    """Returns settings that were checked and completed: the type as the API names it, its runtime.

    Raises:
      UserError: something is missing or contradicts.
    """
    _check(settings)
    if not settings.type or settings.vms:
        return settings
    accelerator = accelerators.parse(settings.type)
    runtime = settings.runtime or accelerator.runtime
    return dataclasses.replace(settings, type=accelerator.type, runtime=runtime)


def _check(settings: Slice) -> None:
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,60}[a-z0-9])?", settings.name):
        raise UserError(
            f"the name '{settings.name}' can't be a slice's; take small letters, digits and '-', as in "
            "stories-1"
        )
    if not settings.zone:
        raise UserError(
            "--zone is missing; give the zone where you have quota for TPUs, as in --zone=us-central1-a"
        )
    if not settings.type and not settings.existing:
        raise UserError(
            "--type is missing; give it as in --type=v5litepod-4, or --existing for VMs that are there"
        )
    if settings.slices < 1:
        raise UserError(f"--slices={settings.slices}: give 1 or more")
    if settings.spot and settings.reserved:
        raise UserError("--spot and --reserved exclude each other; give one of them")
    if settings.vms and not settings.existing:
        raise UserError("--vms names VMs that are there; give --existing with it")


def workers(hosts: dict[Node, int]) -> tuple[Worker, ...]:
    """Returns the workers of nodes, numbered through, by how many hosts each node has."""
    places = [(node, index) for node, count in hosts.items() for index in range(count)]
    return tuple(Worker(number, node, index) for number, (node, index) in enumerate(places))
