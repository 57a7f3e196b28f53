"""What is valid and understood but not acted on by this version: each such field is reported where it was written.

The table names fields by their path in YAML; `[]` goes over the items of a list. A field counts as used when it differs
from its default. Rows leave this file when their feature arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec

from fastmesh.config import protocols
from fastmesh.config.api_listeners import SERVED
from fastmesh.config.check.report import At
from fastmesh.config.read import substitutions
from fastmesh.config.read.claims import claim_names
from fastmesh.config.resource import AnyResource
from fastmesh.errors import Problem
from fastmesh.model.gateway import Gateway, ServerTLS
from fastmesh.model.gateway_api import Gateway as APIGateway
from fastmesh.model.kubernetes import Service
from fastmesh.model.service_entry import ServiceEntry
from fastmesh.model.sidecar import Sidecar
from fastmesh.model.virtual_service import Headers, VirtualService

_FIELDS: dict[str, tuple[str, ...]] = {
    "Gateway": ("servers[].defaultEndpoint",),
    "APIGateway": ("addresses", "infrastructure", "allowedListeners", "defaultScope"),
    "ProxyConfig": ("environmentVariables", "image"),
}  # fmt: skip
_WHOLE = frozenset(("Telemetry", "WorkloadGroup"))
# What nobody will act on, and why; the others are work to be done.
_WHY = {
    "defaultEndpoint": "Istio does not act on it either; write a route",
    "WorkloadGroup": "workloads do not register themselves here, so nothing is made of the template; "
    "write a WorkloadEntry for each",
}
# Whoever writes them believes something to be protected: they are errors until somebody says that this is known.
_UNENFORCED = frozenset(("AuthorizationPolicy", "RequestAuthentication"))
_SPOKEN = protocols.HTTP | protocols.TLS | protocols.TCP | {protocols.SNIFF}


def note_unserved(resource: AnyResource, problems: list[Problem], *, allow_unenforced: bool) -> None:
    """Append a warning for every field of one object that has no effect yet."""
    if resource.kind in _UNENFORCED:
        At(resource, problems, ()).unenforced(allowed=allow_unenforced)
        return
    at = At(resource, problems)
    if resource.kind in _WHOLE:
        _say(At(resource, problems, ()), resource.kind)
        return
    for path in _FIELDS.get(resource.kind, ()):
        for place in _used(resource.spec, path.split("."), at):
            _say(place, path.rpartition(".")[2])
    by_value = _BY_VALUE.get(resource.kind)
    if by_value is not None:
        by_value(resource.spec, at)


def _say(place: At, name: str) -> None:
    if name in _WHY:
        place.idle(_WHY[name])
    else:
        place.unserved(name)


def _used(value: Any, steps: list[str], at: At) -> Iterator[At]:
    """The places below `value` where the path is written with something else than the default."""
    step, rest = steps[0], steps[1:]
    name = step.removesuffix("[]")
    attribute, default = _attributes(value.__class__).get(name, ("", None))
    if not attribute:
        return
    found = getattr(value, attribute)
    if found is None or found == default or found == []:
        return
    if not rest:
        yield at[name]
    elif step.endswith("[]"):
        for index, item in enumerate(found):
            yield from _used(item, rest, at[name][index])
    else:
        yield from _used(found, rest, at[name])


@cache
def _attributes(struct: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    """YAML name to attribute and default."""
    return {field.encode_name: (field.name, field.default) for field in msgspec.structs.fields(struct)}


def _virtual_service(spec: VirtualService, at: At) -> None:
    for index, rule in enumerate(spec.http):
        place = at["http"][index]
        for number, match in enumerate(rule.match):
            for name, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
                for header in headers:
                    if claim_names(header):
                        place["match"][number][name][header].unserved("a token, so that claims never match,")
        _substitutions(rule.headers, place["headers"])
        for number, route in enumerate(rule.route):
            _substitutions(route.headers, place["route"][number]["headers"])


def _substitutions(headers: Headers | None, at: At) -> None:
    if headers is None:
        return
    for side, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        for verb, values in (("set", operations.set), ("add", operations.add)):
            for name, value in values.items():
                for word in substitutions.elsewhere(value):
                    at[side][verb][name].unserved(word)


def _gateway(spec: Gateway, at: At) -> None:
    for index, server in enumerate(spec.servers):
        place, protocol = at["servers"][index], protocols.declared(server.port.protocol)
        if protocol not in protocols.HTTP | protocols.TLS | protocols.TCP:
            place["port"]["protocol"].unserved(f"a server with protocol {server.port.protocol}")
        elif protocol in protocols.HTTP and server.tls not in (None, ServerTLS(https_redirect=True)):
            place["tls"].unserved("tls other than httpsRedirect")


def _api_gateway(spec: APIGateway, at: At) -> None:
    for index, listener in enumerate(spec.listeners):
        if listener.protocol not in SERVED:
            at["listeners"][index]["protocol"].unserved(f"a listener with protocol {listener.protocol}")


def _service_entry(spec: ServiceEntry, at: At) -> None:
    for index, port in enumerate(spec.ports):
        if port.protocol and protocols.declared(port.protocol) not in _SPOKEN:
            at["ports"][index]["protocol"].unserved(f"traffic with protocol {port.protocol}")


def _sidecar(spec: Sidecar, at: At) -> None:
    """There is no interception: clients say whom they mean, and a listener that captures is the mesh listener."""
    modes = [("ingress", index, each.capture_mode) for index, each in enumerate(spec.ingress)]
    modes += [("egress", index, each.capture_mode) for index, each in enumerate(spec.egress)]
    for name, index, mode in modes:
        if mode == "IPTABLES":
            at[name][index]["captureMode"].unserved("IPTABLES")


def _service(spec: Service, at: At) -> None:
    for index, port in enumerate(spec.ports):
        spoken = protocols.of_service_port(port.port, port.name, port.protocol, port.app_protocol)
        if spoken not in _SPOKEN and spoken != "UDP":
            at["ports"][index].unserved(f"traffic with protocol {spoken}")


_BY_VALUE: dict[str, Callable[[Any, At], None]] = {
    "APIGateway": _api_gateway,
    "Gateway": _gateway,
    "Service": _service,
    "ServiceEntry": _service_entry,
    "Sidecar": _sidecar,
    "VirtualService": _virtual_service,
}
