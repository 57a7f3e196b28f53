# ruff: noqa: E501 - a table reads best with one case a line
"""What Istio refuses and warns of: a table of specs that are right but for one thing, and where the finding points."""

from __future__ import annotations

import textwrap

import pytest

from fastmesh.config.store import ReadResult
from tests.config.test_decode import parse

SERVICES = "".join(
    f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80, name: http}}]}}\n---\n"
    for name in ("a", "b")
)
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
---
"""
GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
"""


def check(kind: str, spec: str, metadata: str = "{name: x}", group: str = "networking.istio.io/v1") -> ReadResult:
    """`spec` beside two services, a rule with a subset v1 and a gateway, so that names lead somewhere."""
    text = f"apiVersion: {group}\nkind: {kind}\nmetadata: {metadata}\nspec:\n{textwrap.indent(textwrap.dedent(spec), '  ')}\n"
    return parse(SERVICES + RULE + GATEWAY + text)


def route(fields: str) -> str:
    """A VirtualService spec with one rule that has a destination, and these fields."""
    return (
        f"hosts: [a]\nhttp:\n- route: [{{destination: {{host: a}}}}]\n{textwrap.indent(textwrap.dedent(fields), '  ')}"
    )


def bare(fields: str) -> str:
    """The same without a destination."""
    return f"hosts: [a]\nhttp:\n- name: rule\n{textwrap.indent(textwrap.dedent(fields), '  ')}"


def policy(fields: str) -> str:
    return f"host: b\ntrafficPolicy:\n{textwrap.indent(textwrap.dedent(fields), '  ')}"


def entry(fields: str) -> str:
    return f"hosts: [x.com]\nports: [{{number: 80, name: http, protocol: HTTP}}]\n{textwrap.dedent(fields)}"


def secure(tls: str, name: str = "c") -> str:
    """A Gateway spec with one HTTPS server."""
    mode = "" if "mode:" in tls else "mode: MUTUAL, "
    credential = f"credentialName: {name}, " if name else ""
    port = "port: {number: 443, name: a, protocol: HTTPS}"
    return f"servers: [{{{port}, hosts: ['*'], tls: {{{mode}{credential}{tls}}}}}]"


