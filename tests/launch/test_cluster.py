"""launch/cluster: what it prints for SLURM, mpirun and XPK, and what that does when a shell runs it.

What is printed is compared with tests/launch/golden, and run: by bash against srun, scancel, scontrol and xpk
that play scenes and write down what they were given, and by Open MPI itself where it is installed.
"""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.tiny import tiny_data
from tinyjax.data.manifests import Prepared

__all__ = ["tiny_data"]

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = pathlib.Path(__file__).parent / "golden"
SHELLCHECK = pathlib.Path(sys.prefix, "bin", "shellcheck")

AWKWARD = """--config.train.sample_prompts=One "day"|Lily's $HOME \\ `cat` *"""
TRAIN = ["train", "--config=configs/paper.py:33M", AWKWARD, "--run_dir=/shared/a"]
SLURM = ["slurm", "--nodes=4", "--gpus=8", "--time=12:00:00", "--partition=P", "--sbatch=--account=A"]
XPK = [
    "xpk",
    "--cluster=c",
    "--zone=us-central1-a",
    "--workload=w",
    "--tpu_type=v5litepod-16",
    "--num_slices=2",
]
CASES = {
    "slurm.sh": [*SLURM, "--env=WANDB_API_KEY", "--", *TRAIN],
    "slurm-container.sh": ["slurm", "--image=/shared/tiny jax.sif", "--", "evaluate", "--out=/shared/e"],
    "mpirun.sh": ["mpirun", "--hosts=a,b", "--gpus=2", "--env=WANDB_API_KEY", "--", *TRAIN],
    "xpk.sh": [*XPK, "--image=example.com/tinyjax:tpu", "--env=WANDB_API_KEY", "--", *TRAIN],
}

SRUN = """\
printf '%s\\0' "$@" >srun.words
echo $$ >srun.pid
eval "$SCENE"
"""
SCANCEL = """\
[ "$*" = "--signal=TERM 7" ] && kill -TERM "$(cat srun.pid)"
"""
SCONTROL = """\
echo "$*" >>scontrol.calls
"""


def cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Calls launch/cluster from another folder, by a Python that has the standard library alone."""
    command = [sys.executable, "-S", ROOT / "launch/cluster", *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)


def rendered(*arguments: str) -> str:
    """Returns what launch/cluster prints."""
    done = cluster(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def write_command(path: pathlib.Path, text: str) -> None:
    """Writes a shell script."""
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(0o755)


# What is printed


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed_is_what_was_reviewed(name: str) -> None:
    assert rendered(*CASES[name]).replace(str(ROOT), "/repository") == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed_is_sound_shell(name: str) -> None:
    text = rendered(*CASES[name])
    done = subprocess.run(
        [SHELLCHECK, "--shell=bash", "--severity=warning", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == ""


def test_it_is_written_to_a_file_that_can_be_run(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "job.sh"
    assert rendered(*SLURM, f"--out={out}", "--", *TRAIN) == ""
    assert os.access(out, os.X_OK)
    assert out.read_text() == rendered(*SLURM, "--", *TRAIN)


@pytest.mark.parametrize("out", ["mine.sh", "missing/job.sh"])
def test_a_file_of_others_stays_and_one_that_cant_be_written_is_told(out: str, tmp_path: pathlib.Path):
    (tmp_path / "mine.sh").write_text("mine")
    done = cluster(*SLURM, f"--out={tmp_path / out}", "--", *TRAIN)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: --out={tmp_path / out} ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "mine.sh").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slurm"], "what to run is missing"),
        (["slurm", "--", "trian"], "there is no binary 'trian' (did you mean 'train'?)"),
        (["slurm", "--nodes=2", "--", "sample"], "only train runs on several"),
        (["mpirun", "--hosts=a,b", "--", "sample"], "only train runs on several"),
        (["slurm", "--nodes=0", "--", "train"], "--nodes=0"),
        (["slurm", "--sbatch=a\nb", "--", "train"], "several lines"),
        (["mpirun", "--hosts=a,,b", "--", "train"], "--hosts=a,,b"),
        ([*XPK, "--image=i", "--base_image=b", "--", "train"], "either --image, or --base_image"),
        ([*XPK, "--", "train"], "either --image, or --base_image"),
        ([*XPK, "--image=i", "--workload=My_run", "--", "train"], "--workload=My_run"),
        ([*XPK, "--image=i", "--", "train", "--a=b\nc"], "several lines"),
    ],
)
def test_what_can_not_run_is_refused(arguments: list[str], said: str) -> None:
    done = cluster(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


def test_a_value_in_the_place_of_a_name_is_refused_and_not_shown() -> None:
    done = cluster("slurm", "--env=WANDB_API_KEY=hush", "--", "train")
    assert done.returncode == 2
    assert "--env=WANDB_API_KEY... is not the name of a variable" in done.stderr
    assert "hush" not in done.stdout + done.stderr


# On SLURM


class Job:
    """The rendered script, run by bash as SLURM does, with an srun that plays a scene."""

    def __init__(self, folder: pathlib.Path, scene: str, **variables: str):
        self.folder = folder
        for name, text in {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
            write_command(folder / name, text)
        script = folder / "job.sh"
        script.write_text(rendered(*CASES["slurm.sh"]))
        own = {"SLURM_JOB_ID": "7", "SCENE": scene, "PATH": f"{folder}:{os.environ['PATH']}"}
        self.process = subprocess.Popen(
            ["bash", script], cwd=folder, env=own | variables, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> tuple[int, str]:
        """Waits for its end; returns the exit code and what it said."""
        said = self.process.communicate(timeout=30)[1]
        return self.process.returncode, said

    def read(self, name: str) -> str:
        """Returns what one of the commands wrote down."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("code", "requeued", "said"),
    [
        (0, False, "done"),
        (42, True, "goes on when SLURM starts it again"),
        (2, False, "mend it"),
        (1, False, "it ended with code 1"),
        (43, False, "it ended with code 43"),
        (137, False, "it ended with code 137"),
    ],
)
def test_a_job_is_requeued_when_it_was_stopped_and_not_when_it_failed(
    tmp_path: pathlib.Path, code: int, requeued: bool, said: str
) -> None:
    job = Job(tmp_path, f"exit {code}", WANDB_API_KEY="key")
    ended, told = job.end()
    assert ended == code
    assert job.read("scontrol.calls") == ("requeue 7\n" if requeued else "")
    assert told.startswith("job 7: ")
    assert said in told


