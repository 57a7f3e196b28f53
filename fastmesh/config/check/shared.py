"""Checks that several kinds share: exportTo, labels, durations, headers, percentages, destinations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastmesh.config.check.report import At
from fastmesh.config.read import syntax
from fastmesh.model.base import Duration, Percent, StringMatch
from fastmesh.model.virtual_service import Destination, HeaderOperations, Headers


def say(at: At, complaint: str | None) -> bool:
    """Report a complaint of `syntax`; answers whether there was one."""
    if complaint:
        at.error(complaint)
    return bool(complaint)


def check_duration(duration: Duration | None, at: At, *, zero: bool = False) -> None:
    """At least 1ms; `zero` where 0s has a meaning of its own."""
    if duration is not None and duration < 1 and not zero:
        at.error("0s is too short, a duration here is 1ms or more")


def check_labels(labels: dict[str, str], at: At) -> None:
    for key, value in labels.items():
        say(at[key], syntax.label_key(key) or syntax.label_value(value))


def check_selector(labels: dict[str, str], at: At, everything: str) -> None:
    """Labels that select workloads; no wildcards."""
    if not labels:
        at.advice(f"selects by no label, so {everything}; name a label or leave the selector out")
    for key, value in labels.items():
        if not key:
            at[key].error("a label has no name, write name: value")
        elif "*" in key or "*" in value:
            at[key].error("wildcard is not supported in selector, write the whole label")


def check_export_to(
    export_to: list[str], namespace: str, at: At, *, none: bool = False, own_only: bool = False
) -> None:
    """`.`, `*`, `~` (ServiceEntry only) or names of namespaces; `own_only` for a rule with a workload selector."""
    seen: set[str] = set()
    for index, entry in enumerate(export_to):
        name = namespace if entry == "." else entry
        if name in seen:
            at[index].error(f"{entry} is there twice, keep one")
        elif name == "~" and not none:
            at[index].error("~ is for ServiceEntry only, write . for this namespace")
        elif name not in ("*", "~"):
            say(at[index], syntax.label(name, "namespace"))
        seen.add(name)
    if len(export_to) > 1:
        for mark, meaning in (("*", "everywhere"), ("~", "nowhere")):
            if mark in seen:
                at.error(f"{mark} means {meaning} and cannot stand beside other entries, write [{mark!r}] alone")
    if own_only and seen and seen != {namespace}:
        at.error('a rule with a workloadSelector stays in its own namespace, write ["."]')


def check_string_match(match: StringMatch, at: At, *, empty_prefix: bool = False, presence: bool = False) -> None:
    """Exactly one of exact, prefix, regex; none where `presence` is a test of its own."""
    written = [name for name in ("exact", "prefix", "regex") if getattr(match, name) is not None]
    if len(written) > 1:
        at.error(f"has {' and '.join(written)}, keep one of them")
    elif not written and not presence:
        at.error("is empty, write one of exact, prefix, regex")
    if match.prefix == "" and not empty_prefix:
        at["prefix"].error("is empty, write the beginning of the text or leave the match out")
    if match.regex is not None and not (presence and match.regex == "*"):
        say(at["regex"], syntax.regex(match.regex))


def check_percent(percent: Percent | None, at: At) -> None:
    """0, or 0.0001 to 100."""
    if percent is not None and not (percent.value == 0 or 0.0001 <= percent.value <= 100):
        at["value"].error(f"{percent.value:g} is not a percentage, write 0 or 0.0001 to 100")


def check_share(percent: float | None, at: At) -> None:
    if percent is not None and not 0 <= percent <= 100:
        at.error(f"{percent:g} is not a percentage, write 0 to 100")


def check_port_number(number: int, at: At) -> None:
    say(at, syntax.port(number))


def check_destination(destination: Destination, at: At) -> None:
    if destination.host == "*":
        at["host"].error('"*" is not a destination, write the host of a service')
    else:
        say(at["host"], syntax.wildcard_domain(destination.host))
    if destination.subset:
        say(at["subset"], syntax.label(destination.subset, "subset"))
    if destination.port is not None:
        check_port_number(destination.port.number, at["port"]["number"])


def check_weights(weights: Iterable[int], at: At) -> None:
    """A weight is 0 or more; of several, one has to be more than 0."""
    values = list(weights)
    for index, weight in enumerate(values):
        if weight < 0:
            at[index]["weight"].error(f"{weight} is negative, a weight is 0 or more")
    if len(values) > 1 and sum(values) == 0:
        at.error("the weights sum to 0, give at least one destination a weight of 1 or more")


def check_answer_headers(headers: Mapping[str, str], at: At) -> None:
    """Of answers that the proxy makes itself: nothing is put into them."""
    for name, value in headers.items():
        place = at[name]
        if (
            not say(place, syntax.header_to_change(name))
            and not say(place, syntax.header_value(value))
            and "%" in value
        ):
            place.error("is sent as it is written, a percent sign has no meaning here; leave it out")


def check_headers(headers: Headers | None, at: At) -> None:
    if headers is None:
        return
    if headers.request is not None:
        _check_operations(headers.request, at["request"], request=True)
    if headers.response is not None:
        _check_operations(headers.response, at["response"], request=False)


def _check_authority(name: str, value: str, at: At) -> None:
    """Istio (route.go) makes a host_rewrite_literal of it, where Envoy puts nothing in."""
    if "%" in value and syntax.is_authority(name):
        at.advice(f"{value} goes out as it stands, Istio puts nothing into a host; write the host itself")


def _check_operations(operations: HeaderOperations, at: At, *, request: bool) -> None:
    rule = syntax.header_to_set if request else syntax.header_to_change
    for verb, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            if not say(at[verb][name], rule(name)) and not say(at[verb][name], syntax.header_value(value)):
                _check_authority(name, value, at[verb][name])
    for index, name in enumerate(operations.remove):
        say(at["remove"][index], syntax.header_to_change(name))