H = "spec.http[0]."
T = "spec.servers[0].tls."
VIRTUAL_SERVICE = [
    ("hosts: [a]", "spec", "has no rules"),
    ("hosts: ['*']\nhttp: [{directResponse: {status: 200}}]", "spec.hosts[0]", "for gateways"),
    ("hosts: [a.*.com]\nhttp: [{directResponse: {status: 200}}]", "spec.hosts[0]", "in front"),
    ("hosts: [a_b]\nhttp: [{directResponse: {status: 200}}]", "spec.hosts[0]", "not a host"),
    ("hosts: ['*.com', a.com]\nhttp: [{directResponse: {status: 200}}]", "spec.hosts[1]", "same names"),
    ("hosts: [A.com, a.com]\nhttp: [{directResponse: {status: 200}}]", "spec.hosts[1]", "same names"),
    ("gateways: [edge]\nhttp: [{directResponse: {status: 200}}]", "spec.gateways", "delegate"),
    ("hosts: [a]\ngateways: [/x]\nhttp: [{directResponse: {status: 200}}]", "spec.gateways[0]", "namespace/name"),
    ("hosts: [a]\nexportTo: ['*', b]\nhttp: [{directResponse: {status: 200}}]", "spec.exportTo", "everywhere"),
    ("hosts: [a]\nexportTo: [., default]\nhttp: [{directResponse: {status: 200}}]", "spec.exportTo[1]", "twice"),
    ("hosts: [a]\nexportTo: ['~']\nhttp: [{directResponse: {status: 200}}]", "spec.exportTo[0]", "ServiceEntry"),
    (bare(""), "spec.http[0]", "nothing to answer"),
    (route("redirect: {uri: /}"), H + "route", "beside redirect"),
    (route("directResponse: {status: 200}"), H + "route", "beside directResponse"),
    (bare("redirect: {uri: /}\ndirectResponse: {status: 200}"), H + "directResponse", "one answer"),
    (bare("redirect: {uri: /}\nrewrite: {uri: /}"), H + "rewrite", "beside redirect"),
    (bare("directResponse: {status: 200}\nfault: {abort: {httpStatus: 500, percentage: {value: 1}}}"), H + "fault", "beside"),
    (route("delegate: {name: d}"), H + "route", "delegates"),
    (bare("redirect: {}"), H + "redirect", "leads nowhere"),
    (bare("redirect: {uri: /, redirectCode: 404}"), H + "redirect.redirectCode", "not a redirect"),
    (bare("redirect: {scheme: ftp}"), H + "redirect.scheme", "http or https"),
    (bare("redirect: {uri: /, prefixRewrite: /}"), H + "redirect.prefixRewrite", "exclude"),
    (bare("match: [{uri: {exact: /a}}]\nredirect: {prefixRewrite: /b}"), H + "redirect.prefixRewrite", "by prefix"),
    (bare("redirect: {port: 70000}"), H + "redirect.port", "1 to 65535"),
    (bare("redirect: {port: 1, derivePort: FROM_REQUEST_PORT}"), H + "redirect.derivePort", "exclude"),
    (bare("directResponse: {status: 100}"), H + "directResponse.status", "200 to 599"),
    (bare("directResponse: {status: 200, body: {bytes: '*'}}"), H + "directResponse.body.bytes", "base64"),
    (bare("directResponse: {status: 200, body: {string: a, bytes: YQ==}}"), H + "directResponse.body", "keep one"),
    (bare("directResponse: {status: 200, body: {string: " + "x" * 1_100_000 + "}}"), H + "directResponse.body", "bytes"),
    (route("rewrite: {}"), H + "rewrite", "rewrites nothing"),
    (route("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}"), H + "rewrite.uriRegexRewrite", "exclude"),
    (route("rewrite: {uriRegexRewrite: {match: a}}"), H + "rewrite.uriRegexRewrite", "both"),
    (route("rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}"), H + "rewrite.uriRegexRewrite.match", "RE2"),
    (route("rewrite: {authority: a}\nheaders: {request: {set: {Host: b}}}"), H + "headers.request.set.Host", "another place"),
    (route("timeout: 0s"), H + "timeout", "1ms or more"),
    (route("retries: {attempts: -1}"), H + "retries.attempts", "negative"),
    (route("retries: {perTryTimeout: 1s}"), H + "retries.perTryTimeout", "switched off"),
    (route("retries: {attempts: 0, retryOn: 5xx}"), H + "retries.retryOn", "switched off"),
    (route("retries: {attempts: 1, retryOn: '5xx,gatewayerror'}"), H + "retries.retryOn", "did you mean gateway-error?"),
    (route("retries: {attempts: 1, retryOn: '5xx, reset'}"), H + "retries.retryOn", "blanks"),
    (route("retries: {attempts: 1, retryOn: '699'}"), H + "retries.retryOn", "not a retry policy"),
    (route("retries: {attempts: 1, backoff: 0s}"), H + "retries.backoff", "1ms"),
    (route("fault: {}"), H + "fault", "does nothing"),
    (route("fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}"), H + "fault.delay.percentage.value", "0.0001"),
    (route("fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}"), H + "fault.delay.percentage.value", "0.0001"),
    (route("fault: {delay: {fixedDelay: 1s, percent: 101}}"), H + "fault.delay.percent", "percentage"),
    (route("fault: {delay: {exponentialDelay: 1s, percentage: {value: 1}}}"), H + "fault.delay.exponentialDelay", "fixedDelay"),
    (route("fault: {abort: {httpStatus: 42, percentage: {value: 1}}}"), H + "fault.abort.httpStatus", "200 to 599"),
    (route("fault: {abort: {grpcStatus: UNAVAILBLE, percentage: {value: 1}}}"), H + "fault.abort.grpcStatus", "UNAVAILABLE?"),
    (route("fault: {abort: {http2Error: X, percentage: {value: 1}}}"), H + "fault.abort.http2Error", "not supported"),
    (route("fault: {abort: {httpStatus: 500, grpcStatus: OK, percentage: {value: 1}}}"), H + "fault.abort", "keep one"),
    (route("match: [{uri: {exact: /, prefix: /}}]"), H + "match[0].uri", "exact and prefix"),
    (route("match: [{uri: {}}]"), H + "match[0].uri", "is empty"),
    (route("match: [{uri: {regex: '(?=a)'}}]"), H + "match[0].uri.regex", "RE2"),
    (route(f"match: [{{uri: {{regex: {'a' * 1025}}}}}]"), H + "match[0].uri.regex", "1024"),
    (route("match: [{uri: {regex: ''}}]"), H + "match[0].uri.regex", "empty regex"),
    (route("match: [{method: {prefix: ''}}]"), H + "match[0].method.prefix", "is empty"),
    (route("match: [{headers: {'a b': {exact: x}}}]"), H + 'match[0].headers["a b"]', "name of a header"),
    (route("match: [{headers: {':method2': {exact: x}}}]"), H + 'match[0].headers[":method2"]', "name of a header"),
    (route("match: [{queryParams: {q: {regex: '['}}}]"), H + "match[0].queryParams.q.regex", "RE2"),
    (route("match: [{port: 70000}]"), H + "match[0].port", "1 to 65535"),
    (route("match: [{sourceLabels: {a: 'b c'}}]"), H + "match[0].sourceLabels.a", "label"),
    (route("match: [{sourceNamespace: a.b}]"), H + "match[0].sourceNamespace", "namespace"),
    (route("match: [{headers: {'@request.auth.claims.group': {exact: x}}}]"), H + 'match[0].headers["@request.auth.claims.group"]',
     "gateway only"),
    (route("headers: {request: {set: {':path': x}}}"), H + 'headers.request.set[":path"]', "pseudo"),
    (route("headers: {request: {remove: [Host]}}"), H + "headers.request.remove[0]", "host"),
    (route("headers: {response: {set: {host: x}}}"), H + "headers.response.set.host", "host"),
    (route("headers: {request: {add: {x: 50%}}}"), H + "headers.request.add.x", "%%"),
    (route("headers: {request: {add: {x: \"a\\nb\"}}}"), H + "headers.request.add.x", "control"),
    (route("corsPolicy: {allowOrigins: [{exact: ''}]}"), H + "corsPolicy.allowOrigins[0].exact", "empty"),
    (route("corsPolicy: {allowMethods: [get]}"), H + "corsPolicy.allowMethods[0]", "GET"),
    (route("corsPolicy: {maxAge: 1500ms}"), H + "corsPolicy.maxAge", "whole seconds"),
    (route("mirror: {host: b}\nmirrors: [{destination: {host: b}}]"), H + "mirrors", "exclude"),
    (route("mirror: {host: b}\nmirrorPercentage: {value: 120}"), H + "mirrorPercentage.value", "0 to 100"),
    ("hosts: [a]\nhttp: [{route: [{destination: {host: '*'}}]}]", H + "route[0].destination.host", "not a destination"),
    ("hosts: [a]\nhttp: [{route: [{destination: {host: a, subset: a.b}}]}]", H + "route[0].destination.subset", "subset"),
    ("hosts: [a]\nhttp: [{route: [{destination: {host: a, port: {}}}]}]", H + "route[0].destination.port.number", "0 is not"),
    ("hosts: [a]\nhttp: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]", H + "route", "sum to 0"),
    ("hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: -1}]}]", H + "route[0].weight", "negative"),
    ("hosts: [a.com]\ntls: [{match: [], route: [{destination: {host: a}}]}]", "spec.tls[0].match", "sniHosts"),
    ("hosts: [a.com]\ntls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]",
     "spec.tls[0].match[0].sniHosts[0]", "not covered"),
    ("hosts: [a.com]\ntcp: [{match: [{destinationSubnets: [10.0.0.0/99]}], route: [{destination: {host: a}}]}]",
     "spec.tcp[0].match[0].destinationSubnets[0]", "not an address"),
    ("hosts: [a.com]\ntcp: [{}]", "spec.tcp[0].route", "is empty"),
]  # fmt: skip

