"""What launch/tpu makes of what it is told: types, Google's states and messages, workers' reports."""

import dataclasses
import json

import pytest

from launch.cloud import accelerators, failures, jobs, states
from launch.cloud.creating import Step, next_step
from launch.cloud.failures import Kind
from launch.cloud.jobs import Report, Verdict
from launch.cloud.slices import Node, Slice, Worker, resolve, workers
from launch.cloud.states import Machine, NodeState, Request, RequestState
from tinyjax.errors import UserError


@pytest.mark.parametrize(
    ("text", "kind", "runtime", "hosts"),
    [
        ("v4-8", "v4-8", "tpu-ubuntu2204-base", 1),
        ("v4:2x2x4", "v4-32", "tpu-ubuntu2204-base", 4),
        ("v5litepod-1", "v5litepod-1", "v2-alpha-tpuv5-lite", 1),
        ("v5e-8", "v5litepod-8", "v2-alpha-tpuv5-lite", 1),
        ("v5e:2x2", "v5litepod-4", "v2-alpha-tpuv5-lite", 1),
        ("v5e:4x4", "v5litepod-16", "v2-alpha-tpuv5-lite", 4),
        ("v5p:2x2x1", "v5p-8", "v2-alpha-tpuv5", 1),
        ("v5p-16", "v5p-16", "v2-alpha-tpuv5", 2),
        ("v6e:2x4", "v6e-8", "v2-alpha-tpuv6e", 1),
        ("v6e-256", "v6e-256", "v2-alpha-tpuv6e", 64),
    ],
)
def test_types_have_the_names_runtimes_and_hosts_of_googles_tables(
    text: str, kind: str, runtime: str, hosts: int
):
    found = accelerators.parse(text)
    assert (found.type, found.runtime, found.num_hosts) == (kind, runtime, hosts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tpu7x-8", "doesn't offer tpu7x"),
        ("v5-8", "there is no 'v5'"),
        ("v5p:2x2", "3 sides, as in v5p:2x2x1"),
        ("v5e:2xtwo", "2 sides"),
        ("v4-7", "the number counts TensorCores"),
        ("v5e-0", "no size"),
        ("v5e-10", "no size"),
        ("v5e", "no size"),
        ("v5e-many", "no size"),
    ],
)
def test_other_types_are_refused_with_what_is_wrong(text: str, said: str):
    with pytest.raises(UserError, match=said.replace("(", "\\(")):
        accelerators.parse(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "My_Slice"}, "can't be a slice's"),
        ({"zone": ""}, "--zone is missing"),
        ({"type": ""}, "--type is missing"),
        ({"slices": 0}, "--slices=0"),
        ({"spot": True, "reserved": True}, "exclude each other"),
        ({"vms": ("a",)}, "give --existing"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict, said: str):
    with pytest.raises(UserError, match=said):
        resolve(dataclasses.replace(Slice("s", "z", type="v4-8"), **changes))


# The messages are as gcloud and its users' reports have them.
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(gcloud.auth) You do not currently have an active account selected.\nPlease run:", Kind.LOGIN),
        ("There was a problem refreshing your current auth tokens", Kind.LOGIN),
        ("PERMISSION_DENIED: Cloud TPU API has not been used in project 1 before or it is", Kind.API_OFF),
        ("PERMISSION_DENIED: Permission 'tpu.nodes.get' denied on 'projects/p'", Kind.PERMISSION),
        ("Failed to find attribute [project]. The attribute can be set in the following ways:", Kind.PROJECT),
        ("Read access to project 'p' was denied", Kind.PERMISSION),
        (
            '{"code": 429, "message": "Quota limit \'TPUV6EPreemptiblePerProjectPerRegion\' has been '
            'exceeded. Limit: 0 in region us-east5.", "status": "RESOURCE_EXHAUSTED"}',
            Kind.QUOTA,
        ),
        ("Quota 'TPUV4sPreemptiblePodPerProjectPerRegionForTPUAPI' exhausted. Limit 20800", Kind.QUOTA),
        ('There is no more capacity in the zone "us-central1-c"; you can try in another zone', Kind.CAPACITY),
        ("Insufficient reserved capacity. Contact customer support", Kind.CAPACITY),
        ("code: ZONE_RESOURCE_POOL_EXHAUSTED", Kind.CAPACITY),
        ("NOT_FOUND: Resource 'projects/p/locations/z/queuedResources/s' was not found", Kind.NOT_FOUND),
        ("ALREADY_EXISTS: Resource 'projects/p/.../s' already exists", Kind.EXISTS),
        ('This TPU has terminal state "PREEMPTED", so it cannot be used anymore.', Kind.GONE),
        ("[/usr/bin/ssh] exited with return code [255].", Kind.SSH),
        ("gcloud timed out: no answer within 90 s", Kind.TRANSIENT),
        ("UNAVAILABLE: The service is currently unavailable.", Kind.TRANSIENT),
        ("INVALID_ARGUMENT: Cloud TPU received a bad request.", Kind.ARGUMENT),
        ("something new", Kind.OTHER),
    ],
)  # fmt: skip
def test_messages_of_gcloud_are_told_apart_and_each_has_a_mend(text: str, kind: Kind):
    error = failures.failure("asking", f"some progress\nERROR: {text}")
    assert error.kind is kind
    message = str(error)
    assert kind.value in message
    assert len(message.splitlines()) == 3
    assert "some progress" not in message


