"""VirtualService rules: matches, destinations, headers, rewrites, redirects, retries, faults."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.plan import (
    DirectPlan,
    FaultPlan,
    HeaderOpsPlan,
    MatchPlan,
    NamedMatchPlan,
    RedirectPlan,
    RetryPlan,
    RewritePlan,
    RulePlan,
    StringMatchPlan,
)
from tests.config.asking import plan_of, vhost_for

BASE = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80}, {name: http-b, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
"""
TO_A = "route: [{destination: {host: a}}]"
TO_B = "route: [{destination: {host: b}}]"
LEAVES = ["connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"]


def rules(*written: str, port: int = 80, **role: Any) -> list[RulePlan]:
    text = BASE + "".join(f"  - {{{item}}}\n" for item in written)
    vhost = vhost_for(plan_of(text, **role), "a", port)
    assert vhost is not None
    return vhost.rules


def rule(written: str, **role: Any) -> RulePlan:
    (found,) = rules(written, **role)
    return found


def clause(written: str) -> MatchPlan:
    (found,) = rule(f"match: [{written}], {TO_A}").matches
    return found


def exact(value: str, ignore_case: bool = False) -> StringMatchPlan:
    return StringMatchPlan(kind="exact", value=value, ignore_case=ignore_case)


PRESENT = StringMatchPlan(kind="present")


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("{uri: {exact: /A}}", MatchPlan(path=exact("/A"))),
        ("{uri: {exact: /A}, ignoreUriCase: true}", MatchPlan(path=exact("/a", True))),
        ("{uri: {prefix: /A}}", MatchPlan(path=StringMatchPlan(kind="prefix", value="/A"))),
        ("{uri: {regex: '/[0-9]+'}}", MatchPlan(path=StringMatchPlan(kind="regex", value="/[0-9]+"))),
        ("{method: {exact: GET}, name: m}", MatchPlan(name="m", method=exact("GET"))),
        ("{scheme: {exact: https}}", MatchPlan(scheme=exact("https"))),
        ("{authority: {exact: 'a:80'}}", MatchPlan(authority=exact("a:80"))),
        (
            "{headers: {X-U: {exact: j}}}",
            MatchPlan(headers=[NamedMatchPlan(name="x-u", match=exact("j"))]),
        ),
        ("{headers: {x: {}}}", MatchPlan(headers=[NamedMatchPlan(name="x", match=PRESENT)])),
        ("{headers: {x: {regex: '*'}}}", MatchPlan(headers=[NamedMatchPlan(name="x", match=PRESENT)])),
        ("{headers: {':path': {exact: /}}}", MatchPlan(headers=[NamedMatchPlan(name=":path", match=exact("/"))])),
        ("{withoutHeaders: {x: {}}}", MatchPlan(headers=[NamedMatchPlan(name="x", match=PRESENT, invert=True)])),
        ("{queryParams: {K: {exact: ''}}}", MatchPlan(query=[NamedMatchPlan(name="K", match=exact(""))])),
        ("{queryParams: {k: {}}}", MatchPlan(query=[NamedMatchPlan(name="k", match=PRESENT)])),
    ],
)
def test_clauses(written: str, plan: MatchPlan) -> None:
    assert clause(written) == plan


def test_static_conditions_are_decided_now() -> None:
    written = (
        f"name: port, match: [{{port: 8080}}], {TO_B}",
        f"name: labels, match: [{{sourceLabels: {{app: web}}}}], {TO_B}",
        f"name: namespace, match: [{{sourceNamespace: other}}], {TO_B}",
        f"name: gateway, match: [{{gateways: [gw]}}], {TO_B}",
        f"name: mesh, match: [{{gateways: [mesh], sourceLabels: {{app: nobody}}}}, {{uri: {{prefix: /x}}}}], {TO_B}",
    )
    names = [item.origin.route for item in rules(*written)]
    assert names == ["mesh"]
    assert [item.origin.route for item in rules(*written, port=8080)] == ["port"]
    assert [item.origin.route for item in rules(*written, labels={"app": "web", "x": "y"})] == ["labels"]


def test_rules_behind_one_that_fits_always_are_dropped() -> None:
    written = (
        f"match: [{{uri: {{prefix: /a}}}}, {{uri: {{regex: '.*'}}}}, {{uri: {{prefix: /b}}}}], {TO_A}",
        f"match: [{{uri: {{prefix: /c}}}}], {TO_B}",
    )
    (only,) = rules(*written)
    assert [match.path.value for match in only.matches if match.path] == ["/a", ".*"]
    assert len(rules(f"match: [{{uri: {{prefix: /}}, headers: {{x: {{}}}}}}], {TO_A}", TO_B)) == 2