P = "spec.trafficPolicy."
DESTINATION_RULE = [
    ("host: ''", "spec.host", "is empty"),
    ("host: b\ntrafficPolicy: {}", "spec.trafficPolicy", "is empty"),
    ("host: b\nsubsets: [{name: v1}, {name: v1}]", "spec.subsets[1].name", "earlier subset"),
    ("host: b\nsubsets: [{name: v.1}]", "spec.subsets[0].name", "not a subset"),
    ("host: b\nsubsets: [{name: v1, labels: {'a/b/c': x}}]", "spec.subsets[0].labels.a/b/c", "not a label"),
    ("host: b\nworkloadSelector: {matchLabels: {a: '*'}}", "spec.workloadSelector.matchLabels.a", "wildcard"),
    ("host: b\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: [other]", "spec.exportTo", "own namespace"),
    (policy("loadBalancer: {simple: FASTEST}"), P + "loadBalancer.simple", "not one of"),
    (policy("loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}"), P + "loadBalancer.consistentHash", "exclude"),
    (policy("loadBalancer: {consistentHash: {maglev: {tableSize: 100}}}"), P + "loadBalancer.consistentHash.maglev.tableSize",
     "prime"),
    (policy("loadBalancer: {consistentHash: {httpHeaderName: a, useSourceIp: true}}"),
     P + "loadBalancer.consistentHash.useSourceIp", "exclude"),
    (policy("loadBalancer: {consistentHash: {httpCookie: {name: c, attributes: [{name: x}, {name: x}]}}}"),
     P + "loadBalancer.consistentHash.httpCookie.attributes[1].name", "twice"),
    (policy("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50, c: 40}}]}}"),
     P + "loadBalancer.localityLbSetting.distribute[0].to", "sum to 90"),
    (policy("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b/*: 50, b/c: 50}}]}}"),
     P + "loadBalancer.localityLbSetting.distribute[0].to.b/c", "overlaps"),
    (policy("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]}}"),
     P + "loadBalancer.localityLbSetting.failover", "exclude"),
    (policy("outlierDetection: {}\nloadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}"),
     P + "loadBalancer.localityLbSetting.failover[0]", "itself"),
    (policy("loadBalancer: {warmupDurationSecs: 0s}"), P + "loadBalancer.warmupDurationSecs", "1ms"),
    (policy("connectionPool: {}"), P + "connectionPool", "is empty"),
    (policy("connectionPool: {tcp: {maxConnections: -1}}"), P + "connectionPool.tcp.maxConnections", "negative"),
    (policy("connectionPool: {tcp: {connectTimeout: 0s}}"), P + "connectionPool.tcp.connectTimeout", "1ms"),
    (policy("connectionPool: {http: {maxRetries: -1}}"), P + "connectionPool.http.maxRetries", "negative"),
    (policy("connectionPool: {http: {idleTimeout: 0s}}"), P + "connectionPool.http.idleTimeout", "1ms"),
    (policy("connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}"),
     P + "connectionPool.http.useClientProtocol", "excludes"),
    (policy("connectionPool: {http: {http2KeepAlive: {interval: 1s}}}"), P + "connectionPool.http.http2KeepAlive", "timeout is"),
    (policy("outlierDetection: {consecutiveLocalOriginFailures: 3}"), P + "outlierDetection.consecutiveLocalOriginFailures",
     "splitExternal"),
    (policy("outlierDetection: {maxEjectionPercent: 101}"), P + "outlierDetection.maxEjectionPercent", "0 to 100"),
    (policy("outlierDetection: {interval: 0s}"), P + "outlierDetection.interval", "1ms"),
    (policy("outlierDetection: {outlierDetectionHttpErrorCodes: [99]}"),
     P + "outlierDetection.outlierDetectionHttpErrorCodes[0]", "100 to 599"),
    (policy("tls: {mode: MUTUAL, clientCertificate: /c}"), P + "tls", "privateKey is required"),
    (policy("tls: {mode: ISTIO_MUTUAL, privateKey: /k}"), P + "tls.privateKey", "no place"),
    (policy("tls: {mode: SIMPLE, credentialName: c, caCertificates: /c}"), P + "tls.caCertificates", "excludes"),
    (policy("tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [x]}"), P + "tls.subjectAltNames", "verified"),
    (policy("portLevelSettings: [{loadBalancer: {simple: RANDOM}}]"), P + "portLevelSettings[0]", "port is required"),
    (policy("portLevelSettings: [{port: {number: 80}}]"), P + "portLevelSettings[0]", "sets nothing"),
    (policy("portLevelSettings: [{port: {number: 80}, outlierDetection: {minHealthPercent: -1}}]"),
     P + "portLevelSettings[0].outlierDetection.minHealthPercent", "0 to 100"),
    (policy("loadBalancer: {simple: RANDOM, backendUtilization: {}}"), P + "loadBalancer.backendUtilization", "exclude"),
    (policy("loadBalancer: {backendUtilization: {weightUpdatePeriod: 0s}}"),
     P + "loadBalancer.backendUtilization.weightUpdatePeriod", "1ms"),
    (policy("loadBalancer: {backendUtilization: {metricNamesForComputingUtilization: [a.b]}}"),
     P + "loadBalancer.backendUtilization.metricNamesForComputingUtilization[0]", "no metric"),
    (policy("tunnel: {targetHost: a.com, targetPort: 0}"), P + "tunnel.targetPort", "1 to 65535"),
    (policy("tunnel: {targetHost: a.com, targetPort: 1}\nproxyProtocol: {}"), P + "proxyProtocol", "exclude"),
    (policy("retryBudget: {percent: 120}"), P + "retryBudget.percent", "0 to 100"),
]  # fmt: skip

