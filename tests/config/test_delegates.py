"""Rules of delegates: what Istio's tables of merging and of conflicts say (pilot/pkg/model/virtualservice_test.go)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import RulePlan
from fastmesh.config.routes.delegates import INHERITED, conflict
from fastmesh.model.virtual_service import HTTPMatchRequest, HTTPRoute
from tests.config.asking import config_of, plan_of, route, vhost_for
from tests.running import Proxy
from tests.traffic import ask, replicas, replicas_of, thing

Match = dict[str, Any]

# name, the root's match, the delegate's, whether they exclude each other
CONFLICTS: list[tuple[str, Match, Match, bool]] = [
    ("regex uri", {"uri": {"regex": "^/productpage"}}, {"uri": {"prefix": "/productpage/v2"}}, True),
    ("regex below", {"uri": {"prefix": "/"}}, {"uri": {"regex": "/productpage.*"}}, True),
    ("regex above, nothing below", {"uri": {"regex": "^/productpage"}}, {}, False),
    ("nothing above, regex below", {}, {"uri": {"regex": "^/productpage"}}, False),
    ("match uri", {"uri": {"prefix": "/productpage"}}, {"uri": {"prefix": "/productpage/v2"}}, False),
    ("mismatch uri", {"uri": {"prefix": "/productpage/v2"}}, {"uri": {"prefix": "/productpage"}}, True),
    ("match uri exactly", {"uri": {"prefix": "/productpage/v2"}}, {"uri": {"exact": "/productpage/v2"}}, False),
    ("exact, then prefix", {"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/productpage"}}, True),
    ("exact twice", {"uri": {"exact": "/a"}}, {"uri": {"exact": "/a"}}, False),
    ("exact, another", {"uri": {"exact": "/a"}}, {"uri": {"exact": "/ab"}}, True),
    ("headers not equal", {"headers": {"header": {"exact": "h1"}}}, {"headers": {"header": {"exact": "h2"}}}, True),
    ("headers equal", {"headers": {"header": {"exact": "h1"}}}, {"headers": {"header": {"exact": "h1"}}}, False),
    ("headers match", {"headers": {"header": {"prefix": "h1"}}}, {"headers": {"header": {"exact": "h1-v1"}}}, False),
    ("headers mismatch", {"headers": {"header": {"prefix": "h1"}}}, {"headers": {"header": {"exact": "h2"}}}, True),
    ("headers prefix mismatch", {"headers": {"h": {"prefix": "h1"}}}, {"headers": {"h": {"prefix": "h2"}}}, True),
    ("diff headers", {"headers": {"header": {"exact": "h1"}}}, {"headers": {"header-2": {"exact": "h2"}}}, False),
    ("presence above", {"headers": {"header": {}}}, {"headers": {"header": {"exact": "h1"}}}, True),
    ("without headers", {"withoutHeaders": {"h": {"prefix": "h1"}}}, {"withoutHeaders": {"h": {"exact": "h2"}}}, True),
    ("query", {"queryParams": {"v": {"exact": "1"}}}, {"queryParams": {"v": {"exact": "2"}}}, True),
    ("method", {"method": {"exact": "GET"}}, {"method": {"exact": "PUT"}}, True),
    ("case", {"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/a"}, "ignoreUriCase": True}, True),
    ("port below", {}, {"port": 8080}, False),
    ("port above", {"port": 8080}, {}, False),
    ("ports", {"port": 8080}, {"port": 8090}, True),
    ("sourceLabels mismatch", {"sourceLabels": {"a": "b"}}, {"sourceLabels": {"a": "c"}}, True),
    ("sourceLabels", {"sourceLabels": {"app": "test"}}, {"sourceLabels": {"version": "v1"}}, False),
    ("sourceNamespace mismatch", {"sourceNamespace": "test1"}, {"sourceNamespace": "test2"}, True),
    ("fewer gateways than the delegate", {"gateways": ["in"]}, {"gateways": ["in", "mesh"]}, True),
    ("gateways", {"gateways": ["in", "mesh"]}, {"gateways": ["mesh"]}, False),
]


@pytest.mark.parametrize(
    ("root", "leaf", "expected"), [row[1:] for row in CONFLICTS], ids=[row[0] for row in CONFLICTS]
)
def test_conflict(root: Match, leaf: Match, expected: bool) -> None:
    assert conflict(*(msgspec.convert(match, HTTPMatchRequest) for match in (root, leaf))) == expected


def virtual_service(name: str, namespace: str, **spec: Any) -> str:
    return thing("VirtualService", name, spec, namespace=namespace)


def to(subset: str) -> dict[str, Any]:
    return {"route": [{"destination": {"host": "productpage", "subset": subset}}]}


def uri(**how: str) -> Match:
    return {"uri": how}


PAGE, LOGIN = uri(prefix="/productpage"), uri(exact="/login")
TO_PAGES = {"delegate": {"name": "pages", "namespace": "shop"}}
V1, V2 = uri(prefix="/productpage/v1"), uri(prefix="/productpage/v2")
SERVICES = replicas_of("productpage", 1, versions=("v1",)).replace(
    '"name": "productpage', '"namespace": "shop", "name": "productpage'
)
SUBSETS = {"host": "productpage", "subsets": [{"name": f"v{n}", "labels": {"version": f"v{n}"}} for n in (1, 2, 3)]}


def merged(root: list[dict[str, Any]], delegate: list[dict[str, Any]], **more: Any) -> tuple[list[RulePlan], list[str]]:
    """The rules of page.example, and what was told."""
    text = SERVICES + thing("DestinationRule", "productpage", SUBSETS, namespace="shop")
    text += virtual_service("site", "edge", hosts=["page.example"], http=root)
    text += virtual_service("pages", "shop", http=delegate, **more)
    plan, problems = compile_plan(config_of(text), Role())
    vhost = vhost_for(plan, "page.example")
    return vhost.rules if vhost is not None else [], [str(problem) for problem in problems]


def paths(rule: RulePlan) -> list[str]:
    return [match.path.value if match.path is not None else "" for match in rule.matches]


def subsets(rules: list[RulePlan]) -> list[str]:
    return [rule.destinations[0].cluster.split("|")[2] for rule in rules]


class TestMerging:
    def test_rules_stand_where_they_are_delegated(self) -> None:
        """Those of the delegate are within one of the root's matches; one that says nothing has them all."""
        last = {"route": [{"destination": {"host": "productpage.shop.svc.cluster.local"}}]}
        rules, told = merged(
            [{"match": [PAGE, LOGIN], **TO_PAGES}, last],
            [{"match": [V1], **to("v1")}, {"match": [V2], **to("v2")}, to("v3")],
        )
        assert subsets(rules) == ["v1", "v2", "v3", ""]
        assert [paths(rule) for rule in rules] == [
            ["/productpage/v1"],
            ["/productpage/v2"],
            ["/productpage", "/login"],
            [],
        ]
        assert told == []

    def test_short_names_are_of_the_delegates_namespace(self) -> None:
        rules, _ = merged([{"match": [PAGE], **TO_PAGES}], [to("v1")])
        assert rules[0].destinations[0].cluster == "outbound|80|v1|productpage.shop.svc.cluster.local"
        assert (rules[0].origin.namespace, rules[0].origin.name) == ("shop", "pages")

    def test_one_that_fits_nowhere_is_left_out_and_told(self) -> None:
        rules, told = merged(
            [{"match": [PAGE], **TO_PAGES}],
            [{"match": [V1], **to("v1")}, {"match": [V1, uri(prefix="/no")], **to("v2")}],
        )
        assert subsets(rules) == ["v1"]
        assert len(told) == 1
        assert "VirtualService/pages: spec.http[1].match: matches nothing that VirtualService edge/site" in told[0]

    def test_two_roots_of_one_delegate(self) -> None:
        legacy = {"match": [uri(prefix="/legacy")], "rewrite": {"uri": "/productpage"}, **TO_PAGES}
        rules, _ = merged([{"match": [PAGE], **TO_PAGES}, legacy], [to("v1")])
        assert [paths(rule) for rule in rules] == [["/productpage"], ["/legacy"]]
        assert [rule.rewrite is not None for rule in rules] == [False, True]

    def test_every_pair_that_fits(self) -> None:
        """Matches are ANDed, in each of the root's into which the delegate's fits."""
        ann, bob = {"headers": {"user": {"exact": "ann"}}}, {"headers": {"user": {"exact": "bob"}}}
        leaf = {"queryParams": {"v": {"exact": "2"}}, "method": {"exact": "GET"}}
        rules, _ = merged([{"match": [{**PAGE, **ann}, bob], **TO_PAGES}], [{"match": [leaf], **to("v2")}])
        first, second = rules[0].matches
        assert [named.match.value for named in (*first.headers, *second.headers)] == ["ann", "bob"]
        assert [match.path and match.path.value for match in (first, second)] == ["/productpage", None]
        for match in (first, second):
            assert match.method is not None
            assert match.method.value == "GET"
            assert match.query[0].match.value == "2"

    def test_names_are_joined(self) -> None:
        names = [
            merged([{"name": above, **TO_PAGES}], [{"name": below, **to("v1")}])[0][0].origin.route
            for above, below in (("a", "b"), ("a", ""), ("", "b"))
        ]
        assert names == ["a-b", "a", "b"]

    def test_blocks_are_inherited_whole(self) -> None:
        above = {
            "timeout": "10s", "headers": {"request": {"add": {"istio": "test"}, "remove": ["trace-id"]}},
            "retries": {"attempts": 7}, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}},
            "corsPolicy": {"allowOrigins": [{"exact": "https://a"}]}, "rewrite": {"uri": "/x"},
        }  # fmt: skip
        below = {"headers": {"request": {"set": {"own": "1"}}}, "retries": {"attempts": 1}}
        rules, _ = merged([{**above, **TO_PAGES}], [{"match": [V1], **to("v1")}, {**below, **to("v2")}])
        inherits, says = rules
        assert (inherits.timeout, says.timeout) == (10_000, 10_000)
        assert inherits.retry is not None
        assert says.retry is not None
        assert (inherits.retry.attempts, says.retry.attempts) == (7, 1)
        assert inherits.destinations[0].request_headers[0].add == [("istio", "test")]
        assert says.destinations[0].request_headers[0].remove == []
        assert None not in (inherits.fault, inherits.cors, inherits.rewrite)

    def test_nothing_is_forgotten(self) -> None:
        """Every field of a rule is inherited, merged, or an answer, which only the delegate has."""
        answers = {"route", "redirect", "direct_response", "delegate"}
        assert set(HTTPRoute.__struct_fields__) == {*INHERITED, "name", "match", *answers}


