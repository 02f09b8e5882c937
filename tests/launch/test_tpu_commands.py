"""launch/tpu command by command, against a gcloud that plays Google's part."""

import json
import subprocess

import pytest

from tests.launch.laptop import Laptop, alive, commit, make_repository, wait_until

pytestmark = pytest.mark.alone

NEW = ("s", "--zone=us-west4-a", "--type=v5litepod-4", "--spot")


@pytest.fixture
def ready(laptop: Laptop) -> Laptop:
    """A laptop with a slice of two hosts that is set up."""
    laptop.google.plays(hosts=2)
    assert laptop.tpu("create", *NEW).returncode == 0
    result = laptop.tpu("setup", "s")
    assert result.returncode == 0, result.stderr
    return laptop


def ended(laptop: Laptop, *workers: str) -> None:
    """Waits until the job has ended on workers of s."""
    for worker in workers or ("0",):
        path = laptop.google.workers / "s" / worker / "tinyjax-job" / "exit"
        wait_until(path.exists)


@pytest.mark.slow
def test_a_job_goes_on_when_the_connection_is_gone_and_is_stopped_with_everything_saved(ready: Laptop):
    ready.script(all=["run"])
    assert ready.tpu("run", "s", *ready.train()).returncode == 0
    for worker in ("s/0", "s/1"):
        ready.wait_for_starts(1, worker)
    pids = [ready.starts(worker)[0]["pid"] for worker in ("s/0", "s/1")]
    assert all(map(alive, pids))

    again = ready.tpu("run", "s", *ready.train())
    assert again.returncode == 2
    assert "a job is running since" in again.stderr
    assert ready.tpu("setup", "s").returncode == 2  # code is not exchanged below a job
    said = ready.tpu("status", "s").stdout
    assert "queued resource 's': ACTIVE" in said
    assert "node 's': READY, HEALTHY" in said
    assert f"started last: train --run_dir={ready.bucket}" in said
    assert "worker 1 (s): running since" in said
    assert "start 1 of s/1" in said  # the last line of its log

    stopped = ready.tpu("stop", "s")
    assert stopped.returncode == 0, stopped.stderr
    assert not any(map(alive, pids))
    assert "exit code 42" in ready.tpu("status", "s").stdout
    assert "saved at step 7" in ready.tpu("logs", "s", "--worker=1").stdout

    ready.script(all=["run", "exit 0"])
    resumed = ready.tpu("resume", "s")
    assert resumed.returncode == 0, resumed.stderr
    ready.wait_for_starts(2, "s/1")
    assert [start["words"] for start in ready.starts()] == [[f"--run_dir={ready.bucket}"]] * 2


@pytest.mark.slow
def test_a_slice_that_is_gone_is_made_again_to_resume(ready: Laptop):
    ready.script(all=["run", "exit 0"])
    assert ready.tpu("run", "s", *ready.train()).returncode == 0
    ready.wait_for_starts(1, "s/1")
    ready.google.preempts()
    resumed = ready.tpu("resume", "s")
    assert resumed.returncode == 0, resumed.stderr
    ready.wait_for_starts(2, "s/1")
    assert len(ready.google.calls("create")) == 2
    assert len(ready.google.calls("delete")) == 1


@pytest.mark.slow
def test_a_log_is_followed_until_the_job_ends(ready: Laptop):
    ready.script(all=["run"])
    assert ready.tpu("run", "s", *ready.train()).returncode == 0
    process = ready.start("logs", "s", "-f")
    wait_until(lambda: ready.google.calls("follow"))
    assert ready.tpu("stop", "s").returncode == 0
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "start 1 of s/0" in out
    assert "saved at step 7" in out


def test_nothing_runs_on_workers_that_are_not_set_up(laptop: Laptop):
    assert laptop.tpu("create", *NEW).returncode == 0
    result = laptop.tpu("run", "s", *laptop.train())
    assert result.returncode == 2
    assert "not set up" in result.stderr
    assert "not set up" in laptop.tpu("status", "s").stdout
    assert not laptop.starts()


