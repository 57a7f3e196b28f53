"""Istio's analyzers: what they find in Istio's own inputs, `fastmesh analyze` finds too.

The inputs are looked for in the corpora, else in $FASTMESH_ANALYZERS; without them nothing can be asked.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.cli.analyze import check_credential
from fastmesh.config.analysis.engine import analyze
from fastmesh.config.read.load import load
from fastmesh.errors import Problem
from tests.corpora import corpora_dir

ROWS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "analyzers.yaml").read_text())

# What an analyzer is about: its causes; where several have a cause, the fields that are this one's business.
BY: dict[str, dict[str, str]] = {
    "annotations.K8sAnalyzer": dict.fromkeys(("IST0107", "IST0108", "IST0125", "IST0135"), ""),
    "authz.AuthorizationPoliciesAnalyzer": {"IST0127": "", "IST0101": r"[nN]amespaces\[\d+\]$"},
    "conditions.ConditionAnalyzer": {"IST0171": ""},
    "deployment.ApplicationUIDAnalyzer": {"IST0144": ""},
    "deployment.ServiceAssociationAnalyzer": {"IST0116": "", "IST0137": ""},
    "deprecation.FieldAnalyzer": {"IST0002": ""},
    "destinationrule.CaCertificateAnalyzer": {"IST0128": "", "IST0129": ""},
    "destinationrule.PodNotSelectedAnalyzer": {"IST0173": "", "IST0174": ""},
    "envoyfilter.EnvoyPatchAnalyzer": dict.fromkeys(("IST0151", "IST0152", "IST0153", "IST0154", "IST0155"), ""),
    "gateway.CertificateAnalyzer": {"IST0138": ""},
    "gateway.ConflictingGatewayAnalyzer": {"IST0145": ""},
    "gateway.IngressGatewayPortAnalyzer": {"IST0162": "", "IST0101": r"spec\.selector$"},
    "gateway.SecretAnalyzer": {"IST0161": "", "IST0101": r"spec\.selector$|credentialName$"},
    "k8sgateway.SelectorAnalyzer": {"IST0166": ""},
    "schemaValidation.CollectionValidationAnalyzer": {"IST0130": "", "IST0131": ""},
    "service.PortNameAnalyzer": {"IST0118": "", "IST0150": ""},
    "serviceentry.ConflictingServiceEntryProtocolAnalyzer": {"IST0177": ""},
    "serviceentry.ProtocolAddressesAnalyzer": {"IST0134": ""},
    "sidecar.SelectorAnalyzer": {"IST0110": "", "IST0111": "", "IST0167": "", "IST0101": "^spec$"},
    "telemetry.DefaultSelectorAnalyzer": {"IST0160": ""},
    "telemetry.ProviderAnalyzer": {"IST0157": ""},
    "telemetry.SelectorAnalyzer": {"IST0159": "", "IST0101": "^spec$"},
    "virtualservice.ConflictingMeshGatewayHostsAnalyzer": {"IST0109": ""},
    "virtualservice.DestinationHostAnalyzer": {
        "IST0112": "", "IST0140": "", "IST0101": r"\.(host|port\.number)$",
    },
    "virtualservice.DestinationRuleAnalyzer": {"IST0101": r"\.subset$"},
    "virtualservice.GatewayAnalyzer": {"IST0132": "", "IST0165": "", "IST0101": r"spec\.gateways"},
    "virtualservice.JWTClaimRouteAnalyzer": {"IST0149": ""},
}  # fmt: skip

# Where the answer is another one, and why.
DIFFERS = {
    "gatewaySecret": "its good Secret has the key of another certificate, and here the two are compared",
    "virtualServiceDestinationHosts": "a rule with `route: [{}]` cannot be read, so nobody sees its other destinations",
}


def inputs() -> Path:
    given = os.environ.get("FASTMESH_ANALYZERS")
    folder = Path(given) if given else corpora_dir() / "istio/pkg/config/analysis/analyzers/testdata"
    if not folder.is_dir():
        pytest.skip(f"no inputs of Istio's analyzers at {folder} (set FASTMESH_ANALYZERS)")
    return folder


def said(problem: Problem) -> str:
    return f"{problem.cause} {problem.kind} {problem.namespace}/{problem.name}"


def whole(text: str) -> str:
    """With the namespace that an object has when it says none."""
    cause, kind, name = text.split(" ")
    return (
        f"{cause} {kind} {name}" if "/" in name else f"{cause} {kind} {'' if kind == 'Namespace' else 'default'}/{name}"
    )


def rows() -> list[Any]:
    return [
        pytest.param(row, id=row["name"], marks=_marks(row["name"])) for row in ROWS if "left" not in row
    ]  # fmt: skip


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(reason=DIFFERS[name], strict=True)] if name in DIFFERS else []


@pytest.mark.parametrize("row", rows())
def test_what_istio_finds(row: dict[str, Any]) -> None:
    causes = BY[row["by"]]
    found = analyze(load(str(inputs() / name) for name in row["files"]), credential=check_credential)
    mine = [
        problem
        for problem in found
        if problem.cause in causes and re.search(causes[problem.cause], problem.field)
    ]  # fmt: skip
    assert all(problem.line for problem in mine)
    got, wanted = Counter(map(said, mine)), Counter(map(whole, row["found"]))
    assert set(got) == set(wanted)
    assert not wanted - got  # Istio tells the same words once, whatever their lines