class TestVisibility:
    def test_exported_to_others(self) -> None:
        rules, told = merged([{**TO_PAGES}], [to("v1")], exportTo=["."])
        assert rules == []
        assert "is not exported to edge" in told[0]
        assert len(merged([{**TO_PAGES}], [to("v1")], exportTo=["edge"])[0]) == 1

    def test_one_that_is_not_there(self) -> None:
        """Only the rule that delegates to it is left out."""
        rules, told = merged(
            [{"match": [LOGIN], "delegate": {"name": "none"}}, {"match": [PAGE], **TO_PAGES}], [to("v1")]
        )
        assert [paths(rule) for rule in rules] == [["/productpage"]]
        assert "spec.http[0].delegate: no VirtualService without hosts is edge/none" in told[0]

    def test_gateways_of_a_match(self) -> None:
        match = {**PAGE, "gateways": ["web", "mesh"]}
        below = {**V1, "gateways": ["edge/web"]}
        rules, _ = merged([{"match": [match], **TO_PAGES}], [{"match": [below], **to("v1")}, to("v2")])
        assert subsets(rules) == ["v2"]  # on the mesh


def test_a_gateway_serves_them() -> None:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    text = SERVICES + thing("Gateway", "web", {"selector": {}, "servers": [server]}, namespace="edge")
    text += virtual_service(
        "root", "edge", hosts=["page.example"], gateways=["web"], http=[{"match": [PAGE], **TO_PAGES}]
    )
    text += virtual_service("pages", "shop", http=[{"route": [{"destination": {"host": "productpage"}}]}])
    plan = plan_of(text, kind="gateway", labels={})
    assert route(plan, "page.example", path="/productpage/1") == ["outbound|80||productpage.shop.svc.cluster.local"]
    assert route(plan, "page.example", path="/") == []


