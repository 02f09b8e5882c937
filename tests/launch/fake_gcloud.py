"""Stands in for gcloud on PATH: plays a session, keeps Google's state, and runs what ssh runs for real.

Its folder is $FAKE_GCLOUD. The file `session` there says what happens:
  hosts     how many hosts a node has
  requests  for each time the slice is made: the states of the queued resource, as told one after the other
  errors    for create, describe, node, ssh, scp and delete: what each call fails with; None: it works
  preempt   for each time the slice is made: after how many looks at its first worker it is preempted
`calls` lists the calls. Each worker's home is workers/NODE/INDEX; what runs there are real processes. Files
are Python's literals and few modules are imported: it is started some hundred times.
"""

import fcntl
import os
import signal
import sys

FOLDER = os.environ["FAKE_GCLOUD"]
WORKERS = f"{FOLDER}/workers"
GONE = 'This TPU has terminal state "PREEMPTED", so it cannot be used anymore.'


def read(path: str):
    """Returns what a file holds, None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return eval(file.read())


def write(path: str, value) -> None:
    """Puts a file in the place of another."""
    with open(f"{path}.new", "w") as file:
        file.write(repr(value))
    os.replace(f"{path}.new", path)


class Refused(Exception):  # noqa: N818
    """What gcloud says before it exits with 1, or with 255 where that was ssh's."""


def count(state: dict, what: str) -> int:
    state["counts"][what] = state["counts"].get(what, 0) + 1
    return state["counts"][what]


def of_this_time(session: dict, state: dict, what: str, default):
    """The entry for the present making of the slice; the last one holds on."""
    entries = session.get(what, [default])
    return entries[min(state["made"] - 1, len(entries) - 1)]


def main(words: list[str]) -> None:
    """Answers one call; calls wait for each other, but for what runs on the workers."""
    with open(f"{FOLDER}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read(f"{FOLDER}/state") or {"made": 0, "counts": {}, "request": None}
        try:
            answer = decide(words, state)
        finally:
            write(f"{FOLDER}/state", state)
    answer()


def decide(words: list[str], state: dict):
    """Changes Google's state by a call, and returns what answers it."""
    options = dict(w.partition("=")[::2] for w in words if w.startswith("--"))
    names = [w for w in words if not w.startswith("--")]
    session = read(f"{FOLDER}/session")
    verb = next(w for w in names if w in ("create", "describe", "delete", "ssh", "scp"))
    kind = "node" if verb == "describe" and "queued-resources" not in names else verb
    with open(f"{FOLDER}/calls", "a") as calls:
        calls.write(repr(words) + "\n")
    errors = session.get("errors", {}).get(kind, [])
    number = count(state, kind)
    if number <= len(errors) and errors[number - 1]:
        raise Refused(errors[number - 1])
    return HANDLERS[kind](session, state, names[names.index(verb) + 1 :], options)


def create(session, state, names, options):
    if state["request"]:
        raise Refused("ALREADY_EXISTS: Resource already exists")
    nodes = [options["--node-id"]] if "--node-id" in options else []
    nodes += [f"{options['--node-prefix']}-{i}" for i in range(int(options.get("--node-count", 0)))]
    state["made"] += 1
    labels = dict([options["--labels"].split("=")]) if "--labels" in options else {}
    state["request"] = {
        "name": names[0],
        "nodes": nodes,
        "labels": labels,
        "over": "",
        "looks": 0,
        "asked": 0,
    }
    for node in nodes:
        for index in range(session.get("hosts", 1)):
            os.makedirs(f"{WORKERS}/{node}/{index}")
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
    return lambda: print(as_json({"name": names[0], "state": told, "tpu": {"nodeSpec": spec}}))


def as_json(value) -> str:
    """Returns JSON, of what holds no quotation marks of its own."""
    return repr(value).replace("'", '"')


def describe_node(session, state, names, options):
    request = state["request"]
    if not os.path.exists(f"{WORKERS}/{names[0]}"):
        raise Refused(f"NOT_FOUND: Resource 'projects/p/.../nodes/{names[0]}' was not found")
    over = request and request["over"]
    told = {"state": "PREEMPTED" if over else session.get("node_state", "READY"), "health": "HEALTHY"}
    told["networkEndpoints"] = [{"ipAddress": f"10.0.0.{i}"} for i in range(session.get("hosts", 1))]
    return lambda: print(as_json(told))


def delete(session, state, names, options):
    if not state["request"]:
        raise Refused("NOT_FOUND: it was not found")
    for node in state["request"]["nodes"]:
        kill_all(f"{WORKERS}/{node}")
        os.rename(f"{WORKERS}/{node}", f"{FOLDER}/deleted-{state['made']}-{node}")
    state["request"] = None
    return lambda: None


def ssh(session, state, names, options):
    request, home = state["request"], home_of(names[0], options)
    looked = options["--command"].endswith("tinyjax-worker.sh state")
    if request and names[0] == request["nodes"][0] and home.endswith("/0") and looked:
        request["looks"] += 1
        if request["looks"] == of_this_time(session, state, "preempt", None):
            request["over"] = "SUSPENDED"
            for node in request["nodes"]:
                kill_all(f"{WORKERS}/{node}")
    if request and request["over"]:
        raise Refused(GONE)
    return lambda: sys.exit(on_worker(home, options["--command"]))


def on_worker(home: str, command: str) -> int:
    """Runs a command as sshd would, and hangs up when it has ended."""
    path = f"{FOLDER}/worker-bin:/usr/bin:/bin"
    env = {"HOME": home, "PATH": path, "FAKE_GCLOUD_WORKER": home}
    os.chdir(home)
    pid = os.posix_spawn("/bin/bash", ["bash", "-c", command], env, setsid=True)
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(pid, signal.SIGHUP))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os.killpg(pid, signal.SIGHUP)
    except ProcessLookupError:
        return code
    return code


def scp(session, state, names, options):
    *files, target = names
    home = home_of(target.rstrip(":"), options)
    if state["request"] and state["request"]["over"]:
        raise Refused(GONE)
    return lambda: os.execvp("cp", ["cp", "-p", *files, home])


def home_of(node: str, options: dict) -> str:
    home = f"{WORKERS}/{node}/{options.get('--worker', '0')}"
    if not os.path.isdir(home):
        raise Refused(f"NOT_FOUND: Resource 'projects/p/.../nodes/{node}' was not found")
    return home


def kill_all(folder: str) -> None:
    """Kills every process that was started on the workers below a folder."""
    mark = f"FAKE_GCLOUD_WORKER={folder}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if any(part.startswith(mark) for part in file.read().split(b"\0")):
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass


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
