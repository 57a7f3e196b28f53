"""Ports that a Service before a gateway translates: clients and Gateways name its port, the proxy binds its target.

Istio does so for the Services of the gateway's namespace that select its pods. Of several with a port the oldest
counts; a port that no Service has is bound as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from fastmesh.config.selectors import selects
from fastmesh.config.services.role import Own
from fastmesh.config.services.workloads import Templates, port_named
from fastmesh.config.store import ConfigSet

LEFT_ALONE = "experimental.istio.io/disable-gateway-port-translation"  # a Service with this label translates nothing


def target_ports(config: ConfigSet, own: Own, labels: Mapping[str, str]) -> dict[int, int]:
    """Port of a Gateway -> port to bind, for a gateway with these labels."""
    found: dict[int, int] = {}
    if not labels:
        return found
    templates = Templates(chain(config.deployments, config.stateful_sets), config.pods)
    for service in config.services:
        selector = service.spec.selector
        if not selector or service.namespace != own.namespace or LEFT_ALONE in service.labels:
            continue
        if not selects(selector, labels):
            continue
        for port in service.spec.ports:
            target: int | str | None = port.target_port
            if isinstance(target, str):
                named = port_named(own.containers, target) if own.containers is not None else None
                target = named or templates.named_port(service.namespace, selector, target)
            if port.protocol == "TCP":
                found.setdefault(port.port, target or port.port)
    return found