def about(name: str, ours: bool = True, error: str = "") -> RequestState:
    labels = {"made-by": "tinyjax"} if ours else {}
    state = {"state": name, "failedData": {"error": {"message": error}}}
    return states.parse_request(
        json.dumps({"state": state, "tpu": {"nodeSpec": [{"node": {"labels": labels}}]}})
    )


@pytest.mark.parametrize(
    ("request_state", "node", "step"),
    [
        (states.ABSENT, "", Step.CREATE),
        (about("ACCEPTED"), "", Step.WAIT),
        (about("WAITING_FOR_RESOURCES"), "", Step.WAIT),
        (about("PROVISIONING"), "", Step.WAIT),
        (about("SUSPENDING"), "", Step.WAIT),
        (about("A_STATE_OF_TOMORROW"), "", Step.WAIT),
        (about("SUSPENDED"), "", Step.REPLACE),
        (about("SUSPENDED", ours=False), "", Step.REFUSE),
        (about("FAILED", error="There is no more capacity in the zone"), "", Step.REPLACE),
        (about("FAILED"), "", Step.REPLACE),
        (about("FAILED", error="Quota limit 'X' has been exceeded"), "", Step.REFUSE),
        (about("ACTIVE"), "READY", Step.READY),
        (about("ACTIVE"), "CREATING", Step.WAIT),
        (about("ACTIVE"), "REPAIRING", Step.WAIT),
        (about("ACTIVE"), "PREEMPTED", Step.REPLACE),
        (about("ACTIVE", ours=False), "PREEMPTED", Step.REFUSE),
        (about("ACTIVE"), "STOPPED", Step.REFUSE),
    ],
)
def test_only_what_is_over_and_was_made_here_is_replaced(request_state: RequestState, node: str, step: Step):
    ready, other = states.parse_node('{"state": "READY"}'), states.parse_node(json.dumps({"state": node}))
    assert next_step(request_state, {Node("a"): ready, Node("b"): other} if node else {})[0] is step


def test_a_request_of_several_nodes_is_ours_only_if_all_are():
    specs = [{"node": {"labels": {"made-by": "tinyjax"}}}, {"node": {}}]
    told = json.dumps({"state": {"state": "SUSPENDED"}, "tpu": {"nodeSpec": specs}})
    assert states.parse_request(told) == RequestState(Request.OVER, "SUSPENDED")


def test_a_node_of_two_networks_has_half_as_many_hosts_as_endpoints():
    told = {"state": "READY", "networkEndpoints": [{}] * 8, "networkConfigs": [{}, {}]}
    assert states.parse_node(json.dumps(told)) == NodeState(Machine.READY, "READY", 4)
    assert states.parse_node('{"status": "TERMINATED"}').machine is Machine.GONE  # of Compute Engine


def reports(text: str) -> list[Report]:
    """Reads "running 0 43 lost": what workers 0, 1, 2 and 3 say, each a second after the one before."""
    made = []
    for number, word in enumerate(text.split()):
        worker = Worker(number, Node("s"), number)
        code = int(word) if word.isdecimal() else None
        made.append(Report(worker, "ended" if code is not None else word, ended=100 - number, code=code))
    return made


@pytest.mark.parametrize(
    ("text", "verdict", "worker"),
    [
        ("running running", Verdict.RUNNING, 0),
        ("0 0", Verdict.DONE, 0),
        ("0 running", Verdict.UNSURE, 0),
        ("running 42", Verdict.UNSURE, 1),
        ("42 42", Verdict.STOPPED, 0),
        ("0 143", Verdict.STOPPED, 1),
        ("42 43", Verdict.BROKEN, 1),
        ("lost lost", Verdict.BROKEN, 0),
        ("0 lost", Verdict.BROKEN, 1),
        ("unreachable running", Verdict.UNREACHABLE, 0),
        ("43 43 unreachable", Verdict.UNREACHABLE, 2),
        ("43 1 43", Verdict.FAILED, 1),
        ("1 running", Verdict.FAILED, 0),
        ("1 137", Verdict.FAILED, 1),  # which ended a second before
        ("42 2", Verdict.FAILED, 1),
    ],
)
def test_all_workers_together_decide_what_became_of_a_job(text: str, verdict: Verdict, worker: int):
    found, report = jobs.judge(reports(text))
    assert (found, report.worker.number) == (verdict, worker)


def test_exit_codes_have_a_meaning_in_words():
    assert jobs.meaning(42) == "stopped with everything saved"
    assert "memory" in jobs.meaning(137)
    assert jobs.meaning(138) == "killed by signal 10"
    assert jobs.meaning(77) == "it failed"


def test_workers_are_numbered_through_over_all_nodes():
    found = workers({Node("s-0"): 2, Node("s-1"): 2})
    assert [str(worker) for worker in found] == [
        "worker 0 (s-0)", "worker 1 (s-0)", "worker 2 (s-1, its worker 0)", "worker 3 (s-1, its worker 1)",
    ]  # fmt: skip
