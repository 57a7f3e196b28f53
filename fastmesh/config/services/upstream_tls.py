"""How connections to a cluster are encrypted: as its DestinationRule says, or by themselves where both ends are of the
mesh (auto mTLS).

A rule with any `tls` block switches the automatism off. Without one, an endpoint behind a sidecar is spoken to in
mutual TLS unless its PeerAuthentication says DISABLE; the others get plaintext.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from fastmesh.config import protocols
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.place import Path
from fastmesh.config.plan import ClientTLSPlan, EndpointPlan
from fastmesh.config.resource import Resource
from fastmesh.config.services.backend_tls import BackendPolicies
from fastmesh.config.services.destinations import MergedRule, Policy
from fastmesh.config.services.instances import Instance
from fastmesh.config.services.peer_authentications import PeerAuthentications, Written
from fastmesh.config.services.registry import MeshService, Port
from fastmesh.config.services.workloads import principal_of
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import ClientTLS, DestinationRule, Subset

# What Istio's proxies offer to each other; an inbound listener knows mesh traffic by the names that begin with "istio".
_MESH_ALPN = {
    "http1": ["istio-http/1.1", "istio", "http/1.1"],
    "http2": ["istio-h2", "istio", "h2"],
    "client": ["istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"],
}
_MESH_TCP_ALPN = ["istio"]
_ALPN = {"http1": ["http/1.1"], "http2": ["h2"], "client": ["h2", "http/1.1"]}


@dataclass(frozen=True, slots=True)
class Target:
    """One cluster to be: what is called, in which HTTP, and by which rule."""

    service: MeshService
    port: Port
    subset: Subset | None
    http: str
    policy: Policy
    rule: MergedRule | None

    @property
    def subset_name(self) -> str:
        return self.subset.name if self.subset is not None else ""

    @property
    def sni(self) -> str:
        return mesh_sni(self.service.host, self.port.number, self.subset_name)


class UpstreamTLS:
    """`identity`: this proxy has a certificate of the mesh. `gateway`: it honours credentialName in every rule, and
    `backends`, the BackendTLSPolicies, where no rule says anything."""

    def __init__(
        self,
        credentials: Credentials,
        policies: PeerAuthentications,
        trust_domain: str,
        *,
        identity: bool,
        auto: bool,
        aliases: Sequence[str],
        gateway: bool,
        backends: BackendPolicies | None = None,
    ) -> None:
        self._backends = backends
        self.problems: list[Problem] = []
        self._credentials = credentials
        self._policies = policies
        self._identity = identity
        self._auto = auto
        self._domains = list(dict.fromkeys((trust_domain, *aliases)))
        self._gateway = gateway
        self._strict: dict[tuple[str, int], Written] = {}  # where some endpoint refuses plaintext, and who says so

    def speaks(self, service: MeshService, port: Port, instance: Instance, number: int) -> bool:
        """Whether this address takes the mesh's TLS. Ports of policies are the workload's: the address's own or, where
        that is the port of its sidecar, the one behind it."""
        if service.external or not instance.sidecar:
            return False
        if not self._policies:
            return True
        mode, policy = self._policies.mode(instance.namespace, instance.labels, number, port.target)
        if mode == "STRICT" and policy is not None:
            self._strict.setdefault((service.host, port.number), policy)
        return mode != "DISABLE"

    def is_mutual(self, policy: Policy) -> bool:
        """Whether endpoints that take the mesh's TLS get it."""
        if policy.tls is not None:
            return policy.tls.mode == "ISTIO_MUTUAL"
        return self._identity and self._auto

    def plan(self, target: Target, endpoints: Iterable[EndpointPlan]) -> ClientTLSPlan | None:
        tls, place = target.policy.tls, target.policy.tls_place
        if tls is not None and place is not None:
            return self._written(target, tls, *place)
        if self._backends is not None:
            plan = self._backends.plan(target.service, target.port, _ALPN[target.http])
            if plan is not None:
                return plan
        if not self._identity:
            self._refused(target, "without --certs DIR this proxy speaks plaintext")
            return None
        if not self._auto:
            self._refused(target, "enableAutoMtls: false sends plaintext")
            return None
        if not any(endpoint.mesh_tls for endpoint in endpoints):
            return None
        return msgspec.structs.replace(self._mesh(target, self._credentials.mesh()), auto=True)

    def _written(
        self, target: Target, tls: ClientTLS, written: Resource[DestinationRule], path: Path
    ) -> ClientTLSPlan | None:
        if tls.mode == "DISABLE":
            self._refused(target, "mode DISABLE sends plaintext")
            return None
        by_name = self._gateway or bool(target.rule is not None and target.rule.selector)
        credential = self._credentials.of_client(tls, written, path, by_name=by_name)
        if tls.mode == "ISTIO_MUTUAL":
            plan = self._mesh(target, credential)
            return msgspec.structs.replace(plan, sans=tls.subject_alt_names or plan.sans, sni=tls.sni or plan.sni)
        verify = not tls.insecure_skip_verify
        return ClientTLSPlan(
            credential=credential,
            verify=verify,
            sans=(tls.subject_alt_names or target.service.alt_names) if verify else [],
            sni=tls.sni,
            alpn=_ALPN[target.http] if target.port.is_http else [],
        )

    def _mesh(self, target: Target, credential: str) -> ClientTLSPlan:
        return ClientTLSPlan(
            credential=credential,
            mesh=True,
            trust_domains=self._domains,
            sans=self._accounts(target.service),
            sni=target.sni,
            alpn=_MESH_ALPN[target.http] if target.port.is_http else _MESH_TCP_ALPN,
        )

    def _refused(self, target: Target, why: str) -> None:
        """Plaintext to a server that takes none: told at the rule that wants it, else at the policy."""
        strict = self._strict.pop((target.service.host, target.port.number), None)
        if strict is None:
            return
        said = f"PeerAuthentication {strict.namespace}/{strict.name} (STRICT)"
        message = f"{why}, and {target.service.host} refuses it by {said}"
        written, path = target.policy.tls_place or (strict, ("spec",))
        self.problems.append(written.problem(path, message, "warning", "reference"))

    def _accounts(self, service: MeshService) -> list[str]:
        """The identities behind a service: of its workloads, and what its ServiceEntry names."""
        known = {
            principal_of(domain, instance.namespace, instance.account)
            for instance in service.instances
            if instance.account
            for domain in self._domains
        }
        return sorted(known.union(service.alt_names))


def mesh_sni(host: str, port: int, subset: str) -> str:
    """The server name by which proxies of a mesh call a cluster."""
    return f"outbound_.{port}_.{subset}_.{host}"


def http_version(port: Port, client: bool, upgrade: bool, gateway: bool) -> str:
    """What is spoken to endpoints: by the port's protocol, unless the rule wants the client's or HTTP/2."""
    if client:
        return "client"
    if port.protocol in protocols.HTTP2 or (upgrade and port.is_http):
        return "http2"
    # A sidecar that sniffed what its client speaks goes on in it; gateways do not sniff, as Istio has it.
    return "client" if port.protocol == protocols.SNIFF and not gateway else "http1"
