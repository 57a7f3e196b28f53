"""istio/istio pkg/jwt/routing_test.go, TestToRoutingClaim: which keys of matches mean claims, and which names."""

from __future__ import annotations

import pytest

from fastmesh.config.read.claims import claim_names
from tests.config.asking import plan_of

CLAIMS = "@request.auth.claims"
TABLE: list[tuple[str, list[str]]] = [
    (CLAIMS, []),
    (f"{CLAIMS}-", []),
    ("request.auth.claims.", []),
    (f"{CLAIMS}.", []),
    (f"{CLAIMS}-abc", []),
    ("x-some-other-header", []),
    (f"{CLAIMS}.key1", ["key1"]),
    (f"{CLAIMS}.key1.KEY2", ["key1", "KEY2"]),
    (f"{CLAIMS}.key1-key2", ["key1-key2"]),
    (f"{CLAIMS}[]", []),
    (f"{CLAIMS}[key1", []),
    (f"{CLAIMS}]key1", []),
    (f"{CLAIMS}.[key1]", ["[key1]"]),
    (f"{CLAIMS}[key1]", ["key1"]),
    (f"{CLAIMS}[key1][key2]", ["key1", "key2"]),
    (f"{CLAIMS}[key1][KEY2]", ["key1", "KEY2"]),
    (f"{CLAIMS}[key1] [key2]", ["key1] [key2"]),
    (f"{CLAIMS}[test-issuer-2@istio.io]", ["test-issuer-2@istio.io"]),
    (f"{CLAIMS}[test-issuer-2@istio.io][key1]", ["test-issuer-2@istio.io", "key1"]),
]


@pytest.mark.parametrize(("key", "names"), TABLE)
def test_claim_names(key: str, names: list[str]) -> None:
    assert claim_names(key) == names


def test_names_of_claims_keep_their_case_in_a_plan() -> None:
    plan = plan_of(
        """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example]
  gateways: [edge]
  http: [{match: [{headers: {"@Request.auth.claims.Group.Id": {exact: x}}}], directResponse: {status: 200}}]
""",
        kind="gateway",
    )
    ((match,),) = [rule.matches for rule in plan.vhosts[0].rules]
    (named,) = match.headers
    assert (named.claim, named.invert) == (["Group", "Id"], False)
