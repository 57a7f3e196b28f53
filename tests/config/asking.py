"""Plans made from YAML text, and a slow, obvious reading of a plan to ask it what a request gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import (
    ListenerPlan,
    MatchPlan,
    NamedMatchPlan,
    Plan,
    RulePlan,
    StringMatchPlan,
    VirtualHostPlan,
)
from fastmesh.config.read import load
from fastmesh.config.store import ConfigSet, read_documents


def config_of(text: str) -> ConfigSet:
    problems: list[Any] = []
    documents = load.load_text(text, "test.yaml", problems)
    return read_documents(load.Loaded(documents, problems, ["test.yaml"])).require()


def plan_of(text: str, *, resolve: Mapping[str, list[str]] | None = None, **role: Any) -> Plan:
    return compile_plan(config_of(text), Role(**role), resolve=resolve)[0]


def vhost_for(plan: Plan, host: str, port: int = 0, listener: ListenerPlan | None = None) -> VirtualHostPlan | None:
    """As the data plane looks: exact, then the longest wildcard; without a port 80, then 0, on the mesh."""
    listener = listener or plan.listeners[0]
    ports = [0] if listener.role == "gateway" else [port] if port else [80, 0]
    for wanted in ports:
        names = {domain.domain: domain.vhost for domain in listener.domains if domain.port == wanted}
        if host in names:
            return plan.vhosts[names[host]]
        wild = [name for name in names if name.startswith("*") and host.endswith(name[1:]) and host != name[1:]]
        if wild:
            return plan.vhosts[names[max(wild, key=len)]]
    anything = [domain.vhost for domain in listener.domains if domain.domain == "*"]
    return plan.vhosts[anything[0]] if anything else None


def rule_for(vhost: VirtualHostPlan, path: str = "/", method: str = "GET", **headers: str) -> RulePlan | None:
    for rule in vhost.rules:
        if not rule.matches or any(_fits(match, vhost, path, method, headers) for match in rule.matches):
            return rule
    return None


def clusters(rule: RulePlan | None) -> list[str]:
    return [destination.cluster for destination in rule.destinations] if rule is not None else []


def route(plan: Plan, host: str, port: int = 0, path: str = "/", **headers: str) -> list[str] | None:
    """The clusters that a request may go to; None: no virtual host; []: no rule (404), or answered by the proxy."""
    vhost = vhost_for(plan, host, port)
    return None if vhost is None else clusters(rule_for(vhost, path, **headers))


def _fits(match: MatchPlan, vhost: VirtualHostPlan, path: str, method: str, headers: Mapping[str, str]) -> bool:
    bare, _, query = path.partition("?")
    sent = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    sent |= {":method": method, ":path": path, ":scheme": "http"}
    return (
        (match.path is None or _is(match.path, bare))
        and (match.method is None or _is(match.method, method))
        and (match.scheme is None or _is(match.scheme, "http"))
        and (match.authority is None or _is(match.authority, sent.get("host", "")))
        and all(_named(named, sent) for named in match.headers)
        and all(_named(named, dict(reversed(parse_qsl(query, keep_blank_values=True)))) for named in match.query)
    )


def _named(named: NamedMatchPlan, values: Mapping[str, str]) -> bool:
    value = values.get(named.name)
    if named.invert:
        return value is None if named.match.kind == "present" else not _is(named.match, value or "")
    return value is not None and _is(named.match, value)


def _is(match: StringMatchPlan, value: str) -> bool:
    if match.ignore_case:
        value = value.lower()
    if match.kind == "exact":
        return value == match.value
    if match.kind == "prefix":
        return value.startswith(match.value)
    if match.kind == "regex":
        return re.fullmatch(match.value, value) is not None
    return True