@pytest.mark.parametrize("code", [42, 43])  # one that is stopped while it starts may take others with it
def test_a_job_that_is_told_to_stop_tells_its_tasks_waits_for_them_and_is_requeued(
    tmp_path: pathlib.Path, code: int
) -> None:
    job = Job(
        tmp_path,
        f"trap 'sleep 0.5; exit {code}' TERM; touch started; while :; do sleep 0.05; done",
        WANDB_API_KEY="",
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == 42
    assert job.read("scontrol.calls") == "requeue 7\n"


def test_a_variable_that_is_not_set_is_named_before_anything_runs(tmp_path: pathlib.Path) -> None:
    job = Job(tmp_path, "exit 0")
    assert job.end() == (2, "job 7: WANDB_API_KEY is not set; export it, then call sbatch again\n")
    assert job.read("srun.words") == ""


def test_flags_reach_the_program_as_they_were_given(tmp_path: pathlib.Path) -> None:
    job = Job(tmp_path, "exit 0", WANDB_API_KEY="key")
    assert job.end()[0] == 0
    words = job.read("srun.words").split("\0")
    assert words[words.index("-m") : -1] == ["-m", "tinyjax.bin.train", *TRAIN[1:]]


# With mpirun


def test_flags_reach_mpirun_as_they_were_given() -> None:
    words = shlex.split(rendered(*CASES["mpirun.sh"]))
    assert words[words.index("-m") :] == ["-m", "tinyjax.bin.train", *TRAIN[1:]]


@pytest.mark.slow
def test_two_processes_that_mpirun_starts_train_as_one(tiny_data: Prepared, tmp_path: pathlib.Path) -> None:
    if not shutil.which("mpirun"):
        pytest.skip("Open MPI is not installed here")
    flags = [
        "--config=tests/tiny_config.py",
        f"--config.data.path={tiny_data.path}",
        "--config.train.num_steps=3",
    ]
    hosts = "--hosts=127.0.0.1,localhost"
    command = rendered(
        "mpirun", hosts, "--env=JAX_PLATFORMS", "--", "train", *flags, f"--run_dir={tmp_path}/run"
    )
    as_root = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | as_root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mesh: replica 2, 2 processes" in done.stdout + done.stderr
    assert (tmp_path / "run/checkpoints/3").is_dir()


# With XPK


def test_flags_and_variables_reach_the_program_through_xpk(tmp_path: pathlib.Path) -> None:
    write_command(
        tmp_path / "xpk",
        "for word; do\n"
        '  case $word in --command=*) command=${word#*=} ;; --env-file=*) cat "${word#*=}" ;; esac\n'
        "done\n"
        '(eval "$command") & wait $!\n',
    )
    write_command(tmp_path / "python", 'printf "%s\\n" "$@"\nexit 43\n')
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = rendered(*CASES["xpk.sh"])
    done = subprocess.run(
        ["bash", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.splitlines() == ["WANDB_API_KEY", "-m", "tinyjax.bin.train", *TRAIN[1:]]
    assert done.returncode == 43


def test_code_that_lies_here_can_be_put_on_an_image() -> None:
    words = shlex.split(rendered(*XPK, "--base_image=b", "--", "train"), comments=True)
    assert {"--base-docker-image=b", f"--script-dir={ROOT}"} <= set(words)
