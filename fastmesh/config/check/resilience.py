"""Resilience, fastmesh's own kind."""

from __future__ import annotations

from fastmesh.config.check.health_check import check_target
from fastmesh.config.check.http_route import check_match
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_answer_headers, check_duration, check_port_number
from fastmesh.config.resource import AnyResource
from fastmesh.model.resilience import (
    AdaptiveConcurrency,
    Breaker,
    Concurrency,
    Ejection,
    FixedAnswer,
    Resilience,
    SlowEndpoints,
)

TRIALS = 8  # TRIALS_MAX of the core


def check_resilience(resource: AnyResource, spec: Resilience, at: At) -> None:
    if spec.target_ref is not None:
        _check_for_rules(spec, at)
    else:
        check_target(spec.host, spec.subset, spec.port, at)
    check_duration(spec.half_life, at["halfLife"])
    parts = (spec.health_weighted, spec.breaker, spec.concurrency, spec.queue, spec.ejection)
    if all(part is None for part in parts):
        at.error("asks for nothing, write one of healthWeighted, breaker, concurrency, queue and ejection")
    if spec.side == "server":
        _check_server_side(spec, at)
    if spec.health_weighted is not None and not 1 <= spec.health_weighted.floor_percent <= 100:
        message = "write 1 to 100: an endpoint that is never asked is never seen to be well again"
        at["healthWeighted"]["floorPercent"].error(f"{spec.health_weighted.floor_percent} is no share, {message}")
    if spec.breaker is not None:
        _check_breaker(spec.breaker, at["breaker"])
    if spec.concurrency is not None:
        _check_concurrency(spec.concurrency, at["concurrency"])
    if spec.queue is not None:
        check_duration(spec.queue.max_wait, at["queue"]["maxWait"])
    if spec.ejection is not None:
        _check_ejection(spec.ejection, at["ejection"])


def _check_ejection(ejection: Ejection, at: At) -> None:
    if ejection.latency is None and ejection.half_open is None:
        at.error("asks for nothing, write one of latency and halfOpen")
    check_duration(ejection.base_ejection_time, at["baseEjectionTime"])
    if not 1 <= ejection.max_ejection_percent <= 100:
        at["maxEjectionPercent"].error(f"{ejection.max_ejection_percent} is no share, write 1 to 100")
    if ejection.latency is not None:
        _check_slow(ejection.latency, at["latency"])
    if ejection.half_open is not None:
        if not 1 <= ejection.half_open.requests <= TRIALS:
            at["halfOpen"]["requests"].error(f"write 1 to {TRIALS} requests at a time")
        if ejection.half_open.successes < 1:
            at["halfOpen"]["successes"].error("0 proves nothing, write 1 or more")


def _check_slow(latency: SlowEndpoints, at: At) -> None:
    if latency.above is None and latency.times_peers is None:
        at.error("needs above or timesPeers, as in above: 500ms or timesPeers: 3")
    check_duration(latency.above, at["above"])
    check_duration(latency.floor, at["floor"])
    check_duration(latency.interval, at["interval"])
    if latency.times_peers is not None and not latency.times_peers > 1:
        message = "would eject endpoints that are as fast as the others, write more than 1"
        at["timesPeers"].error(f"{latency.times_peers:g} {message}")
    if not 1 <= latency.percentile <= 100:
        at["percentile"].error(f"{latency.percentile} is no percentile, write 1 to 100")
    for name, value in (("intervals", latency.intervals), ("minRequests", latency.min_requests)):
        if value < 1:
            at[name].error("write 1 or more")


def _check_for_rules(spec: Resilience, at: At) -> None:
    """Rules have requests under way, but no endpoints whose errors or connections could be counted."""
    if spec.target_ref is not None and not spec.target_ref.name:
        at["targetRef"]["name"].error("is empty, name the object whose rules are meant")
    if spec.host:
        at["host"].error("is for a destination and targetRef for rules, keep one of them")
    parts = {"subset": spec.subset, "port": spec.port, "healthWeighted": spec.health_weighted, "breaker": spec.breaker}
    for name, value in {**parts, "queue": spec.queue, "ejection": spec.ejection}.items():
        if value is not None:
            at[name].error("is for a destination: with targetRef there is concurrency alone; name a host for it")
    if spec.side == "server":
        at["side"].error("is for a destination: rules are in the proxies of clients, leave it out")
    for index, priority in enumerate(spec.concurrency.priorities if spec.concurrency is not None else ()):
        for number, match in enumerate(priority.match):
            if match.port:
                place = at["concurrency"]["priorities"][index]["match"][number]
                place["port"].error("is not asked here, the rule says for which port it is; leave it out")