SERVICE_ENTRY = [
    ("hosts: []", "spec.hosts", "is empty"),
    ("hosts: [a b]", "spec.hosts[0]", "not a host"),
    (entry("addresses: [1.2.3]"), "spec.addresses[0]", "not an address"),
    (entry("exportTo: ['~', a]"), "spec.exportTo", "nowhere"),
    ("hosts: [x.com]\nports: [{number: 80, name: a, protocol: FTP}]", "spec.ports[0].protocol", "not a protocol"),
    ("hosts: [x.com]\nports: [{number: 80, name: a.b}]", "spec.ports[0].name", "port name"),
    ("hosts: [x.com, y.com]\nresolution: DNS\nports: [{number: 80, name: a, protocol: TCP}]", "spec.ports[0].protocol",
     "told apart"),
    ("hosts: ['*.x.com']\nresolution: DNS", "spec.hosts[0]", "cannot be resolved"),
    (entry("resolution: STATIC\nendpoints: [{address: x.org}]"), "spec.endpoints[0].address", "DNS"),
    (entry("resolution: DNS\nendpoints: [{address: a b}]"), "spec.endpoints[0].address", "host name"),
    (entry("resolution: STATIC\nendpoints: [{}]"), "spec.endpoints[0]", "address is required"),
    (entry("resolution: STATIC\nendpoints: [{address: 1.2.3.4, ports: {htttp: 1}}]"), "spec.endpoints[0].ports.htttp", "http"),
    (entry("resolution: STATIC\nendpoints: [{address: 'unix:///a', ports: {http: 1}}]"), "spec.endpoints[0].ports", "socket"),
    (entry("resolution: STATIC\nendpoints: [{address: 'unix://a'}]"), "spec.endpoints[0].address", "socket"),
    (entry("resolution: DYNAMIC_DNS"), "spec.hosts[0]", "no wildcard"),
]  # fmt: skip

