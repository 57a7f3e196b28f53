"""Load reports in each of their forms, and what is none."""

from __future__ import annotations

import base64
import struct

import pytest

from fastmesh.core.wire.load_report_probe import read

NAME = b"endpoint-load-metrics"
WANTED = [b"named_metrics.queue", b"utilization.disk", b"mem_utilization"]


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def nested(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def pair(name: bytes, value: float) -> bytes:
    return nested(1, name) + double(2, value)


def message() -> bytes:
    """An OrcaLoadReport with every kind of field, and some that nobody knows."""
    return (
        double(1, 0.25) + double(2, 0.5) + b"\x18\x96\x01" + nested(4, pair(b"db", 9)) + nested(5, pair(b"disk", 0.75))
        + double(6, 100) + double(7, 2) + nested(8, pair(b"queue", 0.625)) + double(9, 0.125) + double(15, 3)
    )  # fmt: skip


WHOLE = {"application": 0.125, "cpu": 0.25, "rps": 100, "eps": 2, "named": 0.75}
TEXT = (
    b"cpu_utilization=0.25, mem_utilization=0.5,rps_fractional=1e2, eps=2,application_utilization=0.125 ,"
    b"utilization.disk=0.75, named_metrics.queue=0.625, request_cost.db=9"
)
JSON = (
    b'{"cpu_utilization": 0.25, "memUtilization": 0.5, "rps": 150, "rpsFractional": 100, "eps": 2, '
    b'"applicationUtilization": 0.125, "utilization": {"disk": 0.75}, "named_metrics": {"queue": 0.625}}'
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (NAME, b"TEXT " + TEXT),
        (NAME.title(), b"JSON " + JSON),
        (NAME, b"BIN " + base64.b64encode(message())),
        (NAME + b"-bin", base64.b64encode(message())),
        (NAME + b"-bin", base64.b64encode(message()).rstrip(b"=")),
    ],
)
def test_each_form(name: bytes, value: bytes) -> None:
    assert read(name, value, WANTED) == WHOLE


def test_only_what_is_asked_for() -> None:
    found = read(NAME, b"TEXT " + TEXT, [])
    assert found is not None
    assert found["named"] == 0


@pytest.mark.parametrize(
    "value",
    [
        b"", b"TEX", b"cpu_utilization=1", b"TEXT cpu_utilization", b"TEXT cpu_utilization=", b"TEXT =1",
        b"TEXT cpu_utilization=x",
        b"TEXT cpu_utilization=1x", b"TEXT cpu_utilization=nan", b"TEXT cpu_utilization=inf", b"TEXT other=1",
        b"TEXT named_metrics.=1", b"TEXT cpu_utilization=1,,eps=1", b"TEXT cpu_utilization=" + b"1" * 50,
        b"JSON", b"JSON []", b"JSON {", b'JSON {"cpu_utilization": "1"}', b'JSON {"cpu_utilization": true}',
        b'JSON {"named_metrics": 1}', b'JSON {"named_metrics": {"a": null}}', b'JSON {"other": 1}',
        b"BIN !!!", b"BIN " + base64.b64encode(message()[:-3]), b"BIN " + base64.b64encode(b"\x0d\0\0\0\0"),
        b"BIN " + base64.b64encode(b"\xff" * 12),
    ],
)  # fmt: skip
def test_what_cannot_be_read_whole_counts_for_nothing(value: bytes) -> None:
    assert read(NAME, value, WANTED) is None


def test_other_fields_are_none() -> None:
    assert read(b"endpoint-load-metricz", b"TEXT cpu_utilization=1", WANTED) is None
    assert read(b"endpoint-load-metrics-", b"TEXT cpu_utilization=1", WANTED) is None
