"""CapacityModel, fastmesh's own kind."""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.resource import AnyResource
from fastmesh.model.capacity_model import CapacityModel, CapacityService


def check_capacity_model(resource: AnyResource, spec: CapacityModel, at: At) -> None:
    if not spec.services:
        at["services"].error("is empty, name a service such as {name: shop, rate: 500}")
        return
    names: set[str] = set()
    for index, service in enumerate(spec.services):
        place = at["services"][index]
        if not service.name:
            place["name"].error("is empty, give the service a name")
        elif service.name in names:
            place["name"].error(f"{service.name} is there twice, keep one")
        names.add(service.name)
        _check_rates(service, place)
    for index, service in enumerate(spec.services):
        for number, call in enumerate(service.calls):
            place = at["services"][index]["calls"][number]
            if call.service not in names:
                place["service"].error(f"{call.service} is none of the services above, add it there")
            if not call.times > 0:
                place["times"].error(f"{call.times:g} is no number of requests, write more than 0")
    _check_entry(spec, names, at)
    if spec.requests_per_second is not None and not spec.requests_per_second > 0:
        at["requestsPerSecond"].error("write more than 0, or leave it out")


def _check_rates(service: CapacityService, at: At) -> None:
    if (service.rate is None) == (not service.rates):
        at.error("needs one of rate and rates, as in rate: 500 or rates: [500, 750]")
    if service.rate is not None and not service.rate > 0:
        at["rate"].error(f"{service.rate:g} serves nothing, write more than 0")
    if service.replicas < 1:
        at["replicas"].error("0 serves nothing, write 1 or more")
    if service.rates and service.replicas != 1:
        at["replicas"].error("rates has an item for each instance already, remove replicas")
    for index, rate in enumerate(service.rates):
        if not rate > 0:
            at["rates"][index].error(f"{rate:g} serves nothing, write more than 0")


def _check_entry(spec: CapacityModel, names: set[str], at: At) -> None:
    called = {call.service for service in spec.services for call in service.calls}
    roots = [service.name for service in spec.services if service.name not in called]
    if spec.entry and spec.entry not in names:
        at["entry"].error(f"{spec.entry} is none of the services, name one of them")
    elif not spec.entry and len(roots) != 1:
        why = f"{', '.join(roots)} are called by nobody" if roots else "every service is called by another one"
        at["entry"].error(f"{why}: name the service at which requests come in")
    circle = _circle({service.name: [call.service for call in service.calls] for service in spec.services})
    if circle:
        at["services"].error(f"{' -> '.join(circle)} call each other without an end, remove one of the calls")


def _circle(calls: dict[str, list[str]]) -> list[str]:
    """A walk that comes back to where it began, or nothing."""
    done: set[str] = set()

    def walk(name: str, road: list[str]) -> list[str]:
        if name in road:
            return [*road[road.index(name) :], name]
        if name in done:
            return []
        done.add(name)
        return next((found for after in calls.get(name, ()) if (found := walk(after, [*road, name]))), [])

    return next((found for name in calls if (found := walk(name, []))), [])
