"""BackendTLSPolicies: what each Gateway that sends to their targets makes of them.

https://gateway-api.sigs.k8s.io/geps/gep-713/ (ancestors, conflicts), https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastmesh.config.credentials.sources import ROOTS, entry_of
from fastmesh.config.resource import Resource
from fastmesh.config.services.backend_tls import SYSTEM, is_target
from fastmesh.config.status.conditions import CONTROLLER, AncestorStatus, Condition, Status, false, true
from fastmesh.config.store import ConfigSet
from fastmesh.model.gateway_api import GROUP
from fastmesh.model.gateway_api_tls import BackendTLSPolicy, CARef, PolicyTarget

Written = Resource[BackendTLSPolicy]


def policy_statuses(config: ConfigSet, used: Mapping[tuple[str, str], list[str]]) -> Iterator[tuple[Written, Status]]:
    """`used`: the Gateways ("namespace/name") that have routes to a Service. Without one a policy has no status."""
    owners: dict[tuple[str, str, str], Written] = {}
    for policy in config.backend_tls_policies:
        targets = [target for target in policy.spec.target_refs if is_target(target)]
        for target in targets:
            owners.setdefault((policy.namespace, target.name, target.section_name), policy)
        resolved = _resolved(config, policy)
        accepted = _accepted(config, policy, targets, owners, resolved)
        gateways = dict.fromkeys(name for target in targets for name in used.get((policy.namespace, target.name), ()))
        found = [
            AncestorStatus(ancestor_ref=_reference(name), controller_name=CONTROLLER, conditions=[accepted, resolved])
            for name in gateways
        ]
        if found:
            yield policy, Status(ancestors=found)


def _reference(gateway: str) -> dict[str, str | int]:
    namespace, _, name = gateway.partition("/")
    return {"group": GROUP, "kind": "Gateway", "namespace": namespace, "name": name}


def _accepted(
    config: ConfigSet,
    policy: Written,
    targets: list[PolicyTarget],
    owners: Mapping[tuple[str, str, str], Written],
    resolved: Condition,
) -> Condition:
    known = policy.spec.validation.well_known_ca_certificates
    if known not in ("", SYSTEM):
        return false("Accepted", "Invalid", f"{known} is not known here, only {SYSTEM} is")
    wrong = [_lack(config, policy, ref) for ref in policy.spec.validation.ca_certificate_refs]
    if wrong and all(wrong):
        return false("Accepted", "NoValidCACertificate", resolved.message)
    for target in targets:
        owner = owners[policy.namespace, target.name, target.section_name]
        if owner is not policy:
            message = f"{target.name} has the older policy {owner.name} already"
            return false("Accepted", "Conflicted", message)
    for target in targets:
        service = config.get("Service", policy.namespace, target.name)
        if service is None:
            return false("Accepted", "TargetNotFound", f"there is no Service {policy.namespace}/{target.name}")
        if target.section_name and all(port.name != target.section_name for port in service.spec.ports):
            message = f"Service {policy.namespace}/{target.name} has no port with the name {target.section_name}"
            return false("Accepted", "TargetNotFound", message)
    return true("Accepted", "Accepted", "Policy was valid")


def _resolved(config: ConfigSet, policy: Written) -> Condition:
    wrong = (_lack(config, policy, ref) for ref in policy.spec.validation.ca_certificate_refs)
    good = true("ResolvedRefs", "ResolvedRefs", "All references resolved")
    return next((each for each in wrong if each is not None), good)


def _lack(config: ConfigSet, policy: Written, ref: CARef) -> Condition | None:
    if ref.group or ref.kind not in ("ConfigMap", "Secret"):
        return false("ResolvedRefs", "InvalidKind", f"{ref.kind} {ref.name} holds no roots here")
    written = config.get(ref.kind, policy.namespace, ref.name)
    if written is None:
        message = f"{ref.kind} {policy.namespace}/{ref.name} is not there"
        return false("ResolvedRefs", "InvalidCACertificateRef", message)
    if entry_of(written, ROOTS) is None:
        message = f"{ref.kind} {policy.namespace}/{ref.name} has no ca.crt"
        return false("ResolvedRefs", "InvalidCACertificateRef", message)
    return None
