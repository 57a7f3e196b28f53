"""Istio's table of the services that a workload sees by its Sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.mesh import Visibility
from fastmesh.config.routes.delegates import Delegates
from fastmesh.config.services.registry import Registry
from fastmesh.config.services.scope import imports_of
from fastmesh.config.store import ConfigSet
from tests.config.asking import config_of, plan_of

TABLE = yaml.safe_load(Path(__file__).with_name("sidecar_scope.yaml").read_text())["scope"]
NETWORKING = "networking.istio.io/v1"
HOST = "virtualbar.foo.svc.cluster.local"
NO_EGRESS = {"inboundConnectionPool": {"tcp": {"maxConnections": 1}}}  # a Sidecar has to say something


def thing(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": NETWORKING, "kind": kind, "metadata": metadata, "spec": spec}


def documents(row: dict[str, Any]) -> str:
    found = []
    for number, (key, ports) in enumerate(row["services"].items()):
        host, _, namespace = whole(key.strip()).partition("@")
        named = [{"number": port, "name": f"http-{port}", "protocol": "HTTP"} for port in ports]
        spec = {"hosts": [host], "ports": named, "resolution": "NONE"}
        if key in row.get("export", {}):
            spec["exportTo"] = row["export"][key]
        if number and "second" in row:
            spec |= row["second"]
        found.append(thing("ServiceEntry", f"entry-{number}", namespace, spec))
    if "sidecar" in row:
        egress = [_listener(written) for written in row["sidecar"]]
        found.append(
            thing("Sidecar", "own", row.get("namespace", "mynamespace"), {"egress": egress} if egress else NO_EGRESS)
        )
    if "to" in row:
        found.append(thing("VirtualService", "virtualbar", "foo", _virtual_service(row)))
    return yaml.safe_dump_all(found)


def whole(name: str) -> str:
    """Names of one word are short names here."""
    host, at, namespace = name.partition("@")
    return f"{host}{'' if '.' in host or host == '*' else '.test'}{at}{namespace}"


def _listener(written: dict[str, Any]) -> dict[str, Any]:
    made = {key: written[key] for key in ("bind",) if key in written}
    made["hosts"] = [
        f"{namespace}/{whole(host)}" for namespace, _, host in (each.partition("/") for each in written["hosts"])
    ]
    if "port" in written:
        protocol = written.get("protocol", "HTTP")
        made["port"] = {"number": written["port"], "protocol": protocol, "name": f"p{written['port']}"}
    return made


def _virtual_service(row: dict[str, Any]) -> dict[str, Any]:
    """The first host is routed to, a second one gets copies."""
    places = [{"host": host} | ({"port": {"number": port}} if port else {}) for host, port in row["to"].items()]
    rule: dict[str, Any] = {"route": [{"destination": places[0]}]}
    if len(places) > 1:
        rule["mirror"] = places[1]
    if row.get("kind") == "tls":
        rule["match"] = [{"sniHosts": [HOST]}]
    return {"hosts": [HOST], row.get("kind", "http"): [rule]}


def seen(config: ConfigSet, namespace: str) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """What is imported, with the ports of its listeners, and what comes with VirtualServices."""
    imports = imports_of(config.sidecars, namespace, {}, "istio-system")
    delegates = Delegates(config.virtual_services, Visibility())
    sends = [(item, delegates.hosts_of(item)) for item in config.virtual_services]
    registry = Registry(config, namespace, {}, imports=imports, sends=sends)
    found: dict[str, set[int]] = {}
    for egress in imports.egress:
        for service in registry.view(egress).services.values():
            ports = {port.number for port in service.ports if egress.port in (0, port.number)}
            if ports and registry.services[service.host] is service:
                found.setdefault(f"{service.host}@{service.namespace}", set()).update(ports)
    known = {key.partition("@")[0] for key in found}
    others = {
        f"{service.host}@{service.namespace}": {port.number for port in service.ports}
        for service in registry.services.values()
        if service.host not in known
    }
    return found, others if "virtualbar" in {item.name for item in config.virtual_services} else {}


def rows() -> list[Any]:
    return [
        pytest.param(
            row,
            id=row["name"],
            marks=[pytest.mark.xfail(reason=row["differs"], strict=True)] if "differs" in row else [],
        )
        for row in TABLE
    ]


@pytest.mark.parametrize("row", rows())
def test_what_a_workload_sees(row: dict[str, Any]) -> None:
    imported, followed = seen(config_of(documents(row)), row.get("namespace", "mynamespace"))
    wanted = {whole(key): ports for key, ports in row["wanted"].items()}
    assert {**imported, **followed}.keys() == wanted.keys()
    for key, ports in wanted.items():
        if key in imported:
            assert imported[key] == set(ports), key
        else:
            assert followed[key] >= set(ports), key


# TestSidecarOutboundTrafficPolicy: of the mesh, of the Sidecar ("": nothing, None: there is none), and what holds.
MODES = [
    ("", None, "ALLOW_ANY"),
    ("", "", "ALLOW_ANY"),
    ("", "REGISTRY_ONLY", "REGISTRY_ONLY"),
    ("", "ALLOW_ANY", "ALLOW_ANY"),
    ("REGISTRY_ONLY", None, "REGISTRY_ONLY"),
    ("REGISTRY_ONLY", "", "REGISTRY_ONLY"),
    ("REGISTRY_ONLY", "REGISTRY_ONLY", "REGISTRY_ONLY"),
    ("REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY"),
]


@pytest.mark.parametrize(("mesh", "own", "wanted"), MODES)
def test_what_unknown_hosts_get(mesh: str, own: str | None, wanted: str) -> None:
    policy = {"outboundTrafficPolicy": {"mode": mesh}} if mesh else {}
    metadata = {"name": "istio", "namespace": "istio-system"}
    found = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": yaml.safe_dump(policy)}}]
    if own is not None:
        spec: dict[str, Any] = {"egress": [{"hosts": ["*/*"]}]}
        found.append(
            thing("Sidecar", "own", "default", spec | ({"outboundTrafficPolicy": {"mode": own}} if own else {}))
        )
    (listener,) = plan_of(yaml.safe_dump_all(found)).listeners
    assert listener.unknown == ("blackhole" if wanted == "REGISTRY_ONLY" else "passthrough")