def _check_server_side(spec: Resilience, at: At) -> None:
    """A sidecar has one application behind it and does not know which subset of a client it is."""
    if spec.subset is not None:
        at["subset"].error("is what clients choose, with side: server it means nothing; leave it out")
    if spec.health_weighted is not None:
        at["healthWeighted"].error("chooses among endpoints, and a sidecar has one; leave it out or write side: client")
    if spec.ejection is not None:
        at["ejection"].error(
            "is for one of several endpoints, and a sidecar has one; leave it out or write side: client"
        )
    if spec.breaker is not None and spec.breaker.backup is not None:
        at["breaker"]["backup"].error("is for the proxies of clients; write an answer, or side: client")
    if spec.concurrency is None:
        return
    for index, priority in enumerate(spec.concurrency.priorities):
        for number, match in enumerate(priority.match):
            for name, value in (("sourceLabels", match.source_labels), ("sourceNamespace", match.source_namespace)):
                if value:
                    place = at["concurrency"]["priorities"][index]["match"][number]
                    place[name].error("is known in the proxy of the client only; match a header instead")


def _check_breaker(breaker: Breaker, at: At) -> None:
    if not 0 < breaker.error_percent <= 100:
        at["errorPercent"].error(f"{breaker.error_percent:g} is no error rate, write more than 0 and at most 100")
    check_duration(breaker.open_for, at["openFor"])
    if breaker.probes < 1:
        at["probes"].error("0 would never close it, write 1 or more")
    if breaker.backup is not None:
        if not breaker.backup.host or breaker.backup.host.startswith("*"):
            at["backup"]["host"].error("name the host of a service")
        if breaker.backup.port is not None:
            check_port_number(breaker.backup.port, at["backup"]["port"])
        if breaker.answer is not None:
            at.error("has both backup and answer, keep one of them")
    _check_answer(breaker.answer, at["answer"])


def _check_concurrency(concurrency: Concurrency, at: At) -> None:
    if (concurrency.limit is None) == (concurrency.adaptive is None):
        at.error("needs one of limit and adaptive, as in limit: 100 or adaptive: {}")
    if concurrency.limit is not None and concurrency.limit < 1:
        at["limit"].error("0 lets nothing through, write 1 or more")
    if concurrency.adaptive is not None:
        _check_adaptive(concurrency.adaptive, at["adaptive"])
    names = [priority.name for priority in concurrency.priorities]
    for index, priority in enumerate(concurrency.priorities):
        place = at["priorities"][index]
        if not priority.name or priority.name in names[:index]:
            place["name"].error("is empty or there twice, give each class a name of its own")
        if priority.share is not None and not 1 <= priority.share <= 100:
            place["share"].error(f"{priority.share} is no share of the limit, write 1 to 100")
        for number, match in enumerate(priority.match):
            check_match(match, place["match"][number])
    _check_answer(concurrency.answer, at["answer"])


def _check_adaptive(adaptive: AdaptiveConcurrency, at: At) -> None:
    for name, value in (("minConcurrency", adaptive.min_concurrency), ("minRttRequests", adaptive.min_rtt_requests)):
        if value < 1:
            at[name].error("write 1 or more")
    if adaptive.max_concurrency < adaptive.min_concurrency:
        at["maxConcurrency"].error(f"is below minConcurrency, write {adaptive.min_concurrency} or more")
    if not 1 <= adaptive.percentile <= 100:
        at["percentile"].error(f"{adaptive.percentile} is no percentile, write 1 to 100")
    check_duration(adaptive.interval, at["interval"])
    check_duration(adaptive.min_rtt_interval, at["minRttInterval"])


def _check_answer(answer: FixedAnswer | None, at: At) -> None:
    if answer is None:
        return
    if not 200 <= answer.status <= 599:
        at["status"].error(f"{answer.status} is not a status to answer with, write 503")
    check_answer_headers(answer.headers, at["headers"])
