"""Set-up: finds a Python, makes .venv once, and mends what was interrupted, moved or broken.

The real scripts run in a copy of their own, on a small project whose two locked packages are made
here: no network. The small project lies in a path with a space, and is called from elsewhere.
"""

import hashlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = Path(sys.base_prefix) / "bin" / f"python{VERSION}"
# Starts a command with Ctrl-C as it is at a terminal, however the tests themselves were started.
LISTENING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
COMMANDS = ("bash", "sh", "dirname", "cat", "cksum", "tr", "awk", "sort", "cut")


def write_wheel(folder: str, name: str, **files: str) -> str:
    """Writes a wheel of these files; returns its name. The tests' build backend has it too."""
    wheel, info = f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info/"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(f"{folder}/{wheel}", "w") as out:
        for path, text in files.items():
            out.writestr(path.replace("INFO/", info), text)
        out.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        out.writestr(info + "WHEEL", tags)
        out.writestr(info + "RECORD", "")
    return wheel


# A build backend in the place of setuptools.
BACKEND = f"""
import os, zipfile

{inspect.getsource(write_wheel)}

def build_editable(folder, config_settings=None, metadata_directory=None):
    scripts = "[console_scripts]\\nsmall = small:main\\n"
    files = {{"small.pth": os.getcwd(), "INFO/entry_points.txt": scripts}}
    return write_wheel(folder, "small", **files)
"""
PYPROJECT = '[build-system]\nrequires = ["backend"]\nbuild-backend = "backend"\n'


def locked(root: Path, name: str, code: str = "") -> str:
    """Makes a package of one module that pip finds; returns its line for a lock."""
    wheel = wheels(root) / write_wheel(str(wheels(root)), name, **{f"{name}.py": code})
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def wheels(root: Path) -> Path:
    """Returns the folder of the packages: PIP_FIND_LINKS takes no path with a space."""
    return root.parent / "wheels"


