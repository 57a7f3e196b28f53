"""Capacity from the metrics of running proxies: how many requests each service gets, and how long they take.

An instance that works on `concurrency` requests at a time, each taking the measured mean, serves concurrency / mean a
second. Under load the mean holds time in queues, so the estimate errs on the safe side.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastmesh.cli.capacity_model import Capacity, capacity
from fastmesh.errors import EXIT_DATA, EXIT_UNAVAILABLE, FastmeshError

PATIENCE = 5.0
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_COUNT = "istio_request_duration_milliseconds_count"
_SUM = "istio_request_duration_milliseconds_sum"


class UnreachableError(FastmeshError):
    exit_code = EXIT_UNAVAILABLE


class NothingMeasuredError(FastmeshError):
    exit_code = EXIT_DATA


@dataclass(slots=True)
class Measured:
    """Sums over all proxies, by destination service."""

    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    milliseconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    instances: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    seconds: float = 0.0  # since the proxies started

    def minus(self, earlier: Measured, seconds: float) -> Measured:
        found = Measured(instances=self.instances, seconds=seconds)
        for name, count in self.requests.items():
            found.requests[name] = count - earlier.requests[name]
            found.milliseconds[name] = self.milliseconds[name] - earlier.milliseconds[name]
        return found


def live(urls: Sequence[str], seconds: float, concurrency: float, entry: str, rate: float | None) -> Capacity:
    """From what comes within `seconds`; 0: everything since the proxies started."""
    found = measure(urls)
    if seconds:
        began = time.monotonic()
        time.sleep(seconds)
        found = measure(urls).minus(found, time.monotonic() - began)
    return of_measured(found, concurrency, entry, rate)


def of_measured(found: Measured, concurrency: float, entry: str, rate: float | None) -> Capacity:
    asked = {name: count for name, count in found.requests.items() if count > 0}
    if not asked or not found.seconds:
        raise NothingMeasuredError("nobody was asked for anything, send requests or measure for longer")
    if entry and entry not in asked:
        others = ", ".join(sorted(asked))
        raise NothingMeasuredError(f"{entry} was not asked for anything; there were requests for {others}")
    total = asked[entry] if entry else sum(asked.values())
    rates = {}
    for name, count in sorted(asked.items()):
        mean = found.milliseconds[name] / count or 0.001
        rates[name] = [1000 * concurrency / mean] * max(1, len(found.instances[name]))
    visits = {name: count / total for name, count in asked.items()}
    return capacity("live", entry or "the proxies", rates, visits, rate if rate is not None else total / found.seconds)


def measure(urls: Sequence[str]) -> Measured:
    found = Measured()
    for url in urls:
        base = url.rstrip("/")
        samples = list(_samples(_get(f"{base}/stats/prometheus").decode()))
        reporters = {labels.get("reporter") for name, labels, _ in samples if name == _COUNT}
        reporter = "source" if "source" in reporters else "destination"  # a sidecar knows both sides of its workload
        for name, labels, value in samples:
            service = labels.get("destination_service", "unknown")
            if name in (_COUNT, _SUM) and labels.get("reporter") == reporter and service != "unknown":
                (found.requests if name == _COUNT else found.milliseconds)[service] += value
            elif name == "fastmesh_start_time_seconds":
                found.seconds = max(found.seconds, time.time() - value)
        _instances(json.loads(_get(f"{base}/clusters?format=json")), found)
    return found


def _instances(page: dict[str, Any], found: Measured) -> None:
    for cluster in page["cluster_statuses"]:
        direction, _, _, host = [*cluster["name"].split("|"), "", "", ""][:4]
        if direction == "outbound":
            found.instances[host].update(each["text"] for each in cluster["host_statuses"])


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is not None:
            with contextlib.suppress(ValueError):
                yield sample[1], dict(_LABEL.findall(sample[2] or "")), float(sample[3])


def _get(url: str) -> bytes:
    if urlsplit(url).scheme not in ("http", "https"):
        raise UnreachableError(f"{url} is no address of an admin interface, write http://127.0.0.1:15000")
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body: bytes = answer.read()
            return body
    except (OSError, ValueError) as error:
        raise UnreachableError(f"{url} does not answer: {getattr(error, 'reason', error)}") from None
