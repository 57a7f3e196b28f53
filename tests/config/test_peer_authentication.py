"""PeerAuthentication: what is refused, and what a workload's port accepts by all policies together."""

from __future__ import annotations

import pytest

from fastmesh.config.services.peer_authentications import PeerAuthentications
from tests.config.asking import config_of
from tests.config.test_decode import parse


def policy(name: str, spec: str, namespace: str = "shop") -> str:
    head = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
    return f"{head}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"


def mtls(mode: str) -> str:
    return f"mtls: {{mode: {mode}}}"


APP = "selector: {matchLabels: {app: pay}}"
MESH = policy("mesh", mtls("STRICT"), "istio-system")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "PERMISSIVE"),
        (MESH, "STRICT"),
        (MESH + policy("ns", mtls("DISABLE")), "DISABLE"),
        (MESH + policy("ns", mtls("UNSET")), "STRICT"),
        (MESH + policy("ns", ""), "STRICT"),
        (MESH + policy("ns", "mtls: {}"), "STRICT"),
        (MESH + policy("ns", mtls("DISABLE")) + policy("app", f"{APP}, {mtls('PERMISSIVE')}"), "PERMISSIVE"),
        (MESH + policy("ns", mtls("DISABLE")) + policy("app", APP), "DISABLE"),
        (policy("other", mtls("STRICT"), "other"), "PERMISSIVE"),
        (policy("app", f"selector: {{matchLabels: {{app: cart}}}}, {mtls('STRICT')}"), "PERMISSIVE"),
        # The oldest of a level counts alone, also when it leaves the matter to the wider level.
        (policy("old", mtls("STRICT")) + policy("new", mtls("DISABLE")), "STRICT"),
        (policy("old", mtls("UNSET")) + policy("new", mtls("DISABLE")), "PERMISSIVE"),
        (policy("old", f"{APP}, {mtls('STRICT')}") + policy("new", f"{APP}, {mtls('DISABLE')}"), "STRICT"),
        # A selector crosses no namespace, and in the root namespace it has no effect at all.
        (policy("app", f"{APP}, {mtls('STRICT')}", "other"), "PERMISSIVE"),
        (policy("app", f"{APP}, {mtls('STRICT')}", "istio-system"), "PERMISSIVE"),
        (policy("all", f"selector: {{}}, {mtls('STRICT')}"), "STRICT"),
        # Ports are the workload's; UNSET takes what the workload has; other ports too.
        (policy("app", f"{APP}, {mtls('STRICT')}, portLevelMtls: {{3000: {{mode: DISABLE}}}}"), "DISABLE"),
        (policy("app", f"{APP}, {mtls('STRICT')}, portLevelMtls: {{'3000': {{mode: DISABLE}}}}"), "DISABLE"),
        (policy("app", f"{APP}, {mtls('STRICT')}, portLevelMtls: {{3000: {{mode: UNSET}}}}"), "STRICT"),
        (policy("app", f"{APP}, {mtls('STRICT')}, portLevelMtls: {{3000: {{}}}}"), "STRICT"),
        (policy("app", f"{APP}, {mtls('STRICT')}, portLevelMtls: {{80: {{mode: DISABLE}}}}"), "STRICT"),
        (MESH + policy("app", f"{APP}, portLevelMtls: {{3000: {{mode: UNSET}}}}"), "STRICT"),
    ],
)
def test_the_most_specific_level_that_says_something_counts(text: str, mode: str) -> None:
    empty = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    policies = PeerAuthentications(config_of(empty + text).peer_authentications)
    assert policies.mode("shop", {"app": "pay", "version": "v1"}, 3000)[0] == mode


def test_a_policy_with_a_selector_has_no_effect_in_the_root_namespace_even_there() -> None:
    text = policy("app", f"{APP}, {mtls('STRICT')}", "istio-system")
    policies = PeerAuthentications(config_of(text).peer_authentications)
    assert policies.mode("istio-system", {"app": "pay"}, 3000) == ("PERMISSIVE", None)


def test_the_first_port_that_a_policy_names_counts() -> None:
    text = policy("app", f"{APP}, portLevelMtls: {{3000: {{mode: DISABLE}}, 15006: {{mode: STRICT}}}}")
    policies = PeerAuthentications(config_of(text).peer_authentications)
    assert policies.mode("shop", {"app": "pay"}, 15006, 3000)[0] == "STRICT"
    assert policies.mode("shop", {"app": "pay"}, "http", 3000)[0] == "DISABLE"


@pytest.mark.parametrize(
    ("spec", "field", "part"),
    [
        ("mtls: {mode: BLAH}", "spec.mtls.mode", "not one of DISABLE, PERMISSIVE, STRICT, UNSET"),
        ("portLevelMtls: {80: {mode: STRICT}}", "spec.portLevelMtls", "needs a selector"),
        ("selector: {}, portLevelMtls: {80: {mode: STRICT}}", "spec.portLevelMtls", "needs a selector"),
        (f"{APP}, portLevelMtls: {{}}", "spec.portLevelMtls", "is empty"),
        (f"{APP}, portLevelMtls: {{0: {{mode: STRICT}}}}", "spec.portLevelMtls.0", "1 to 65535"),
        (f"{APP}, portLevelMtls: {{65536: {{mode: STRICT}}}}", "spec.portLevelMtls.65536", "1 to 65535"),
        (f"{APP}, portLevelMtls: {{http: {{mode: STRICT}}}}", "spec.portLevelMtls.http", "the workload's port"),
        (f"{APP}, portLevelMtls: {{080: {{mode: STRICT}}}}", "spec.portLevelMtls.080", "the workload's port"),
        (f"{APP}, portLevelMtls: {{80: STRICT}}", "spec.portLevelMtls.80", "not a mapping"),
        ("selector: {matchLabels: {app: '*'}}", "spec.selector.matchLabels.app", "wildcard is not supported"),
        ("mtsl: {}", "spec.mtsl", "did you mean mtls?"),
    ],
)
def test_what_istio_refuses(spec: str, field: str, part: str) -> None:
    errors = parse(policy("x", spec)).errors
    assert [(error.field, error.line) for error in errors] == [(field, 5)]
    assert part in errors[0].message


def test_what_has_no_effect_is_said() -> None:
    result = parse(policy("x", f"{APP}, {mtls('STRICT')}", "istio-system"))
    assert result.ok
    assert [(warning.field, warning.code) for warning in result.warnings] == [("spec.selector", "advice")]
    assert [warning.field for warning in parse(policy("x", "selector: {}")).warnings] == ["spec.selector.matchLabels"]


def test_it_is_read_in_both_versions() -> None:
    for version in ("v1", "v1beta1"):
        result = parse(policy("x", mtls("STRICT")).replace("io/v1\n", f"io/{version}\n"))
        assert result.problems == []
        assert len(result.resources.peer_authentications) == 1
