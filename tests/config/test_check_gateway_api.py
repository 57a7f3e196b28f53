# ruff: noqa: E501 - a table reads best with one case a line
"""What is refused in objects of the Gateway API, and where the finding points."""

from __future__ import annotations

import pytest

from tests.config.test_decode import parse

GATEWAY = "gatewayClassName: istio, listeners: [%s]"


def one(fields: str) -> str:
    return GATEWAY % f"{{name: a, port: 443, {fields}}}"


TLS = "tls: {certificateRefs: [{name: c}]}"
CASES = [
    ("Gateway", "gatewayClassName: istio", "listeners", "is empty"),
    ("Gateway", one("protocol: HTTPS"), "listeners[0]", "tls is required with protocol HTTPS"),
    ("Gateway", one("protocol: TLS"), "listeners[0]", "tls is required"),
    ("Gateway", one(f"protocol: HTTP, {TLS}"), "listeners[0].tls", "no place with protocol HTTP"),
    ("Gateway", one("protocol: HTTPS, tls: {mode: Passthrough}"), "listeners[0].tls.mode", "write protocol: TLS"),
    ("Gateway", one("protocol: HTTPS, tls: {}"), "listeners[0].tls.certificateRefs", "is empty"),
    ("Gateway", one("protocol: TLS, tls: {mode: Terminate}"), "listeners[0].tls.certificateRefs", "mode: Passthrough"),
    ("Gateway", one("protocol: HTTPS, tls: {certificateRefs: [{name: c, kind: Vault}]}"), "listeners[0].tls.certificateRefs[0].kind", "name a Secret"),
    ("Gateway", one("protocol: HTTPS, tls: {mode: SIMPLE}"), "listeners[0].tls.mode", "not one of Passthrough, Terminate"),
    ("Gateway", one(f"protocol: HTTPS, hostname: 10.0.0.1, {TLS}"), "listeners[0].hostname", "is an address"),
    ("Gateway", one(f"protocol: HTTPS, hostname: '*a.com', {TLS}"), "listeners[0].hostname", "part of a label"),
    ("Gateway", one("protocol: FTP"), "listeners[0].protocol", "write HTTP, HTTPS, TLS"),
    ("Gateway", one("protocol: HTTP").replace("443", "0"), "listeners[0].port", "1 to 65535"),
    ("Gateway", GATEWAY % "{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}", "listeners[1].name", "earlier listener"),
    ("Gateway", GATEWAY % "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}", "listeners[1]", "keep one"),
    ("Gateway", one(f"protocol: HTTPS, {TLS}") + ", tls: {frontend: {default: {validation: {}}}}", "tls.frontend.default.validation.caCertificateRefs", "is empty"),
    ("Gateway", one(f"protocol: HTTPS, {TLS}") + ", tls: {backend: {clientCertificateRef: {name: x, kind: Pod}}}", "tls.backend.clientCertificateRef.kind", "name a Secret"),
    ("HTTPRoute", "rules: [{filters: [{type: RequestMirror}]}]", "rules[0].filters[0].requestMirror", "required"),
    ("HTTPRoute", "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a}, percent: 101}}]}]", "rules[0].filters[0].requestMirror.percent", "0 to 100"),
    ("HTTPRoute", "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a}, percent: 1, fraction: {numerator: 1}}}]}]", "rules[0].filters[0].requestMirror.fraction", "exclude"),
    ("HTTPRoute", "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a}, fraction: {numerator: 101}}}]}]", "rules[0].filters[0].requestMirror.fraction", "denominator"),
    ("HTTPRoute", "rules: [{filters: [{type: CORS}]}]", "rules[0].filters[0].cors", "required"),
    ("HTTPRoute", "rules: [{filters: [{type: CORS, cors: {allowOrigins: [a]}}]}]", "rules[0].filters[0].cors.allowOrigins[0]", "https://example.com"),
    ("HTTPRoute", "rules: [{filters: [{type: CORS, cors: {allowMethods: [get]}}]}]", "rules[0].filters[0].cors.allowMethods[0]", "GET"),
    ("HTTPRoute", "rules: [{filters: [{type: CORS, cors: {maxAge: 0}}]}]", "rules[0].filters[0].cors.maxAge", "at least 1"),
    ("HTTPRoute", "rules: [{sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}}]", "rules[0].sessionPersistence.absoluteTimeout", "required"),
    ("HTTPRoute", "rules: [{sessionPersistence: {cookie: {lifetimeType: Permanent}}}]", "rules[0].sessionPersistence.absoluteTimeout", "required"),
    ("HTTPRoute", "rules: [{sessionPersistence: {cookie: {lifetimeType: Long}}}]", "rules[0].sessionPersistence.cookie.lifetimeType", "Permanent"),
    ("HTTPRoute", "rules: [{sessionPersistence: {header: {name: a}}}]", "rules[0].sessionPersistence.header", "no place with type Cookie"),
    ("HTTPRoute", "rules: [{sessionPersistence: {type: Header, header: {name: a}, cookie: {}}}]", "rules[0].sessionPersistence.cookie", "no place with type Header"),
    ("HTTPRoute", "rules: [{sessionPersistence: {type: Header}}]", "rules[0].sessionPersistence.header", "required"),
    ("GRPCRoute", "rules: [{sessionPersistence: {sessionName: 'a b'}}]", "rules[0].sessionPersistence.sessionName", "letters"),
    ("HTTPRoute", "rules: [{sessionPersistence: {cookie: {name: 'a;b'}}}]", "rules[0].sessionPersistence.cookie.name", "letters"),
    ("HTTPRoute", "rules: [{sessionPersistence: {cookie: {path: '/;b'}}}]", "rules[0].sessionPersistence.cookie.path", "semicolon"),
    ("HTTPRoute", "hostnames: [10.0.0.1]", "hostnames[0]", "is an address"),
    ("HTTPRoute", "rules: [{matches: [{path: {type: RegularExpression, value: '('}}]}]", "rules[0].matches[0].path.value", "RE2"),
    ("HTTPRoute", "rules: [{matches: [{path: {value: a}}]}]", "rules[0].matches[0].path.value", "begin it with /"),
    ("HTTPRoute", "rules: [{matches: [{headers: [{name: a, type: RegularExpression, value: '('}]}]}]", "rules[0].matches[0].headers[0].value", "RE2"),
    ("HTTPRoute", "rules: [{matches: [{queryParams: [{name: a, type: RegularExpression, value: '('}]}]}]", "rules[0].matches[0].queryParams[0].value", "RE2"),
    ("GRPCRoute", "rules: [{matches: [{method: {}}]}]", "rules[0].matches[0].method", "is empty"),
    ("GRPCRoute", "rules: [{matches: [{method: {service: a/b}}]}]", "rules[0].matches[0].method.service", "has a slash"),
    ("GRPCRoute", "rules: [{matches: [{method: {type: RegularExpression, method: '('}}]}]", "rules[0].matches[0].method.method", "RE2"),
    ("GRPCRoute", "rules: [{matches: [{path: {value: /a}}]}]", "rules[0].matches[0].path", "unknown field"),
    ("TLSRoute", "rules: []", "hostnames", "goes by server name"),
    ("TLSRoute", "hostnames: [a.com], rules: [{}]", "rules[0]", "backendRefs is required"),
    ("BackendTLSPolicy", "validation: {hostname: a.com, wellKnownCACertificates: System}", "targetRefs", "is empty"),
    ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: '*.a.com', wellKnownCACertificates: System}", "validation.hostname", "not a host name"),
    ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com}", "validation.caCertificateRefs", "is empty"),
    ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com, wellKnownCACertificates: Own}", "validation.wellKnownCACertificates", "write System"),
    ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com, wellKnownCACertificates: System, caCertificateRefs: [{name: c, kind: ConfigMap}]}",
     "validation.wellKnownCACertificates", "excludes"),
    ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com, wellKnownCACertificates: System, subjectAltNames: [{type: URI, hostname: b}]}",
     "validation.subjectAltNames[0]", "uri is required"),
    ("ReferenceGrant", "from: [{kind: Gateway, group: g}], to: []", "from[0]", "namespace is required"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "field", "part"), CASES)
