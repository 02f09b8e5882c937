"""Fixtures that several test modules share."""

import os
import pathlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.gcs import bucket, gcs

__all__ = ["bucket", "gcs"]  # one server for all tests: what is called is found by the environment

ROOT = pathlib.Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"

# Started in the background, a test run has Ctrl-C ignored, and so would the programs that it interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Eight emulated devices on any machine, and no compiling twice what has not changed.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))


MAPS = pathlib.Path("/proc/self/maps")
MOST_MAPS = 20_000  # Linux gives a process 65,530


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Forgets compiled programs before their memory maps reach the limit of Linux, where a process faults."""
    yield
    if MAPS.exists() and MAPS.read_text().count("\n") > MOST_MAPS:
        import jax

        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def optimizations(request: pytest.FixtureRequest):
    """Compiles less thoroughly for modules marked unoptimized, and keeps none of that for others."""
    if not request.node.get_closest_marker("unoptimized"):
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


def make_stories(count: int, seed: int = 0) -> list[str]:
    """Returns different little stories of 20 to 120 words, the same for the same seed."""
    rng = random.Random(seed)
    names, things = ["Lily", "Tom", "Anna", "Ben"], ["ball", "kite", "boat", "hat", "drum"]
    places, feelings = ["park", "garden", "house", "forest"], ["happy", "sad", "proud", "tired"]
    stories = []
    for i in range(count):
        lines = [f"Story {i}. Once upon a time there was a child named {rng.choice(names)}."]
        for _ in range(rng.randint(2, 12)):
            lines.append(
                f"{rng.choice(names)} took the {rng.choice(things)} to the {rng.choice(places)}"
                f" and felt {rng.choice(feelings)}."
            )
        stories.append(rng.choice(["\n", " "]).join(lines))
    return stories


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The real samples beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("the real data of ../shared/data is not here")
    return SHARED


@pytest.fixture(scope="session")
def train_sample(shared_data: pathlib.Path) -> pathlib.Path:
    """8,574 genuine TinyStories."""
    return shared_data / "tinystories" / "train-sample.txt"


@pytest.fixture(scope="session")
def stories() -> list[str]:
    """200 different stories."""
    return make_stories(200)


@pytest.fixture(scope="session")
def stories_file(stories: list[str], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The 200 stories in the published layout."""
    path = tmp_path_factory.mktemp("stories") / "stories.txt"
    path.write_text("".join(f"{story}\n<|endoftext|>\n" for story in stories), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def prepared(stories_file: pathlib.Path, tmp_path_factory: pytest.TempPathFactory):
    """The 200 stories prepared in windows of 128 tokens."""
    from tinyjax.data.options import Options
    from tinyjax.data.prepare import prepare

    return prepare(str(stories_file), tmp_path_factory.mktemp("prepared"), Options(context_length=128))


@pytest.fixture
def run_binary(tmp_path: pathlib.Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m tinyjax.bin.NAME ARGUMENTS...` in an empty folder."""

    def run(name: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"tinyjax.bin.{name}", *arguments]
        folder = tmp_path / "working_folder"
        folder.mkdir(exist_ok=True)
        env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, **options
        )

    return run
