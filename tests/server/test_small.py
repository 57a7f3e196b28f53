"""The small parts of the server, each by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastmesh.server import backoff, redact, units, words
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sockets import Address, parse_address

COUNTERS = Path(__file__).resolve().parents[2] / "ext/fastmesh/core/base/counters.pxd"


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("30", 30_000), ("30s", 30_000), ("500ms", 500), ("1.5s", 1500), ("2m", 120_000)]
)
def test_durations(text: str, milliseconds: int) -> None:
    assert units.parse_duration(text) == milliseconds
    assert units.parse_duration(units.show_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(("text", "size"), [("8192", 8192), ("60KiB", 61440), ("16k", 16384), ("1MiB", 1 << 20)])
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size
    assert units.parse_size(units.show_size(size)) == size


@pytest.mark.parametrize("text", ["", "soon", "-1", "1d", "1 2"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        units.parse_duration(text)
    with pytest.raises(ValueError, match="is not a"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        (":8080", Address("0.0.0.0", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("unix:///run/mesh.sock", Address("", 0, "/run/mesh.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "80", "host", "host:port", "::1:80", "1.2.3.4:70000"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


def test_settings_refuse_bad_pairs() -> None:
    assert ProxySettings(labels="app=shop, version=v1").label_map() == {"app": "shop", "version": "v1"}
    assert ProxySettings(map=["80=18080", "443=18443"]).port_map() == {80: 18080, 443: 18443}
    with pytest.raises(ValueError, match="no value"):
        ProxySettings(labels="app").label_map()
    with pytest.raises(ValueError, match="PORT=PORT"):
        ProxySettings(map=["80:81"]).port_map()


def test_backoff() -> None:
    dead = backoff.Backoff()
    assert [dead.after(None) for _ in range(9)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert dead.after(10.0) == 0.0  # it had served: everything is well again
    assert [dead.after(0.1) for _ in range(6)] == [0.0, 0.1, 0.2, 0.4, 0.8, 0.8]


def test_redaction() -> None:
    shown = redact.redacted(
        {
            "headers": [("authorization", "Bearer x"), ("accept", "*/*")],
            "match": [{"name": "x-api-key", "match": {"kind": "exact", "value": "k"}}],
            "password": "p",
            "key": "-----BEGIN PRIVATE KEY-----\nabc",
            "limit": {"name": "a", "keys": [("header", "x-user")]},
        }
    )
    assert shown == {
        "headers": [["authorization", redact.HIDDEN], ["accept", "*/*"]],
        "match": [{"name": "x-api-key", "match": {"kind": "exact", "value": redact.HIDDEN}}],
        "password": redact.HIDDEN,
        "key": redact.HIDDEN,
        "limit": {"name": "a", "keys": [["header", "x-user"]]},
    }


def test_words_are_those_of_the_arena() -> None:
    """The names that the admin pages use stand in the order in which the data plane counts."""
    text = COUNTERS.read_text()
    for enum, names, last in (
        ("ClusterWord", words.CLUSTER_WORDS, words.CLUSTER_ROW),
        ("EndpointWord", words.ENDPOINT_WORDS, words.ENDPOINT_ROW),
        ("WorkerWord", words.WORKER_WORDS, words.WORKER_ROW),
        ("LimitWord", words.LIMIT_WORDS, words.LIMIT_ROW),
        ("RouteWord", words.ROUTE_WORDS, words.ROUTE_ROW),
        ("HealthWord", words.HEALTH_WORDS, words.HEALTH_ROW),
        ("GuardWord", words.GUARD_WORDS, words.GUARD_ROW),
        ("PressureWord", words.PRESSURE_WORDS, words.PRESSURE_ROW),
    ):
        body = re.search(rf"cdef enum[^\n]*\b{enum}\b[^\n]*\n(.*?)\n\n", text + "\n\n", re.DOTALL)
        assert body is not None
        values: dict[str, int] = {}
        number = -1
        for name, value in re.findall(r"^    (\w+)(?: = (\d+))?", body[1], re.MULTILINE):
            number = int(value) if value else number + 1
            values[name] = number
        row = next(value for name, value in values.items() if name.endswith("_ROW"))
        counted = {name: value for name, value in values.items() if not name.endswith(("_ROW", "_GAUGES"))}
        assert counted == {name: index for index, name in enumerate(names)}
        assert row == last
