"""Istio's standard metrics, from the cells that the data plane keeps for each set of labels and worker.

A cell's key is two bytes of worker slot, then the label values, each ended by 0x1f (`core/proxy/account`); its words
are the number of requests, three histograms (duration in us, request bytes, response bytes), and gRPC messages of
requests and of responses.
"""

from __future__ import annotations

from collections.abc import Iterable

import fastmesh
from fastmesh.core.proxy.account import BOUNDS, LABELS, TCP_LABELS
from fastmesh.server.words import ENTRY_SERIES, ENTRY_TCP_SERIES
from fastmesh.telemetry.exposition import Family, Histogram, label_text
from fastmesh.telemetry.readable import Entry

BUCKETS = len(BOUNDS) + 1
HISTOGRAM = BUCKETS + 1  # the buckets and the sum
WORDS = 1 + 3 * HISTOGRAM + 2
PROTOCOL = LABELS.index("request_protocol")

HISTOGRAMS = (
    ("istio_request_duration_milliseconds", "How long requests took, in milliseconds.", 1000),
    ("istio_request_bytes", "Sizes of request bodies in bytes.", 1),
    ("istio_response_bytes", "Sizes of response bodies in bytes.", 1),
)


CONNECTIONS = (  # the words of a cell of connections
    ("istio_tcp_connections_opened", "TCP connections opened."),
    ("istio_tcp_connections_closed", "TCP connections closed."),
    ("istio_tcp_sent_bytes", "Bytes sent to clients over TCP connections."),
    ("istio_tcp_received_bytes", "Bytes received from clients over TCP connections."),
)


def families(entries: Iterable[Entry]) -> list[Family]:
    """The metrics of requests and of TCP connections, and `istio_build`, which dashboards join on."""
    entries = list(entries)
    build = Family("istio_build", "gauge", "The version of the proxy.")
    build.add(1, label_text(("component", "tag"), ("proxy", fastmesh.__version__)))
    requests = Family("istio_requests", "counter", "Requests, counted when they are complete.")
    messages = [
        Family("istio_request_messages", "counter", "gRPC messages that clients sent."),
        Family("istio_response_messages", "counter", "gRPC messages that servers sent."),
    ]
    histograms = [Family(name, "histogram", help) for name, help, _ in HISTOGRAMS]
    for values, words in _summed(entries, ENTRY_SERIES, WORDS):
        labels = label_text(LABELS, values)
        requests.add(words[0], labels)
        for i, (family, (_, _, unit)) in enumerate(zip(histograms, HISTOGRAMS, strict=True)):
            start = 1 + i * HISTOGRAM
            total = words[start + BUCKETS]
            counts = words[start : start + BUCKETS]
            family.add(Histogram(BOUNDS, counts, total if unit == 1 else total / unit), labels)
        if values[PROTOCOL] == "grpc":
            for family, count in zip(messages, words[-2:], strict=True):
                family.add(count, labels)
    connections = [Family(name, "counter", help) for name, help in CONNECTIONS]
    for values, words in _summed(entries, ENTRY_TCP_SERIES, len(CONNECTIONS)):
        labels = label_text(TCP_LABELS, values)
        for family, count in zip(connections, words, strict=True):
            family.add(count, labels)
    return [build, requests, *histograms, *messages, *connections]


def _summed(entries: Iterable[Entry], wanted: int, size: int) -> list[tuple[list[str], list[int]]]:
    """Label values with words, over all workers, in a lasting order."""
    found: dict[bytes, list[int]] = {}
    for kind, key, words in entries:
        if kind != wanted or not words[0]:
            continue
        before = found.get(key[2:])
        fresh = words[:size]
        found[key[2:]] = list(fresh) if before is None else [a + b for a, b in zip(before, fresh, strict=True)]
    return [(key.decode("utf-8", "replace").split("\x1f")[:-1], found[key]) for key in sorted(found)]
