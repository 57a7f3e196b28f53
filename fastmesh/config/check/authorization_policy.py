"""AuthorizationPolicy: sources, operations, conditions, and what an action allows.

https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

import msgspec

from fastmesh.config.check.attachment import check_attachment
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import say
from fastmesh.config.resource import AnyResource
from fastmesh.model.authorization_policy import AuthorizationPolicy, Condition, Operation, Rule, Source

DRY_RUN = "istio.io/dry-run"  # an annotation: log what would be refused, refuse nothing
MAX_ACCOUNTS = 16
_ACCOUNT_LENGTH = 320
_PCHARS = re.compile(r"[a-zA-Z0-9-._~%!$&'()+,;:@=]+\Z")  # RFC 3986 3.3, but for *
_ONE, _REST = "{*}", "{**}"

Rules = Callable[[str], str | None]


def check_authorization_policy(resource: AnyResource, spec: AuthorizationPolicy, at: At) -> None:
    check_attachment(spec, at)
    if DRY_RUN in resource.annotations and spec.action not in ("ALLOW", "DENY"):
        at["action"].error(f"{DRY_RUN} is for ALLOW and DENY and not for {spec.action}, remove the annotation")
    if spec.action in ("DENY", "CUSTOM") and not spec.rules:
        at.error(f"action {spec.action} without rules does nothing, add rules (or an empty one, {{}}, for everything)")
    if spec.action == "CUSTOM":
        if spec.rules and (spec.provider is None or not spec.provider.name):
            at["provider"].error("name is required with action CUSTOM and missing, name an extension provider")
    elif spec.provider is not None:
        at["provider"].error(f"is for action CUSTOM and not for {spec.action}, remove it")
    for index, rule in enumerate(spec.rules):
        place = at["rules"][index]
        _check_rule(rule, place)
        if spec.action == "CUSTOM":
            _check_custom(rule, place)
        elif spec.action == "DENY" and _denies_tcp(rule):
            place.advice("has only fields of HTTP and so denies all traffic of TCP ports, add the ports that it is for")


def _check_rule(rule: Rule, at: At) -> None:
    for name, items in (("from", rule.from_), ("to", rule.to)):
        if items == []:
            at[name].error("is empty and would match nobody, add an entry or leave it out")
    for index, entry in enumerate(rule.from_ or ()):
        place = at["from"][index]
        if entry.source is None:
            place.error("source is required and missing, add source: {...}")
        else:
            _check_source(entry.source, place["source"])
    for index, target in enumerate(rule.to or ()):
        place = at["to"][index]
        if target.operation is None:
            place.error("operation is required and missing, add operation: {...}")
        else:
            _check_operation(target.operation, place["operation"])
    for index, condition in enumerate(rule.when):
        _check_condition(condition, at["when"][index])


def _check_source(source: Source, at: At) -> None:
    if source == Source():
        at.error("is empty and would match nobody, add a field such as principals")
    accounts = source.service_accounts or source.not_service_accounts
    if accounts and (source.principals or source.not_principals or source.namespaces or source.not_namespaces):
        name = "serviceAccounts" if source.service_accounts else "notServiceAccounts"
        at[name].error("cannot stand beside namespaces or principals, write the namespace into it: namespace/account")
    for name in ("principals", "requestPrincipals", "namespaces"):
        _check_both(source, name, not_empty, at)
    for name in ("ipBlocks", "remoteIpBlocks"):
        _check_both(source, name, block, at)
    for name, values in _both(source, "serviceAccounts"):
        if len(values) > MAX_ACCOUNTS:
            at[name].error(f"has {len(values)} entries, at most {MAX_ACCOUNTS} are allowed")
        _check_values(values, account, at[name])
    _check_both(source, "trustDomains", trust_domain, at)


def _check_operation(operation: Operation, at: At) -> None:
    if operation == Operation():
        at.error("is empty and would match nothing, add a field such as paths")
    for name, rule in (("hosts", not_empty), ("methods", not_empty), ("ports", port), ("paths", path)):
        _check_both(operation, name, rule, at)


def _both(struct: msgspec.Struct, name: str) -> list[tuple[str, list[str]]]:
    """A field and its negation, as they are written."""
    negated = "not" + name[0].upper() + name[1:]
    values = {field.encode_name: getattr(struct, field.name) for field in msgspec.structs.fields(struct)}
    return [(name, values[name]), (negated, values[negated])]


def _check_both(struct: msgspec.Struct, name: str, rule: Rules, at: At) -> None:
    for written, values in _both(struct, name):
        _check_values(values, rule, at[written])


def _check_values(values: Iterable[str], rule: Rules, at: At) -> None:
    for index, value in enumerate(values):
        say(at[index], rule(value))


# ---- conditions


def _check_condition(condition: Condition, at: At) -> None:
    key = condition.key
    if not key:
        at.error("key is required and missing, add key: request.headers[NAME] or another attribute")
        return
    if not condition.values and not condition.not_values:
        at.error(f"has no values for {key}, add values or notValues")
    rule = _rule_of(key, at["key"])
    if rule is not None:
        _check_values(condition.values, rule, at["values"])
        _check_values(condition.not_values, rule, at["notValues"])


def _rule_of(key: str, at: At) -> Rules | None:
    """How the values of an attribute are written; None after the attribute was refused."""
    if key in _ATTRIBUTES:
        return _ATTRIBUTES[key]
    for begin in _MAPS:
        if key.startswith(begin):
            opening = key.find("[")
            if key.endswith("]") and 0 < opening < len(key) - 2:
                return not_empty
            at.error(f"{key} has no name in brackets, write {begin.removesuffix('[')}[NAME]")
            return None
    moved = next((right for begin, right in _MOVED.items() if key.startswith(begin)), None)
    at.error(f"{key} is not an attribute here, {moved or 'the attributes are ' + ', '.join(sorted(_ATTRIBUTES))}")
    return None


def not_empty(text: str) -> str | None:
    return None if text else "is empty, write a value or * for any"


def block(text: str) -> str | None:
    """An address or a block, as netip reads it: no zones in blocks, no leading zeros."""
    try:
        if "/" in text:
            ipaddress.ip_network(text, strict=False)
        else:
            ipaddress.ip_address(text)
    except ValueError:
        return f'"{text}" is not an address or a block, write one such as 10.0.0.1 or 10.0.0.0/8'
    return None


def port(text: str) -> str | None:
    if text.isascii() and text.isdecimal() and int(text) <= 65535:
        return None
    return f'"{text}" is not a port, write a number from 0 to 65535 as a text'


def account(text: str) -> str | None:
    parts = text.split("/")
    if "*" in text:
        return f"{text} has a wildcard, which an account cannot have; name it or use principals"
    if len(text) > _ACCOUNT_LENGTH:
        return f"is longer than {_ACCOUNT_LENGTH} characters"
    if len(parts) > 2 or not all(parts):
        return f'"{text}" is not an account, write account or namespace/account'
    return None


def wildcard(text: str) -> str | None:
    if not text:
        return not_empty(text)
    if text.count("*") > 1 or "*" in text[1:-1]:
        return f"{text} has * in the wrong place, there may be one at the beginning or at the end"
    return None


def trust_domain(text: str) -> str | None:
    return f"{text} has a slash, which a trust domain cannot have" if "/" in text else wildcard(text)


def path(text: str) -> str | None:
    """A path, or a template of whole segments: {*} is one, {**} the rest."""
    if not text:
        return not_empty(text)
    template, ended = _ONE in text or _REST in text, False
    for segment in text.strip("/").split("/"):
        if segment in (_ONE, _REST):
            if ended:
                return f"{text}: {_REST} takes the rest and has to be the last operator"
            ended = segment == _REST
        elif "{" in segment or "}" in segment:
            return f"{text}: {segment} is not an operator, write {_ONE} for one segment or {_REST} for the rest"
        elif template and not _PCHARS.match(segment):
            return f'{text}: "{segment}" cannot stand in a template, write letters of a path without *'
    return None


_ATTRIBUTES: dict[str, Rules] = {
    "source.ip": block, "remote.ip": block, "source.namespace": not_empty, "source.serviceAccount": account,
    "source.principal": not_empty, "source.trustDomain": wildcard, "request.auth.principal": not_empty,
    "request.auth.audiences": not_empty, "request.auth.presenter": not_empty, "destination.ip": block,
    "destination.port": port, "connection.sni": not_empty,
}  # fmt: skip
_MAPS = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")
_MOVED = {
    "destination.namespace": "put the policy into that namespace",
    "destination.labels": "use the selector",
    "destination.name": "use the selector",
    "destination.user": "use the selector",
}

# ---- actions

_CUSTOM_FIELDS = (
    "principals", "notPrincipals", "requestPrincipals", "notRequestPrincipals", "namespaces", "notNamespaces",
    "serviceAccounts", "notServiceAccounts", "trustDomains", "notTrustDomains",
)  # fmt: skip
_CUSTOM_KEYS = ("source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal")


def _check_custom(rule: Rule, at: At) -> None:
    """A provider is asked before anybody knows who is calling."""
    message = "is not known when a provider of action CUSTOM is asked, remove it"
    for index, entry in enumerate(rule.from_ or ()):
        written = msgspec.to_builtins(entry.source) if entry.source is not None else {}
        for name in _CUSTOM_FIELDS:
            if written.get(name):
                at["from"][index]["source"][name].error(f"{name} {message}")
    for index, condition in enumerate(rule.when):
        if condition.key in _CUSTOM_KEYS or condition.key.startswith("request.auth."):
            at["when"][index]["key"].error(f"{condition.key} {message}")


def _denies_tcp(rule: Rule) -> bool:
    """On a TCP port the fields of HTTP are passed over, and a DENY rule without others matches everything there."""
    sources = [entry.source for entry in rule.from_ or () if entry.source is not None]
    operations = [entry.operation for entry in rule.to or () if entry.operation is not None]
    on_tcp = any(
        each.principals or each.not_principals or each.ip_blocks or each.not_ip_blocks or each.namespaces
        or each.not_namespaces or each.remote_ip_blocks or each.not_remote_ip_blocks or each.service_accounts
        or each.not_service_accounts
        for each in sources
    )  # fmt: skip
    if operations:
        return not any(each.ports or each.not_ports for each in operations)
    return bool(sources) and not on_tcp
