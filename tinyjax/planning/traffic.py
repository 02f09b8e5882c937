"""Bytes that a compiled program moves between HBM and the chip.

Each instruction of the schedule reads its operands from HBM and writes its results there, once per run,
unless their layout says that they stay on the chip. Inside of a fusion nothing touches HBM. What only renames
memory (bitcasts, tuples) moves nothing. Where a part of an array alone is read (slices, gathers, inside of
fusions too) or written in place (updates of slices), that part counts. Asynchronous copies count where they
start; what loops do, as often as they run. Kernels (custom calls) read their operands and write their
results once: right for ours, whose blocks hold whole windows of 512 positions, too little for longer ones.

It is an estimate: what a kernel reads twice is not seen, nor is what a cache would spare (TPUs have none).
"""

import collections
from collections.abc import Iterator

from tinyjax.planning.hlo import Computation, Instruction, Program, runs

# What moves nothing; ends of asynchronous copies were counted at their starts.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "while", "conditional", "call", "opt-barrier", "domain", "add-dependency",
}  # fmt: skip
FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "AssumeGatherIndicesInBound", "Sharding")
READERS = ("dynamic-slice", "slice", "gather")  # of a part of their first operand


def hbm_bytes(program: Program) -> float:
    """Returns the bytes that one run of the program moves on each device."""
    return sum(size for _, size in rows(program))


def rows(program: Program) -> list[tuple[Instruction, float]]:
    """Returns what every instruction moves in one run of the program, the largest first."""
    fused = _fused(program)
    found = [
        (instruction, times * moved(program, computation, instruction))
        for name, times in runs(program).items()
        if name not in fused
        for computation in [program.computations[name]]
        for instruction in computation.values()
    ]
    return sorted(found, key=lambda row: -row[1])


def _fused(program: Program) -> set[str]:
    """Returns the computations that run within one instruction: of fusions, reductions, sorts."""
    inner: set[str] = set()
    queue = collections.deque(
        name
        for computation in program.computations.values()
        for i in computation.values()
        if i.opcode not in ("call", "while", "conditional") and not i.opcode.startswith("async")
        for name in i.called("calls") + i.called("to_apply")
    )
    while queue:
        name = queue.popleft()
        if name not in inner:
            inner.add(name)
            for i in program.computations.get(name, {}).values():
                queue.extend(i.called("calls") + i.called("to_apply"))
    return inner


def moved(program: Program, computation: Computation, instruction: Instruction) -> float:
    """Returns the bytes that one run of an instruction moves."""
    opcode = instruction.opcode
    if opcode in FREE or opcode.endswith(("-done", "-update")) or opcode.startswith("async-"):
        return 0.0
    if opcode == "custom-call" and instruction.attribute("custom_call_target").strip('"') in FREE_CALLS:
        return 0.0
    operands = [computation[name] for name in instruction.operands if name in computation]
    if opcode == "fusion":
        return _moved_by_fusion(program, instruction, operands)
    if opcode in ("copy-start", "slice-start", "dynamic-slice-start"):
        return _moved_by_copy(instruction, operands[0])
    if opcode in READERS:
        return instruction.hbm_bytes + _part(operands[0], instruction)
    if opcode == "dynamic-update-slice":
        update = operands[1]
        return update.hbm_bytes + _part(instruction, update)
    if opcode.endswith("-start"):
        return 2 * sum(operand.hbm_bytes for operand in operands)
    return instruction.hbm_bytes + sum(operand.hbm_bytes for operand in operands)


def _part(whole: Instruction, part: Instruction) -> float:
    """Returns the bytes of `part` where it lies in `whole`: nothing where that is on the chip."""
    held = whole.arrays[0]
    if held.on_chip or not held.elements:
        return 0.0
    return min(held.bytes, part.arrays[0].elements * held.bytes / held.elements)


def _moved_by_copy(instruction: Instruction, source: Instruction) -> float:
    """A copy reads what it writes; its arrays are (target, source, flag), a slice's target is second."""
    arrays = [array for array in instruction.arrays if array.shape or array.elements > 1]
    target = arrays[0] if instruction.opcode == "copy-start" else arrays[-1]
    read = 0.0 if source.arrays[0].on_chip else min(target.bytes, source.arrays[0].bytes)
    return read + target.hbm_bytes


def _moved_by_fusion(program: Program, fusion: Instruction, operands: list[Instruction]) -> float:
    inner = _inner(program, fusion)
    read = sum(
        min(operand.hbm_bytes, _part_read(program, inner, n) * operand.hbm_bytes)
        for n, operand in enumerate(operands)
    )
    results = _results(inner)
    if len(results) != len(fusion.arrays):
        return read + fusion.hbm_bytes
    written = zip(results, fusion.arrays, strict=True)
    return read + sum(_part_written(program, inner, r) * array.hbm_bytes for r, array in written)


def _inner(program: Program, fusion: Instruction) -> Computation:
    return program.computations[fusion.called("calls")[0]]


def _results(inner: Computation) -> list[Instruction]:
    root = next(i for i in inner.values() if i.is_root)
    return [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]


def _part_read(program: Program, inner: Computation, number: int) -> float:
    """Returns the share of its parameter of this number that a fusion reads: what it slices out, or all."""
    parameter = next(
        (i for i in inner.values() if i.opcode == "parameter" and i.literal == str(number)), None
    )
    share = 0.0
    for source, use in _uses(inner, parameter) if parameter is not None else ():
        places = [n for n, name in enumerate(use.operands) if name == source.name]
        if use.opcode == "fusion":
            share += sum(_part_read(program, _inner(program, use), n) for n in places)
        elif use.opcode in READERS and places == [0]:
            share += use.arrays[0].elements / max(source.arrays[0].elements, 1)
        elif use.opcode != "dynamic-update-slice" or places != [0]:
            return 1.0
    return min(share, 1.0)


def _uses(inner: Computation, source: Instruction) -> Iterator[tuple[Instruction, Instruction]]:
    """Yields (what is used, what uses it) of an instruction's result: itself or a bitcast of it.

    A result is used by the bitcast, or the tuple, that is the root.
    """
    for i in inner.values():
        if source.name in i.operands:
            if i.opcode == "bitcast" and not i.is_root:
                yield from _uses(inner, i)
            else:
                yield source, i


def _part_written(program: Program, inner: Computation, result: Instruction) -> float:
    """Returns the share of its result that a fusion writes: of one that is updated in place, the update."""
    while result.opcode == "bitcast" and result.operands[0] in inner:
        result = inner[result.operands[0]]
    if result.opcode == "fusion":
        nested = _inner(program, result)
        results = _results(nested)
        return _part_written(program, nested, results[0]) if len(results) == 1 else 1.0
    if result.opcode != "dynamic-update-slice":
        return 1.0
    return inner[result.operands[1]].arrays[0].elements / max(result.arrays[0].elements, 1)
