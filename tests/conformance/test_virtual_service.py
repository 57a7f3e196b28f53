"""Istio's integration cases of single VirtualServices, and TestBuildHTTPRoutes, asked through `fastmesh explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.explaining import ask

pytest.importorskip("fastmesh.core.proxy.explain")

HERE = Path(__file__).parent
TABLE = [
    case for name in ("virtual_service", "route_table") for case in yaml.safe_load((HERE / f"{name}.yaml").read_text())
]
PORTS = [{"name": "http", "port": 80}, {"name": "http2", "port": 85}]
ASKED = ("method", "url", "headers", "port", "client")


def documents(http: list[dict[str, Any]], **spec: Any) -> str:
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "default"},
        "spec": {"hosts": ["a"], "http": http, **spec},
    }
    services = []
    for name in "abc":
        services.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": PORTS}})
        subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": PORTS}
        services.append({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}, "subsets": [subset]})
    return yaml.safe_dump_all([*services, rule])


CASES = [pytest.param(case, id=case["name"]) for case in TABLE]


@pytest.mark.parametrize("case", CASES)
def test_virtual_service(case: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(documents(case["http"], **{"gateways": case["gateways"]} if "gateways" in case else {}))
    for request in case["requests"]:
        options = [part for name, value in request.get("headers", {}).items() for part in ("-H", f"{name}: {value}")]
        options += request.get("client", [])
        if "port" in request:
            options += ["--port", str(request["port"])]
        answer = ask([file], request.get("method", "GET"), request["url"], *options)
        for key, wanted in request.items():
            if key in ASKED:
                continue
            found = answer[key]
            if key == "request_headers":
                found = {name: found.get(name) for name in wanted}
            assert found == wanted, (request, key)
