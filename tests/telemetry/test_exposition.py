"""The two text formats, read back by the parsers of prometheus_client, and what a scrape costs."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as plain

from fastmesh.config.plan import ClusterPlan, EndpointPlan, MeshPlan, Plan, WorkloadPlan
from fastmesh.core.base.arena import Arena
from fastmesh.core.proxy.account import BOUNDS, LABELS
from fastmesh.server import words
from fastmesh.telemetry import envoy_stats, exposition, istio, prometheus, proxy_metrics
from fastmesh.telemetry.exposition import Family, Histogram
from fastmesh.telemetry.readable import Entry
from tests.telemetry.samples import parse_openmetrics

SLOTS = 16
HOSTILE = 'a"b\\c\nd'


class MadeArena:
    """Entries as the data plane makes them."""

    usage = (4096, 1 << 20, 3, 1)

    def __init__(self, *entries: Entry) -> None:
        self._entries = list(entries)

    def entries(self) -> list[Entry]:
        return self._entries


def rows(width: int, *slots: dict[int, int], first: tuple[int, ...] = ()) -> tuple[int, ...]:
    values = [0] * (width * SLOTS)
    for slot, given in enumerate(slots):
        for word, value in given.items():
            values[slot * width + word] = value
    return (*first, *values)


def series(slot: int, words: tuple[int, ...], code: str = "200", **labels: str) -> Entry:
    values = [labels.get(name, code if name == "response_code" else "unknown") for name in LABELS]
    return 5, bytes((slot, 0)) + "".join(f"{value}\x1f" for value in values).encode(), words


def cell(requests: int, duration: dict[int, int]) -> tuple[int, ...]:
    counts = [duration.get(i, 0) for i in range(istio.BUCKETS)]
    return (requests, *counts, 7000, *[0] * (istio.HISTOGRAM * 2))


def place(names: dict[str, str], word: str) -> int:
    return list(names).index(word)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_values_of_others_are_escaped(accept: str) -> None:
    family = Family("fastmesh_test", "counter", "with \\ and\nline")
    family.add(3, exposition.label_text(["name"], [HOSTILE]))
    text = exposition.write([family], accept).decode()
    (found,) = parse_openmetrics(text) if accept else plain(text)
    assert found.samples[0].labels == {"name": HOSTILE}
    assert found.samples[0].name == "fastmesh_test_total"
    assert found.type == "counter"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", True),
        ("text/plain, Application/OpenMetrics-Text; q=0", False),
    ],
)
def test_accept_chooses_the_format(accept: str, wanted: bool) -> None:
    assert exposition.wants_openmetrics(accept) is wanted
    assert exposition.content_type(accept).startswith("application/openmetrics" if wanted else "text/plain")
    assert exposition.write([], accept).endswith(b"# EOF\n") is wanted


def test_histograms_are_cumulative_and_whole() -> None:
    family = Family("fastmesh_test_bytes", "histogram", "x")
    family.add(Histogram((0.5, 1, 2500), (1, 0, 2, 4), 12345.5))
    assert exposition.write([family]).decode().splitlines()[2:] == [
        'fastmesh_test_bytes_bucket{le="0.5"} 1',
        'fastmesh_test_bytes_bucket{le="1"} 1',
        'fastmesh_test_bytes_bucket{le="2500"} 3',
        'fastmesh_test_bytes_bucket{le="+Inf"} 7',
        "fastmesh_test_bytes_sum 12345.5",
        "fastmesh_test_bytes_count 7",
    ]


def test_slots_are_summed() -> None:
    arena = MadeArena(
        series(0, cell(2, {0: 1, 3: 1})), series(3, cell(5, {3: 4, 19: 1})), series(300 & 255, cell(1, {0: 1}), "404")
    )
    found = {family.name: family for family in plain(prometheus.render(arena).decode())}
    counts = {s.labels["response_code"]: s.value for s in found["istio_requests"].samples}
    assert counts == {"200": 7, "404": 1}
    duration = [s for s in found["istio_request_duration_milliseconds"].samples if s.labels["response_code"] == "200"]
    assert [s.value for s in duration if s.labels.get("le") in ("10.0", "10", "+Inf")] == [6, 7]
    assert next(s.value for s in duration if s.name.endswith("_sum")) == 14  # 2 x 7000 us
    assert set(found["istio_requests"].samples[0].labels) == set(LABELS)


def test_whole_page_is_valid_openmetrics() -> None:
    arena = MadeArena(
        (words.ENTRY_WORKER, b"workers", rows(words.WORKER_ROW, {0: 3}, {0: 4})),
        (words.ENTRY_CLUSTER, b"outbound|80||a", rows(words.CLUSTER_ROW, {4: 1})),
        (words.ENTRY_ENDPOINT, b"outbound|80||a\x0010.0.0.1:80", rows(8, {2: 1}, first=(0,) * 8)),
        (words.ENTRY_LIMIT, b"default/a/0", rows(words.LIMIT_ROW, {0: 1, 1: 2})),
        series(0, cell(1, {0: 1})),
    )
    families = parse_openmetrics(prometheus.render(arena, "application/openmetrics-text").decode())
    assert len(families) == len({family.name for family in families}) > 60


def test_every_word_of_the_arena_has_a_metric() -> None:
    unwritten = {"WK_OPEN_FDS"}  # no code of the data plane writes it: a metric would say 0 for ever
    for table, named in (
        (proxy_metrics.WORKER, words.WORKER_WORDS),
        (proxy_metrics.CLUSTER, words.CLUSTER_WORDS),
        (proxy_metrics.ENDPOINT, words.ENDPOINT_WORDS),
        (proxy_metrics.LIMIT, words.LIMIT_WORDS),
        (proxy_metrics.ROUTE, words.ROUTE_WORDS),
    ):
        assert [row.word for row in table] == [word for word in named if word not in unwritten]


def test_names_follow_the_rules() -> None:
    for row in (*proxy_metrics.WORKER, *proxy_metrics.CLUSTER, *proxy_metrics.ENDPOINT, *proxy_metrics.LIMIT):
        assert re.fullmatch(r"fastmesh_[a-z_][a-z0-9_]*", row.metric)
        assert not row.metric.endswith(("_total", "_count", "_sum"))
        assert row.help.endswith(".")


def test_words_of_all_slots_are_summed_and_gauges_are_signed() -> None:
    active, total = place(words.CLUSTER_WORDS, "CL_RQ_ACTIVE"), place(words.CLUSTER_WORDS, "CL_RQ_TOTAL")
    arena = MadeArena(
        (1, b"outbound|80||a", rows(words.CLUSTER_ROW, {active: 2, total: 5}, {active: 1}, {total: 7})),
        (1, b"outbound|80||b", rows(words.CLUSTER_ROW, {active: (1 << 64) - 1})),
    )
    text = prometheus.render(arena).decode()
    assert 'fastmesh_cluster_requests_active{cluster_name="outbound|80||a"} 3\n' in text
    assert 'fastmesh_cluster_requests_active{cluster_name="outbound|80||b"} -1\n' in text
    assert 'fastmesh_cluster_requests_total{cluster_name="outbound|80||a"} 12\n' in text


def plan_of(*endpoints: str) -> Plan:
    cluster = ClusterPlan(name="outbound|80||a", endpoints=[EndpointPlan(address=text, port=80) for text in endpoints])
    unused = ClusterPlan(name="outbound|80||unused")
    mesh = MeshPlan(version="1", workload=WorkloadPlan())
    return Plan(mesh=mesh, workloads=[], limits=[], clusters=[cluster, unused], vhosts=[], listeners=[])


def ejecting_arena() -> MadeArena:
    soon, past = int(time.monotonic() * 1000) + 60_000, 5
    return MadeArena(
        (1, b"outbound|80||a", rows(words.CLUSTER_ROW, {22: 3})),
        (1, b"outbound|80||gone", rows(words.CLUSTER_ROW, {4: 9})),
        (2, b"outbound|80||a\x0010.0.0.1:80", rows(8, {2: 1}, first=(0, 0, 0, soon, 0, 0, 2, 0))),
        (2, b"outbound|80||a\x00[::1]:80", rows(8, {2: 1}, first=(0, 0, 0, past, 0, 0, 1, 0))),
        (2, b"outbound|80||a\x0010.0.0.9:80", rows(8, {2: 1}, first=(0, 0, 0, soon, 0, 0, 1, 0))),
    )


def test_ejected_endpoints_and_what_the_plan_no_longer_has() -> None:
    arena, plan = ejecting_arena(), plan_of("10.0.0.1", "::1")
    text = prometheus.render(arena, plan=plan).decode()
    labels = 'cluster_name="outbound|80||a",endpoint='
    assert f'fastmesh_endpoint_ejected{{{labels}"10.0.0.1:80"}} 1\n' in text
    assert f'fastmesh_endpoint_ejected{{{labels}"[::1]:80"}} 0\n' in text
    assert f'fastmesh_endpoint_ejections_total{{{labels}"10.0.0.1:80"}} 2\n' in text
    assert "10.0.0.9" not in text
    assert "gone" not in text
    everything = prometheus.render(arena).decode()
    assert "10.0.0.9" in everything
    assert "gone" in everything


def test_stats_have_envoys_names() -> None:
    found = envoy_stats.lines(ejecting_arena(), plan_of("10.0.0.1", "::1"))
    prefix = "cluster.outbound|80||a."
    assert found[f"{prefix}membership_total"] == 2
    assert found[f"{prefix}membership_healthy"] == 1
    assert found[f"{prefix}outlier_detection.ejections_active"] == 1
    assert found[f"{prefix}outlier_detection.ejections_total"] == 3
    assert found["cluster.outbound|80||unused.upstream_rq_total"] == 0
    assert not [name for name in found if "gone" in name]
    without = envoy_stats.lines(ejecting_arena())
    assert without["cluster.outbound|80||gone.upstream_rq_total"] == 9
    assert without[f"{prefix}outlier_detection.ejections_active"] == 2
    assert list(found) == sorted(found)


def test_an_arena_of_the_core_can_be_read() -> None:
    arena = Arena.create(8 << 20, 4)
    text = prometheus.render(arena).decode()
    assert f"fastmesh_arena_size_bytes {8 << 20}\n" in text
    assert "istio_build{" in text
    assert "process_resident_memory_bytes" in text
    assert envoy_stats.lines(arena) == {}


def kinds_of_entries() -> dict[str, int]:
    text = (Path(__file__).resolve().parents[2] / "ext/fastmesh/core/base/arena.pxd").read_text()
    return {name: int(number) for name, number in re.findall(r"(ENTRY_\w+) = (\d+)", text)}


def test_rows_are_as_wide_as_the_core_says() -> None:
    core = Path(__file__).resolve().parents[2] / "ext/fastmesh/core"
    account = (core / "proxy/account.pxd").read_text()
    assert int(re.search(r"BUCKETS = (\d+)", account)[1]) == istio.BUCKETS == len(BOUNDS) + 1  # type: ignore[index]
    assert int(re.search(r"HISTOGRAM = (\d+)", account)[1]) == istio.HISTOGRAM  # type: ignore[index]
    assert int(re.search(r"SERIES_WORDS = (\d+)", account)[1]) == istio.WORDS  # type: ignore[index]
    assert kinds_of_entries()["ENTRY_SERIES"] == istio.ENTRY_SERIES


def test_kinds_of_entries_have_numbers_of_their_own() -> None:
    kinds = kinds_of_entries()
    assert len(set(kinds.values())) == len(kinds) > 20
    assert {name: kinds[name] for name in vars(words) if name.startswith("ENTRY_")} == {
        name: number for name, number in vars(words).items() if name.startswith("ENTRY_")
    }


def test_ten_thousand_series_take_well_under_a_second() -> None:
    sets = [
        series(slot, (3,) * istio.WORDS, destination_service=f"s{i}.default.svc.cluster.local")
        for i in range(150)
        for slot in range(2)
    ]
    arena = MadeArena(*sets)
    began = time.process_time()
    text = prometheus.render(arena)
    took = time.process_time() - began
    assert text.count(b"\nistio_") > 10_000
    assert took < 0.5
