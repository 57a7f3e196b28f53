"""Filter, fastmesh's own kind. What can be said without its code: nothing is imported, no file of it is looked for."""

from __future__ import annotations

import keyword

from fastmesh.config.check.http_route import check_match
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_duration, check_selector, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.filter import Filter, FilterTarget

_SECTIONS = ("VirtualService", "HTTPRoute", "GRPCRoute")
_DECIDED = {
    "port": "port", "gateways": "gateways", "sourceLabels": "source_labels", "sourceNamespace": "source_namespace",
    "statPrefix": "stat_prefix",
}  # fmt: skip


def check_filter(resource: AnyResource, spec: Filter, at: At) -> None:
    complaint = function_complaint(spec.function)
    if complaint:
        at["function"].error(complaint)
    check_duration(spec.timeout, at["timeout"])
    if spec.body_limit < 1:
        at["bodyLimit"].error("0 lets no body through, write the most bytes that a hook may be given")
    if spec.selector is not None:
        check_selector(spec.selector.match_labels, at["selector"]["matchLabels"], "it takes every workload")
    for index, target in enumerate(spec.target_refs):
        _check_target(resource, target, at["targetRefs"][index])
    for index, host in enumerate(spec.hosts):
        say(at["hosts"][index], syntax.wildcard_domain(host))
    for index, match in enumerate(spec.match):
        place = at["match"][index]
        check_match(match, place)
        for name, attribute in _DECIDED.items():
            if getattr(match, attribute):
                place[name].error("has no meaning for a filter, say it with targetRefs, selector or mode")


def function_complaint(function: str) -> str:
    """What is wrong with `module:function`; nothing: an empty text."""
    module, colon, name = function.partition(":")
    names = [*module.split("."), name]
    if not colon or not all(each.isidentifier() and not keyword.iskeyword(each) for each in names):
        return f"{function!r} is not module:function, write for example shop.filters:api_key"
    return ""


def _check_target(resource: AnyResource, target: FilterTarget, at: At) -> None:
    if not target.name:
        at["name"].error("is empty, name the object whose requests are meant")
    if target.namespace and target.namespace != resource.namespace:
        message = f"{target.namespace} is another namespace, put the Filter there or leave it out"
        at["namespace"].error(message)
    if target.section_name and target.kind not in _SECTIONS:
        at["sectionName"].error(f"names a rule, and a {target.kind} has none; remove it")