GATEWAY_CASES = [
    ("servers: []", "spec.servers", "is empty"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: []}]", "spec.servers[0].hosts", "is empty"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [short]}]", "spec.servers[0].hosts[0]", "short name"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*a.com']}]", "spec.servers[0].hosts[0]", "wildcard"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a_/b.com]}]", "spec.servers[0].hosts[0]", "namespace"),
    ("servers: [{port: {number: 0, name: a, protocol: HTTP}, hosts: ['*']}]", "spec.servers[0].port.number", "1 to 65535"),
    ("servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]", "spec.servers[0].port", "name is required"),
    ("servers: [{port: {number: 80, name: a, protocol: X}, hosts: ['*']}]", "spec.servers[0].port.protocol", "not a protocol"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP, targetPort: 1}, hosts: ['*']}]", "spec.servers[0].port.targetPort",
     "no effect"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], bind: x}]", "spec.servers[0].bind", "not an IP"),
    ("servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*']}]", "spec.servers[0]", "tls is required"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}]",
     "spec.servers[0].tls.mode", "HTTPS"),
    ("servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, privateKey: /k}}]",
     "spec.servers[0].tls", "serverCertificate is required"),
    ("servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: MUTUAL, privateKey: /k, "
     "serverCertificate: /c}}]", "spec.servers[0].tls", "caCertificates is required"),
    ("servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL, credentialName: c}}]",
     "spec.servers[0].tls.credentialName", "no place"),
    ("servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c, "
     "credentialNames: [d]}}]", "spec.servers[0].tls.credentialNames", "exclude"),
    (secure("minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2"), T + "minProtocolVersion", "above"),
    (secure("verifyCertificateHash: [abc]"), T + "verifyCertificateHash[0]", "64 hex digits"),
    (secure("verifyCertificateSpki: [abc]"), T + "verifyCertificateSpki[0]", "base64"),
    (secure("minProtocolVersion: TLSV1_4"), T + "minProtocolVersion", "not one of"),
    ("servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}, {port: {number: 81, name: a, protocol: HTTP}, "
     "hosts: ['*']}]", "spec.servers[1].port.name", "earlier port"),
]  # fmt: skip

SIDECAR = [
    ("{}", "spec", "is empty"),
    ("egress: [{hosts: [a.com]}]", "spec.egress[0].hosts[0]", "no namespace"),
    ("egress: [{hosts: []}]", "spec.egress[0].hosts", "is empty"),
    ("egress: [{hosts: ['*/*']}, {hosts: ['./*']}]", "spec.egress[0]", "last"),
    ("ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '1.2.3.4:80'}]", "spec.ingress[0].defaultEndpoint", "local"),
    ("ingress: [{port: {number: 80, protocol: HTTP}}, {port: {number: 80, protocol: HTTP}}]", "spec.ingress[1].port.number",
     "taken"),
    ("outboundTrafficPolicy: {egressProxy: {host: a, port: {number: 80}}}", "spec.outboundTrafficPolicy.egressProxy", "ALLOW_ANY"),
]  # fmt: skip