def test_traffic(tmp_path: Path) -> None:
    with replicas("one", "two") as (one, two):
        text = replicas_of("one", one.port) + replicas_of("two", two.port)
        by_root = {"response": {"set": {"x-by": "root"}}}
        text += virtual_service("site", "default", hosts=["shop.example"], http=[
            {"match": [{"uri": {"prefix": "/team"}}], "delegate": {"name": "team"}, "headers": by_root},
            {"route": [{"destination": {"host": "one"}}]},
        ])  # fmt: skip
        text += virtual_service("team", "default", http=[
            {"match": [{"uri": {"prefix": "/team/two"}}], "route": [{"destination": {"host": "two"}}]},
            {"match": [{"headers": {"x-down": {"exact": "1"}}}], "directResponse": {"status": 503}},
            {"route": [{"destination": {"host": "one"}}], "rewrite": {"uri": "/new"}},
        ])  # fmt: skip
        with Proxy(tmp_path, text) as proxy:
            host = "shop.example"
            assert ask(proxy, "/team/two/x", host=host).text == "two"
            assert ask(proxy, "/team/two/x", host=host).headers["x-by"] == "root"
            assert ask(proxy, "/team/else", host=host, x_down="1").status == 503
            assert ask(proxy, "/team/else", host=host).text == "one"
            assert one.seen[-1].path == "/new/else"
            assert ask(proxy, "/", host=host).text == "one"
            assert "x-by" not in ask(proxy, "/", host=host).headers