def test_a_service_keeps_its_default_route_where_no_rule_is_for_this_client() -> None:
    (found,) = rules(f"match: [{{sourceLabels: {{app: web}}}}], {TO_B}")
    assert (found.origin.kind, found.origin.name, found.origin.route) == ("Service", "a", "default")
    assert found.retry is not None
    assert (found.retry.attempts, found.retry.retry_on) == (2, LEAVES)


@pytest.mark.parametrize(
    ("destination", "port", "cluster"),
    [
        ("{host: a}", 80, "outbound|80||a.default.svc.cluster.local"),
        ("{host: a}", 8080, "outbound|8080||a.default.svc.cluster.local"),
        ("{host: b}", 80, "outbound|9080||b.default.svc.cluster.local"),
        ("{host: b, port: {number: 1}}", 80, "outbound|1||b.default.svc.cluster.local"),
        ("{host: c.other, subset: v1}", 80, "outbound|80|v1|c.other"),
    ],
)
def test_the_port_of_a_destination(destination: str, port: int, cluster: str) -> None:
    (found,) = rules(f"route: [{{destination: {destination}}}]", port=port)
    assert found.destinations[0].cluster == cluster


def test_weights_keep_their_shares_and_zero_goes_away() -> None:
    found = rule(
        "route: [{destination: {host: a}, weight: 3}, {destination: {host: b}}, {destination: {host: b}, weight: 1}]"
    )
    assert [(item.cluster.split("|")[3][0], item.weight) for item in found.destinations] == [("a", 3), ("b", 1)]
    (alone,) = rule("route: [{destination: {host: a}, weight: 0}]").destinations
    assert alone.weight == 1


HEADERS = "headers: {request: {set: {x: route, Host: h.route}, add: {y: route}, remove: [z]}}"
DESTINATION = (
    "headers: {request: {set: {x: destination, ':authority': h.dest}, remove: [w]}, response: {add: {r: '50%%'}}}"
)


def test_with_one_destination_it_has_the_last_word_on_headers() -> None:
    found = rule(f"route: [{{destination: {{host: a}}, {DESTINATION}}}], {HEADERS}")
    (destination,) = found.destinations
    assert destination.request_headers == [
        HeaderOpsPlan(remove=["z", "w"], set=[("x", "route")], add=[("y", "route")]),
        HeaderOpsPlan(set=[("x", "destination")]),
    ]
    assert destination.response_headers == [HeaderOpsPlan(add=[("r", "50%")])]
    assert (found.authority, destination.authority) == ("h.route", None)


def test_with_several_destinations_the_route_has_the_last_word() -> None:
    several = f"{{destination: {{host: a}}, weight: 1, {DESTINATION}}}, {{destination: {{host: b}}, weight: 1}}"
    found = rule(f"route: [{several}], {HEADERS}")
    first, second = found.destinations
    route = HeaderOpsPlan(remove=["z"], set=[("x", "route")], add=[("y", "route")])
    assert first.request_headers == [HeaderOpsPlan(remove=["w"], set=[("x", "destination")]), route]
    assert second.request_headers == [route]
    assert (found.authority, first.authority) == ("h.route", None)


def test_a_destination_may_rewrite_the_authority_when_the_route_does_not() -> None:
    found = rule(f"route: [{{destination: {{host: a}}, {DESTINATION}}}]")
    assert (found.authority, found.destinations[0].authority) == (None, "h.dest")
    assert rule(f"{TO_A}, rewrite: {{authority: other}}").authority == "other"


@pytest.mark.parametrize("host", ["%REQ(x-host)%", "a%%b"])
def test_nothing_is_put_into_an_authority(host: str) -> None:
    """Istio makes a host_rewrite_literal of it."""
    found = rule(f"{TO_A}, headers: {{request: {{set: {{host: '{host}'}}}}}}")
    assert (found.authority, found.destinations[0].request_headers) == (host, [])


def test_response_headers_of_the_route_are_there_for_own_answers() -> None:
    found = rule("directResponse: {status: 503, body: {string: sorry}}, headers: {response: {set: {x: y}}}")
    assert found.direct == DirectPlan(status=503, body=b"sorry")
    assert found.response_headers == [HeaderOpsPlan(set=[("x", "y")])]
    assert found.destinations == []


