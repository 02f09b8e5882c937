"""`launch/tpu up`: whatever it takes until the job is done, and when to stop."""

import pathlib

import pytest

from tests.launch.laptop import Laptop, alive, commit, interrupt, kill, make_repository, wait_until

pytestmark = pytest.mark.alone

SPOT = ("s", "--zone=us-west4-a", "--type=v5litepod-4", "--spot")
SSH_255 = "[/usr/bin/ssh] exited with return code [255]."
NO_CAPACITY = (
    'RESOURCE_EXHAUSTED: There is no more capacity in the zone "us-west4-a"; you can try in another zone '
    "where Cloud TPU Nodes are offered"
)


def made_and_deleted(laptop: Laptop) -> tuple[int, int]:
    return len(laptop.google.calls("queued-resources", "create")), len(laptop.google.calls("delete"))


def test_a_job_runs_to_its_end_and_the_slice_stays(laptop: Laptop):
    laptop.google.plays(requests=[["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]])
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 0, result.stderr
    assert len(laptop.starts()) == 1
    assert laptop.google.has() == "s"
    assert made_and_deleted(laptop) == (1, 0)
    assert "WAITING_FOR_RESOURCES: waiting for capacity" in result.stderr
    assert "done on all workers" in result.stderr


def test_asked_to_it_deletes_the_slice_when_the_job_is_done(laptop: Laptop):
    result = laptop.tpu("up", *SPOT, "--delete_when_done", *laptop.train())
    assert result.returncode == 0, result.stderr
    assert laptop.google.has() == ""
    assert not list(laptop.state.rglob("*.json"))


def test_a_request_without_capacity_is_made_again(laptop: Laptop):
    laptop.google.plays(
        errors={"create": [NO_CAPACITY]},
        requests=[["FAILED: There is no more capacity in the zone"], ["ACTIVE"]],
    )
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 0, result.stderr
    assert made_and_deleted(laptop) == (3, 1)
    assert "no capacity" in result.stderr


def test_capacity_is_waited_for_within_a_limit(laptop: Laptop):
    laptop.google.plays(requests=[["WAITING_FOR_RESOURCES"]])
    result = laptop.tpu("up", *SPOT, "--wait=1s", *laptop.train())
    assert result.returncode == 3
    assert "didn't come within --wait" in result.stderr
    assert "--valid-until-duration=1s" in laptop.google.calls("create")[0]  # Google ends the request itself
    assert made_and_deleted(laptop) == (1, 0)


@pytest.mark.slow
def test_a_job_that_was_preempted_twice_goes_on_in_the_same_run_folder(laptop: Laptop):
    laptop.google.plays(preempt=[3, 3, None], hosts=2)
    laptop.script(all=["run", "run", "exit 0"])
    result = laptop.tpu("up", *SPOT, "--env=MODE=fast", *laptop.train())
    assert result.returncode == 0, result.stderr
    for worker in ("s/0", "s/1"):
        starts = laptop.starts(worker)
        assert [start["words"] for start in starts] == [[f"--run_dir={laptop.bucket}"]] * 3
        assert {start["mode"] for start in starts} == {"fast"}
    assert made_and_deleted(laptop) == (3, 2)
    assert "'s' is PREEMPTED" in result.stderr
    assert "2 of 10 retries" in result.stderr


@pytest.mark.slow
def test_a_preemption_while_workers_are_set_up_is_one_too_and_the_code_stays_that_of_the_first_time(
    laptop: Laptop, tmp_path: pathlib.Path
):
    laptop.repository = tmp_path / "repository"
    make_repository(laptop.repository)
    laptop.google.plays(preempt=[1, 3, None])  # at the look before the start
    laptop.script(all=["run", "exit 0"])
    (laptop.repository / "mine.txt").write_text("a")
    process = laptop.start("up", *SPOT, "--with_changes", *laptop.train())
    laptop.wait_for_starts(1)
    source = laptop.google.workers / "s" / "0" / "tinyjax-source"
    first = source.read_text()
    (laptop.repository / "mine.txt").write_text("b")
    assert not commit(laptop.repository).startswith(first.strip())
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert made_and_deleted(laptop) == (3, 2)
    assert len(laptop.starts()) == 2
    assert source.read_text() == first
    assert (source.parent / "tinyjax" / "mine.txt").read_text() == "a"


@pytest.mark.slow
def test_what_fails_because_its_machine_is_taken_away_is_no_failure_of_the_program(laptop: Laptop):
    laptop.script(all=["run", "exit 0"])
    process = laptop.start("up", *SPOT, *laptop.train())
    laptop.wait_for_starts(1)
    laptop.google.plays(node_state="PREEMPTED")  # while ssh still works
    kill(laptop.starts()[0]["pid"])
    wait_until(lambda: laptop.google.calls("delete"))
    laptop.google.plays()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "'s' is PREEMPTED" in err
    assert len(laptop.starts()) == 2


@pytest.mark.slow
def test_ctrl_c_while_all_workers_are_called_ends_the_calls_at_once(laptop: Laptop):
    laptop.google.plays(hosts=2)
    assert laptop.tpu("create", *SPOT).returncode == 0
    tar = laptop.google.folder / "worker-bin" / "tar"  # which setup calls
    tar.write_text("#!/bin/sh\necho $$ >>$HOME/tar-pid; exec sleep 600\n")
    tar.chmod(0o755)
    process = laptop.start("setup", "s")
    wait_until(lambda: len(list(laptop.google.workers.rglob("tar-pid"))) == 2)
    assert interrupt(process)[0] == 130


@pytest.mark.slow
def test_retries_have_a_limit(laptop: Laptop):
    laptop.google.plays(preempt=[3])
    laptop.script(all=["run"])
    result = laptop.tpu("up", *SPOT, "--retries=1", *laptop.train())
    assert result.returncode == 5
    assert "given up after 1 retries" in result.stderr
    assert len(laptop.starts()) == 2


@pytest.mark.slow
def test_a_program_that_fails_ends_it_and_its_last_lines_are_shown(laptop: Laptop):
    laptop.google.plays(hosts=2)
    laptop.script(**{"s/0": ["run"], "s/1": ["exit 1"]})
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 4
    assert "Traceback: the s/1 broke" in result.stdout
    assert "worker 1 (s): exit code 1" in result.stderr
    assert "The slice is kept" in result.stderr
    assert made_and_deleted(laptop) == (1, 0)
    assert len(laptop.starts()) == 1


@pytest.mark.slow
def test_a_worker_that_only_lost_another_is_not_taken_for_the_cause(laptop: Laptop):
    laptop.google.plays(hosts=2)
    laptop.script(**{"s/0": ["exit 43"], "s/1": ["exit 2"]})
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 4
    assert "worker 1 (s): exit code 2" in result.stderr
    assert "the s/1 broke" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("code", [42, 43])
def test_on_machines_that_are_still_there_a_job_that_was_stopped_or_cut_off_goes_on(
    laptop: Laptop, code: int
):
    laptop.script(all=[f"exit {code}", "exit 0"])
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 0, result.stderr
    assert len(laptop.starts()) == 2
    assert made_and_deleted(laptop) == (1, 0)


@pytest.mark.slow
def test_processes_that_vanish_without_an_exit_code_are_started_again(laptop: Laptop):
    laptop.script(all=["run", "exit 0"])
    process = laptop.start("up", *SPOT, *laptop.train())
    laptop.wait_for_starts(1)
    looks = len(laptop.google.calls("ssh", "sh tinyjax-worker.sh state"))
    wait_until(
        lambda: len(laptop.google.calls("ssh", "sh tinyjax-worker.sh state")) > looks + 1
    )  # not in the start
    laptop.google.ends()  # as when a VM is restarted
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "gone without an exit code" in err
    assert made_and_deleted(laptop) == (1, 0)


@pytest.mark.slow
def test_ssh_that_fails_on_a_ready_node_is_tried_again(laptop: Laptop):
    laptop.google.plays(errors={"ssh": [SSH_255, SSH_255, None, None, None, None, SSH_255], "scp": [SSH_255]})
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 0, result.stderr
    assert len(laptop.starts()) == 1
    assert made_and_deleted(laptop) == (1, 0)


@pytest.mark.slow
def test_a_ready_node_that_never_answers_ends_it_with_the_job_left_alone(laptop: Laptop):
    laptop.google.plays(errors={"ssh": [None] * 5 + [SSH_255] * 1000})
    laptop.script(all=["run"])
    result = laptop.tpu("up", *SPOT, "--poll_seconds=0.01", *laptop.train())
    assert result.returncode == 2
    assert "doesn't answer, though Google says that it's there" in result.stderr
    assert alive(laptop.starts()[0]["pid"])


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("You do not currently have an active account selected.", "gcloud auth login"),
        (
            "PERMISSION_DENIED: Cloud TPU API has not been used in project 1 before or it is disabled.",
            "gcloud services enable tpu.googleapis.com",
        ),
        ("PERMISSION_DENIED: Permission 'tpu.queuedResources.create' denied on 'p'", "roles/tpu.admin"),
        (
            "RESOURCE_EXHAUSTED: Quota limit 'TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI' has been "
            "exceeded.",
            "ask for more of the quota",
        ),
    ],
)
def test_what_is_for_the_user_to_mend_is_said_at_once(laptop: Laptop, text: str, mend: str):
    laptop.google.plays(errors={"create": [text] * 9})
    result = laptop.tpu("up", *SPOT, *laptop.train())
    assert result.returncode == 2
    assert text in result.stderr
    assert mend in result.stderr
    assert made_and_deleted(laptop) == (1, 0)
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_alone_and_the_name_comes_back_to_it(laptop: Laptop):
    laptop.script(all=["run", "exit 0"])
    process = laptop.start("up", *SPOT, *laptop.train())
    laptop.wait_for_starts(1)
    wait_until(lambda: len(laptop.google.calls("ssh", "sh tinyjax-worker.sh state")) > 3)
    code, said = interrupt(process)
    assert code == 130
    assert "'launch/tpu up s' comes back to it" in said
    pid = laptop.starts()[0]["pid"]
    assert alive(pid)

    process = laptop.start("up", "s")
    looks = len(laptop.google.calls("ssh", "sh tinyjax-worker.sh state"))
    wait_until(lambda: len(laptop.google.calls("ssh", "sh tinyjax-worker.sh state")) > looks + 3)
    assert [start["pid"] for start in laptop.starts()] == [pid]
    stopped = laptop.tpu("stop", "s")
    assert stopped.returncode == 0, stopped.stderr
    assert "exit code 42" in stopped.stderr
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped, as asked" in err
    assert len(laptop.starts()) == 1


@pytest.mark.slow
def test_who_comes_back_to_a_job_that_has_failed_meanwhile_is_told(laptop: Laptop):
    laptop.script(all=["exit 1", "exit 0"])
    assert laptop.tpu("up", *SPOT, *laptop.train()).returncode == 4
    assert laptop.tpu("up", "s").returncode == 4
    assert len(laptop.starts()) == 1
    assert laptop.tpu("up", "s", *laptop.train()).returncode == 0  # mended
    assert len(laptop.starts()) == 2


@pytest.mark.slow
def test_a_job_killed_for_want_of_memory_is_a_failure(laptop: Laptop):
    laptop.script(all=["run"])
    process = laptop.start("up", *SPOT, *laptop.train())
    laptop.wait_for_starts(1)
    kill(laptop.starts()[0]["pid"])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "exit code 137" in err
    assert "want of memory" in err


def test_what_others_made_under_the_name_is_not_deleted(laptop: Laptop):
    laptop.google.plays(requests=[["ACTIVE"], ["SUSPENDED"]])
    assert laptop.tpu("create", *SPOT).returncode == 0
    path = laptop.google.folder / "state"
    path.write_text(path.read_text().replace("'labels': {'made-by': 'tinyjax'}", "'labels': {}"))
    laptop.google.plays(requests=[["SUSPENDED"]])
    for words in (["up", *SPOT, *laptop.train()], ["delete", "s", "--yes"]):
        result = laptop.tpu(*words)
        assert result.returncode == 2
        assert "made" in result.stderr
    assert made_and_deleted(laptop) == (1, 0)


@pytest.mark.slow
def test_slices_that_train_together_are_nodes_of_one_request(laptop: Laptop):
    laptop.google.plays(hosts=2)
    laptop.script(**{"all": ["exit 0"], "s-1/1": ["exit 1"]})
    result = laptop.tpu("up", "s", "--zone=z", "--type=v6e-16", "--slices=2", *laptop.train())
    assert result.returncode == 4
    assert "worker 3 (s-1, its worker 1): exit code 1" in result.stderr
    assert all(laptop.starts(f"s-{node}/{index}") for node in (0, 1) for index in (0, 1))
