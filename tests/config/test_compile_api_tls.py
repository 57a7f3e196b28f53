"""The Gateway API with TLS: listeners, certificates of other namespaces, clients' certificates, TLSRoutes, backends."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.credentials.sources import collect
from fastmesh.config.plan import ChainPlan, ClientTLSPlan, Plan, ServerTLSPlan
from tests.config.asking import config_of, vhost_for
from tests.config.test_compile_gateway_tls import targets

API = "---\napiVersion: gateway.networking.k8s.io/v1\n"
SECRET = (
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData: {tls.crt: c, tls.key: k}\n"
)
ROOTS = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {ca.crt: r}\n"
SERVICES = "".join(
    f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: edge}}\n"
    "spec: {ports: [{port: 80, name: http}, {port: 443, name: https}]}\n"
    for name in ("a", "b")
)
C = SECRET % ("c", "edge")


def gateway(*listeners: str, name: str = "gw", more: str = "") -> str:
    spec = f"{{gatewayClassName: istio, listeners: [{', '.join(listeners)}]{more}}}"
    return f"{API}kind: Gateway\nmetadata: {{name: {name}, namespace: edge}}\nspec: {spec}\n"


def listener(name: str, host: str = "", protocol: str = "HTTPS", tls: str = "certificateRefs: [{name: c}]") -> str:
    hostname = f"hostname: '{host}', " if host else ""
    return f"{{name: {name}, port: 443, {hostname}protocol: {protocol}, tls: {{{tls}}}}}"


def route(kind: str, name: str, spec: str, namespace: str = "edge") -> str:
    head = f"{API}kind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
    return f"{head}spec: {{parentRefs: [{{name: gw, namespace: edge}}], {spec}}}\n"


def grant(to: str, kind: str = "Gateway", namespace: str = "other", by: str = "edge") -> str:
    source = f"{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {by}}}"
    head = f"{API}kind: ReferenceGrant\nmetadata: {{name: g, namespace: {namespace}}}\n"
    return f"{head}spec: {{from: [{source}], to: [{to}]}}\n"


def compiled(text: str, **role: Any) -> tuple[Plan, list[str]]:
    plan, problems = compile_plan(config_of(text), Role(kind="gateway", namespace="edge", **role))
    return plan, [str(problem) for problem in problems]


def plan(text: str, **role: Any) -> Plan:
    found, told = compiled(text, **role)
    assert told == []
    return found


def chains(text: str) -> list[ChainPlan]:
    return plan(text).listeners[0].chains


def test_an_https_listener() -> None:
    text = gateway(listener("any"), listener("one", "a.com"), listener("wild", "*.b.com")) + C
    assert chains(text) == [
        ChainPlan(name=f"edge/gw {name}", transport="tls", server_names=names,
                  tls=ServerTLSPlan(credentials=["secret:edge/c"], alpn=["h2", "http/1.1"]))
        for name, names in (("any", []), ("one", ["a.com"]), ("wild", ["*.b.com"]))
    ]  # fmt: skip


def test_http_routes_on_https_listeners_keep_to_their_own() -> None:
    text = gateway(listener("any"), listener("one", "a.com")) + C + SERVICES
    text += route("HTTPRoute", "r", "hostnames: [b.com], rules: [{backendRefs: [{name: a, port: 80}]}]")
    found = plan(text)
    hosts = {item.domain: found.vhosts[item.vhost].rules for item in found.listeners[0].domains}
    assert {name: len(rules) for name, rules in hosts.items()} == {"*": 0, "a.com": 0, "b.com": 1}
    there = vhost_for(found, "b.com", listener=found.listeners[0])
    assert there is not None
    assert there.rules[0].destinations[0].cluster == "outbound|80||a.edge.svc.cluster.local"


def test_several_certificates() -> None:
    (chain,) = chains(
        gateway(listener("x", tls="certificateRefs: [{name: c}, {name: d}]")) + C + SECRET % ("d", "edge")
    )
    assert chain.tls is not None
    assert chain.tls.credentials == ["secret:edge/c", "secret:edge/d"]


@pytest.mark.parametrize(
    ("grants", "granted"),
    [
        (grant("{group: '', kind: Secret}"), True),
        (grant("{group: core, kind: Secret, name: c}"), True),
        (grant("{group: '', kind: Secret, name: d}"), False),
        (grant("{group: '', kind: ConfigMap}"), False),
        (grant("{group: '', kind: Secret}", kind="HTTPRoute"), False),
        (grant("{group: '', kind: Secret}", by="x"), False),
        (grant("{group: '', kind: Secret}", namespace="x"), False),
        ("", False),
    ],
)
def test_a_secret_of_another_namespace_needs_a_grant(grants: str, granted: bool) -> None:
    text = gateway(listener("x", tls="certificateRefs: [{name: c, namespace: other}]")) + SECRET % ("c", "other")
    found, told = compiled(text + grants)
    assert [source.name for source in found.sources] == (["secret:other/c"] if granted else [])
    assert found.listeners[0].chains[0].tls is not None  # refused until then, not passed on and not plaintext
    assert bool(told) is not granted
    if told:
        assert "spec.listeners[0].tls.certificateRefs[0].namespace: no ReferenceGrant of other lets" in told[0]


def test_certificates_of_clients() -> None:
    roots = "{validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]%s}}"
    text = C + ROOTS % ("ca", "edge")
    whole = ", tls: {frontend: {default: %s}}" % (roots % "")
    found = plan(gateway(listener("x"), more=whole) + text)
    tls = found.listeners[0].chains[0].tls
    assert tls is not None
    assert (tls.client, tls.accept_unverified) == ("required", False)
    assert tls.credentials == ["secret:edge/c+ca=configmap:edge/ca"]
    wanted = collect(config_of(gateway(listener("x"), more=whole) + text), found)
    assert [piece.data for piece in wanted[0].roots] == [b"r"]
    assert wanted[0].roots[0].what == "ca.crt of ConfigMap edge/ca"
    lax = ", tls: {frontend: {default: %s}}" % (roots % ", mode: AllowInsecureFallback")
    tls = chains(gateway(listener("x"), more=lax) + text)[0].tls
    assert tls is not None
    assert (tls.client, tls.accept_unverified) == ("optional", True)
    other = ", tls: {frontend: {default: %s, perPort: [{port: 443, tls: {}}]}}" % (roots % "")
    tls = chains(gateway(listener("x"), more=other) + text)[0].tls
    assert tls is not None
    assert tls.client == "none"
    older = "certificateRefs: [{name: c}], frontendValidation: {caCertificateRefs: [{kind: ConfigMap, name: ca}]}"
    tls = chains(gateway(listener("x", tls=older)) + text)[0].tls
    assert tls is not None
    assert tls.client == "required"


def test_roots_that_are_not_there_are_told_and_nobody_is_let_in() -> None:
    whole = ", tls: {frontend: {default: {validation: {caCertificateRefs: [{kind: ConfigMap, name: ca}]}}}}"
    found, told = compiled(gateway(listener("x"), more=whole) + C)
    assert found.sources == []
    assert len(told) == 1
    assert "spec.tls.frontend.default.validation.caCertificateRefs[0]: ConfigMap edge/ca is not there" in told[0]


PASS = listener("p", "*.com", "TLS", "mode: Passthrough")
TLS_ROUTE = "hostnames: [%s], rules: [{backendRefs: [%s]}]"


def test_tls_routes_pass_connections_on() -> None:
    text = gateway(PASS) + SERVICES
    text += route(
        "TLSRoute",
        "r",
        TLS_ROUTE % ("a.com, '*.b.com', c.org", "{name: a, port: 443, weight: 3}, {name: b, port: 443}"),
    )
    (chain,) = chains(text)
    assert (chain.transport, chain.kind, chain.tls) == ("tls", "tcp", None)
    assert chain.server_names == ["a.com", "*.b.com"]
    assert [(each.cluster.split("|")[1:], each.weight, each.missing) for each in chain.destinations] == [
        (["443", "", "a.edge.svc.cluster.local"], 3, False), (["443", "", "b.edge.svc.cluster.local"], 1, False),
    ]  # fmt: skip


def test_tls_routes_on_a_listener_that_ends_tls() -> None:
    text = gateway(listener("t", protocol="TLS")) + C + SERVICES
    text += route("TLSRoute", "r", TLS_ROUTE % ("a.com", "{name: a, port: 443}"))
    (chain,) = chains(text)
    assert (chain.kind, chain.server_names) == ("tcp", ["a.com"])
    assert chain.tls == ServerTLSPlan(credentials=["secret:edge/c"])


def test_a_server_name_belongs_to_the_oldest_tls_route() -> None:
    text = gateway(PASS) + SERVICES
    text += route("TLSRoute", "old", TLS_ROUTE % ("a.com", "{name: a, port: 443}"))
    text += route("TLSRoute", "new", TLS_ROUTE % ("a.com, b.com", "{name: b, port: 443}"))
    found, told = compiled(text)
    assert targets(found.listeners[0].chains) == {"a.com": ["a"], "b.com": ["b"]}
    assert len(told) == 1
    assert "TLSRoute/new: spec.hostnames: a.com is that of TLSRoute edge/old already" in told[0]


def test_routes_attach_only_where_they_are_allowed() -> None:
    to_a = TLS_ROUTE % ("a.com", "{name: a, port: 443}")
    for allowed, namespace, count in (
        ("", "edge", 1),
        ("", "other", 0),
        (", allowedRoutes: {namespaces: {from: All}}", "other", 1),
        (", allowedRoutes: {kinds: [{kind: TCPRoute}]}", "edge", 0),
        (", allowedRoutes: {kinds: [{kind: TLSRoute}]}", "edge", 1),
    ):
        own = PASS.removesuffix("}") + allowed + "}"
        found, _ = compiled(gateway(own) + SERVICES + route("TLSRoute", "r", to_a, namespace))
        assert len(found.listeners[0].chains) == count, (allowed, namespace)


def test_a_backend_of_another_namespace_needs_a_grant() -> None:
    service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: other}\nspec: {ports: [{port: 80}]}\n"
    refs = "{name: x, namespace: other, port: 80}"
    text = gateway(listener("l"), PASS.replace("p,", "q,")) + C + service
    text += route("HTTPRoute", "h", f"rules: [{{backendRefs: [{refs}]}}]") + route(
        "TLSRoute", "t", TLS_ROUTE % ("a.com", refs)
    )
    found, told = compiled(text)
    assert found.vhosts[0].rules[0].destinations[0].missing
    assert found.vhosts[0].rules[0].destinations[0].missing_status == 500
    assert found.listeners[0].chains[1].destinations[0].missing
    assert [line.partition(": ")[2] for line in told] == [
        f"warning: {kind}/{name}: spec.rules[0].backendRefs[0].namespace: no ReferenceGrant of other lets {kind}s of "
        "edge use x, add one there"
        for kind, name in (("HTTPRoute", "h"), ("TLSRoute", "t"))
    ]
    grants = grant("{group: '', kind: Service}", "HTTPRoute") + grant("{group: '', kind: Service}", "TLSRoute").replace(
        "g,", "t,"
    )
    assert not plan(text + grants).vhosts[0].rules[0].destinations[0].missing


def test_listeners_that_cannot_stand_together() -> None:
    plain = "{name: x, port: 443, protocol: HTTP}"
    found, told = compiled(gateway(listener("l")) + gateway(plain, name="late") + C)
    assert found.listeners[0].origins == ["edge/gw"]
    assert "Gateway/late: spec.listeners[0]: HTTP cannot share port 443 with HTTPS at test.yaml:5" in told[0]
    found, told = compiled(gateway(listener("l", "a.com")) + gateway(listener("l", "a.com"), name="late") + C)
    assert [chain.name for chain in found.listeners[0].chains] == ["edge/gw l"]
    assert '"a.com" on port 443 is the listener at test.yaml:5 already' in told[0]


def test_both_kinds_of_gateway_share_a_port() -> None:
    istio = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: own, namespace: edge}
spec:
  servers:
  - {port: {number: 443, name: s, protocol: HTTPS}, hosts: [i.com], tls: {mode: SIMPLE, credentialName: c}}
"""
    found = plan(istio + gateway(listener("l", "a.com")) + C)
    assert [chain.server_names for chain in found.listeners[0].chains] == [["i.com"], ["a.com"]]
    assert found.listeners[0].origins == ["edge/own", "edge/gw"]