@pytest.mark.slow
def test_deleting_is_asked_for_and_takes_the_memory_along(ready: Laptop):
    asked = ready.tpu("delete", "s")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert ready.google.has() == "s"
    deleted = ready.tpu("delete", "s", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert "Buckets stay as they are" in deleted.stderr
    assert ready.google.has() == ""
    assert "--zone is missing" in ready.tpu("status", "s").stderr


def test_vms_that_are_there_are_used_and_never_deleted(laptop: Laptop):
    laptop.google.adds_vm("mine")
    for words in (
        ["create", "mine", "--zone=z", "--existing"],
        ["setup", "mine"],
        ["run", "mine", *laptop.train()],
    ):
        result = laptop.tpu(*words)
        assert result.returncode == 0, result.stderr
    laptop.wait_for_starts(1, "mine/0")
    assert "it stays" in laptop.tpu("delete", "mine", "--yes").stderr
    assert not laptop.google.calls("queued-resources")
    assert not laptop.google.calls("delete")


@pytest.mark.slow
def test_vms_of_compute_engine_are_workers_too(laptop: Laptop):
    for vm in ("t-0", "t-1"):
        laptop.google.adds_vm(vm)
    result = laptop.tpu("up", "s", "--zone=z", "--existing", "--vms=t-0,t-1", *laptop.train())
    assert result.returncode == 0, result.stderr
    assert laptop.starts("t-0/0")
    assert laptop.starts("t-1/0")
    assert not laptop.google.calls("tpus")


@pytest.mark.slow
def test_the_value_of_a_secret_reaches_the_job_and_nothing_else(ready: Laptop):
    value = "dark '$secret\""
    result = ready.tpu("run", "s", "--env=MODE", *ready.train(), MODE=value)
    assert result.returncode == 0, result.stderr
    ready.wait_for_starts(1)
    assert ready.starts()[0]["mode"] == value
    home = ready.google.workers / "s" / "0"
    assert (home / "tinyjax-job" / "env").stat().st_mode & 0o777 == 0o600
    assert not list(home.glob("tinyjax-env*"))
    told = [result.stdout, result.stderr, (ready.google.folder / "calls").read_text()]
    told += [path.read_text() for path in [*ready.state.rglob("*.json"), *home.glob("tinyjax-job/log")]]
    assert not any("dark" in text for text in told)
    ended(ready, "0", "1")
    assert "MODE isn't set here" in ready.tpu("resume", "s").stderr
    assert ready.tpu("resume", "s", MODE=value).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env=WANDB_API_KEY=abc"], "export WANDB_API_KEY, then give --env=WANDB_API_KEY"),
        (["--env=NOT_THERE"], "NOT_THERE isn't set here"),
        (["--env=1=2"], "no name of a variable"),
        (["--zone=elsewhere"], "--zone was us-west4-a and is now elsewhere"),
        (["--whatever"], "unrecognized arguments: --whatever"),
        (["--", "trian"], "did you mean 'train'?"),
        ([], "what to run is missing"),
    ],
)
def test_a_mistake_in_the_call_is_one_message(laptop: Laptop, words: list[str], said: str):
    if not laptop.state.exists():
        laptop.tpu("create", *NEW, "--dry_run")
    folder = laptop.state / "tinyjax" / "tpu"
    folder.mkdir(parents=True)
    settings = {"name": "s", "zone": "us-west4-a", "type": "v5litepod-4", "runtime": "v2-alpha-tpuv5-lite"}
    (folder / "s.json").write_text(json.dumps({"slice": settings, "job": None, "code": {}}))
    result = laptop.tpu(
        "run", "s", *(words if words[-1:] == ["trian"] or not words else [*words, *laptop.train()])
    )
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not laptop.google.calls()


