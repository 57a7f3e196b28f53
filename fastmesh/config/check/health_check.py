"""HealthCheck, fastmesh's own kind."""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_duration, check_port_number, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.health_check import GRPCCheck, HealthCheck, HTTPCheck, status_range

STATUSES = 16  # STATUS_RANGES of the core


def check_health_check(resource: AnyResource, spec: HealthCheck, at: At) -> None:
    check_target(spec.host, spec.subset, spec.port, at)
    for name, duration in (("interval", spec.interval), ("timeout", spec.timeout)):
        check_duration(duration, at[name])
    for name, threshold in (
        ("unhealthyThreshold", spec.unhealthy_threshold),
        ("healthyThreshold", spec.healthy_threshold),
    ):
        if threshold < 1:
            at[name].error("0 decides nothing, write 1 or more")
    if spec.min_health_percent is not None and spec.min_health_percent > 100:
        at["minHealthPercent"].error(f"{spec.min_health_percent} is no percentage, write 0 to 100")
    ways = [spec.http, spec.tcp, spec.grpc]
    if sum(way is not None for way in ways) != 1:
        at.error("needs exactly one of http, tcp and grpc, as in http: {path: /healthz}")
    if spec.http is not None:
        _check_http(spec.http, at["http"])
    if spec.grpc is not None:
        _check_grpc(spec.grpc, at["grpc"])


def check_target(host: str, subset: str | None, port: int | None, at: At) -> None:
    """host, subset, port of fastmesh's own kinds that shape a destination."""
    if not host:
        at["host"].error("is empty, name the host of a service")
    elif host.startswith("*"):
        at["host"].error(f"{host} is a wildcard, name one service")
    else:
        say(at["host"], syntax.wildcard_domain(host))
    if subset:
        say(at["subset"], syntax.label(subset, "subset"))
    if port is not None:
        check_port_number(port, at["port"])


def _check_http(http: HTTPCheck, at: At) -> None:
    if not http.path.startswith("/") or not _plain(http.path):
        at["path"].error(f"{http.path!r} is no path, write for example /healthz")
    if http.host and not _plain(http.host):
        at["host"].error(f"{http.host!r} is no host")
    if http.expected_statuses == []:
        at["expectedStatuses"].error("is empty, so nothing would pass; write for example [200-299]")
    if len(http.expected_statuses or ()) > STATUSES:
        at["expectedStatuses"].error(f"has more than {STATUSES} items, write ranges such as 200-299")
    for index, status in enumerate(http.expected_statuses or ()):
        if status_range(status) is None:
            at["expectedStatuses"][index].error(f"{status!r} is no status, write 200 or 200-299")
    for name, value in http.headers.items():
        if not say(at["headers"][name], syntax.header_to_set(name)):
            say(at["headers"][name], syntax.header_value(value))


def _check_grpc(grpc: GRPCCheck, at: At) -> None:
    if len(grpc.service) > 120 or not grpc.service.isascii():
        at["service"].error("is no name of a gRPC service, write for example shop.v1.Cart")
    if grpc.authority and not _plain(grpc.authority):
        at["authority"].error(f"{grpc.authority!r} is no host")


def _plain(text: str) -> bool:
    """Printable ASCII without blanks: it goes into the head of a request as it is."""
    return all("!" <= letter <= "~" for letter in text)