POLICY = "targetRefs: [{group: '', kind: Service, name: a%s}], validation: {hostname: A.example.com, %s}"
SYSTEM = "wellKnownCACertificates: System"
REFS = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"


def policy(name: str, spec: str) -> str:
    return f"{API}kind: BackendTLSPolicy\nmetadata: {{name: {name}, namespace: edge}}\nspec: {{{spec}}}\n"


def backend(text: str, port: int = 443, **role: Any) -> tuple[ClientTLSPlan | None, list[str]]:
    routes = route("HTTPRoute", "r", f"rules: [{{backendRefs: [{{name: a, port: {port}}}]}}]")
    found, told = compiled(gateway(listener("l")) + C + SERVICES + routes + ROOTS % ("ca", "edge") + text, **role)
    return next(each for each in found.clusters if each.port == port).tls, told


def test_backend_tls_policies() -> None:
    found, told = backend(policy("p", POLICY % ("", SYSTEM)))
    assert (found, told) == (ClientTLSPlan(sni="a.example.com", alpn=["http/1.1"]), [])
    found, told = backend(policy("p", POLICY % ("", REFS)))
    assert (found, told) == (
        ClientTLSPlan(credential="ca=configmap:edge/ca", sni="a.example.com", alpn=["http/1.1"]),
        [],
    )
    names = REFS + ", subjectAltNames: [{type: Hostname, hostname: x.com}, {type: URI, uri: 'spiffe://a/b'}]"
    found, _ = backend(policy("p", POLICY % ("", names)))
    assert found is not None
    assert (found.sans, found.sni, found.verify) == (["x.com", "spiffe://a/b"], "a.example.com", True)