WORKLOAD = [
    ("WorkloadEntry", "{}", "spec", "address is required"),
    ("WorkloadEntry", "address: 1.2.3.4\nports: {http: 0}", "spec.ports.http", "1 to 65535"),
    ("WorkloadEntry", "address: 1.2.3.4\nlabels: {a: '*'}", "spec.labels.a", "label"),
    ("WorkloadGroup", "template: {}\nprobe: {periodSeconds: -1, tcpSocket: {port: 1}}", "spec.probe.periodSeconds", "negative"),
    ("WorkloadGroup", "template: {}\nprobe: {}", "spec.probe", "one of httpGet"),
]  # fmt: skip

TABLE = [
    *(("VirtualService", *case) for case in VIRTUAL_SERVICE),
    *(("DestinationRule", *case) for case in DESTINATION_RULE),
    *(("ServiceEntry", *case) for case in SERVICE_ENTRY),
    *(("Gateway", *case) for case in GATEWAY_CASES),
    *(("Sidecar", *case) for case in SIDECAR),
    *WORKLOAD,
]


@pytest.mark.parametrize(("kind", "spec", "field", "part"), TABLE, ids=lambda value: str(value)[:60].replace("\n", " "))
def test_one_mistake_gives_one_error_at_its_place(kind: str, spec: str, field: str, part: str) -> None:
    errors = check(kind, spec).errors
    assert [error.field for error in errors] == [field], errors
    assert part in errors[0].message
    assert errors[0].line > 15


RATE_LIMIT = [
    ("limits: []", "spec.limits", "is empty"),
    ("limits: [{requests: 0}]", "spec.limits[0].requests", "1 or more"),
    ("limits: [{requests: 1, per: week}]", "spec.limits[0].per", "day, hour, minute, second"),
    ("limits: [{requests: 1, keys: [{header: a, path: true}]}]", "spec.limits[0].keys[0]", "exactly one"),
    ("limits: [{requests: 1, keys: [{}]}]", "spec.limits[0].keys[0]", "exactly one"),
    ("limits: [{requests: 1, match: [{uri: {regex: '['}}]}]", "spec.limits[0].match[0].uri.regex", "RE2"),
    ("limits: [{requests: 1}]\nresponse: {status: 99}", "spec.response.status", "429"),
    ("limits: [{requests: 1}]\nresponse: {headers: {a: '%REQ(b)%'}}", "spec.response.headers.a", "as it is written"),
    ("limits: [{requests: 1}]\ntargetRef: {kind: Pod, name: a}", "spec.targetRef.kind", "not one of Gateway, Service"),
    ("limits: [{requests: 1, burst: 2}]\nglobal: {}", "spec.limits[0].burst", "no meaning with global"),
    ("limits: [{requests: 1}]\nglobal: {redis: 'redis://:pw@h:1'}", "spec.global.redis", "--redis-password-file"),
    ("limits: [{requests: 1}]\nglobal: {redis: 'http://h'}", "spec.global.redis", "HOST:PORT"),
    ("limits: [{requests: 1}]\nglobal: {domain: 'a b'}", "spec.global.domain", "letters"),
    (
        "limits: [{requests: 1}]\ntargetRef: {kind: Service, name: a, sectionName: r}",
        "spec.targetRef.sectionName",
        "route",
    ),
]


@pytest.mark.parametrize(("spec", "field", "part"), RATE_LIMIT)
def test_a_rate_limit_is_checked_too(spec: str, field: str, part: str) -> None:
    errors = check("RateLimit", spec, group="fastmesh.io/v1alpha1").errors
    assert [error.field for error in errors] == [field], errors
    assert part in errors[0].message


def test_the_rate_limit_of_the_handbook_is_right() -> None:
    spec = """\
    targetRef: {kind: Service, name: a}
    limits:
    - {requests: 100, per: second, burst: 20, match: [], keys: [{header: x-user}]}
    response: {status: 429, body: slow down, headers: {retry-after: "1"}}
    """
    assert check("RateLimit", spec, group="fastmesh.io/v1alpha1").problems == []


