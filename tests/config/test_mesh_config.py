"""MeshConfig: where it is read, what is refused and reported, and what it changes in a plan."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fastmesh.cli.validate import validate
from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import Plan
from fastmesh.config.read import load
from fastmesh.config.startup import Startup, startup
from fastmesh.config.store import ReadResult, read, read_documents
from fastmesh.errors import EXIT_DATA, EXIT_OK
from tests.config.asking import config_of, plan_of, route, rule_for, vhost_for
from tests.config.test_compile_upstream_tls import HTTP

SERVICES = """---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: store}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: open, namespace: store, annotations: {networking.istio.io/exportTo: "*"}}
spec: {ports: [{name: http, port: 80}]}
"""


def mesh(written: str, name: str = "istio") -> str:
    inside = textwrap.indent(textwrap.dedent(written).strip(), "    ")
    return f"""---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: istio-system}}
data:
  mesh: |
{inside}
"""


def checked(text: str) -> ReadResult:
    problems: list[Any] = []
    documents = load.load_text(text, "test.yaml", problems)
    return read_documents(load.Loaded(documents, problems, ["test.yaml"]))


def plan(written: str, more: str = "", **role: Any) -> Plan:
    return plan_of(SERVICES + more + mesh(written), **{"namespace": "shop", **role})


def test_a_mistake_is_told_with_its_line_in_the_file() -> None:
    text = SERVICES + mesh("accessLogFile: /dev/stdout\nconectTimeout: 5s\noutboundTrafficPolicy: {mode: NONE}")
    errors = checked(text).errors
    lines = text.splitlines()
    assert [(error.field, error.kind) for error in errors] == [
        ("conectTimeout", "MeshConfig"),
        ("outboundTrafficPolicy.mode", "MeshConfig"),
    ]
    assert [lines[error.line - 1].strip().partition(":")[0] for error in errors] == [
        "conectTimeout",
        "outboundTrafficPolicy",
    ]
    assert "did you mean connectTimeout?" in errors[0].message


WRONG = [
    ("connectTimeout: 0s", "connectTimeout"),
    ("defaultServiceExportTo: ['*', a]", "defaultServiceExportTo"),
    ("defaultHttpRetryPolicy: {attempts: -1}", "defaultHttpRetryPolicy.attempts"),
    ("defaultInboundHttpRetryPolicy: {backoff: 1s}", "defaultInboundHttpRetryPolicy.backoff"),
    ("defaultConfig: {concurrency: -1}", "defaultConfig.concurrency"),
    ("rootNamespace: A_B", "rootNamespace"),
    ("defaultTrafficPolicy: {connectionPool: {}}", "defaultTrafficPolicy.connectionPool"),
    ("defaultConfig: {nothing: 1}", "defaultConfig.nothing"),
]


@pytest.mark.parametrize(("written", "field"), WRONG)
def test_what_is_refused(written: str, field: str) -> None:
    assert field in {error.field for error in checked(mesh(written)).errors}


def test_what_has_no_effect_is_said() -> None:
    found = checked(
        mesh("inboundTrafficPolicy: {mode: LOCALHOST}\naccessLogFormat: x\ndefaultConfig: {tracing: {a: 1}}")
    )
    assert found.ok
    assert sorted(warning.field for warning in found.warnings) == [
        "accessLogFormat",
        "defaultConfig.tracing",
        "inboundTrafficPolicy",
    ]


def test_what_istio_installs_is_no_reason_for_a_warning() -> None:
    """Its parts for a control plane are notes; its defaults are nothing at all."""
    found = checked(
        mesh("""
        accessLogFile: /dev/stdout
        defaultConfig: {discoveryAddress: "istiod.istio-system.svc:15012"}
        defaultProviders: {metrics: [prometheus]}
        enablePrometheusMerge: true
        rootNamespace: istio-system
        trustDomain: cluster.local
        protocolDetectionTimeout: 0s
        localityLbSetting: {enabled: true}
        """)
    )
    assert not [problem for problem in found.problems if problem.severity != "note"]
    assert {problem.field for problem in found.problems} == {
        "defaultConfig.discoveryAddress",
        "defaultProviders",
        "enablePrometheusMerge",
    }


def test_other_maps_are_other_peoples() -> None:
    assert checked(mesh("nothing: 1", name="other")).ok


def test_a_file_of_its_own(tmp_path: Path) -> None:
    services, own = tmp_path / "services.yaml", tmp_path / "mesh.yaml"
    services.write_text(SERVICES + mesh("outboundTrafficPolicy: {mode: ALLOW_ANY}"))
    own.write_text("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
    found = read([str(services)], mesh_config=str(own))
    assert found.ok
    assert found.files == [str(services), str(own)]
    assert compile_plan(found.resources, Role())[0].listeners[0].unknown == "blackhole"
    own.write_text("outboundTrafficPolicy: {mod: REGISTRY_ONLY}\n")
    [error] = read([str(services)], mesh_config=str(own)).errors
    assert (error.file, error.line, error.field) == (str(own), 1, "outboundTrafficPolicy.mod")
    assert not read([str(services)], mesh_config=str(tmp_path / "none")).ok


def test_validate_takes_one(tmp_path: Path) -> None:
    own = tmp_path / "mesh.yaml"
    for text, code in (("connectTimeout: 5s", EXIT_OK), ("connectTimeout: 5", EXIT_DATA)):
        own.write_text(text)
        assert CliRunner().invoke(validate, ["--mesh-config", str(own)]).exit_code == code


# ---- what it changes


def test_unknown_hosts() -> None:
    assert plan("outboundTrafficPolicy: {mode: REGISTRY_ONLY}").listeners[0].unknown == "blackhole"
    assert plan("outboundTrafficPolicy: {}").listeners[0].unknown == "blackhole"
    assert plan("outboundTrafficPolicy: {mode: ALLOW_ANY}").listeners[0].unknown == "passthrough"
    assert plan("connectTimeout: 1s").listeners[0].unknown == "passthrough"


def test_a_sidecar_decides_before_the_mesh() -> None:
    sidecar = """---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own, namespace: shop}
spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}
"""
    assert plan("outboundTrafficPolicy: {}", sidecar).listeners[0].unknown == "passthrough"


def test_services_are_private_by_default() -> None:
    found = plan("defaultServiceExportTo: ['.']")
    assert route(found, "cart", 80) is not None
    assert route(found, "stock.store", 80) is None
    assert route(found, "open.store", 80) is not None


RULE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: store}
spec:
  hosts: [cart.shop.svc.cluster.local]
  http: [{route: [{destination: {host: stock}}]}]
"""
POLICY = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: stock, namespace: store}
spec: {host: stock, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 9}}}}
"""


def test_rules_are_private_by_default() -> None:
    assert route(plan("rootNamespace: istio-system", RULE), "cart", 80) == [
        "outbound|80||stock.store.svc.cluster.local"
    ]
    private = plan("defaultVirtualServiceExportTo: ['.']", RULE)
    assert route(private, "cart", 80) == ["outbound|80||cart.shop.svc.cluster.local"]


def cluster(found: Plan, host: str) -> Any:
    return next(each for each in found.clusters if each.host.startswith(host))


def test_destination_rules_are_private_by_default() -> None:
    assert cluster(plan("rootNamespace: istio-system", POLICY), "stock").max_requests == 9
    assert cluster(plan("defaultDestinationRuleExportTo: ['.']", POLICY), "stock").max_requests == 0
    own = plan("defaultDestinationRuleExportTo: ['.']", POLICY, namespace="store")
    assert cluster(own, "stock").max_requests == 9


def test_another_root_namespace() -> None:
    whole = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all, namespace: base}
spec: {host: "*.local", trafficPolicy: {connectionPool: {http: {http2MaxRequests: 7}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: all, namespace: base}
spec: {egress: [{hosts: ["./*"]}]}
"""
    found = plan("rootNamespace: base", whole)
    assert cluster(found, "cart").max_requests == 7
    assert route(found, "stock.store", 80) is None
    assert cluster(plan("connectTimeout: 1s", whole), "cart").max_requests == 0


