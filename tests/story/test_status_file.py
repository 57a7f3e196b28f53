"""The status file through reloads and a restart: whole at each moment, generations and times that go on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.traffic import Story, eventually, replicas, replicas_of, thing

API = "gateway.networking.k8s.io/v1"


def objects(port: int, backend: str = "app", also: str = "") -> str:
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    rule = {"backendRefs": [{"name": backend, "port": 80}]}
    return (
        replicas_of("app", port)
        + thing("Gateway", "gw", {"gatewayClassName": "fastmesh", "listeners": listeners}, API)
        + thing("HTTPRoute", "route", {"parentRefs": [{"name": "gw"}], "rules": [rule]}, API)
        + also
    )


def read(file: Path) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in json.loads(file.read_text())["items"]}


def conditions(item: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["type"]: each for each in item["status"]["parents"][0]["conditions"]}


def test_status_file(tmp_path: Path) -> None:
    file, port = tmp_path / "status.json", free_port()
    flags = ("--bind", "127.0.0.1", "--map", f"80={port}", "--status-file", str(file))
    with replicas("app") as (app,):
        with Story(tmp_path, objects(app.port), *flags, role="gateway") as story:
            first = eventually(lambda: file.exists() and read(file))
            assert first["gw"]["status"]["listeners"][0]["attachedRoutes"] == 1
            good = conditions(first["route"])
            assert {name: (each["status"], each["observedGeneration"]) for name, each in good.items()} == {
                "Accepted": ("True", 1), "ResolvedRefs": ("True", 1),
            }  # fmt: skip
            assert first["route"]["apiVersion"] == API
            time.sleep(1.01)  # times are whole seconds
            story.reload(objects(app.port, "nobody"))
            second = eventually(lambda: (s := read(file))["route"]["metadata"]["generation"] == 2 and s)
            bad = conditions(second["route"])
            assert (bad["ResolvedRefs"]["reason"], bad["ResolvedRefs"]["observedGeneration"]) == ("BackendNotFound", 2)
            assert bad["Accepted"]["lastTransitionTime"] == good["Accepted"]["lastTransitionTime"]
            assert bad["ResolvedRefs"]["lastTransitionTime"] > good["ResolvedRefs"]["lastTransitionTime"]
            assert second["gw"]["metadata"]["generation"] == 1
            # A route that no request can meet changes nothing in the workers, but it has a status
            lost = {"parentRefs": [{"name": "gw", "sectionName": "nope"}], "rules": [{}]}
            story.reload(objects(app.port, "nobody", thing("HTTPRoute", "lost", lost, API)))
            third = eventually(lambda: (s := read(file)).get("lost") and s)
            assert conditions(third["lost"])["Accepted"]["reason"] == "NoMatchingParent"
        (again := tmp_path / "again").mkdir()
        with Story(again, objects(app.port), *flags, role="gateway"):
            fourth = eventually(lambda: (s := read(file))["route"]["metadata"]["generation"] == 3 and s)
            assert (
                conditions(fourth["route"])["Accepted"]["lastTransitionTime"] == good["Accepted"]["lastTransitionTime"]
            )
            assert "lost" not in fourth
    assert sorted(path.name for path in tmp_path.glob(".status*")) == []
