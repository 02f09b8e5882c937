"""The Dockerfile, what starts in a container, and the image where an engine answers and may build it."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import tinyjax
from tests.tiny import tiny_data
from tinyjax.data.manifests import Prepared

__all__ = ["tiny_data"]

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILE = ROOT / "launch/containers/Dockerfile"
TARGETS = ("cpu", "gpu", "tpu")


def stages() -> dict[str, list[str]]:
    """Returns the instructions of each stage, by its name."""
    found: dict[str, list[str]] = {}
    lines = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "").splitlines()
    for line in filter(None, lines):
        if line.startswith("FROM "):
            found[line.rpartition(" AS ")[2]] = current = []
        current.append(line)
    return found


# The Dockerfile


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    command = [pathlib.Path(sys.prefix, "bin", "hadolint"), "--no-color", DOCKERFILE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_images_are_built_on_one_whole_version_of_python_that_is_locked() -> None:
    bases = {lines[0].split()[1] for lines in stages().values()} - stages().keys()
    (base,) = bases
    version = re.fullmatch(r"python:(3\.1[123])\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert version
    copied = set(re.findall(r"requirements/(\S+)", DOCKERFILE.read_text()))
    locks = {"build.lock", *(f"py{version[1]}{end}.lock" for end in ("", "-cuda", "-tpu"))}
    assert copied == locks
    assert all((ROOT / "requirements" / lock).is_file() for lock in locks)


def test_images_tell_the_version_of_the_library() -> None:
    assert f'image.version="{tinyjax.__version__}"' in DOCKERFILE.read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_images_do_not_run_as_root(target: str) -> None:
    assert stages()[target][-1] == "USER 10001"
    assert "useradd --uid 10001" in DOCKERFILE.read_text()


# What starts in a container


def entry(*words: str, cwd: pathlib.Path) -> subprocess.Popen[str]:
    """Starts what the image starts, with its variables."""
    (words_of_image,) = [line for line in stages()["base"] if line.startswith("ENTRYPOINT ")]
    python, *rest = json.loads(words_of_image.removeprefix("ENTRYPOINT "))
    assert python == "python"
    return subprocess.Popen(
        [sys.executable, *rest, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_without_a_binary_a_container_says_which_there_are(tmp_path: pathlib.Path, words: list[str]) -> None:
    process = entry(*words, cwd=tmp_path)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "docker run" in out
    assert "prepare, quickstart, sample, serve, sweep, train" in out


def test_a_binary_that_is_not_there_is_refused(tmp_path: pathlib.Path) -> None:
    process = entry("trian", cwd=tmp_path)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "did you mean 'train'?" in errors


@pytest.mark.slow
def test_a_binary_takes_the_containers_process_its_signals_and_its_exit_code(tmp_path: pathlib.Path) -> None:
    (tmp_path / "random.py").write_text("raise ImportError('not the one that is meant')")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        place = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", "--process_id=1"]
        config = f"--config={ROOT / 'tests/tiny_config.py'}"
        process = entry("train", config, f"--run_dir={tmp_path / 'run'}", *place, cwd=tmp_path)
        listener.settimeout(60)
        with listener.accept()[0]:  # it has started, and waits for process 0 to let it go
            process.send_signal(signal.SIGTERM)
            errors = process.communicate(timeout=30)[1]
    assert process.returncode == 42, errors


# The images


def engine() -> str:
    """Returns the command of an engine that answers; skips where none does, or nobody asks for building."""
    for name in ("docker", "podman"):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            break
    else:
        pytest.skip("no container engine answers here ('docker info')")
    if "TINYJAX_BUILD_IMAGES" not in os.environ:
        pytest.skip("building downloads 0.4 GB: set TINYJAX_BUILD_IMAGES=1 to have it done")
    return name


@pytest.fixture(scope="module")
def image() -> list[str]:
    """The image for CPUs, built; returns the engine's command and its name."""
    command, name = engine(), "localhost/tinyjax:tested"
    subprocess.run([command, "build", "-f", DOCKERFILE, "--target=cpu", "-t", name, ROOT], check=True)
    return [command, name]


@pytest.mark.slow
def test_the_image_trains_as_its_user_and_stops_with_everything_saved(
    image: list[str], tiny_data: Prepared, tmp_path: pathlib.Path
) -> None:
    command, name = image
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    volumes = [
        "-v",
        f"{tiny_data.path}:/data/tiny:ro",
        "-v",
        f"{runs}:/runs",
        "-v",
        f"{ROOT}/tests:/app/tests:ro",
    ]
    flags = ["--config=tests/tiny_config.py", "--config.data.path=/data/tiny", "--run_dir=/runs/a"]
    container = subprocess.check_output(
        [command, "run", "-d", *volumes, name, "train", *flags, "--config.train.num_steps=1000000"], text=True
    ).strip()
    try:
        wait_for(runs / "a/checkpoints/50")
        subprocess.run([command, "stop", "--time=60", container], check=True)
        code = subprocess.check_output(
            [command, "inspect", "-f", "{{.State.ExitCode}}", container], text=True
        )
    finally:
        subprocess.run([command, "rm", "-f", container], check=False)
    assert code.strip() == "42"
    assert (runs / "a/config.json").stat().st_uid != os.getuid() or os.getuid() == 10001


def wait_for(path: pathlib.Path) -> None:
    """Waits until something appears."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.1)
