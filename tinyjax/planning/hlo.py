"""Reads XLA's optimized programs, in their text form: computations, instructions, the arrays they make.

Only what counting needs is read: shapes with their layouts (which say how arrays are padded, and which stay
on the chip), opcodes, operands, and which computation runs how often.
"""

import collections
import dataclasses
import functools
import math
import re

_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_HEADER = re.compile(r"(ENTRY )?%?([^\s(]+) .*\{$")
_OPCODE = re.compile(r"\s*([a-z][\w-]*)\(")
_BITS = {"pred": 8, "token": 0, "opaque": 0, "c64": 64, "c128": 128}
_WIDTH = re.compile(r"[a-z]+(\d+)")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array as it lies in memory."""

    dtype: str
    shape: tuple[int, ...]
    layout: str  # after XLA's manner: 1,0:T(8,128)(2,1)S(1)

    @functools.cached_property
    def on_chip(self) -> bool:
        """Whether it is in the chip's own memory, not in HBM: XLA's memory spaces other than 0."""
        return bool(re.search(r"S\([1-9]", self.layout))

    @functools.cached_property
    def elements(self) -> int:
        """How many elements it has, those that pad it left out."""
        return math.prod(self.shape)

    @functools.cached_property
    def bytes(self) -> float:
        """Its size, padding to whole tiles included."""
        order, _, rest = self.layout.partition(":")
        dims = [self.shape[int(i)] for i in order.split(",")] if order and self.shape else list(self.shape)
        tile = re.match(r"T\(([\d,]+)\)", rest)
        sizes = [int(n) for n in tile[1].split(",")] if tile and dims else []
        for i, size in enumerate(reversed(sizes[-len(dims) :])):
            dims[i] = math.ceil(dims[i] / size) * size
        return math.prod(dims) * _bits(self.dtype) / 8

    @property
    def hbm_bytes(self) -> float:
        """Its size in HBM: nothing where it stays on the chip."""
        return 0.0 if self.on_chip else self.bytes


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    width = _WIDTH.match(dtype)
    return int(width[1]) if width else 0


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    arrays: tuple[Array, ...]  # what it makes; several for a tuple, however nested
    opcode: str
    operands: tuple[str, ...]  # names of instructions of the same computation
    attributes: str  # all that follows the operands
    literal: str  # what stands in place of operands: a constant's value, a parameter's number
    is_root: bool

    @property
    def hbm_bytes(self) -> float:
        """The size of what it makes, as far as that is in HBM."""
        return sum(array.hbm_bytes for array in self.arrays)

    def attribute(self, name: str) -> str:
        """Returns the value of an attribute such as `body=%loop`, "" where there is none."""
        found = re.search(rf"\b{name}=(\{{[^}}]*\}}|\"[^\"]*\"|[^,\s]+)", self.attributes)
        return found[1] if found else ""

    def called(self, name: str) -> list[str]:
        """Returns the computations that an attribute names."""
        return re.findall(r"%([^\s,{}]+)", self.attribute(name))


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program."""

    computations: dict[str, Computation]
    entry: str
    aliases: int  # inputs whose memory outputs take over: donated buffers


def parse(text: str) -> Program:
    """Reads what `Compiled.as_text()` returns."""
    computations: dict[str, Computation] = {}
    entry, current = "", {}
    for line in text.splitlines():
        if line.startswith(" ") and " = " in line:
            instruction = _instruction(line)
            current[instruction.name] = instruction
        elif (header := _HEADER.match(line)) and not line.startswith("HloModule"):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
    return Program(computations, entry, len(re.findall(r"(?:may|must)-alias", text.split("\n", 1)[0])))


def _instruction(line: str) -> Instruction:
    left, right = re.sub(r"/\*.*?\*/", "", line).split(" = ", 1)
    shape_end = _closing(right, 0) if right.startswith("(") else right.index(" ")
    opcode = _OPCODE.match(right, shape_end)
    assert opcode is not None, line
    end = _closing(right, opcode.end() - 1)
    inside = right[opcode.end() : end - 1]
    attributes = right[end:].split(", metadata=", 1)[0].split(", backend_config=", 1)[0]
    return Instruction(
        name=left.split("%")[-1].strip(),
        arrays=_arrays(right[:shape_end]),
        opcode=opcode[1],
        operands=tuple(re.findall(r"%([^\s,()]+)", inside)),
        attributes=attributes,
        literal=inside,
        is_root=left.strip().startswith("ROOT"),
    )


def _arrays(text: str) -> tuple[Array, ...]:
    return tuple(
        Array(dtype, tuple(int(n) for n in shape.split(",") if n), layout or "")
        for dtype, shape, layout in _ARRAY.findall(text)
    )


def _closing(text: str, start: int) -> int:
    """Returns the index behind the parenthesis that closes the one at `start`."""
    depth = 0
    for found in re.finditer(r"[()]", text[start:]):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return start + found.end()
    return len(text)


def runs(program: Program) -> dict[str, float]:
    """Returns how often each computation runs, the ones inside of fusions included.

    A loop's body runs as often as its condition's constant says; of a conditional's branches each runs its
    equal share of the times, as those of models with two kinds of layers do.
    """
    counts: dict[str, float] = collections.defaultdict(float)

    def visit(name: str, times: float) -> None:
        counts[name] += times
        for instruction in program.computations[name].values():
            for called, share in _calls(program, instruction):
                if called in program.computations:
                    visit(called, times * share)

    visit(program.entry, 1.0)
    return dict(counts)


def _calls(program: Program, instruction: Instruction) -> list[tuple[str, float]]:
    """Returns the computations that an instruction runs, each with how often."""
    if instruction.opcode.endswith(("-done", "-update")):
        return []  # what it ends was called where it started
    match instruction.opcode:
        case "while":
            trips = trip_count(program, instruction)
            return [(name, trips) for name in instruction.called("body")]
        case "conditional":
            branches = [
                name
                for kind in ("branch_computations", "true_computation", "false_computation")
                for name in instruction.called(kind)
            ]
            return [(name, 1 / len(branches)) for name in branches]
        case _:
            return [(name, 1.0) for name in instruction.called("calls") + instruction.called("to_apply")]


def trip_count(program: Program, loop: Instruction) -> float:
    """Returns how often a loop runs, by the constant that its counter stays below; 1 where there is none."""
    condition = program.computations[loop.called("condition")[0]]
    root = next(i for i in condition.values() if i.is_root)
    if root.opcode != "compare" or root.attribute("direction") not in ("LT", "GT"):
        return 1.0
    bounds = [condition[name] for name in root.operands]
    literals = [int(i.literal) for i in bounds if i.opcode == "constant" and i.literal.isdigit()]
    return float(literals[0]) if literals else 1.0
