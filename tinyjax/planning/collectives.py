"""What devices send each other in a compiled program, and over which axes of the mesh."""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from tinyjax.planning.hlo import Instruction, Program, runs

# Bytes that a device sends, for each byte of its operand, among n devices in a ring.
SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-gather": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "ragged-all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
    "collective-broadcast": lambda n: 1,
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """All exchanges of one kind over the same axes in one run of a program."""

    kind: str
    axes: tuple[str, ...]  # of the mesh, over which its groups of devices reach
    count: float  # how often one runs
    sent_bytes: float  # by each device


def collectives(program: Program, mesh: Mapping[str, int]) -> list[Collective]:
    """Returns what each device sends, by kind and axes, the most first; of a mesh of these sizes."""
    totals: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = {}
    channels: set[tuple[str, str]] = set()
    for name, times in runs(program).items():
        computation = program.computations[name]
        for instruction in computation.values():
            kind = instruction.opcode.removesuffix("-start")
            channel = (kind, instruction.attribute("channel_id"))
            if kind not in SENT or not times or channel in channels:
                continue
            if channel[1]:  # one that is carried on over several fusions stands in each of them
                channels.add(channel)
            members = groups(instruction, math.prod(mesh.values()))
            size = sum(
                a.bytes for o in instruction.operands if o in computation for a in computation[o].arrays
            )
            key = (kind, spanned(members, mesh))
            count, sent = totals.get(key, (0.0, 0.0))
            totals[key] = (count + times, sent + times * size * SENT[kind](members.shape[1]))
    found = [Collective(*key, *total) for key, total in totals.items()]
    return sorted((c for c in found if c.axes), key=lambda c: -c.sent_bytes)


def spanned(groups: np.ndarray, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the axes along which the members of a group lie apart."""
    places = np.unravel_index(groups, tuple(mesh.values()))
    return tuple(name for name, place in zip(mesh, places, strict=True) if (place != place[:, :1]).any())


def groups(instruction: Instruction, num_devices: int) -> np.ndarray:
    """Returns the devices that exchange with each other, a group in a row; a permute's are its pairs.

    XLA writes groups in three ways: as lists, {{0,1},{2,3}}; as a transposed range, [2,2]<=[2,2]T(1,0); and
    by the axes of a mesh of its own, mesh['a'=2,'b'=2] {'b'}.
    """
    text = instruction.attributes
    if pairs := re.search(r"source_target_pairs=\{(\{[\d,{} ]*\})\}", text):
        return _lists(pairs[1])
    if lists := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", text):
        return _lists(lists[1])
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, source = _numbers(iota[1]), _numbers(iota[2])
        order = _numbers(iota[3]) if iota[3] else range(len(source))
        return np.arange(math.prod(source)).reshape(source).transpose(tuple(order)).reshape(shape)
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        return _named(named[1], named[2])
    return np.arange(num_devices)[None]


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def _lists(text: str) -> np.ndarray:
    return np.array([_numbers(group) for group in re.findall(r"\{([^{}]*)\}", text)])


def _named(axes: str, over: str) -> np.ndarray:
    """Groups by named axes; an axis may be cut, 'a':(2)4 being the 4 parts that follow an outer 2 of it."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    wanted = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", over)
    shape: list[int] = []
    within: list[int] = []
    for name, size in sizes.items():
        cuts = [(int(outer), int(part)) for axis, outer, part in wanted if axis == name and part]
        whole = any(axis == name and not part for axis, _, part in wanted)
        outer, part = cuts[0] if cuts else (1, size if whole else 1)
        within.append(len(shape) + 1)
        shape += [outer, part, size // (outer * part)]
    grid = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), within, range(-len(within), 0))
    return grid.reshape(-1, math.prod(shape[i] for i in within))
