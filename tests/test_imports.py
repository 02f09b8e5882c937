"""What importing costs and reaches: no backend, no network, no TensorFlow, and only floors below."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "tinyjax").rglob("*.py")
)
# The lowest floor first; a module imports from its own floor and from those below.
FLOORS = [
    {"cache", "config", "errors", "instruct", "textio", "recordio", "workers"},
    {"model", "parallel", "stories", "tokenizer"},
    {"data", "checkpoint", "growing", "records"},
    {"evaluate", "train", "sample", "interop", "interpret", "planning", "serve", "sweep"},
    {"bin"},
]
# A job imports no other job, but training evaluates, plans compile all of them, what grades or serves
# stories tells them, and sweeps compare runs.
ALLOWED = {
    ("train", "evaluate"),
    ("planning", "train"),
    ("planning", "evaluate"),
    ("planning", "sample"),
    ("serve", "sample"),
    ("evaluate", "sample"),
    ("sweep", "train"),
    ("sweep", "evaluate"),
    ("interpret", "sample"),
    ("interpret", "evaluate"),  # whose charts its page draws
}


def part(module: str) -> str:
    """The part of tinyjax that a module belongs to: tinyjax.model.decoder -> model."""
    return module.split(".")[1] if "." in module else ""


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def imports(module: str) -> set[str]:
    """The modules that a module's source imports, wherever in it."""
    path = ROOT.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_part_has_a_floor():
    assert {part(module) for module in MODULES} - {""} == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_floor_and_below(module: str):
    for imported in imports(module):
        if not imported.startswith("tinyjax.") or not part(module):
            continue
        above, below = part(module), part(imported)
        assert floor(below) <= floor(above), f"{module} imports {imported}"
        if floor(above) == len(FLOORS) - 2 and above != below:
            assert floor(below) < floor(above) or (above, below) in ALLOWED, f"{module} imports {imported}"


def test_parts_import_each_other_in_no_circle():
    edges = {(part(m), part(i)) for m in MODULES for i in imports(m) if i.startswith("tinyjax.")}
    left = {(a, b) for a, b in edges if a and a != b}
    while left:
        sources = {a for a, _ in left}
        ends = {(a, b) for a, b in left if b not in sources}
        assert ends, f"a circle among {left}"
        left -= ends


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) != "bin"])
def test_only_binaries_touch_flags(module: str):
    reached = {
        name for name in imports(module) if name.startswith(("absl.flags", "absl.app", "ml_collections"))
    }
    assert not reached


PROBE = """
import importlib, socket, sys

def refuse(*arguments, **options):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
binaries = [name for name in sys.argv[1:] if name.startswith("tinyjax.bin.")]
for name in set(sys.argv[1:]) - set(binaries):
    importlib.import_module(name)
from absl import flags

def defined():
    return [flag.name for module, found in flags.FLAGS.flags_by_module_dict().items()
            if module.startswith("tinyjax") for flag in found]

assert not defined(), f"the library defines the flags {defined()}"
for name in binaries:
    importlib.import_module(name)
    for flag in defined():  # the next one may define the same
        delattr(flags.FLAGS, flag)
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a JAX backend was started"
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
"""


@pytest.mark.slow
def test_importing_starts_no_backend_opens_no_socket_defines_no_flag_and_needs_no_tensorflow():
    command = [sys.executable, "-c", PROBE, *MODULES]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
