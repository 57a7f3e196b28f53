"""Istio's tables of what shapes a cluster: outlier detection and limits, of clients and of sidecars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.plan import ClusterPlan, Plan
from tests.config.asking import plan_of

TABLE = yaml.safe_load(Path(__file__).with_name("clusters.yaml").read_text())
NETWORKING = "networking.istio.io/v1"
PORTS = [{"name": "http", "port": 80, "targetPort": 10001}, {"name": "http-two", "port": 81, "targetPort": 10002}]
INBOUND = tuple((f"127.0.0.1:1500{number}", f"127.0.0.1:1000{number}") for number in (1, 2))


def thing(kind: str, name: str, spec: Any, version: str = NETWORKING) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def compiled(policy: Any = None, sidecar: Any = None, mesh: Any = None, **role: Any) -> Plan:
    own = {"app": "backend"}
    found = [thing("Service", "backend", {"selector": own, "ports": PORTS}, "v1")]
    found.append(thing("WorkloadEntry", "backend", {"address": "127.0.0.1", "labels": own}))
    if policy is not None:
        found.append(thing("DestinationRule", "acme", {"host": "backend", "trafficPolicy": policy}))
    if sidecar is not None:
        found.append(thing("Sidecar", "default", {"egress": [{"hosts": ["*/*"]}], **sidecar}))
    if mesh is not None:
        data = {"mesh": yaml.safe_dump(mesh)}
        metadata = {"name": "istio", "namespace": "istio-system"}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return plan_of(yaml.safe_dump_all(found), **role)


def outbound(plan: Plan) -> ClusterPlan:
    return next(each for each in plan.clusters if each.name == "outbound|80||backend.default.svc.cluster.local")


def by_name(rows: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row["name"] for row in rows])


@by_name(TABLE["outlier"])
def test_outlier_detection(row: dict[str, Any]) -> None:
    found = outbound(compiled({"outlierDetection": row["written"]} if "written" in row else None)).outlier
    if row["wanted"] is None:
        assert found is None
    else:
        assert found is not None
        assert {name: getattr(found, name) for name in row["wanted"]} == row["wanted"]


def limits(cluster: ClusterPlan) -> tuple[Any, ...]:
    pool = cluster.max_connections, cluster.connect_timeout, cluster.keepalive, cluster.max_connection_duration
    requests = cluster.max_pending, cluster.max_requests, cluster.max_requests_per_connection, cluster.max_retries
    return (*pool, *requests)


LIMITS = {
    None: (0, 10_000, None, None, 0, 0, 0, 0),
    "basic": (1, 2000, (3, 4, 5), 6000, 1, 2, 3, 4),
    "override": (4, 5000, (6, 7, 8), 9000, 5, 6, 7, 8),
}


def inbound(plan: Plan) -> list[ClusterPlan]:
    return [each for each in plan.clusters if each.name.startswith("inbound|")]


@by_name(TABLE["pools"]["cases"])
def test_connection_pools(row: dict[str, Any]) -> None:
    plan = compiled(row.get("rule"), row.get("sidecar"), kind="sidecar", name="backend", inbound=INBOUND)
    assert limits(outbound(plan)) == LIMITS[row["outbound"]]
    assert [limits(each) for each in inbound(plan)] == [LIMITS[name] for name in row["inbound"]]


@by_name(TABLE["pools"]["ports"])
def test_connection_pools_of_ports(row: dict[str, Any]) -> None:
    settings = [{"port": {"number": row["port"]}, "connectionPool": {"tcp": {"maxConnections": 100}}}]
    policy = {"connectionPool": {"tcp": {"maxConnections": 1000}}, "portLevelSettings": settings}
    plan = compiled(policy, kind="sidecar", name="backend", inbound=INBOUND[:1])
    assert [each.max_connections for each in inbound(plan)] == [row["wanted"]]


@by_name(TABLE["mesh"])
def test_defaults_of_the_mesh(row: dict[str, Any]) -> None:
    baseline = {"connectionPool": {"tcp": {"maxConnections": 33}}, "outlierDetection": {"consecutive5xxErrors": 7}}
    found = outbound(compiled(row.get("rule"), mesh={"defaultTrafficPolicy": baseline}))
    assert found.max_connections == row["wanted"]
    assert found.outlier is not None
    assert found.outlier.consecutive_5xx == 7
