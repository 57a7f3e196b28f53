"""`process_*` of the process that asks (the master), from prometheus_client's collector."""

from __future__ import annotations

from typing import Literal, cast

from prometheus_client import ProcessCollector

from fastmesh.telemetry.exposition import Family, label_text

_collector = ProcessCollector(registry=None)


def families() -> list[Family]:
    made = []
    for metric in _collector.collect():
        family = Family(metric.name, cast("Literal['counter', 'gauge']", metric.type), metric.documentation)
        for sample in metric.samples:
            family.add(sample.value, label_text(sample.labels.keys(), sample.labels.values()))
        made.append(family)
    return made
