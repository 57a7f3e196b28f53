"""Tables of valid and invalid objects, Istio's and the Gateway API's: what they refuse is refused, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.read import load
from fastmesh.config.store import ReadResult, read_documents

TABLES: list[dict[str, Any]] = [
    table
    for name in ("validation.yaml", "api_validation.yaml")
    for table in yaml.load((Path(__file__).parent / name).read_text(), yaml.CSafeLoader)
]
OF_THE_API = ("BackendTLSPolicy", "GRPCRoute", "GatewayClass", "HTTPRoute", "ReferenceGrant", "TCPRoute", "TLSRoute")
SECURITY = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
PRESENCE = "a header match of null is the presence test here"
REQUIRED = "the text of the API requires it, its schema does not"
CONDITION = "taken, and the status says IncompatibleFilters as Istio's does"
NULL = "a null in a list, which no schema of Kubernetes takes"
# "table: row": why the answer is another one.
DIFFERS = {
    "TestValidateHTTPRoute: null header match": PRESENCE,
    "TestValidateRootHTTPRoute: null header match": PRESENCE,
    "TestValidateDelegateHTTPRoute: null header match": PRESENCE,
    "TestValidateHTTPRoute: match with nil element": NULL,
    "TestValidateHTTPRoute: valid mirror percentage": NULL,
    "TestValidateHTTPRoute: mirrors valid mirror percentage": NULL,
    "TestValidateDelegateHTTPRoute: match with nil element": NULL,
    "TestValidateDelegateHTTPRoute: valid mirror percentage": NULL,
    "TestValidateGateway: tls config not set with https protocol": REQUIRED,
    "TestHTTPRouteRule: rewrite and redirect filters combined (invalid)": CONDITION,
    "TestValidateRequestAuthentication: empty issuer and set jwksUri": "its schema wants a text or nothing",
}
# Valid rows that Istio warns of, and here only `analyze` does.
TOLD_LATER = {"TestValidateServiceEntries: protocol unset for addresses empty": "IST0134"}


def group(kind: str, spec: Any) -> str:
    if kind in OF_THE_API or (kind == "Gateway" and "gatewayClassName" in spec):
        return "gateway.networking.k8s.io/v1"
    if kind == "Telemetry":
        return "telemetry.istio.io/v1"
    if kind == "ProxyConfig":
        return "networking.istio.io/v1beta1"
    return "security.istio.io/v1" if kind in SECURITY else "networking.istio.io/v1"


def read(kind: str, spec: Any, metadata: dict[str, Any]) -> ReadResult:
    whole = {"name": "foo", "namespace": "bar", **metadata}
    text = json.dumps({"apiVersion": group(kind, spec), "kind": kind, "metadata": whole, "spec": spec})
    problems: list[Any] = []
    documents = load.load_text(text, "row.json", problems)
    return read_documents(load.Loaded(documents, problems, ["row.json"]), allow_unenforced=True)


def rows() -> list[Any]:
    found = []
    for table in TABLES:
        for name, valid, warned, spec, *rest in table["rows"]:
            key = f"{table['test']}: {name}"
            marks = [pytest.mark.xfail(reason=DIFFERS[key], strict=True)] if key in DIFFERS else []
            metadata = rest[0] if rest else {}
            found.append(
                pytest.param(
                    table["kind"], spec, metadata, valid, warned and key not in TOLD_LATER, id=key, marks=marks
                )
            )
    return found


@pytest.mark.parametrize(("kind", "spec", "metadata", "valid", "warned"), rows())
def test_what_istio_says_is_valid(kind: str, spec: Any, metadata: dict[str, Any], valid: bool, warned: bool) -> None:
    result = read(kind, spec, metadata)
    assert [str(problem) for problem in result.errors if valid] == []
    assert bool(result.errors) is not valid
    assert all(problem.field for problem in result.errors)
    if valid and warned:
        assert result.warnings


def test_the_list_of_differences_names_rows() -> None:
    known = {f"{table['test']}: {row[0]}" for table in TABLES for row in table["rows"]}
    assert set(DIFFERS) <= known
