"""A scrape, read by prometheus_client's own parser."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.telemetry.mesh import Mesh


class Scrape:
    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def all(self, name: str, **labels: str) -> list[Sample]:
        return [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def one(self, name: str, **labels: str) -> Sample:
        found = self.all(name, **labels)
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def sum(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.all(name, **labels))


def scrape(mesh: Mesh) -> Scrape:
    return Scrape(mesh.page("/stats/prometheus"))


def parse_openmetrics(text: str) -> list[Metric]:
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
