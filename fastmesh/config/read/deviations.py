"""Spellings that Istio does not have but whose intent is clear: honoured with a warning that shows the proper form.

They come from configurations written after a widely read article, whose files use an API group `istio.io`, an `address`
on ServiceEntry, `location: INGRESS`, a list of ports on endpoints, and `hosts: ["*"]` in the mesh. What is rewritten:

- `apiVersion: istio.io/v1alpha3` is read as `networking.istio.io/v1`.
- ServiceEntry `address: product-service` with hosts ["*"]: the address is the host that the entry is about, since "*"
  cannot be the name of a service. A name without a dot is a service of the entry's namespace, so that rules which say
  `host: product-service` mean this entry. A port after the address is dropped when `ports` has it, else it becomes one.
- `location: INGRESS` is MESH_INTERNAL: the entry describes where traffic enters the mesh towards a service of the mesh;
  Istio's own words for ingress are Gateways. EGRESS is MESH_EXTERNAL.
- `endpoints[].ports` as a list becomes the map from port name to number.
- Endpoints without a resolution: DNS when an address is a name, STATIC when all are IPs. (Istio's default NONE refuses
  endpoints.) Only in the article's API group.
- `hosts: ["*"]` of a VirtualService without a gateway: the hosts that it routes to, then "*" for every other name.
  With names of their own several such objects in one mesh each keep their service. Only in the article's API group.

And from Istio's own past: `http[].websocketUpgrade` of a VirtualService is left out. Every route upgrades now.

Source lines stay those of the written form; a rewritten part answers with the line of its nearest written ancestor.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from fastmesh.config.kinds import ARTICLE, ISTIO
from fastmesh.config.place import Path
from fastmesh.config.resource import DEFAULT_NAMESPACE, Honoured

Note = Callable[[Path, str], None]

_LOCATIONS = {"INGRESS": "MESH_INTERNAL", "EGRESS": "MESH_EXTERNAL"}
_DOMAIN = "svc.cluster.local"
_WEBSOCKET = {"websocketUpgrade", "websocket_upgrade"}


def honour(root: dict[str, Any], note: Note) -> tuple[dict[str, Any], frozenset[Honoured]]:
    """The proper form of an object; every rewriting is told to `note`. The written object stays as it is."""
    group, _, _ = str(root.get("apiVersion", "")).rpartition("/")
    kind = root.get("kind")
    article = group == ARTICLE
    if not article and (kind not in ("ServiceEntry", "VirtualService") or group != ISTIO):
        return root, frozenset()
    if kind == "VirtualService":
        root = _without_websocket(root, note)
        if not article:
            return root, frozenset()
    proper = dict(root)
    if article:
        note(("apiVersion",), f"{root['apiVersion']} is not an API of Istio, write {ISTIO}/v1")
        proper["apiVersion"] = f"{ISTIO}/v1"
    spec = root.get("spec")
    if not isinstance(spec, dict):
        return proper, frozenset()
    honoured: frozenset[Honoured] = frozenset()
    if kind == "ServiceEntry":
        proper["spec"] = _service_entry(spec, _namespace(root), article, note)
    elif kind == "VirtualService" and spec.get("hosts") == ["*"] and not spec.get("gateways"):
        proper["spec"] = {**spec, "hosts": _own_hosts(spec, note)}
        honoured = frozenset(("mesh-wildcard",))
    return proper, honoured


def _without_websocket(root: dict[str, Any], note: Note) -> dict[str, Any]:
    """The same object where no rule has the old switch."""
    spec = root.get("spec")
    rules = _items(spec.get("http")) if isinstance(spec, dict) else []
    proper = list(rules)
    for index, rule in enumerate(rules):
        for name in _WEBSOCKET & rule.keys() if isinstance(rule, dict) else ():
            note(("spec", "http", index, name), "is not a field of Istio any more: every route upgrades, remove it")
            proper[index] = {key: value for key, value in rule.items() if key not in _WEBSOCKET}
    return {**root, "spec": {**spec, "http": proper}} if proper != rules and isinstance(spec, dict) else root


def _items(value: Any) -> list[Any]:
    """A list as it is; anything else is left for the decoder to refuse."""
    return value if isinstance(value, list) else []


def _namespace(root: dict[str, Any]) -> str:
    metadata = root.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) and named else DEFAULT_NAMESPACE


def _service_entry(spec: dict[str, Any], namespace: str, article: bool, note: Note) -> dict[str, Any]:
    proper = dict(spec)
    if isinstance(spec.get("address"), str):
        _address(proper, namespace, note)
    location = _LOCATIONS.get(str(spec.get("location")))
    if location is not None:
        note(("spec", "location"), f"{spec['location']} is not a location of Istio, write {location}")
        proper["location"] = location
    if isinstance(spec.get("endpoints"), list):
        proper["endpoints"] = [
            _endpoint(endpoint, proper.get("ports"), ("spec", "endpoints", index), note)
            for index, endpoint in enumerate(spec["endpoints"])
        ]
    if article and _items(proper.get("endpoints")) and "resolution" not in spec:
        _resolution(proper, note)
    return proper


def _address(spec: dict[str, Any], namespace: str, note: Note) -> None:
    """`address` with hosts ["*"] names the host; beside real hosts an IP is an address and a name is one more host."""
    written = spec.pop("address")
    name, port = _split_port(written)
    hosts = [host for host in _items(spec.get("hosts")) if host != "*"]
    if _is_ip(name):
        spec["addresses"] = [*_items(spec.get("addresses")), name]
        advice = f"write addresses: [{name}]"
    else:
        host = name if "." in name else f"{name}.{namespace}.{_DOMAIN}"
        hosts.append(host)
        advice = f"write hosts: [{host}]"
    if spec.get("hosts") == ["*"] and hosts:
        note(("spec", "hosts", 0), f'"*" is not the name of a service, write hosts: [{hosts[0]}]')
    note(("spec", "address"), f"address is not a field of ServiceEntry, {advice}")
    if hosts and isinstance(spec.get("hosts"), (list, type(None))):
        spec["hosts"] = hosts
    if port and not spec.get("ports"):
        note(("spec", "address"), f"the port belongs to ports, write ports: [{{number: {port}, name: http}}]")
        spec["ports"] = [{"number": port, "name": "http", "protocol": "HTTP"}]


def _split_port(address: str) -> tuple[str, int]:
    name, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and ":" not in name:
        return name, int(port)
    return address, 0


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _endpoint(endpoint: Any, ports: Any, path: Path, note: Note) -> Any:
    """`ports: [{number: 80}]` as `ports: {http: 80}`: named by the service port of that number, or the only one."""
    if not isinstance(endpoint, dict) or not isinstance(endpoint.get("ports"), list):
        return endpoint
    service_ports = [port for port in _items(ports) if isinstance(port, dict) and isinstance(port.get("name"), str)]
    named: dict[str, Any] = {}
    for port in endpoint["ports"]:
        if not isinstance(port, dict) or "number" not in port:
            return endpoint
        by_number = [known["name"] for known in service_ports if known.get("number") == port["number"]]
        names = [port["name"]] if isinstance(port.get("name"), str) else by_number
        if not names and len(service_ports) == 1:
            names = [service_ports[0]["name"]]
        if not names:
            return endpoint
        named[names[0]] = port["number"]
    proper = ", ".join(f"{name}: {number}" for name, number in named.items())
    note((*path, "ports"), f"is a list, write the map from port name to number: ports: {{{proper}}}")
    return {**endpoint, "ports": named}


def _resolution(spec: dict[str, Any], note: Note) -> None:
    endpoints = [endpoint for endpoint in spec["endpoints"] if isinstance(endpoint, dict)]
    by_name = any(not _is_ip(str(endpoint.get("address", ""))) for endpoint in endpoints)
    resolution = "DNS" if by_name else "STATIC"
    note(("spec", "endpoints"), f"endpoints need a resolution, write resolution: {resolution}")
    spec["resolution"] = resolution


def _own_hosts(spec: dict[str, Any], note: Note) -> list[str]:
    """The hosts that the http routes name, in order, then `*`."""
    hosts: list[str] = []
    for rule in _items(spec.get("http")):
        for route in _items(rule.get("route")) if isinstance(rule, dict) else []:
            destination = route.get("destination") if isinstance(route, dict) else None
            host = destination.get("host") if isinstance(destination, dict) else None
            if isinstance(host, str) and host not in hosts:
                hosts.append(host)
    shown = ", ".join(hosts) or "the name of the service"
    note(("spec", "hosts", 0), f'"*" is for gateways, a rule of the mesh names its hosts: write hosts: [{shown}]')
    return [*hosts, "*"]
