"""What may be done on gs:// is found out before long work, and what is missing is named."""

import pathlib
import re

import pytest

from tests import binaries
from tests.binaries import assert_refused
from tests.gcs import BUCKET, CALLER, Gcs
from tinyjax.checkpoint import preflight
from tinyjax.checkpoint.preflight import FOR_CHECKPOINTS, OBJECTS, probe
from tinyjax.errors import UserError

BINDING = f"gcloud storage buckets add-iam-policy-binding gs://{BUCKET} --member=serviceAccount:{CALLER}"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def refusal(folder: str, needed=OBJECTS) -> str:
    with pytest.raises(UserError) as raised:
        probe(folder, needed)
    return str(raised.value)


@pytest.mark.parametrize(
    ("forbidden", "verb", "permission", "role"),
    [
        ("write", "write", "storage.objects.create", "storage.objectAdmin"),
        ("read", "read", "storage.objects.get", "storage.objectAdmin"),
        ("list", "list", "storage.objects.list", "storage.objectAdmin"),
        ("look", "see its bucket", "storage.buckets.get", "storage.legacyBucketReader"),
    ],
)
def test_what_is_refused_is_named_with_its_permission_and_role(
    forbidden: str, verb: str, permission: str, role: str, gcs: Gcs, bucket: str
):
    with gcs.forbidding(f"^{forbidden} "):
        said = refusal(bucket, FOR_CHECKPOINTS)
    assert said == (
        f"no permission to {verb} at '{bucket}': {CALLER} lacks {permission} on the bucket '{BUCKET}'; "
        f"grant it the role {role}, as in: {BINDING} --role=roles/{role}"
    )
    assert not gcs.names(bucket.removeprefix(f"gs://{BUCKET}/"))


def test_an_object_that_may_not_be_deleted_is_named(gcs: Gcs, bucket: str):
    with gcs.forbidding("^delete "):
        said = refusal(bucket)
    (left,) = gcs.names(bucket.removeprefix(f"gs://{BUCKET}/"))
    assert said.startswith(
        f"no permission to delete at '{bucket}': {CALLER} lacks storage.objects.delete on the bucket "
        f"'{BUCKET}'; the object '{left}' stays there; grant it the role storage.objectAdmin"
    )


def test_all_that_is_refused_is_named_at_once(gcs: Gcs, bucket: str):
    with gcs.forbidding(""):
        said = refusal(bucket, FOR_CHECKPOINTS)
    assert "no permission to write, read, list, delete and see its bucket" in said
    names = ["objects.create", "objects.get", "objects.list", "objects.delete", "buckets.get"]
    assert re.findall(r"storage\.((?:objects|buckets)\.\w+)", said) == names
    assert "the roles storage.objectAdmin and storage.legacyBucketReader" in said


def test_who_needs_no_checkpoints_there_need_not_see_the_bucket(gcs: Gcs, bucket: str):
    with gcs.forbidding("^look "):
        probe(bucket)


def test_it_is_one_request_for_each_permission_and_leaves_nothing(gcs: Gcs, bucket: str):
    probe(bucket)  # now connected
    before = len(gcs.storage.asked)
    probe(bucket, FOR_CHECKPOINTS)
    asked = [what.split()[0] for what in gcs.storage.asked[before:]]
    assert asked == ["POST", "GET", "GET", "DELETE", "GET"]
    assert not gcs.names(bucket.removeprefix(f"gs://{BUCKET}/"))


def test_a_bucket_as_a_whole_is_a_folder_too(gcs: Gcs):
    probe(f"gs://{BUCKET}")
    with gcs.forbidding("^write "):
        assert f"at 'gs://{BUCKET}'" in refusal(f"gs://{BUCKET}")
    assert not gcs.names(".probe")


def test_a_missing_bucket(gcs: Gcs):
    assert refusal("gs://tinyjax-nowhere/run").startswith("there is no bucket 'tinyjax-nowhere'")


def test_interrupted_it_leaves_nothing(gcs: Gcs, bucket: str, monkeypatch):
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    interrupted = preflight.Permission("list", "storage.objects.list", stop)
    with pytest.raises(KeyboardInterrupt):
        probe(bucket, (preflight.WRITE, interrupted))
    assert not gcs.names(bucket.removeprefix(f"gs://{BUCKET}/"))


def test_a_local_folder_is_left_alone(tmp_path):
    probe(tmp_path / "not" / "there")
    assert not list(tmp_path.iterdir())


# Every binary that writes there asks before it does anything else: none of these models and stories is there.


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train", [binaries.CONFIG, "--config.data.path=no/data", "--run_dir={}"]),
        ("prepare", ["--source=no/stories.txt", "--data_dir={}"]),
        ("evaluate", ["--checkpoint=no/run", "--data=no/data", "--out={}"]),
        ("evaluate", ["--of=no/evaluation", "--report={}"]),
        ("interpret", ["--checkpoint=no/run", "--data=no/data", "--out={}"]),
        ("sample", ["--checkpoint=no/run", "--output={}/stories.jsonl"]),
        ("export", ["--checkpoint=no/run", "--format=hf", "--out={}"]),
        ("import", ["--source=no/model.bin", "--run_dir={}"]),
        ("sweep", [f"--sweep={binaries.ROOT}/configs/sweeps/small.py", "--data=no/data", "--out={}"]),
        ("quickstart", [binaries.CONFIG, "--stories=no/stories.txt", "--run_dir={}"]),
        ("plan", [binaries.CONFIG, "--topology=v5e:2x2", "--json={}/plan.json"]),
    ],
)
def test_binaries_ask_before_they_begin(
    name: str, arguments: list[str], gcs: Gcs, bucket: str, tmp_path: pathlib.Path
):
    with gcs.forbidding("^write "):
        result = binaries.run(tmp_path, name, *(argument.format(bucket) for argument in arguments))
    assert_refused(result, f"no permission to write at '{bucket}'", "storage.objects.create")


# What the real server says beyond that; here it can only be played.


def answers(*refused: tuple[preflight.Permission, str]) -> preflight.Answers:
    return preflight.Answers("gs://b/run", [preflight.Answer(*pair) for pair in refused])


def test_a_machine_without_the_scope_is_told_of_its_scope():
    said = "Request had insufficient authentication scopes."
    refused = answers((preflight.WRITE, said))
    assert f"(the server says: {said})" in preflight.explain(refused)
    assert "scope cloud-platform" in preflight.mend(refused)


def test_who_is_not_logged_in_is_told_to():
    said = "Anonymous caller does not have storage.objects.create access, 401"
    assert "gcloud auth application-default login" in preflight.mend(answers((preflight.WRITE, said)))


def test_another_reason_is_passed_on():
    """As of a bucket with a retention policy: the permission may well be there."""
    said = "Object is under active retention policy and cannot be deleted."
    assert f"(the server says: {said})" in preflight.explain(answers((preflight.DELETE, said)))


def test_a_person_s_account_is_bound_as_one():
    said = "someone@example.com does not have storage.objects.create access"
    assert "--member=user:someone@example.com " in preflight.mend(answers((preflight.WRITE, said)))