def test_a_policy_of_a_port_goes_first_and_then_the_older_one() -> None:
    whole, own = policy("whole", POLICY % ("", SYSTEM)), policy("own", POLICY % (", sectionName: https", REFS))
    found, told = backend(whole + own)
    assert found is not None
    assert (found.credential, told) == ("ca=configmap:edge/ca", [])
    found, _ = backend(whole + own, port=80)
    assert found is not None
    assert found.credential == ""
    found, told = backend(whole + policy("late", POLICY % ("", REFS)))
    assert found is not None
    assert found.credential == ""
    assert "BackendTLSPolicy/late: spec.targetRefs[0]: a has the older policy whole already, which stays" in told[0]


def test_roots_of_a_backend_that_are_not_there_close_it() -> None:
    found, told = backend(policy("p", POLICY % ("", REFS.replace("name: ca", "name: nothing"))))
    assert found is not None
    assert found.credential != ""  # no credential has this name, so no connection is made
    assert "spec.validation.caCertificateRefs[0]: ConfigMap edge/nothing is not there" in told[0]


def test_a_destination_rule_says_more_than_a_policy_and_only_gateways_follow_policies() -> None:
    rule = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: edge}
spec: {host: a, trafficPolicy: {tls: {mode: DISABLE}}}
"""
    assert backend(policy("p", POLICY % ("", SYSTEM)) + rule)[0] is None
    text = SERVICES + policy("p", POLICY % ("", SYSTEM))
    assert compile_plan(config_of(text), Role(namespace="edge"))[0].clusters[0].tls is None


def test_the_certificate_that_a_gateway_shows_to_backends() -> None:
    for more in (
        ", tls: {backend: {clientCertificateRef: {name: d}}}",
        ", backendTLS: {clientCertificateRef: {name: d}}",
    ):
        routes = route("HTTPRoute", "r", "rules: [{backendRefs: [{name: a, port: 443}]}]")
        text = (
            gateway(listener("l"), more=more) + C + SECRET % ("d", "edge") + SERVICES + routes + ROOTS % ("ca", "edge")
        )
        found = plan(text + policy("p", POLICY % ("", REFS)))
        assert found.clusters[0].tls is not None
        assert found.clusters[0].tls.credential == "secret:edge/d+ca=configmap:edge/ca"
        found = plan(text + policy("p", POLICY % ("", SYSTEM)))
        assert found.clusters[0].tls is not None
        assert found.clusters[0].tls.credential == "secret:edge/d"
