"""BackendTLSPolicies: how a gateway speaks TLS to Services that no DestinationRule says it of."""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.credentials.api_material import Material
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.place import Path
from fastmesh.config.plan import ClientTLSPlan
from fastmesh.config.resource import Resource
from fastmesh.config.services.registry import MeshService, Port
from fastmesh.errors import Problem
from fastmesh.model.gateway_api import Gateway
from fastmesh.model.gateway_api_tls import BackendTLSPolicy, PolicyTarget, SecretRef

Written = Resource[BackendTLSPolicy]
SYSTEM = "System"  # the one well known set of roots


def is_target(target: PolicyTarget) -> bool:
    """Targets of other kinds are left to others."""
    return target.group in ("", "core") and target.kind == "Service"


class BackendPolicies:
    """The oldest policy of a port, or else of the whole Service, counts; the others are told."""

    def __init__(
        self,
        policies: Iterable[Written],
        gateways: Iterable[Resource[Gateway]],
        material: Material,
        credentials: Credentials,
        problems: list[Problem],
    ) -> None:
        self._material = material
        self._credentials = credentials
        self._by_target: dict[tuple[str, str, str], Written] = {}
        for policy in policies:
            for index, target in enumerate(policy.spec.target_refs):
                if not is_target(target):
                    continue
                older = self._by_target.setdefault((policy.namespace, target.name, target.section_name), policy)
                if older is not policy:
                    message = f"{target.name} has the older policy {older.name} already, which stays"
                    problems.append(policy.problem(("spec", "targetRefs", index), message, "warning", "advice"))
        self._shown = _client_certificate(gateways, problems)

    def plan(self, service: MeshService, port: Port, alpn: list[str]) -> ClientTLSPlan | None:
        if service.written.kind != "Service":
            return None
        key = (service.namespace, service.name)
        policy = self._by_target.get((*key, port.name)) if port.name else None
        policy = policy or self._by_target.get((*key, ""))
        if policy is None:
            return None
        validation, path = policy.spec.validation, ("spec", "validation")
        names = [each.hostname or each.uri for each in validation.subject_alt_names]
        return ClientTLSPlan(
            credential=self._credential(policy, path), sans=names, sni=validation.hostname.lower(), alpn=alpn
        )

    def _credential(self, policy: Written, path: Path) -> str:
        roots = self._material.roots(policy.spec.validation.ca_certificate_refs, policy, path)
        if policy.spec.validation.well_known_ca_certificates not in ("", SYSTEM):
            roots.append(None)  # told when it was read; the backend cannot be checked, so nobody speaks to it
        pair: str | None = ""
        if self._shown is not None:
            gateway, ref, at = self._shown
            pair = self._material.pair(ref, gateway, at)
        crl = next((each for each in roots if each and each.startswith("secret:")), "")
        return self._credentials.put(policy, path, pair, pair, roots, crl) if pair != "" or roots else ""


def _client_certificate(
    gateways: Iterable[Resource[Gateway]], problems: list[Problem]
) -> tuple[Resource[Gateway], SecretRef, Path] | None:
    """What the Gateways of this proxy show to backends: one certificate for all, the oldest Gateway's."""
    found: tuple[Resource[Gateway], SecretRef, Path] | None = None
    for gateway in gateways:
        path: Path = ("spec", "tls", "backend", "clientCertificateRef")
        backend = gateway.spec.tls.backend if gateway.spec.tls is not None else None
        if backend is None or backend.client_certificate_ref is None:
            backend, path = gateway.spec.backend_tls, ("spec", "backendTLS", "clientCertificateRef")
        if backend is None or backend.client_certificate_ref is None:
            continue
        if found is None:
            found = gateway, backend.client_certificate_ref, path
        elif found[1] != backend.client_certificate_ref:
            message = f"one proxy shows backends one certificate, and Gateway {found[0].name} names another; run two"
            problems.append(gateway.problem(path, message, "warning", "advice"))
    return found
