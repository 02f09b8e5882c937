"""Stands in for gcloud on PATH: plays a session from a file, keeps Google's state, and runs what ssh runs for real.

Its folder is $FAKE_GCLOUD. `session.json` there says what happens:
  hosts     how many hosts a node has
  requests  for each time the slice is made: the states of the queued resource that are told one after the other
  errors    for create, describe, node, ssh, scp and delete: what one call after the other fails with; null: it works
  preempt   for each time the slice is made: after how many looks at its first worker it is preempted
`calls.jsonl` lists the calls. Each worker's home is workers/NODE/INDEX; what runs there are real processes.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

FOLDER = pathlib.Path(os.environ["FAKE_GCLOUD"])
WORKERS = FOLDER / "workers"
GONE = 'This TPU has terminal state "PREEMPTED", so it cannot be used anymore.'


class Refused(Exception):
    """What gcloud says before it exits with 1, or with 255 where that was ssh's."""


@contextlib.contextmanager
def google():
    """Yields Google's state, for one call at a time."""
    path = FOLDER / "state.json"
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(path.read_text()) if path.exists() else {"made": 0, "counts": {}, "request": None}
        try:
            yield state
        finally:
            path.write_text(json.dumps(state))


def count(state: dict, what: str) -> int:
    state["counts"][what] = state["counts"].get(what, 0) + 1
    return state["counts"][what]


def of_this_time(session: dict, state: dict, what: str, default):
    """The entry for the present making of the slice; the last one holds on."""
    entries = session.get(what, [default])
    return entries[min(state["made"] - 1, len(entries) - 1)]


def main(words: list[str]) -> None:
    options = dict(w.partition("=")[::2] for w in words if w.startswith("--"))
    names = [w for w in words if not w.startswith("--")]
    session = json.loads((FOLDER / "session.json").read_text())
    kind = {"instances": "node", "tpu-vm": "node", "queued-resources": ""}.get(names[-3], "")
    verb = next(w for w in names if w in ("create", "describe", "delete", "ssh", "scp"))
    kind = "node" if kind == "node" and verb == "describe" else verb
    with google() as state:
        with open(FOLDER / "calls.jsonl", "a") as calls:
            calls.write(json.dumps({"time": time.time(), "words": words}) + "\n")
        errors = session.get("errors", {}).get(kind, [])
        number = count(state, kind)
        if number <= len(errors) and errors[number - 1]:
            raise Refused(errors[number - 1])
        answer = HANDLERS[kind](session, state, names[names.index(verb) + 1 :], options)
    answer()


def create(session, state, names, options):
    if state["request"]:
        raise Refused("ALREADY_EXISTS: Resource already exists")
    nodes = [options["--node-id"]] if "--node-id" in options else []
    nodes += [f"{options['--node-prefix']}-{i}" for i in range(int(options.get("--node-count", 0)))]
    state["made"] += 1
    labels = dict([options["--labels"].split("=")]) if "--labels" in options else {}
    state["request"] = {"name": names[0], "nodes": nodes, "labels": labels, "over": "", "looks": 0, "asked": 0}
    for node in nodes:
        shutil.rmtree(WORKERS / node, ignore_errors=True)
        for index in range(session.get("hosts", 1)):
            (WORKERS / node / str(index)).mkdir(parents=True)
    return lambda: print(f"Created queued resource {names[0]}", file=sys.stderr)


def describe(session, state, names, options):
    request = state["request"]
    if not request or request["name"] != names[0]:
        raise Refused(f"NOT_FOUND: Resource 'projects/p/.../queuedResources/{names[0]}' was not found")
    states = of_this_time(session, state, "requests", ["ACTIVE"])
    told = {"state": request["over"] or states[min(request["asked"], len(states) - 1)]}
    if told["state"].startswith("FAILED"):
        told = {"state": "FAILED", "failedData": {"error": {"message": told["state"].partition(": ")[2]}}}
    request["asked"] += 1
    spec = [{"node": {"labels": request["labels"]}}]
    return lambda: print(json.dumps({"name": names[0], "state": told, "tpu": {"nodeSpec": spec}}))


def describe_node(session, state, names, options):
    request = state["request"]
    if not (WORKERS / names[0]).exists():
        raise Refused(f"NOT_FOUND: Resource 'projects/p/.../nodes/{names[0]}' was not found")
    over = request and request["over"]
    told = {"state": "PREEMPTED" if over else session.get("node_state", "READY"), "health": "HEALTHY"}
    told["networkEndpoints"] = [{"ipAddress": f"10.0.0.{i}"} for i in range(session.get("hosts", 1))]
    return lambda: print(json.dumps(told))


def delete(session, state, names, options):
    if not state["request"]:
        raise Refused("NOT_FOUND: it was not found")
    for node in state["request"]["nodes"]:
        kill_all(WORKERS / node)
        shutil.rmtree(WORKERS / node)
    state["request"] = None
    return lambda: None


def ssh(session, state, names, options):
    request, home = state["request"], home_of(names[0], options)
    looked = options["--command"].endswith("tinyjax-worker.sh state")
    if request and names[0] == request["nodes"][0] and home.name == "0" and looked:
        request["looks"] += 1
        if request["looks"] == of_this_time(session, state, "preempt", None):
            request["over"] = "SUSPENDED"
            for node in request["nodes"]:
                kill_all(WORKERS / node)
    if request and request["over"]:
        raise Refused(GONE)
    return lambda: sys.exit(on_worker(home, options["--command"]))


def on_worker(home: pathlib.Path, command: str) -> int:
    """Runs a command as sshd would, and hangs up when it has ended."""
    path = f"{FOLDER}/worker-bin:/usr/bin:/bin"
    env = {"HOME": str(home), "PATH": path, "FAKE_GCLOUD_WORKER": str(home)}
    process = subprocess.Popen(["bash", "-c", command], cwd=home, env=env, start_new_session=True)
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGHUP)
    return code


def scp(session, state, names, options):
    *files, target = names
    home = home_of(target.rstrip(":"), options)
    if state["request"] and state["request"]["over"]:
        raise Refused(GONE)
    return lambda: [shutil.copy(file, home) for file in files]


def home_of(node: str, options: dict) -> pathlib.Path:
    home = WORKERS / node / options.get("--worker", "0")
    if not home.is_dir():
        raise Refused(f"NOT_FOUND: Resource 'projects/p/.../nodes/{node}' was not found")
    return home


def kill_all(folder: pathlib.Path) -> None:
    """Kills every process that was started on the workers below a folder."""
    mark = f"FAKE_GCLOUD_WORKER={folder}".encode()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(part.startswith(mark) for part in (process / "environ").read_bytes().split(b"\0")):
                os.kill(int(process.name), signal.SIGKILL)


HANDLERS = {
    "create": create,
    "describe": describe,
    "node": describe_node,
    "delete": delete,
    "ssh": ssh,
    "scp": scp,
}

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Refused as error:
        print(f"ERROR: (gcloud.compute.tpus) {error}", file=sys.stderr)
        sys.exit(255 if "[255]" in str(error) else 1)
