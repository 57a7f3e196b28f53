"""HealthChecks: how the endpoints of a cluster are asked whether they are well."""

from __future__ import annotations

from fastmesh.config.hosts import as_domain
from fastmesh.config.origins import origin
from fastmesh.config.plan import HealthCheckPlan
from fastmesh.config.resource import Resource
from fastmesh.model.health_check import HealthCheck, HTTPCheck, status_range

JITTER_SHARE = 10  # of the interval, where nothing is written
WELL = ("200-299",)


def health_plan(written: Resource[HealthCheck], host: str, min_health_percent: int) -> HealthCheckPlan:
    """`min_health_percent`: of the DestinationRule; the check's own is stronger."""
    spec = written.spec
    http = spec.http or HTTPCheck()
    authority = spec.grpc.authority if spec.grpc is not None else http.host
    ranges = [status_range(status) for status in http.expected_statuses or WELL]
    return HealthCheckPlan(
        origin=origin(written),
        kind="http" if spec.http is not None else "tcp" if spec.tcp is not None else "grpc",
        interval=int(spec.interval),
        jitter=int(spec.interval) // JITTER_SHARE if spec.jitter is None else int(spec.jitter),
        timeout=int(spec.timeout),
        unhealthy=spec.unhealthy_threshold,
        healthy=spec.healthy_threshold,
        authority=authority or as_domain(host),
        path=http.path,
        method=http.method,
        statuses=[found for found in ranges if found is not None],
        headers=[(name.lower(), value) for name, value in http.headers.items()],
        min_health_percent=min_health_percent if spec.min_health_percent is None else spec.min_health_percent,
        service=spec.grpc.service if spec.grpc is not None else "",
    )