def test_a_direct_body_may_be_base64() -> None:
    assert rule("directResponse: {status: 200, body: {bytes: aGk=}}").direct == DirectPlan(status=200, body=b"hi")
    assert rule("directResponse: {status: 204}").direct == DirectPlan(status=204)


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("{uri: /new}", RewritePlan(kind="matched", value="/new")),
        ("{authority: x}", None),
        (
            "{uriRegexRewrite: {match: '^/a/(.*)', rewrite: '/b/\\1'}}",
            RewritePlan(kind="regex", value="/b/\\1", regex="^/a/(.*)"),
        ),
    ],
)
def test_rewrites(written: str, plan: RewritePlan | None) -> None:
    assert rule(f"{TO_A}, rewrite: {written}").rewrite == plan


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("{uri: /new}", RedirectPlan(code=301, path="/new")),
        ("{prefixRewrite: /new, redirectCode: 308}", RedirectPlan(code=308, prefix="/new")),
        (
            "{authority: x.com, scheme: https, port: 8443}",
            RedirectPlan(code=301, authority="x.com", scheme="https", port=8443),
        ),
        ("{uri: /n, scheme: https, port: 443}", RedirectPlan(code=301, path="/n", scheme="https")),
        ("{uri: /n, port: 80}", RedirectPlan(code=301, path="/n")),
        ("{uri: /n, port: 443}", RedirectPlan(code=301, path="/n", port=443)),
        ("{uri: /n, derivePort: FROM_REQUEST_PORT}", RedirectPlan(code=301, path="/n", port=8080)),
        ("{uri: /n, derivePort: FROM_PROTOCOL_DEFAULT}", RedirectPlan(code=301, path="/n", port_from="protocol")),
    ],
)
def test_redirects(written: str, plan: RedirectPlan) -> None:
    (found,) = rules(f"match: [{{uri: {{prefix: /}}}}], redirect: {written}", port=8080)
    assert found.redirect == plan


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("", RetryPlan(attempts=2, retry_on=LEAVES, written=LEAVES)),
        (", retries: {}", RetryPlan(attempts=0, retry_on=[])),
        (", retries: {attempts: 0}", RetryPlan(attempts=0, retry_on=[])),
        (", retries: {attempts: 3}", RetryPlan(attempts=3, retry_on=LEAVES, written=LEAVES)),
        (
            ", retries: {attempts: 1, retryOn: '5xx,503,gateway-error', perTryTimeout: 2s, backoff: 10ms}",
            RetryPlan(
                attempts=1,
                retry_on=["5xx", "gateway-error", "retriable-status-codes"],
                status_codes=[503],
                per_try_timeout=2000,
                backoff=10,
                written=["5xx", "gateway-error", "503"],
            ),
        ),
        (
            ", retries: {attempts: 1, retryOn: reset, retryIgnorePreviousHosts: false, retryRemoteLocalities: true}",
            RetryPlan(
                attempts=1, retry_on=["reset"], written=["reset"], ignore_previous_hosts=False, remote_localities=True
            ),
        ),
    ],
)
def test_retries(written: str, plan: RetryPlan) -> None:
    assert rule(TO_A + written).retry == plan


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        (
            "{delay: {percentage: {value: 0.1}, fixedDelay: 5s}, abort: {percentage: {value: 100}, httpStatus: 555}}",
            FaultPlan(delay=5000, delay_share=1000, abort_status=555, abort_share=1_000_000),
        ),
        ("{delay: {percent: 5, fixedDelay: 5s}}", FaultPlan(delay=5000, delay_share=50_000)),
        ("{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0.0001}}}", FaultPlan(abort_grpc=14, abort_share=1)),
        ("{delay: {fixedDelay: 5s}}", None),
        ("{abort: {httpStatus: 500}}", None),
    ],
)
def test_faults(written: str, plan: FaultPlan | None) -> None:
    assert rule(f"{TO_A}, fault: {written}").fault == plan


def test_timeouts() -> None:
    assert rule(f"{TO_A}, timeout: 1.5s").timeout == 1500
    assert rule(TO_A).timeout is None


def test_a_rule_knows_where_it_was_written() -> None:
    first, second = rules(f"name: one, match: [{{uri: {{prefix: /x}}}}], {TO_A}", TO_B)
    assert (first.origin.route, first.origin.file, second.origin.line - first.origin.line) == ("one", "test.yaml", 1)
