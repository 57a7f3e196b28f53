"""The plans in which an object may appear: a client's on the mesh, and each gateway's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastmesh.config.api_listeners import GATEWAY_NAME
from fastmesh.config.compile import Role, compile_plan, dns_names
from fastmesh.config.plan import Plan
from fastmesh.config.store import ConfigSet


@dataclass(frozen=True, slots=True)
class View:
    """`names` are hosts that a name server knows, by the addresses that stand for them in the plan."""

    title: str
    plan: Plan
    names: Mapping[str, str]


def views(config: ConfigSet, namespace: str, labels: Mapping[str, str]) -> Iterator[View]:
    """The client's connections are intercepted: so rules for bytes are seen, which say nothing but an address."""
    names = {f"0.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}": name for n, name in enumerate(sorted(dns_names(config)), 1)}
    resolve = {name: [address] for address, name in names.items()}
    title = f"mesh, as a client of {namespace} sees it"
    for kind, role in (
        (title, Role(namespace=namespace, labels=labels, identity=True, intercepts=True)),
        *_gateways(config),
    ):
        yield View(kind, compile_plan(config, role, resolve=resolve)[0], names)


def _gateways(config: ConfigSet) -> Iterator[tuple[str, Role]]:
    """One for each workload that Gateways are for: those with the same selector share it."""
    seen: set[tuple[tuple[str, str], ...]] = set()
    for gateway in config.gateways:
        key = tuple(sorted(gateway.spec.selector.items()))
        if key not in seen:
            seen.add(key)
            shown = ",".join(f"{name}={value}" for name, value in key) or "any"
            role = Role(kind="gateway", namespace=gateway.namespace, labels=gateway.spec.selector, identity=True)
            yield f"gateway {shown}", role
    for other in config.api_gateways:
        role = Role(kind="gateway", namespace=other.namespace, labels={GATEWAY_NAME: other.name}, identity=True)
        yield f"gateway {other.namespace}/{other.name}", role
