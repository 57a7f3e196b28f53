"""RoutePolicy and MeshPolicy, fastmesh's own kinds."""

from __future__ import annotations

from fastmesh.config.check.destination_rule import check_hash
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_answer_headers, check_destination, check_duration, check_share, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.destination_rule import ConsistentHash
from fastmesh.model.route_policy import Answer, Fallback, MeshPolicy, Refusal, RoutePolicy

_BODYLESS = (204, 205, 304)


def check_route_policy(resource: AnyResource, spec: RoutePolicy, at: At) -> None:
    if spec.target_ref is not None and not spec.target_ref.name:
        at["targetRef"]["name"].error("is empty, name the object whose rules are meant")
    check_duration(spec.timeout, at["timeout"], zero=True)
    if spec.fallback is not None:
        _check_fallback(spec.fallback, at["fallback"])
    if spec.hedge is not None:
        check_duration(spec.hedge.after, at["hedge"]["after"])
    if spec.sticky is not None:
        _check_sticky(spec.sticky, at["sticky"])
    _check_refusals(spec.refusals, at["refusals"])


def check_mesh_policy(resource: AnyResource, spec: MeshPolicy, at: At) -> None:
    check_duration(spec.timeout, at["timeout"])
    _check_refusals(spec.refusals, at["refusals"])
    for name, budget in (("retryBudget", spec.retry_budget), ("proxyRetryBudget", spec.proxy_retry_budget)):
        if budget is not None:
            check_share(budget.percent, at[name]["percent"])


def _check_fallback(fallback: Fallback, at: At) -> None:
    if not fallback.on:
        at["on"].error("is empty, name a response flag such as UO or leave it out")
    if (fallback.destination is None) == (fallback.response is None):
        at.error("needs exactly one of destination and response")
    if fallback.destination is not None:
        check_destination(fallback.destination, at["destination"])
    if fallback.response is not None:
        _check_answer(fallback.response, at["response"])


def _check_sticky(sticky: ConsistentHash, at: At) -> None:
    for name, value in (
        ("ringHash", sticky.ring_hash), ("maglev", sticky.maglev), ("minimumRingSize", sticky.minimum_ring_size),
    ):  # fmt: skip
        if value:
            at[name].error("is for the endpoints of a destination; a split has weights, leave it out")
    check_hash(sticky, at)


def _check_refusals(refusals: list[Refusal], at: At) -> None:
    for index, refusal in enumerate(refusals):
        _check_answer(refusal.response, at[index]["response"])
        if not refusal.flags and index + 1 < len(refusals):
            at[index + 1].error("is never used: the one before has no flags and takes all")
            return


def _check_answer(answer: Answer, at: At) -> None:
    if answer.status and not 200 <= answer.status <= 599:
        at["status"].error(f"{answer.status} is not a status to answer with, write 503 or leave it out")
    if answer.body and answer.status in _BODYLESS:
        at["body"].error(f"an answer with {answer.status} has no body, leave one of them out")
    say(at["contentType"], syntax.header_value(answer.content_type))
    check_answer_headers(answer.headers, at["headers"])