def make_tree(root: Path) -> Path:
    """Makes a small project with the real set-up scripts."""
    for folder in (root / "tools", root / "requirements", root / "commands", wheels(root)):
        folder.mkdir(parents=True)
    for script in ("setup", "environment.py"):
        shutil.copy(REPOSITORY / "tools" / script, root / "tools")
    for command in COMMANDS:
        (root / "commands" / command).symlink_to(str(shutil.which(command)))
    write_command(root / f"python/python{VERSION}", f'exec "{PYTHON}" "$@"')
    (root / "small.py").write_text("def main():\n    print('small runs')\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "requirements/build.lock").write_text(locked(root, "backend", BACKEND))
    apple, pear, quince = (locked(root, name) for name in ("apple", "pear", "quince"))
    for end, lock in {"": apple, "-tpu": pear, "-cuda": quince, "-dev": apple + pear}.items():
        (root / f"requirements/py{VERSION}{end}.lock").write_text(lock)
    return root


def start(root: Path, kind: str = "run", *pythons: Path, **variables: str) -> subprocess.Popen[str]:
    """Starts the set-up, from another folder, without an index and with no Python but these."""
    folders = [*(pythons or [root / "python"]), root / "commands"]
    return subprocess.Popen(
        [PYTHON, "-I", "-c", LISTENING, root / "tools/setup", kind],
        env={
            "PATH": ":".join(map(str, folders)),
            "PYENV_ROOT": str(root / "pyenv"),
            "HOME": str(root),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels(root)),
            "PIP_NO_CACHE_DIR": "1",
            **variables,
        },
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def call(root: Path, kind: str = "run", *pythons: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Calls the set-up as `start` does, and waits for its end."""
    process = start(root, kind, *pythons, **variables)
    out, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def imports(root: Path, module: str) -> bool:
    """Tells whether the project's environment has a module."""
    code = [root / ".venv/bin/python", "-I", "-c", f"import {module}"]
    return subprocess.run(code, capture_output=True, check=False).returncode == 0


def small_runs(root: Path) -> bool:
    """Tells whether the project's console script runs."""
    return subprocess.check_output([root / ".venv/bin/small"], text=True) == "small runs\n"


def write_command(path: Path, text: str) -> None:
    """Writes a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def fake_python(path: Path, version: tuple[int, int, int], hidden: str = "") -> None:
    """Makes a Python that claims a version and lacks modules; it prints how it is called."""
    lie = (
        f"import sys; sys.version_info = {version}; sys._base_executable = '{path}'; "
        f"sys.modules.update(dict.fromkeys('{hidden}'.split())); exec(sys.argv[1])"
    )
    probed = f'[ "$1" = -c ] && exec "{PYTHON}" -c "{lie}" "$2"'
    write_command(path, f'{probed}\necho "called: $0 $*"')


def failing_shim(path: Path) -> None:
    """Makes what pyenv puts on PATH for a version that is installed but not chosen."""
    write_command(path, f'echo "pyenv: {path.name}: command not found" >&2; exit 127')


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "a small project")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tree(tmp_path_factory.mktemp("made") / "a small project")
    done = call(root)
    assert done.returncode == 0, done.stderr
    return root


# Which Python


def test_the_newest_python_that_runs_is_taken_whatever_the_order(tree: Path) -> None:
    first, second = tree / "first", tree / "second"
    failing_shim(first / "python3.13")
    failing_shim(first / "python3.12")
    fake_python(first / "python3.11", (3, 11, 2))
    fake_python(first / "python3", (3, 10, 9))
    fake_python(second / "python3", (3, 12, 4))
    done = call(tree, "run", first, second)
    assert f"Python 3.12.4 ({second / 'python3'})" in done.stderr
    assert "also found: 3.11.2" in done.stderr
    assert done.stdout.startswith(f"called: {second / 'python3'} -I tools/environment.py run")


def test_a_python_that_only_pyenv_has_is_found(tree: Path) -> None:
    fake_python(tree / "first/python3.11", (3, 11, 2))
    fake_python(tree / "pyenv/versions/3.13.1/bin/python", (3, 13, 1))
    done = call(tree, "run", tree / "first")
    assert f"Python 3.13.1 ({tree / 'pyenv/versions/3.13.1/bin/python'})" in done.stderr


def test_the_oldest_python_is_taken_with_a_word_about_its_price(tree: Path) -> None:
    fake_python(tree / "first/python3", (3, 11, 2))
    assert "3.11 means an older JAX" in call(tree, "run", tree / "first").stderr


def test_a_python_without_ensurepip_is_passed_over_for_an_older_one(tree: Path) -> None:
    fake_python(tree / "first/python3.13", (3, 13, 1), hidden="ensurepip")
    fake_python(tree / "first/python3.12", (3, 12, 4))
    done = call(tree, "run", tree / "first")
    assert f"Python 3.12.4 ({tree / 'first/python3.12'})" in done.stderr
    assert f"3.13.1 ({tree / 'first/python3.13'}) lacks ensurepip" in done.stderr


def test_without_a_usable_python_the_message_says_what_was_tried_and_what_to_do(tree: Path) -> None:
    failing_shim(tree / "first/python3.13")
    fake_python(tree / "first/python3.12", (3, 12, 4), hidden="venv ensurepip")
    fake_python(tree / "first/python3", (3, 9, 9))
    done = call(tree, "run", tree / "first")
    assert done.returncode == 2
    assert "no usable Python" in done.stderr
    assert "python3.12) lacks venv+ensurepip" in done.stderr
    assert "python3) is another version" in done.stderr
    assert "apt install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tree / ".venv").exists()


def test_without_any_python_the_message_says_so(tree: Path) -> None:
    done = call(tree, "run", tree / "nothing here")
    assert done.returncode == 2
    assert "none of them runs" in done.stderr


def test_an_unknown_kind_is_refused(tree: Path) -> None:
    done = call(tree, "all")
    assert done.returncode == 2
    assert "there is no 'all'" in done.stderr


@pytest.mark.parametrize("kind", ["tpu", "cuda"])
def test_accelerators_are_refused_where_their_packages_are_not_for(tree: Path, kind: str) -> None:
    done = call(tree, kind, OSTYPE="darwin24")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{kind} is for Linux only" in done.stderr


# The locks


def pins(name: str) -> dict[str, str]:
    """Returns the packages of a lock of the repository, with their versions."""
    lines = (REPOSITORY / "requirements" / name).read_text().splitlines()
    return dict(line.split(" ")[0].split("==") for line in lines if line[:1].isalnum())


@pytest.mark.parametrize("python", ["py3.11", "py3.12", "py3.13"])
def test_what_accelerators_add_is_what_jax_of_the_same_lock_asks_for(python: str) -> None:
    run, dev = pins(f"{python}.lock"), pins(f"{python}-dev.lock")
    tpu, cuda = pins(f"{python}-tpu.lock"), pins(f"{python}-cuda.lock")
    assert tpu.keys() == {"libtpu"}
    assert cuda["jax-cuda13-plugin"] == cuda["jax-cuda13-pjrt"] == run["jax"]
    assert not run.keys() & {**tpu, **cuda}.keys()
    assert run.items() | tpu.items() <= dev.items()  # so dev serves for tpu too
    assert not dev.keys() & cuda.keys()


# The environment


def test_an_environment_of_another_python_made_by_somebody_else_is_left_alone(tree: Path) -> None:
    write_command(tree / ".venv/bin/python", "echo 3.9")
    done = call(tree)
    assert done.returncode == 2
    assert "was not made here" in done.stderr
    assert (tree / ".venv/bin/python").read_text() == "#!/bin/sh\necho 3.9\n"


@pytest.mark.slow
def test_the_locked_packages_and_the_project_are_installed(made: Path) -> None:
    assert imports(made, "apple")
    assert small_runs(made)


@pytest.mark.slow
def test_a_second_call_does_nothing_and_is_quick(made: Path) -> None:
    def seconds() -> float:
        begin = time.monotonic()
        done = call(made)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return time.monotonic() - begin

    before = (made / ".venv/ready-run").stat().st_mtime_ns
    assert min(seconds() for _ in range(5)) < 0.2
    assert (made / ".venv/ready-run").stat().st_mtime_ns == before


@pytest.mark.slow
def test_dev_completes_run_and_serves_for_both(made: Path) -> None:
    kept = (made / ".venv/pyvenv.cfg").stat().st_mtime_ns
    assert not imports(made, "pear")
    assert call(made, "dev").returncode == 0
    assert imports(made, "pear")
    assert (made / ".venv/pyvenv.cfg").stat().st_mtime_ns == kept
    assert call(made, "run").stderr == call(made, "dev").stderr == ""


@pytest.mark.slow
def test_accelerators_add_to_run_and_what_is_ready_stays_so(made: Path) -> None:
    kept = (made / ".venv/pyvenv.cfg").stat().st_mtime_ns
    assert not imports(made, "quince")
    assert call(made, "cuda").returncode == 0
    assert imports(made, "quince")
    assert call(made, "dev").returncode == 0
    assert (made / ".venv/pyvenv.cfg").stat().st_mtime_ns == kept
    assert [call(made, kind).stderr for kind in ("run", "tpu", "cuda", "dev")] == [""] * 4


@pytest.mark.slow
def test_tpu_has_its_own_package_and_serves_to_run(tree: Path) -> None:
    assert call(tree, "tpu").returncode == 0
    assert imports(tree, "apple")
    assert imports(tree, "pear")
    assert call(tree, "run").stderr == ""


@pytest.mark.slow
def test_a_changed_lock_is_installed_and_a_wrong_hash_is_refused(made: Path) -> None:
    lock = made / f"requirements/py{VERSION}.lock"
    good = lock.read_text() + locked(made, "plum")
    lock.write_text(good)
    assert call(made).returncode == 0
    assert imports(made, "plum")

    lock.write_text(good + locked(made, "fig")[:-9] + "00000000\n")
    done = call(made)
    assert done.returncode == 2
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "call again" in done.stderr
    assert "Traceback" not in done.stderr

    lock.write_text(good)
    assert call(made).returncode == 0
    assert imports(made, "plum")
    assert not imports(made, "fig")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number", "code"),
    [
        (os.killpg, signal.SIGINT, 130),
        (os.kill, signal.SIGKILL, -9),  # pip lives on for a while
    ],
)
def test_an_interrupted_set_up_is_mended_by_the_next_call(
    tree: Path, send: Callable[[int, int], None], number: int, code: int
) -> None:
    victim = start(tree)
    packages = tree / f".venv/lib/python{VERSION}/site-packages"
    wait_for(packages / "backend.py")
    send(victim.pid, number)
    assert "Traceback" not in victim.communicate(timeout=30)[1]
    assert victim.returncode == code
    assert not (tree / ".venv/ready-run").exists()

    # What pip leaves when it is killed a moment later: half a package that it takes for whole.
    (packages / "apple-1.0.dist-info").mkdir(exist_ok=True)
    (packages / "apple-1.0.dist-info/METADATA").write_text("Name: apple\nVersion: 1.0\n")
    assert call(tree).returncode == 0
    assert imports(tree, "apple")
    assert small_runs(tree)


def wait_for(path: Path) -> None:
    """Waits until a file appears."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.005)


@pytest.mark.slow
def test_two_calls_at_once_make_one_environment(tree: Path) -> None:
    calls = [start(tree, "run"), start(tree, "dev")]
    errors = [process.communicate(timeout=120)[1] for process in calls]
    assert [process.returncode for process in calls] == [0, 0]
    assert "".join(errors).count("another set-up is at work here") == 1
    assert imports(tree, "apple")
    assert imports(tree, "pear")


@pytest.mark.slow
def test_a_broken_environment_is_made_anew_and_so_is_a_moved_one(tree: Path) -> None:
    assert call(tree).returncode == 0
    (tree / ".venv/bin/python").unlink()
    assert call(tree).returncode == 0
    assert imports(tree, "apple")

    moved = tree.rename(tree.with_name("another name"))
    done = call(moved)
    assert done.returncode == 0, done.stderr
    assert small_runs(moved)
    subprocess.run([moved / ".venv/bin/pip", "--version"], check=True)  # it names its own place
