"""Header values with Envoy's operators: how they are read, and what is said of those that cannot be."""

from __future__ import annotations

import pytest

from fastmesh.config.plan import SegmentPlan
from fastmesh.config.read.substitutions import KNOWN, Segment, complaint, elsewhere, literal, segments
from tests.config.asking import plan_of, rule_for, vhost_for

TEXT = "text"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("plain", [Segment(TEXT, "plain")]),
        ("100%%", [Segment(TEXT, "100%")]),
        ("%%REQ(x)%%", [Segment(TEXT, "%REQ(x)%")]),
        ("%REQ(X-User)%", [Segment("REQ", "x-user")]),
        ("%REQ(:PATH):10%", [Segment("REQ", ":path", "", 10)]),
        ("%REQ(a?B):3%%RESP(c)%", [Segment("REQ", "a", "b", 3), Segment("RESP", "c")]),
        ("<%HOSTNAME%>", [Segment(TEXT, "<"), Segment("HOSTNAME"), Segment(TEXT, ">")]),
        ("%PROTOCOL%%%%PROTOCOL%", [Segment("PROTOCOL"), Segment(TEXT, "%"), Segment("PROTOCOL")]),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", [Segment("DOWNSTREAM_REMOTE_ADDRESS")]),
        ("%START_TIME(%s)%", [Segment("seconds")]),
        (
            "%START_TIME%",
            [Segment("START_TIME", "%Y-%m-%d"), Segment(TEXT, "T"), Segment("START_TIME", "%H"), Segment(TEXT, ":"),
             Segment("START_TIME", "%M"), Segment(TEXT, ":"), Segment("START_TIME", "%S."), Segment("fraction", "3"),
             Segment(TEXT, "Z")],
        ),
        ("%START_TIME(%s.%6f)%", [Segment("seconds"), Segment(TEXT, "."), Segment("fraction", "6")]),
    ],
)  # fmt: skip
def test_segments(value: str, wanted: list[Segment]) -> None:
    assert complaint(value) is None
    if value == "%START_TIME%":
        text = "".join(item.text for item in segments(value))
        assert text == "%Y-%m-%dT%H:%M:%S.3Z"
        return
    assert segments(value) == wanted


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("50%", "has a single %"),
        ("%REQ(x)", "has a single %"),
        ("%req(x)%", "has a single %"),
        ("%REQ%", "needs the name of a header"),
        ("%REQ()%", "needs the name of a header"),
        ("%REQ(a?b?c)%", "needs the name of a header"),
        ("%REQ(a b)%", "needs the name of a header"),
        ("%REQ(:status)%", "unknown pseudo header"),
        ("%HOSTNAME(x)%", "takes no argument"),
        ("%START_TIME(%Q)%", "has a format that cannot be written"),
        ("%ENVIRONMENT%", "needs the name of a variable"),
        ("%UPSTREAM_HOSTS%", "UPSTREAM_HOST"),
        ("%NOPE%", "write one of BYTES_RECEIVED, DOWNSTREAM"),
    ],
)
def test_complaints(value: str, said: str) -> None:
    assert said in (complaint(value) or "")


def test_every_known_word_is_read() -> None:
    for word in KNOWN:
        value = f"%{word}(x)%" if word in ("REQ", "RESP", "ENVIRONMENT") else f"%{word}%"
        assert complaint(value) is None, word
        assert literal(value) is None, word
        assert elsewhere(value) == [], word
    assert elsewhere("a%STREAM_ID%b%HOSTNAME%") == ["%STREAM_ID%"]
    assert complaint("%DYNAMIC_METADATA(a:b)%") is None


def test_the_compiler_parts_literal_values_from_others() -> None:
    plan = plan_of("""
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: a}, headers: {request: {set: {x-d: "%PROTOCOL%"}}}}]
    headers:
      request: {set: {x-b: "1%%", x-a: "%REQ(u)%"}, add: {x-c: "%HOSTNAME%"}, remove: [gone]}
      response: {set: {x-r: "%RESP(v)%"}}
""")
    host = vhost_for(plan, "a")
    assert host is not None
    rule = rule_for(host)
    assert rule is not None
    first, second = rule.destinations[0].request_headers
    assert (first.remove, first.set) == (["gone"], [("x-b", "1%")])
    assert first.set_made == [("x-a", [SegmentPlan(word="REQ", text="u")])]
    assert first.add_made == [("x-c", [SegmentPlan(word="HOSTNAME")])]
    assert (second.remove, second.set) == ([], [])
    assert second.set_made == [("x-d", [SegmentPlan(word="PROTOCOL")])]
    assert rule.response_headers[0].set_made == [("x-r", [SegmentPlan(word="RESP", text="v")])]
