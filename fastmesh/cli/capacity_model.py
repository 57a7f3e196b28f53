"""The arithmetic of capacity: what services in series and instances in parallel can do, and which gives way first.

Instances in parallel add up: sum(p_i). Stages in series, one request at a time through all of them, take the sum of
their times: 1 / sum(1 / p_i). With many requests under way at once each stage works on its own, and the one that is
nearest to its capacity is the limit of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fastmesh.model.capacity_model import CapacityModel


def parallel(rates: Iterable[float]) -> float:
    return sum(rates)


def series(rates: Iterable[float], visits: Iterable[float] | None = None) -> float:
    """`visits`: how often one request comes to each stage; once where it is left out."""
    stages = list(rates)
    times = list(visits) if visits is not None else [1.0] * len(stages)
    total = sum(count / rate for rate, count in zip(stages, times, strict=True))
    return 1 / total if total else 0.0


class ServiceCapacity(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    rates: list[float]  # requests a second of each instance
    capacity: float  # of all of them
    visits: float  # requests for each request at the entry
    overloads_at: float | None  # requests a second at the entry; None: it is not asked for them
    load: float | None = None  # requests a second that it gets
    utilization: float | None = None  # of its capacity


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    entry: str
    rate: float | None  # requests a second at the entry that were asked about, or measured
    series: float  # one request at a time through all stages
    limit: float  # requests a second at the entry above which the first service is overloaded
    bottleneck: str
    overloaded: list[str]
    services: list[ServiceCapacity]


def visits_of(model: CapacityModel) -> dict[str, float]:
    """Requests to each service for one request at the entry."""
    calls = {service.name: service.calls for service in model.services}
    found = dict.fromkeys(calls, 0.0)
    found[model.entry or entry_of(model)] = 1.0
    for name in _callers_first(model):
        for call in calls[name]:
            found[call.service] += found[name] * call.times
    return found


def _callers_first(model: CapacityModel) -> list[str]:
    calls = {service.name: [call.service for call in service.calls] for service in model.services}
    order: dict[str, None] = {}

    def finish(name: str) -> None:
        if name not in order:
            for after in calls[name]:
                finish(after)
            order[name] = None

    for name in calls:
        finish(name)
    return list(order)[::-1]


def entry_of(model: CapacityModel) -> str:
    called = {call.service for service in model.services for call in service.calls}
    return next(service.name for service in model.services if service.name not in called)


def of_model(name: str, model: CapacityModel, rate: float | None) -> Capacity:
    rates = {each.name: each.rates or [each.rate or 0.0] * each.replicas for each in model.services}
    rate = rate if rate is not None else model.requests_per_second
    return capacity(name, model.entry or entry_of(model), rates, visits_of(model), rate)


def capacity(
    name: str, entry: str, rates: Mapping[str, Sequence[float]], visits: Mapping[str, float], rate: float | None
) -> Capacity:
    services = [_service(each, list(rates[each]), visits[each], rate) for each in rates]
    asked = [each for each in services if each.overloads_at is not None]
    first = min(asked, key=lambda each: each.overloads_at or 0.0)
    return Capacity(
        name=name,
        entry=entry,
        rate=rate,
        series=series([each.capacity for each in asked], [each.visits for each in asked]),
        limit=first.overloads_at or 0.0,
        bottleneck=first.name,
        overloaded=[each.name for each in asked if each.utilization is not None and each.utilization > 1],
        services=services,
    )


def _service(name: str, rates: list[float], visits: float, rate: float | None) -> ServiceCapacity:
    total = parallel(rates)
    load = rate * visits if rate is not None else None
    return ServiceCapacity(
        name=name,
        rates=rates,
        capacity=total,
        visits=visits,
        overloads_at=total / visits if visits else None,
        load=load,
        utilization=load / total if load is not None else None,
    )


def text(found: Capacity) -> list[str]:
    """What a person reads."""
    rows = [("service", "instances", "capacity/s", "requests", "overloads at/s", "load/s", "used")]
    for each in found.services:
        rows.append(
            (
                each.name,
                str(len(each.rates)),
                _number(each.capacity),
                _number(each.visits),
                _number(each.overloads_at),
                _number(each.load),
                "-" if each.utilization is None else f"{each.utilization:.0%}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{found.name}: requests come in at {found.entry}"]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    lines.append(f"one request at a time through all of them: {_number(found.series)} a second")
    lines.append(f"{found.bottleneck} is overloaded first, above {_number(found.limit)} requests a second")
    if found.rate is not None:
        over = ", ".join(found.overloaded)
        lines.append(f"at {_number(found.rate)} a second: {f'overloaded: {over}' if over else 'nothing is overloaded'}")
    return lines


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}".rstrip("0").rstrip(".") if value >= 10 else f"{value:.3g}"
