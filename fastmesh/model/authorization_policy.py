# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""AuthorizationPolicy: who may call what.

https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fastmesh.model.base import MatchLabels, Spec, TargetReference

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]


class Source(Spec, frozen=True):
    """Fields are ANDed, values of a field are ORed. Without a client certificate a negative field is true."""

    principals: list[str] = []
    not_principals: list[str] = []
    request_principals: list[str] = []
    not_request_principals: list[str] = []
    namespaces: list[str] = []
    not_namespaces: list[str] = []
    service_accounts: list[str] = []
    not_service_accounts: list[str] = []
    ip_blocks: list[str] = []
    not_ip_blocks: list[str] = []
    remote_ip_blocks: list[str] = []
    not_remote_ip_blocks: list[str] = []
    trust_domains: list[str] = []
    not_trust_domains: list[str] = []


class Operation(Spec, frozen=True):
    """`ports` are those of the WORKLOAD, as texts."""

    hosts: list[str] = []
    not_hosts: list[str] = []
    ports: list[str] = []
    not_ports: list[str] = []
    methods: list[str] = []
    not_methods: list[str] = []
    paths: list[str] = []
    not_paths: list[str] = []


class From(Spec, frozen=True):
    source: Source | None = None


class To(Spec, frozen=True):
    operation: Operation | None = None


class Condition(Spec, frozen=True):
    key: str = ""
    values: list[str] = []
    not_values: list[str] = []


class Rule(Spec, frozen=True):
    """`from` and `to` None: not written, everybody and everything; an empty list is refused."""

    from_: list[From] | None = msgspec.field(name="from", default=None)
    to: list[To] | None = None
    when: list[Condition] = []


class Provider(Spec, frozen=True):
    name: str = ""


class AuthorizationPolicy(Spec, frozen=True):
    """No rules: nothing matches, so ALLOW denies everything. `rules: [{}]` matches everything."""

    selector: MatchLabels | None = None
    target_ref: TargetReference | None = None
    target_refs: list[TargetReference] = []
    rules: list[Rule] = []
    action: Action = "ALLOW"
    provider: Provider | None = None
