"""Prometheus' two text formats, written directly.

prometheus_client writes the labels of each sample anew: 10,000 samples with Istio's 25 labels take it most of a second,
in a process that also watches the workers. Here the labels of a series are written once (`label_text`) and shared by
all of its samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Histogram(NamedTuple):
    """Counts per bucket (not cumulative), the last one without a bound, and the sum of what was observed."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


Value = int | float | Histogram


class Family:
    """One metric. `name` is without the `_total` of counters; a sample is the text of its labels and a value."""

    __slots__ = ("help", "kind", "name", "samples")

    def __init__(self, name: str, kind: Literal["counter", "gauge", "histogram"], help: str) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.samples: list[tuple[str, Value]] = []

    def add(self, value: Value, labels: str = "") -> None:
        self.samples.append((labels, value))


def label_text(names: Iterable[str], values: Iterable[str]) -> str:
    """`a="1",b="2"`: what stands between the braces."""
    return ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)])


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics, as Prometheus' own does."""
    for part in accept.split(","):
        media, *parameters = (text.strip().lower() for text in part.split(";"))
        if media == "application/openmetrics-text":
            return not any(text in ("q=0", "q=0.0") for text in parameters)
    return False


def content_type(accept: str = "") -> str:
    return OPENMETRICS if wants_openmetrics(accept) else TEXT


def write(families: Iterable[Family], accept: str = "") -> bytes:
    """The families in the format that `accept` asks for; those without a sample are left out."""
    openmetrics = wants_openmetrics(accept)
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += _head(family, openmetrics)
            lines += _histograms(family, openmetrics) if family.kind == "histogram" else _plain(family)
    lines.append("# EOF\n" if openmetrics else "")
    return "".join(lines).encode()


def _head(family: Family, openmetrics: bool) -> tuple[str, str]:
    name = family.name + "_total" if family.kind == "counter" and not openmetrics else family.name
    return f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}\n", f"# TYPE {name} {family.kind}\n"


def _plain(family: Family) -> Iterator[str]:
    name = family.name + "_total" if family.kind == "counter" else family.name
    for labels, value in family.samples:
        yield f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n"


def _histograms(family: Family, openmetrics: bool) -> list[str]:
    name, lines = family.name, []
    for labels, value in family.samples:
        assert isinstance(value, Histogram)
        start = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
        braced = f"{{{labels}}}" if labels else ""
        total = 0
        for bound, count in zip(_bounds(tuple(value.bounds), openmetrics), value.counts, strict=True):
            total += count
            lines.append(f'{start}{bound}"}} {total}\n')
        lines.append(f"{name}_sum{braced} {value.sum}\n{name}_count{braced} {total}\n")
    return lines


def _bounds(bounds: tuple[float, ...], openmetrics: bool) -> list[str]:
    """As Envoy writes them (`1`), or canonical as OpenMetrics wants them (`1.0`)."""
    return [str(float(bound)) if openmetrics else f"{bound:.10g}" for bound in bounds] + ["+Inf"]
