"""Documents to typed objects: every mistake of a document at once, and what is somebody else's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastmesh.config.read.load import Loaded, load_text
from fastmesh.config.store import ReadResult, read, read_documents
from fastmesh.errors import ConfigError, Problem
from fastmesh.model.base import Duration, StringMatch
from tests.corpora import corpora_dir


def parse(text: str, *, strict: bool = False, allow_unenforced: bool = False) -> ReadResult:
    problems: list[Problem] = []
    documents = load_text(text, "rules.yaml", problems)
    return read_documents(Loaded(documents, problems, ["rules.yaml"]), strict=strict, allow_unenforced=allow_unenforced)


def told(result: ReadResult, severity: str = "error") -> list[tuple[int, str, str]]:
    return [(p.line, p.field, p.message) for p in result.problems if p.severity == severity]


VS = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n"


def test_the_shape_of_an_error() -> None:
    text = VS + "  hosts: [reviews]\n  http:\n  - route:\n    - destination: {host: a}\n    - destination: {host: b}\n"
    result = parse(text + "      weight: -5\n")
    assert [str(problem) for problem in result.errors] == [
        "rules.yaml:10: VirtualService/reviews: spec.http[0].route[1].weight: -5 is negative, a weight is 0 or more"
    ]
    assert not result.ok
    with pytest.raises(ConfigError, match="weight") as raised:
        result.require()
    assert raised.value.exit_code == 65


def test_every_mistake_of_a_document_is_told_at_once() -> None:
    result = parse(
        VS
        + "  hosts: reviews\n"  # 5
        + "  htpp: []\n"
        + "  http:\n"
        + "  - timeout: 10\n"  # 8
        + "    retries: {attempts: two, perTryTimeout: 1us}\n"
        + "    route:\n"
        + "    - destination: {hots: a}\n"  # 11
        + "      weight: '5'\n"
        + "    fault: {delay: {percentage: {value: all}}}\n"
        + "    corsPolicy: {unmatchedPreflights: IGNORED, allowCredentials: yes}\n"  # 14
        + "    headers: {request: {set: {x-version: 1.10}}}\n"
        + "    mirrorPercent: -1\n"
    )
    found = {field: (line, message) for line, field, message in told(result)}
    assert found["spec.hosts"] == (5, '"reviews" is not a list, write [reviews]')
    assert found["spec.htpp"] == (6, "unknown field, did you mean http?")
    assert found["spec.http[0].timeout"][0] == 8
    assert "5s, 1.5h or 100ms" in found["spec.http[0].timeout"][1]
    assert "whole number" in found["spec.http[0].retries.attempts"][1]
    assert "millisecond" in found["spec.http[0].retries.perTryTimeout"][1]
    assert found["spec.http[0].route[0].destination.hots"] == (11, "unknown field, did you mean host?")
    assert "host is required" in found["spec.http[0].route[0].destination"][1]
    assert "without quotes: 5" in found["spec.http[0].route[0].weight"][1]
    assert "did you mean IGNORE?" in found["spec.http[0].corsPolicy.unmatchedPreflights"][1]
    assert found["spec.http[0].corsPolicy.allowCredentials"] == (14, '"yes" is not true or false, write true')
    assert 'quote it: "1.1"' in found["spec.http[0].headers.request.set.x-version"][1]
    assert "negative" in found["spec.http[0].mirrorPercent"][1]
    assert len(found) == 13


def test_snake_case_null_and_presence() -> None:
    result = parse(
        VS
        + "  hosts: [reviews]\n  export_to: ~\n  http:\n  - direct_response: {status: 200}\n"
        + "    timeout: 1.5h\n    match:\n"
        + "    - ignore_uri_case: true\n      headers: {a: ~, b: {}, c: {regex: '*'}, d: {exact: ''}}\n"
    )
    assert told(result) == []
    rule = result.resources.virtual_services[0].spec.http[0]
    assert rule.timeout == Duration(5_400_000)
    assert rule.retries is None
    headers = rule.match[0].headers
    assert [headers[name].is_presence for name in "abcd"] == [True, True, True, False]
    assert headers["d"] == StringMatch(exact="")
    assert rule.match[0].ignore_uri_case


def test_absent_is_not_empty() -> None:
    text = VS + "  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n    retries: {}\n"
    text += "    mirrorPercentage: {}\n"
    rule = parse(text).resources.virtual_services[0].spec.http[0]
    assert rule.retries is not None
    assert rule.retries.attempts == 0
    assert rule.mirror_percentage is not None
    assert rule.mirror_percentage.value == 0


def test_two_spellings_of_one_field_are_an_error() -> None:
    text = VS + "  hosts: [a]\n  exportTo: [.]\n  export_to: ['*']\n  http: [{directResponse: {status: 200}}]\n"
    result = parse(text)
    assert told(result) == [(7, "spec.export_to", "says the same as exportTo, keep one of the two spellings")]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("5s", 5000), ("1.5h", 5_400_000), ("100ms", 100), ("1m30s", 90_000), ("0s", 0), ("0.001s", 1), ("1.001s", 1001)],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert Duration.parse(text) == milliseconds
    assert Duration.parse(str(Duration(milliseconds))) == milliseconds


@pytest.mark.parametrize("text", ["5", "s", "-1s", "1 s", "1.5ms", "100us", "", "1d", None, 5, "1s "])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("head", "line", "field", "part"),
    [
        ("kind: Service\nmetadata: {name: a}\nspec: {}", 1, "apiVersion", "required"),
        ("apiVersion: v1\nmetadata: {name: a}", 1, "kind", "required"),
        ("apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}", 1, "apiVersion",
         "networking.istio.io/v1"),
        ("apiVersion: networking.istio.io/v1\nkind: VirtualServce\nmetadata: {name: a}", 2, "kind", "VirtualService"),
        ("apiVersion: v1\nkind: VirtualService\nmetadata: {name: a}", 1, "apiVersion", "write networking.istio.io/v1"),
        ("apiVersion: security.istio.io/v1\nkind: Gateway\nmetadata: {name: a}", 1, "apiVersion",
         "networking.istio.io/v1"),
        ("apiVersion: v1\nkind: Service\nspec: {ports: [{port: 1}]}", 1, "", "metadata is required"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: A_b}\nspec: {ports: [{port: 1}]}", 3, "metadata.name", "A_b"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {v: 1}}\nspec: {ports: [{port: 1}]}",
         3, "metadata.labels.v", 'quote it: "1"'),
        ("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\nhosts: [x]\n"
         "spec: {address: 1.2.3.4}", 4, "hosts", "under spec"),
        ("- a\n- b", 1, "", "not an object"),
    ],
)  # fmt: skip
def test_what_an_object_needs(head: str, line: int, field: str, part: str) -> None:
    found = told(parse(head + "\n"))
    assert len(found) == 1
    assert found[0][:2] == (line, field)
    assert part in found[0][2]


def test_two_kinds_are_called_gateway() -> None:
    result = parse(
        "apiVersion: networking.istio.io/v1beta1\nkind: Gateway\nmetadata: {name: a}\nspec:\n  servers:\n"
        "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}\n---\n"
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n"
        "spec: {gatewayClassName: istio, listeners: [{name: a, port: 80, protocol: HTTP}]}\n"
    )
    assert result.ok
    assert [gateway.api_version for gateway in result.resources.gateways] == ["networking.istio.io/v1beta1"]
    assert [gateway.api_version for gateway in result.resources.api_gateways] == ["gateway.networking.k8s.io/v1"]


@pytest.mark.parametrize("kind", ["AuthorizationPolicy", "RequestAuthentication"])
def test_security_that_nothing_enforces_stops_the_start(kind: str) -> None:
    text = f"apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: deny}}\nspec: {{}}\n"
    refused = parse(text)
    assert [(p.code, p.name) for p in refused.errors] == [("unenforced", "deny")]
    assert "--allow-unenforced" in refused.errors[0].message
    allowed = parse(text, allow_unenforced=True)
    assert allowed.ok
    assert [p.code for p in allowed.warnings] == ["unenforced"]


def test_somebody_elses_objects_are_noted() -> None:
    result = parse(
        "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: a}\n---\n"
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: b}\ndata: {x: y}\n---\n"
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: c}\n"
    )
    assert result.ok
    assert len(result.resources) == 0
    assert [(p.severity, p.name) for p in result.problems] == [("note", "a"), ("note", "b"), ("note", "c")]


def test_kubernetes_objects_may_hold_what_we_do_not_know() -> None:
    result = parse(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, uid: x, generation: 3}\nspec:\n  replicas: 3\n"
        "  strategy: {type: Recreate}\n  template:\n    metadata: {labels: {app: a}}\n    spec:\n      containers:\n"
        "      - {name: c, resources: {limits: {cpu: 1}}, ports: [{containerPort: 3000}], securityContext: {}}\n"
        "status: {replicas: 3}\n"
    )
    assert told(result) == []
    spec = result.resources.deployments[0].spec
    assert spec.replicas == 3
    assert spec.template.spec.containers[0].ports[0].container_port == 3000


def test_creation_order_and_replacement() -> None:
    def service(name: str, port: int) -> str:
        return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n---\n"

    result = parse(service("b", 1) + service("a", 2) + service("b", 3))
    assert [(s.name, s.spec.ports[0].port) for s in result.resources.services] == [("b", 3), ("a", 2)]
    assert [(p.line, p.code) for p in result.warnings] == [(11, "advice")]
    assert result.resources.get("Service", "default", "b") is result.resources.services[0]


ARTICLE = (
    "istio-control-plane", "product-service", "my-service-entry", "my-service-rule", "my-service-vs", "prometheus",
)  # fmt: skip


@pytest.mark.parametrize("name", ARTICLE)
def test_the_articles_files_load_with_warnings_and_are_refused_by_strict(name: str) -> None:
    path = str(corpora_dir() / "article" / f"{name}.yaml")
    result = read([path])
    assert told(result) == []
    proper = name in ("product-service", "prometheus")
    deviations = [p for p in result.warnings if p.code == "deviation"]
    assert bool(deviations) is not proper
    assert all(p.line > 0 and p.file == path and "write" in p.message for p in deviations)
    assert read([path], strict=True).ok is proper


def test_the_intent_of_the_articles_files_is_honoured() -> None:
    result = read([str(corpora_dir() / "article")])
    config = result.resources
    entry = config.service_entries[0].spec
    assert entry.hosts == ["product-service.default.svc.cluster.local"]
    assert (entry.location, entry.resolution) == ("MESH_INTERNAL", "DNS")
    assert entry.endpoints[0].address == "product-service"
    assert entry.endpoints[0].ports == {"http": 80}
    assert config.service_entries[1].spec.hosts == ["my-service.default.svc.cluster.local"]
    assert [vs.spec.hosts for vs in config.virtual_services] == [["product-service", "*"], ["my-service", "*"]]
    assert [p for p in result.problems if p.code == "reference"] == []
    assert {p.line for p in result.warnings if p.field == "spec.location"} == {12}


def test_what_deviates_in_istios_own_group_is_refused_as_istio_does() -> None:
    text = VS + "  hosts: ['*']\n  http: [{route: [{destination: {host: a}}]}]\n"
    assert [field for _, field, _ in told(parse(text))] == ["spec.hosts[0]"]


def test_crd_examples_of_istio_are_judged_as_labelled() -> None:
    folder = corpora_dir() / "istio" / "pkg" / "config" / "validation" / "testdata" / "crds"
    judged = 0
    for kind in ("destinationrule", "serviceentry", "peerauth"):
        for label in ("valid", "invalid"):
            problems: list[Problem] = []
            for document in load_text((folder / f"{kind}-{label}.yaml").read_text(), label, problems):
                if "_err" in document.root:
                    del document.root.lines[list(document.root).index("_err")]
                    del document.root["_err"]
                result = read_documents(Loaded([document], [], []))
                assert result.ok is (label == "valid"), (document, result.problems)
                judged += 1
            assert not problems
    assert judged == 32


def test_istios_samples_load() -> None:
    folder = corpora_dir() / "istio" / "samples"
    for path in sorted(folder.rglob("*.yaml")):
        assert told(read([str(path)])) == [], path


def test_istios_test_configurations_load() -> None:
    folder = corpora_dir() / "istio" / "tests" / "testdata" / "config"
    paths = sorted(folder.glob("*.yaml"))
    assert len(paths) == 30
    for path in paths:
        assert told(read([str(path)])) == [], path


def test_the_old_switch_of_websockets_is_left_out_with_a_warning() -> None:
    rule = "  - websocketUpgrade: true\n    route: [{destination: {host: a}}]\n"
    text = VS + "  hosts: [reviews]\n  http:\n" + rule
    result = parse(text)
    assert result.ok
    deviations = [(p.line, p.field) for p in result.warnings if p.code == "deviation"]
    assert deviations == [(7, "spec.http[0].websocketUpgrade")]
    assert result.resources.virtual_services[0].spec.http[0].route[0].destination.host == "a"
    assert not parse(text, strict=True).ok
    assert parse(text.replace("websocketUpgrade", "websocketUpgrad")).errors[0].field == "spec.http[0].websocketUpgrad"


def test_reading_never_leaves_the_collector_off() -> None:
    code = "import gc; from fastmesh.config.store import read; read(['/nowhere']); assert gc.isenabled()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("junk", ["1", "x", "[]", "{}", "~", "[~]", "[1]", "{a: ~}", "true", "1.5", "'*'"])
@pytest.mark.parametrize("field", ["hosts", "http", "address", "ports", "endpoints", "location", "addresses"])
@pytest.mark.parametrize("kind", ["ServiceEntry", "VirtualService", "DestinationRule"])
def test_junk_in_a_deviating_object_is_refused_and_never_raises(kind: str, field: str, junk: str) -> None:
    right = {"hosts": "['*']", "address": "a:80", "endpoints": "[{address: b, ports: [{number: 80}]}]"}
    fields = "".join(f"  {name}: {value}\n" for name, value in {**right, field: junk}.items())
    result = parse(f"apiVersion: istio.io/v1alpha3\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{fields}")
    assert [str(problem) for problem in result.problems]
