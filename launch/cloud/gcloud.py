"""The gcloud commands: settings in, lists of arguments out."""

from collections.abc import Sequence

from launch.cloud.slices import Node, Slice, Worker

Command = tuple[str, ...]

LABEL = "made-by=tinyjax"  # on what was made here, and may be deleted when it is of no more use
_TPUS = ("gcloud", "compute", "tpus")
_REQUESTS = (*_TPUS, "queued-resources")
# gcloud calls ssh ten times before it gives up, and ssh alone waits minutes for a host that is gone.
_CONNECT = "-oConnectTimeout=15"


def create(settings: Slice, wait_seconds: int) -> Command:
    """Asks for a slice; a request that waits ends itself in time, so that none is left that could cost."""
    node = ["--node-id=" + settings.name]
    if settings.slices > 1:
        node = [f"--node-count={settings.slices}", f"--node-prefix={settings.name}"]
    return (
        *_REQUESTS,
        "create",
        settings.name,
        *_place(settings),
        *node,
        f"--accelerator-type={settings.type}",
        f"--runtime-version={settings.runtime}",
        *_options(settings),
        f"--labels={LABEL}",
        *([f"--valid-until-duration={wait_seconds}s"] if wait_seconds else []),
        "--quiet",
    )


def _options(settings: Slice) -> list[str]:
    texts = {
        "--service-account": settings.service_account,
        "--network": settings.network,
        "--subnetwork": settings.subnetwork,
    }
    switches = {
        "--spot": settings.spot,
        "--reserved": settings.reserved,
        "--internal-ips": settings.internal_ips,
    }
    return [name for name, on in switches.items() if on] + [f"{k}={v}" for k, v in texts.items() if v]


def describe(settings: Slice) -> Command:
    """Asks for the state of the queued resource."""
    return (*_REQUESTS, "describe", settings.name, *_place(settings), "--format=json")


def delete(settings: Slice) -> Command:
    """Deletes the queued resource and its nodes."""
    return (*_REQUESTS, "delete", settings.name, *_place(settings), "--force", "--quiet")


def describe_node(settings: Slice, node: Node) -> Command:
    """Asks for the state of a node."""
    kind = ("gcloud", "compute", "instances") if node.compute_engine else (*_TPUS, "tpu-vm")
    return (*kind, "describe", node.name, *_place(settings), "--format=json")


def ssh(settings: Slice, worker: Worker, script: str) -> Command:
    """Runs a shell command on one worker.

    One worker a call: with several, gcloud wants the key in an ssh-agent, mixes what they print, and tells
    one exit code for all.
    """
    where = (*_through(worker.node, "ssh"), worker.node.name, *_which(settings, worker))
    return (*where, f"--ssh-flag={_CONNECT}", f"--command={script}")


def scp(settings: Slice, worker: Worker, files: Sequence[str]) -> Command:
    """Copies files into the home folder of one worker."""
    where = (*_through(worker.node, "scp"), *files, f"{worker.node.name}:", *_which(settings, worker))
    return (*where, f"--scp-flag={_CONNECT}")


def _through(node: Node, tool: str) -> Command:
    return ("gcloud", "compute", tool) if node.compute_engine else (*_TPUS, "tpu-vm", tool)


def _which(settings: Slice, worker: Worker) -> Command:
    index = [] if worker.node.compute_engine else [f"--worker={worker.index}"]
    internal = ["--internal-ip"] if settings.internal_ips else []
    return (*_place(settings), *index, *internal, "--quiet")


def _place(settings: Slice) -> Command:
    project = [f"--project={settings.project}"] if settings.project else []
    return (f"--zone={settings.zone}", *project)