RIGHT = [
    ("RateLimit", "limits: [{requests: 1, keys: [{sourcePrincipal: true}]}]"),
    ("VirtualService", "hosts: ['*']\ngateways: [edge]\nhttp: [{directResponse: {status: 200}}]"),
    ("VirtualService", "hosts: [10.0.0.1, a]\nhttp: [{redirect: {port: 8080, redirectCode: 308}}]"),
    ("VirtualService", route("retries: {attempts: 3, retryOn: '5xx,503,reset', backoff: 1ms}")),
    ("VirtualService", route("match: [{uri: {prefix: ''}, headers: {':authority': {exact: a}, x: {regex: '*'}}}]")),
    ("VirtualService", route("headers: {request: {set: {':authority': b, x: 100%%}, remove: [y]}, response: {add: {z: a}}}")),
    ("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: a, subset: v1}, weight: 0}]}]"),
    ("DestinationRule", policy("connectionPool: {tcp: {idleTimeout: 0s}}")),
    ("DestinationRule", policy("outlierDetection: {consecutive_5xx_errors: 0}\nloadBalancer: {simple: LEAST_CONN}")),
    ("DestinationRule", policy("tls: {mode: DISABLE}")),
    ("ServiceEntry", entry("resolution: STATIC\nendpoints: [{address: '::1', ports: {http: 1}}]\nexportTo: ['~']")),
    ("ServiceEntry", entry("resolution: DNS\nlocation: MESH_INTERNAL")),
    ("Gateway", "servers: [{port: {number: 80, name: a, protocol: http}, hosts: [./a.com, ns/*.b.com], "
                "tls: {httpsRedirect: true}}]"),
    ("VirtualService", "hosts: [a]\ngateways: [edge]\ntcp: [{route: [{destination: {host: a}}]}]"),
    ("VirtualService", "hosts: [a.com]\ntls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: a}}]}]"),
    ("DestinationRule", policy("tls: {mode: ISTIO_MUTUAL}")),
    ("DestinationRule", policy("portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: a}}]")),
    ("DestinationRule", policy("connectionPool: {http: {h2UpgradePolicy: UPGRADE}}")),
    ("DestinationRule", policy("connectionPool: {http: {useClientProtocol: true}}")),
    ("DestinationRule", policy("connectionPool: {http: {maxConcurrentStreams: 1}}")),
    ("ServiceEntry", entry("subjectAltNames: [a]")),
    ("ServiceEntry", "hosts: [x.com]\nports: [{number: 443, name: a, protocol: GRPC}]"),
    ("ServiceEntry", "hosts: [x.com]\nports: [{number: 443, name: a, protocol: TLS}]"),
    ("Gateway", "servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}]"),
    ("Gateway", "servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], "
                "tls: {mode: SIMPLE, credentialName: c}}]"),
    ("Gateway", "servers: [{port: {number: 80, name: a, protocol: GRPC}, hosts: ['*']}]"),
    ("Gateway", secure("ecdhCurves: [P-256], cipherSuites: [AES128-SHA], minProtocolVersion: TLSV1_2, verifyCertificateHash: []")),
    ("Sidecar", "egress: [{hosts: ['./*']}]\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}"),
    ("Sidecar", "ingress: [{port: {number: 80, protocol: HTTP, name: a}, defaultEndpoint: 'unix:///a.sock'}]"),
    ("WorkloadEntry", "address: vm.example.com\nlabels: {app: a}\nlocality: r/z/s"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec"), RIGHT)
def test_what_is_right_and_served_raises_nothing(kind: str, spec: str) -> None:
    group = "fastmesh.io/v1alpha1" if kind == "RateLimit" else "networking.istio.io/v1"
    assert check(kind, spec, group=group).problems == []


UNSERVED = [
    ("VirtualService", route("headers: {request: {set: {x: '%STREAM_ID%'}}}"), H + "headers.request.set.x"),
    ("Gateway", "servers: [{port: {number: 80, name: a, protocol: UDP}, hosts: ['*']}]", "spec.servers[0].port.protocol"),
    ("Sidecar", "egress: [{hosts: ['./*'], captureMode: IPTABLES}]", "spec.egress[0].captureMode"),
    ("WorkloadGroup", "template: {}", ""),
    ("Gateway", "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], defaultEndpoint: 127.0.0.1:80}]",
     "spec.servers[0].defaultEndpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "field"), UNSERVED)
def test_what_is_valid_but_not_served_is_said(kind: str, spec: str, field: str) -> None:
    result = check(kind, spec)
    assert result.ok
    found = [(warning.code, warning.field) for warning in result.warnings if warning.code != "advice"]
    assert found == [("unserved", field)]


REFERENCES = [
    ("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: bb}}]}]", H + "route[0].destination.host", "503"),
    ("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: a.default}}]}]", H + "route[0].destination.host",
     "a.default.svc.cluster.local"),
    ("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: a, subset: v2}}]}]", H + "route[0].destination.subset",
     "its subsets are v1;"),
    ("VirtualService", "hosts: [a]\ngateways: [egde]\nhttp: [{directResponse: {status: 200}}]", "spec.gateways[0]",
     "no Gateway default/egde"),
    ("VirtualService", "hosts: [a]\nhttp: [{match: [{gateways: [x/y]}], directResponse: {status: 200}}]",
     H + "match[0].gateways[0]", "no Gateway x/y"),
    ("DestinationRule", "host: nobody", "spec.host", "no effect"),
    ("VirtualService", "hosts: [a]\ntcp: [{route: [{destination: {host: bb}}]}]", "spec.tcp[0].route[0].destination.host",
     "connections would be closed"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "field", "part"), REFERENCES)
def test_names_that_lead_nowhere_are_warnings(kind: str, spec: str, field: str, part: str) -> None:
    result = check(kind, spec)
    assert result.ok
    assert [(warning.code, warning.field) for warning in result.warnings] == [("reference", field)]
    assert part in result.warnings[0].message


ADVICE = [
    (route("fault: {delay: {fixedDelay: 1s}}"), H + "fault.delay", "delays nobody"),
    (route("headers: {request: {set: {':authority': '%REQ(x)%'}}}"), H + 'headers.request.set[":authority"]', "as it stands"),
    (route("headers: {request: {add: {host: a%%b}}}"), H + "headers.request.add.host", "as it stands"),
    (route("mirror: {host: b}\nmirror_percent: 5"), H + "mirrorPercent", "mirrorPercentage: {value: 5}"),
    (bare("redirect: {uri: /, redirectCode: 304}"), H + "redirect.redirectCode", "dropped"),
    ("hosts: [a]\nhttp: [{route: [{destination: {host: a}}]}, {name: late, route: [{destination: {host: b}}]}]", "spec.http[1]",
     "never used"),
    ("hosts: [a]\nhttp: [{match: [{uri: {exact: /x}}], route: [{destination: {host: a}}]}, "
     "{match: [{name: n, uri: {exact: /x}}], route: [{destination: {host: b}}]}]", "spec.http[1].match[0]", "same match"),
    ("hosts: [a]\ngateways: [edge.default]\nhttp: [{directResponse: {status: 200}}]", "spec.gateways[0]", "default/edge"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "part"), ADVICE)
def test_what_is_surely_not_meant_is_said(spec: str, field: str, part: str) -> None:
    result = check("VirtualService", spec)
    assert result.ok
    advice = [warning for warning in result.warnings if warning.code == "advice"]
    assert [warning.field for warning in advice if not field.startswith(f"{warning.field}.")] == [field]
    assert part in next(warning for warning in advice if warning.field == field).message


GATEWAY_ADVICE = [
    ("cipherSuites: [ECDHE-RSA-AES128-GCM-SHA265]", "cipherSuites[0]", "did you mean ECDHE-RSA-AES128-GCM-SHA256?"),
    ("cipherSuites: [TLS_FANCY]", "cipherSuites[0]", "OpenSSL's name"),
    ("ecdhCurves: [P-265]", "ecdhCurves[0]", "did you mean P-256?"),
    ("ecdhCurves: [X25519, X25519MLKEM768]", "ecdhCurves[1]", "it is left out"),
    ("cipherSuites: [AES128-SHA, AES128-SHA]", "cipherSuites[1]", "twice"),
    ("mode: SIMPLE, subjectAltNames: [x]", "subjectAltNames", "write MUTUAL"),
    ("mode: SIMPLE, insecureSkipVerify: true", "insecureSkipVerify", "write MUTUAL"),
    ("minProtocolVersion: TLSV1_0", "minProtocolVersion", "add cipherSuites"),
    ("httpsRedirect: true", "httpsRedirect", "no effect on HTTPS"),
]


@pytest.mark.parametrize(("tls", "field", "part"), GATEWAY_ADVICE)
def test_what_has_no_effect_on_tls_is_said(tls: str, field: str, part: str) -> None:
    result = check("Gateway", secure(tls))
    assert result.ok
    advice = [warning for warning in result.warnings if warning.code == "advice"]
    assert [warning.field for warning in advice] == [T + field]
    assert part in advice[0].message


def test_services_and_endpoints_are_checked() -> None:
    result = parse(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}, {port: 70000, name: x}]}\n---\n"
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: x}], ports: [{port: 80}]}]\n---\n"
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n"
        "endpoints:\n- addresses: [1.2.3]\n---\n"
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
        "spec: {selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: e}}}}\n"
    )
    assert [(error.line, error.field) for error in result.errors] == [
        (4, "spec.ports[0]"), (4, "spec.ports[1].port"), (9, "subsets[0].addresses[0].ip"),
        (16, "endpoints[0].addresses[0]"), (21, "spec.selector.matchLabels.app"),
    ]  # fmt: skip


def test_annotations_that_refuse() -> None:
    spec = "hosts: [a]\nhttp: [{directResponse: {status: 200}}]"
    result = check("VirtualService", spec, metadata="{name: x, annotations: {istio.io/dry-run: 'true'}}")
    assert [error.field for error in result.errors] == ['metadata.annotations["istio.io/dry-run"]']
