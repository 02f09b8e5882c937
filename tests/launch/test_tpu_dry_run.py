"""`launch/tpu ... --dry_run`: the commands as they stand in golden/, and as gcloud itself reads them.

After a change that is meant, GOLDEN=write ./tools/test tests/launch/test_tpu_dry_run.py writes them anew.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

from launch.cloud.tpu import main
from tests.launch.laptop import make_repository

GOLDEN = pathlib.Path(__file__).parent / "golden"
TRAIN = "-- train --config=configs/paper.py:33M --run_dir=gs://bucket/runs/33M"
ONE = "s --zone=us-west4-a --type=v5litepod-4"
FOUR_HOSTS = "s --zone=us-west4-a --type=v5e:4x4"
TWO_SLICES = "s --zone=us-east5-b --type=v6e-16 --slices=2"
EXISTING = "mine --zone=us-west4-a --existing"
TPU7X = "s --zone=us-central1-c --existing --vms=t-0,t-1"  # from Compute Engine only
SURROUNDINGS = {"WANDB_API_KEY": "dark-secret", "PATH": "/nowhere"}
CALLS = {
    "create-v5litepod-4-spot": [f"create {ONE} --spot"],
    "create-with-all-options": [
        "create s --zone=us-central2-b --project=p --type=v4-8 --reserved --runtime=tpu-ubuntu2204-base "
        "--service_account=a@p.iam.gserviceaccount.com --network=n --subnetwork=m --internal_ips --wait=2h",
        "create s --zone=us-east5-a --type=v5p:2x2x1 --wait=0",
    ],
    "v5litepod-16": [
        f"create {FOUR_HOSTS}",
        f"setup {FOUR_HOSTS} --commit=HEAD~1",
        f"run {FOUR_HOSTS} {TRAIN}",
    ],
    "two-slices-of-v6e-16": [
        f"create {TWO_SLICES} --spot",
        f"status {TWO_SLICES}",
        f"stop {TWO_SLICES}",
        f"delete {TWO_SLICES}",
    ],
    "existing-vm": [
        f"create {EXISTING}",
        f"setup {EXISTING} --with_changes",
        f"run {EXISTING} {TRAIN}",
        f"delete {EXISTING}",
    ],
    "tpu7x": [f"setup {TPU7X}", f"run {TPU7X} {TRAIN}", f"logs {TPU7X} -f --worker=1"],
    "up": [f"""up {ONE} --spot '--env=MODE=a b' --env=WANDB_API_KEY {TRAIN} "--config.train.wandb=it's" """],
    "others": [
        f"logs {ONE}",
        f"logs {ONE} --follow --lines=5",
        f"doctor {ONE} --bucket=gs://bucket/runs --port=8476",
    ],
}


@pytest.fixture
def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> dict[str, str]:
    """What each call prints, by name; nothing is called for it."""
    texts = {}
    with monkeypatch.context() as patch:
        for name, value in SURROUNDINGS.items():
            patch.setenv(name, value)
        patch.setenv("XDG_STATE_HOME", str(tmp_path))
        for name, calls in CALLS.items():
            for words in map(shlex.split, calls):
                at = words.index("--") if "--" in words else len(words)
                print(f"$ launch/tpu {shlex.join(words)}")
                assert main([*words[:at], "--dry_run", *words[at:]]) == 0, capsys.readouterr().err
            texts[name] = capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # and nothing is remembered
    return texts


def test_the_commands_are_those_that_were_looked_at(printed: dict[str, str]):
    if os.environ.get("GOLDEN") == "write":
        for name, text in printed.items():
            (GOLDEN / f"{name}.txt").write_text(text)
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == sorted(printed)
    for name, text in printed.items():
        assert text == (GOLDEN / f"{name}.txt").read_text(), name
        assert "dark-secret" not in text


def commands(text: str) -> list[list[str]]:
    """The printed commands as a shell reads them."""
    return [shlex.split(line) for line in text.splitlines() if line[:2] not in ("# ", "$ ")]


@pytest.mark.slow
def test_gcloud_itself_reads_each_command(printed: dict[str, str], tmp_path: pathlib.Path):
    gcloud = shutil.which("gcloud", path=os.defpath + ":/snap/bin:/usr/local/bin")
    if gcloud is None:
        pytest.skip("there is no gcloud on this machine")
    lines = {shlex.join(c) for text in printed.values() for c in commands(text) if c[0] == "gcloud"}
    assert len(lines) > 40
    wrong = [line.replace("--zone=", "--zoen=") for line in sorted(lines)[:1]]
    told = lint(gcloud, [*sorted(lines), *wrong], tmp_path)
    bad = [(one["command_string"], one["error_message"]) for one in told if not one["success"]]
    assert [line for line, _ in bad] == wrong, bad


def lint(gcloud: str, lines: list[str], folder: pathlib.Path) -> list[dict]:
    """Lets gcloud's own parser read commands, without calling them; it needs no login and no network."""
    (folder / "commands.json").write_text(json.dumps([{"command_string": line} for line in lines]))
    env = {"PATH": os.defpath, "CLOUDSDK_CONFIG": str(folder), "HOME": str(folder)}
    done = subprocess.run(
        [gcloud, "meta", "lint-gcloud-commands", f"--commands-file={folder / 'commands.json'}"],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_printed_git_commands_pack_local_changes(printed: dict[str, str], tmp_path: pathlib.Path):
    folder = tmp_path / "repository"
    make_repository(folder)
    (folder / "new.txt").write_text("new")
    (folder / "launch" / "tpu").unlink()
    lines = [line for line in printed["existing-vm"].splitlines() if "git " in line and line[0] not in "#$"]
    script = "\n".join(lines).replace("/tmp/tinyjax.index", str(tmp_path / "index"))
    subprocess.run(["bash", "-ec", script], cwd=folder, check=True)
    packed = subprocess.check_output(["tar", "-tzf", "tinyjax.tar.gz"], cwd=folder, text=True)
    assert "new.txt" in packed
    assert "tinyjax/errors.py" in packed
    assert "launch/tpu\n" not in packed


def test_a_reader_that_goes_away_ends_it_quietly():
    command = shlex.join(["launch/tpu", "up", *ONE.split(), "--dry_run", *TRAIN.split()])
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        cwd=GOLDEN.parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (141, "")
