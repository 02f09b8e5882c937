"""The script on the workers: where its Python comes from, and that one start is one job."""

import os
import pathlib
import subprocess
from collections.abc import Generator

import pytest

from launch.cloud.binaries import ROOT
from tests.launch.google import PYTHON
from tests.launch.laptop import alive, kill, wait_until

pytestmark = pytest.mark.alone

SCRIPT = ROOT / "launch" / "cloud" / "tinyjax-worker.sh"


class Home:
    """A user's home folder on a worker."""

    def __init__(self, folder: pathlib.Path):
        """Makes it, with a python of its own that tools/setup would make."""
        self.folder, self.job = folder, folder / "tinyjax-job"
        self.bin = folder / "bin"
        for path in (self.bin, folder / "tinyjax" / ".venv" / "bin"):
            path.mkdir(parents=True)
        (folder / "tinyjax" / ".venv" / "bin" / "python").symlink_to(PYTHON)
        (folder / "tinyjax-ready").touch()

    def calls(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Calls the script."""
        env = {"HOME": str(self.folder), "PATH": f"{self.bin}:/usr/bin:/bin"} | env
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), *words],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def pid(self) -> int:
        """The job's process."""
        return int((self.job / "pid").read_text())


@pytest.fixture
def home(tmp_path: pathlib.Path) -> Generator[Home]:
    made = Home(tmp_path)
    yield made
    if (made.job / "pid").exists() and not (made.job / "exit").exists() and alive(made.pid()):
        kill(made.pid())


def test_a_start_that_is_asked_for_twice_is_one_job(home: Home):
    for _ in range(2):
        started = home.calls("start", "one", "sleep", "60")
        assert started.returncode == 0, started.stderr
    pid = home.pid()
    other = home.calls("start", "two", "sleep", "60")
    assert other.returncode == 3
    assert "a job is running already" in other.stderr
    assert home.calls("state").stdout.startswith("tinyjax-worker running started=1")
    assert home.calls("stop", "TERM").returncode == 0
    wait_until((home.job / "exit").exists)
    assert home.calls("state").stdout.split()[4:6] == ["exit=143", "token=one"]
    assert not alive(pid)


def test_a_job_has_its_environment_its_words_and_a_log_that_older_jobs_keep(home: Home):
    (home.folder / "tinyjax-env-one").write_text("export COLOUR='dark blue'\n")
    (home.folder / "tinyjax-env-old").write_text("export COLOUR=grey\n")
    assert home.calls("start", "one", "sh", "-c", 'echo "$COLOUR" "$1"; exit 7', "-", "a  b").returncode == 0
    wait_until((home.job / "exit").exists)
    assert (home.job / "log").read_text() == "dark blue a  b\n"
    assert home.calls("state").stdout.splitlines()[1] == "dark blue a  b"
    assert home.calls("start", "two", "true").returncode == 0
    wait_until((home.job / "exit").exists)
    assert [path.read_text() for path in home.folder.glob("tinyjax-job-*/log")] == ["dark blue a  b\n"]
    assert not list(home.folder.glob("tinyjax-env-*"))


def test_a_job_of_before_a_restart_of_the_machine_is_lost_whatever_has_its_number_now(home: Home):
    assert home.calls("start", "one", "sleep", "60").returncode == 0
    assert " running " in f" {home.calls('state').stdout}"
    (home.job / "boot").write_text("another-boot\n")
    assert home.calls("state").stdout.startswith("tinyjax-worker lost ")


def test_a_program_that_is_not_there_ends_with_127(home: Home):
    assert home.calls("start", "one", "./nothing").returncode == 0
    wait_until((home.job / "exit").exists)
    assert "exit=127" in home.calls("state").stdout


def code(home: Home) -> None:
    """Has the code arrive, with a set-up that says which Python it finds."""
    folder = home.folder / "sent" / "tools"
    folder.mkdir(parents=True)
    (folder / "setup").write_text(
        '#!/bin/sh\necho "$1 by $(command -v python3.13 || command -v python3.12)"\n'
    )
    (folder / "setup").chmod(0o755)
    subprocess.run(
        ["tar", "-czf", home.folder / "tinyjax.tar.gz", "-C", home.folder / "sent", "."], check=True
    )


def program(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_python_that_is_there_is_taken_and_the_environment_is_kept(home: Home):
    code(home)
    (home.bin / "python3.12").symlink_to(PYTHON)
    result = home.calls(
        "setup", "abc", PATH=f"{home.bin}:{only(home, 'tar', 'gzip', 'rm', 'mkdir', 'mv', 'cat')}"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"tpu by {home.bin}/python3.12\n"
    assert (home.folder / "tinyjax" / ".venv" / "bin" / "python").exists()
    assert not list(home.folder.glob("tinyjax.*"))
    assert "source=abc" in home.calls("state").stdout


def test_where_python_is_too_old_uv_fetches_one_without_root(home: Home):
    code(home)
    uv = home.folder / "made-uv"
    python = home.folder / "fetched" / "python3.13"
    program(uv, f'case "$*" in "python install"*) ;; *find*) echo {python};; *) exit 9;; esac')
    program(python, "")
    # A python3 of 3.10 whose pip installs uv, as on the images for TPU VMs.
    pip = f"""[ "$1 $2 $3" = "-m pip install" ] || exit 1
while [ "$1" != --target ]; do shift; done; mkdir -p "$2/bin"; cp {uv} "$2/bin/uv" """
    program(home.bin / "python3", pip)
    tools = only(home, "tar", "gzip", "rm", "mkdir", "mv", "cat", "cp", "dirname", "sh")
    result = home.calls("setup", "abc", PATH=f"{home.bin}:{tools}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"tpu by {python}\n"
    program(home.bin / "python3", "exit 1")
    (home.folder / ".tinyjax-uv" / "bin" / "uv").unlink()
    code_again = home.folder / "tinyjax.tar.gz"
    subprocess.run(["tar", "-czf", code_again, "-C", home.folder / "sent", "."], check=True)
    result = home.calls("setup", "abc", PATH=f"{home.bin}:{tools}")
    assert result.returncode == 4
    assert home.calls("state").stdout.startswith("tinyjax-worker bare ")
    assert home.calls("start", "one", "true").returncode == 4
    assert "external address or Cloud NAT" in result.stderr


def only(home: Home, *names: str) -> pathlib.Path:
    """A folder of programs that has no Python."""
    folder = home.folder / "few"
    folder.mkdir(exist_ok=True)
    for name in names:
        path = next(p for p in ("/bin", "/usr/bin") if os.path.exists(f"{p}/{name}"))
        (folder / name).symlink_to(f"{path}/{name}")
    return folder
