"""PeerAuthentication: ports belong to chosen workloads.

https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_selector, say
from fastmesh.config.hosts import ROOT_NAMESPACE
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.security import PeerAuthentication


def check_peer_authentication(resource: AnyResource, spec: PeerAuthentication, at: At) -> None:
    labels = spec.selector.match_labels if spec.selector is not None else {}
    if spec.selector is not None:
        check_selector(labels, at["selector"]["matchLabels"], "it selects all workloads of the namespace")
    if labels and resource.namespace == ROOT_NAMESPACE:
        message = f"a policy of {ROOT_NAMESPACE} is for the whole mesh and has no effect with a selector, remove it"
        at["selector"].advice(message)
    if spec.port_level_mtls is None:
        return
    ports = at["portLevelMtls"]
    if not spec.port_level_mtls:
        ports.error("is empty, name a port such as 8080: {mode: STRICT} or leave it out")
    elif not labels:
        ports.error("needs a selector, since ports are those of workloads; add selector: {matchLabels: ...}")
    for port in spec.port_level_mtls:
        if not (port.isascii() and port.isdecimal() and str(int(port)) == port):
            ports[port].error(f"{port} is not a port, write the number of the workload's port")
        else:
            say(ports[port], syntax.port(int(port)))
