"""What a configuration of 1,000 services with 10 endpoints each costs: CPU milliseconds of each step, and memory.

    python bench/micro/compile.py [SERVICES [ENDPOINTS]]

Steps: `read` (YAML to objects, checks), `compile` (objects to a plan), `encode` (for the workers), `build` (a worker's
snapshot). The least of three runs, each in a process of its own; memory is what the snapshot adds to the resident set
of a process that has built it, with the plan in sealed memory beside it as in a worker. Narrow: the same files, and a
Sidecar that imports 10 services.

The goal is compile <= 1 s.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import encode, iterate
from fastmesh.config.store import read

ROUNDS = 3
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: default}}
spec: {{selector: {{app: s{number}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
ENTRY = """---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: s{number}-{index}, namespace: default}}
spec: {{address: 10.{high}.{low}.{index}, labels: {{app: s{number}, version: v{version}}}, serviceAccount: s{number}}}
"""
SIDECAR = """---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: own, namespace: default}}
spec: {{egress: [{{hosts: [{hosts}]}}]}}
"""


def written(services: int, endpoints: int, narrow: bool) -> str:
    parts = []
    for number in range(services):
        parts.append(SERVICE.format(number=number))
        for index in range(endpoints):
            high, low = divmod(number, 250)
            parts.append(ENTRY.format(number=number, index=index, high=high, low=low, version=1 + index % 2))
    if narrow:
        hosts = ", ".join(f"./s{number}.default.svc.cluster.local" for number in range(10))
        parts.append(SIDECAR.format(hosts=hosts))
    return "".join(parts)


def measure(path: str) -> dict[str, float]:
    found: dict[str, float] = {}
    clock = time.process_time()

    def lap(name: str) -> None:
        nonlocal clock
        found[name] = (time.process_time() - clock) * 1000
        clock = time.process_time()

    config = read([path]).require()
    lap("read")
    plan, _ = compile_plan(config, Role())
    lap("compile")
    encoded = encode(plan)
    lap("encode")
    found["plan KiB"] = len(encoded) / 1024
    found["clusters"] = len(plan.clusters)
    return found


def build(path: str) -> dict[str, float]:
    """As a worker: nothing of the configuration is in this process."""
    from fastmesh.core.route.snapshot import Snapshot

    encoded = Path(path).read_bytes()
    gc.collect()
    before, began = resident(), time.process_time()
    snapshot = Snapshot(iterate(encoded))
    snapshot.step(0)
    took = (time.process_time() - began) * 1000
    return {"build": took, "snapshot KiB": resident() - before}


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4.0


def one(services: int, endpoints: int, narrow: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path, image = Path(folder) / "mesh.yaml", Path(folder) / "plan"
        path.write_text(written(services, endpoints, narrow))
        image.write_bytes(encode(compile_plan(read([str(path)]).require(), Role())[0]))
        runs = []
        for _ in range(ROUNDS):
            pair = {}
            for step, file in (("measure", path), ("build", image)):
                command = [sys.executable, __file__, "--step", step, str(file)]
                pair.update(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            runs.append(pair)
        return {name: min(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        print(json.dumps((measure if sys.argv[2] == "measure" else build)(sys.argv[3])))
        return
    services, endpoints = (int(text) for text in [*sys.argv[1:], "1000", "10"][:2])
    for name, narrow in (("whole", False), ("narrow", True)):
        row = one(services, endpoints, narrow)
        print(f"{name:8}" + "  ".join(f"{key} {value:.0f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
