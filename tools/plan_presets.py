"""Plans the training step of every preset for three topologies and writes configs/PLANS.md.

    .venv/bin/python tools/plan_presets.py

Each of the 78 plans is a compile of one to two minutes on two cores. The page is written anew after each;
plans that stand in --cache (a file of JSON lines) are not made again.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from configs import llama, paper  # noqa: E402
from tinyjax.config import Config, MeshConfig, from_dict, resolve, to_dict  # noqa: E402
from tinyjax.parallel.layout import size  # noqa: E402
from tinyjax.planning.plan import make_plan  # noqa: E402
from tinyjax.planning.target import find_target  # noqa: E402

VOCABULARIES = {"260K": 512, "1M": 2048, "3M": 2048, "15M": 32_000, "42M": 32_000, "110M": 32_000}  # of llama
MESHES = {  # beside data-parallel
    "v5e:2x2": MeshConfig(fsdp=2, tensor=2),
    "v5e:4x4": MeshConfig(fsdp=4, tensor=2),
    "v6e:16x16": MeshConfig(fsdp=16, tensor=2),
}
HEAD = """# Plans of the presets

What `python -m tinyjax.bin.plan` says of a training step, made by `tools/plan_presets.py` with the presets'
batches: 1,280 windows of 512 tokens for the paper's models, 256 for the llama family's; the Instruct models
are the paper's. Bytes are read from programs compiled for TPUs that weren't there. Times are estimates:
FLOPs, HBM traffic and what is sent, by the chips' published peaks. So are tokens/s, "at most": a step takes
at least its longest part. On v6e:16x16 the paper's models do without accumulation, for which the chips are
too many.

| preset | chips | mesh | needs a device | FLOPs | HBM | links | bound | tokens/s at most | MFU at most |
|---|---|---|---:|---:|---:|---:|---|---:|---:|
"""


def presets() -> dict[str, tuple[Config, int]]:
    """Returns every preset that is for accelerators, by name, and the vocabulary that it is named after."""
    named = {f"paper.py:{name}": (paper.get_config(name), 10_000) for name in paper.SHAPES}
    return named | {f"llama.py:{name}": (llama.get_config(name), n) for name, n in VOCABULARIES.items()}


def adapted(config: Config, topology: str, mesh: MeshConfig) -> Config:
    """Returns the config with a mesh, and where the chips are too many for it without accumulation."""
    values = to_dict(config)
    values["mesh"] = dataclasses.asdict(mesh)
    if topology == "v6e:16x16":
        values["train"]["accumulation"] = 1
    return resolve(from_dict(values))


def planned(name: str, topology: str, kind: str) -> dict[str, Any]:
    """Makes one plan and returns the row's numbers."""
    config, vocab_size = presets()[name]
    mesh = MESHES[topology] if kind == "fsdp x tensor" else MeshConfig()
    plan = make_plan(adapted(config, topology, mesh), find_target(topology), vocab_size, ("train",))
    train = plan.train
    row = {"preset": name, "topology": topology, "kind": kind, "mesh": plan.mesh}
    if train is None:
        return row | {"needed": None}
    return row | {
        "needed": train.memory.needed, "compute": train.compute_seconds, "hbm": train.hbm_seconds,
        "links": train.link_seconds, "bound": train.bound, "speed": plan.tokens_per_second,
        "mfu": plan.utilisation,
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """Returns a row of the table."""
    mesh = ", ".join(f"{axis} {n}" for axis, n in row["mesh"].items() if n > 1)
    told = [f"`{row['preset']}`", row["topology"], mesh]
    if row["needed"] is None:
        return f"| {' | '.join([*told, 'does not fit', *[''] * 6])} |"
    times = [f"{row[part] * 1e3:.3g} ms" for part in ("compute", "hbm", "links")]
    told += [size(row["needed"]), *times, row["bound"], f"{row['speed']:,.0f}", f"{row['mfu']:.1%}"]
    return f"| {' | '.join(told)} |"


def main() -> None:
    """Makes all plans."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / ".pytest_cache" / "plans.jsonl")
    cache = parser.parse_args().cache
    cache.parent.mkdir(exist_ok=True)
    rows = [json.loads(text) for text in cache.read_text().splitlines()] if cache.exists() else []
    wanted = [(p, t, k) for t in MESHES for p in presets() for k in ("data parallel", "fsdp x tensor")]
    for key in wanted:
        if key in {(row["preset"], row["topology"], row["kind"]) for row in rows}:
            continue
        rows.append(planned(*key))
        with cache.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(line(rows[-1]), flush=True)
        ordered = sorted(rows, key=lambda row: wanted.index((row["preset"], row["topology"], row["kind"])))
        (ROOT / "configs" / "PLANS.md").write_text(HEAD + "".join(f"{line(row)}\n" for row in ordered))


if __name__ == "__main__":
    main()