def test_a_mistake_is_told_at_its_place(kind: str, spec: str, field: str, part: str) -> None:
    result = parse(f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{{spec}}}\n")
    found = {error.field: error for error in result.errors}
    assert f"spec.{field}" in found, result.errors
    assert part in found[f"spec.{field}"].message
    assert str(found[f"spec.{field}"]).startswith(f"rules.yaml:4: {kind}/x: spec.{field}: ")


def test_what_is_right() -> None:
    for kind, spec in (
        ("Gateway", one(f"protocol: HTTPS, hostname: '*.a.com', {TLS}")),
        ("Gateway", one("protocol: TLS, tls: {mode: Passthrough}")),
        ("GRPCRoute", "hostnames: [a.com], rules: [{matches: [{method: {service: a.B}}]}]"),
        ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com, wellKnownCACertificates: System}"),
        ("ReferenceGrant", "from: [{group: g, kind: Gateway, namespace: n}], to: [{group: '', kind: Secret}]"),
    ):
        text = f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{{spec}}}\n"
        assert [each for each in parse(text).problems if each.code != "unserved"] == [], kind


AROUND = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate}
spec: {gatewayClassName: istio, listeners: [{name: web, port: 80, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: http}]}
---
"""
PARENT = "parentRefs: [{name: gate}], "
REFERENCES = [
    ("HTTPRoute", "parentRefs: [{name: gat}]", "parentRefs[0].name", "there is no Gateway default/gat, did you mean gate?"),
    ("HTTPRoute", "parentRefs: [{name: gate, namespace: n}]", "parentRefs[0].name", "there is no Gateway n/gate, this route is not served"),
    ("HTTPRoute", "parentRefs: [{name: edge}]", "parentRefs[0].name", "takes VirtualServices"),
    ("GRPCRoute", "parentRefs: [{name: gate, sectionName: x}]", "parentRefs[0].sectionName", "its listeners are web"),
    ("HTTPRoute", "parentRefs: [{name: ratings, group: '', kind: Service}]", "parentRefs[0].name", "there is no Service default/ratings, the route has no effect"),
    ("HTTPRoute", "parentRefs: [{name: reviews, group: '', kind: Service, port: 80}]", "parentRefs[0].port", "its ports are 9080; the route"),
    ("HTTPRoute", PARENT + "rules: [{backendRefs: [{name: reviews, port: 9080}, {name: reviews-v1, port: 9080}]}]", "rules[0].backendRefs[1].name", "requests would get 500"),
    ("GRPCRoute", PARENT + "rules: [{backendRefs: [{name: reviews, port: 80}]}]", "rules[0].backendRefs[0].port", "requests would get UNAVAILABLE"),
    ("TCPRoute", PARENT + "rules: [{backendRefs: [{name: x, port: 80}]}]", "rules[0].backendRefs[0].name", "connections would be closed"),
    ("HTTPRoute", PARENT + "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x, port: 1}}}]}]", "rules[0].filters[0].requestMirror.backendRef.name", "no copies"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "field", "part"), REFERENCES)
def test_routes_that_lead_nowhere_are_warnings(kind: str, spec: str, field: str, part: str) -> None:
    result = parse(
        f"{AROUND}apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{{spec}}}\n"
    )
    assert result.ok
    assert [(each.code, each.field) for each in result.warnings] == [("reference", f"spec.{field}")]
    assert part in result.warnings[0].message


def test_routes_that_lead_somewhere() -> None:
    """Backends of other kinds are told of elsewhere."""
    rules = "rules: [{backendRefs: [{name: reviews, port: 9080}, {group: networking.istio.io, kind: Hostname, name: a.com, port: 80}]}]"
    parents = "parentRefs: [{name: gate, sectionName: web}, {name: reviews, group: '', kind: Service, port: 9080}], "
    head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\n"
    assert parse(f"{AROUND}{head}spec: {{{parents}{rules}}}\n").problems == []


def test_listeners_of_datagrams_are_reported() -> None:
    text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {%s}\n"
    result = parse(text % one("protocol: UDP"))
    assert [(each.code, each.field) for each in result.problems] == [("unserved", "spec.listeners[0].protocol")]


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("BackendTLSPolicy", "targetRefs: [{name: a, kind: Pod}], validation: {hostname: a.com, wellKnownCACertificates: System}", "targetRefs[0].kind"),
        ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com, wellKnownCACertificates: a.com/b}", "validation.wellKnownCACertificates"),
        ("BackendTLSPolicy", "targetRefs: [{name: a}], validation: {hostname: a.com, caCertificateRefs: [{kind: K, name: b}]}", "validation.caCertificateRefs[0].kind"),
    ],
)  # fmt: skip
def test_what_is_right_and_cannot_work_is_a_warning_and_a_condition(kind: str, spec: str, field: str) -> None:
    text = f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{{spec}}}\n"
    assert [(each.severity, each.field) for each in parse(text).problems] == [("warning", f"spec.{field}")]