def test_defaults_of_destinations() -> None:
    found = plan(
        """
        connectTimeout: 3s
        tcpKeepalive: {time: 60s, probes: 3}
        h2UpgradePolicy: UPGRADE
        defaultTrafficPolicy:
          connectionPool: {http: {http2MaxRequests: 5}}
          outlierDetection: {consecutive5xxErrors: 2}
        """,
        POLICY,
    )
    cart, stock = cluster(found, "cart"), cluster(found, "stock")
    assert (cart.connect_timeout, cart.keepalive, cart.http) == (3000, (3, 60, 0), "http2")
    assert (cart.max_requests, cart.outlier.consecutive_5xx) == (5, 2)
    assert (stock.max_requests, stock.outlier.consecutive_5xx, stock.connect_timeout) == (9, 2, 3000)
    plain = cluster(plan("rootNamespace: istio-system"), "cart")
    assert (plain.connect_timeout, plain.keepalive, plain.http, plain.outlier) == (10_000, None, "http1", None)


def test_a_rule_may_refuse_the_upgrade() -> None:
    policy = POLICY.replace("http2MaxRequests: 9", "h2UpgradePolicy: DO_NOT_UPGRADE")
    assert cluster(plan("h2UpgradePolicy: UPGRADE", policy), "stock").http == "http1"


def retries(found: Plan) -> tuple[int, list[str], int | None]:
    vhost = vhost_for(found, "cart", 80)
    assert vhost is not None
    rule = rule_for(vhost)
    assert rule is not None
    assert rule.retry is not None
    return rule.retry.attempts, rule.retry.written, rule.retry.per_try_timeout


def test_default_retries() -> None:
    assert retries(plan("defaultHttpRetryPolicy: {attempts: 0}"))[0] == 0
    default = "defaultHttpRetryPolicy: {attempts: 4, perTryTimeout: 1s, retryOn: '5xx,503'}"
    assert retries(plan(default)) == (4, ["5xx", "503"], None)
    assert retries(plan(default, RULE)) == (4, ["5xx", "503"], None)
    own = RULE.replace("http: [{", "http: [{retries: {attempts: 1, retryOn: reset}, ")
    assert retries(plan(default, own)) == (1, ["reset"], None)


def test_paths() -> None:
    for written, wanted in (("MERGE_SLASHES", "MERGE_SLASHES"), ("NONE", "NONE"), ("DEFAULT", "BASE")):
        assert plan(f"pathNormalization: {{normalization: {written}}}").mesh.path_normalization == wanted


def test_trust_domain_and_its_other_names() -> None:
    text = HTTP + mesh("trustDomain: new.example\ntrustDomainAliases: [old.example]")
    found = plan_of(text, namespace="shop", identity=True)
    assert (found.mesh.trust_domain, found.mesh.trust_domain_aliases) == ("new.example", ["old.example"])
    tls = cluster(found, "pay").tls
    assert tls.trust_domains == ["new.example", "old.example"]
    assert {name.split("/")[2] for name in tls.sans} == {"new.example", "old.example"}
    assert plan_of(text, namespace="shop", trust_domain="own.example").mesh.trust_domain == "own.example"


def test_without_auto_mtls_plaintext_is_spoken() -> None:
    assert cluster(plan_of(HTTP, namespace="shop", identity=True), "pay").tls is not None
    found = plan_of(HTTP + mesh("enableAutoMtls: false"), namespace="shop", identity=True)
    assert cluster(found, "pay").tls is None


# ---- how the proxy is started

PROXY = """---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{concurrency: {workers}{more}}}
"""
SELECTS = ", selector: {matchLabels: {app: cart}}"


def test_how_it_is_started() -> None:
    written = mesh("accessLogFile: /dev/stdout\naccessLogEncoding: JSON\ndefaultConfig: {concurrency: 1}")
    role = Role(namespace="shop", labels={"app": "cart"})
    assert startup(config_of(SERVICES), role) == Startup()
    assert startup(config_of(written), role) == Startup(1, "-", "json")
    whole = PROXY.format(name="all", namespace="istio-system", workers=2, more="")
    own = PROXY.format(name="own", namespace="shop", workers=3, more="")
    chosen = PROXY.format(name="cart", namespace="shop", workers=4, more=SELECTS)
    elsewhere = PROXY.format(name="other", namespace="store", workers=5, more="")
    for text, wanted in ((whole, 2), (whole + own, 3), (own + chosen + whole, 4), (elsewhere, 1)):
        assert startup(config_of(written + text), role).concurrency == wanted
    assert startup(config_of(own + chosen), Role(namespace="shop")).concurrency == 3