def test_a_memory_that_cannot_be_read_is_named(ready: Laptop):
    [path] = ready.state.rglob("s.json")
    path.write_text("{")
    result = ready.tpu("status", "s")
    assert result.returncode == 2
    assert f"{path} can't be read" in result.stderr


def test_without_gcloud_it_says_where_to_get_it(laptop: Laptop):
    result = laptop.tpu("create", *NEW, PATH="/nowhere")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "gcloud isn't on PATH" in result.stderr


def test_settings_from_which_nothing_came_may_be_changed(laptop: Laptop):
    laptop.google.plays(
        errors={"create": ["PERMISSION_DENIED: Permission 'x' denied on 'locations/us-west4-a'"]}
    )
    assert laptop.tpu("create", *NEW).returncode == 2
    assert laptop.tpu("create", "s", "--zone=elsewhere", "--type=v4-8").returncode == 0
    result = laptop.tpu("create", *NEW)
    assert result.returncode == 2
    assert "--type was v4-8 and is now v5litepod-4" in result.stderr


def test_a_zone_without_capacity_is_told_apart_from_other_refusals(laptop: Laptop):
    laptop.google.plays(errors={"create": ["There is no more capacity in the zone"]})
    assert laptop.tpu("create", *NEW, "--wait=0").returncode == 3
    laptop.google.plays(errors={"create": [None, "INVALID_ARGUMENT: Cloud TPU received a bad request."]})
    result = laptop.tpu("create", *NEW, "--wait=0")
    assert result.returncode == 2
    assert "bad request" in result.stderr


@pytest.mark.slow
def test_the_code_is_that_of_a_commit_or_with_changes(laptop: Laptop, tmp_path):
    laptop.repository = tmp_path / "repository"
    make_repository(laptop.repository)
    first = commit_file(laptop, "one")
    commit_file(laptop, "two")
    (laptop.repository / "new.txt").write_text("three")
    (laptop.repository / "untracked.txt").write_text("")
    assert laptop.tpu("create", *NEW).returncode == 0
    code = laptop.google.workers / "s" / "0" / "tinyjax"

    def sent(*words: str) -> tuple[str, bool]:
        result = laptop.tpu("setup", "s", *words)
        assert result.returncode == 0, result.stderr
        return (code / "new.txt").read_text(), (code / "untracked.txt").exists()

    assert sent() == ("two", False)
    assert sent(f"--commit={first}") == ("one", False)
    assert sent("--commit=HEAD", "--with_changes") == ("three", True)
    assert (code / ".venv" / "bin" / "python").exists()
    assert not (code / ".git").exists()
    assert laptop.tpu("setup", "s", "--commit=nonsense").returncode == 2
    assert laptop.tpu("setup", "s", f"--commit={first}", "--with_changes").returncode == 2


def commit_file(laptop: Laptop, text: str) -> str:
    (laptop.repository / "new.txt").write_text(text)
    return commit(laptop.repository)


@pytest.mark.slow
def test_the_doctor_is_called_on_every_worker(ready: Laptop):
    for worker in ("0", "1"):
        doctor = ready.google.workers / "s" / worker / "tinyjax" / "tinyjax" / "bin" / "doctor.py"
        doctor.write_text(f"import sys; print('worker', {worker}, sys.argv[1:]); sys.exit({worker})")
    result = ready.tpu("doctor", "s", "--bucket=gs://b", "--port=8476")
    assert result.returncode == 4
    assert "--- worker 1 (s)\nworker 1 ['--bucket=gs://b', '--port=8476']" in result.stdout


def test_help_is_there_without_anything_else(laptop: Laptop):
    for words in ([], *([command] for command in ("create", "setup", "run", "up", "logs", "doctor"))):
        done = subprocess.run(
            ["env", "-i", str(laptop.repository / "launch" / "tpu"), *words, "--help"],
            capture_output=True,
            text=True,
        )
        assert "usage: launch/tpu" in done.stdout, done.stderr
