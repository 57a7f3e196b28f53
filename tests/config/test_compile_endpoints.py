"""The addresses behind a service, and what is known about the workloads there."""

from __future__ import annotations

from fastmesh.config.compile import dns_names
from fastmesh.config.plan import ClusterPlan, Plan
from tests.config.asking import config_of, plan_of

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: web}, {name: http-admin, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec: {containers: [{name: a, image: b, ports: [{name: web, containerPort: 9080}]}]}
"""
SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
ports: [{name: http, port: 9080}]
endpoints:
- {addresses: [10.0.0.1], zone: z1, targetRef: {kind: Pod, name: reviews-v1-5d4f8c6b7d-abcde}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: true}}
"""


REVIEWS = "reviews.default.svc.cluster.local"


def cluster(plan: Plan, port: int = 80, subset: str = "", host: str = REVIEWS) -> ClusterPlan:
    return next(item for item in plan.clusters if item.name == f"outbound|{port}|{subset}|{host}")


def addresses(plan: Plan, *args: object, **named: object) -> list[str]:
    found = cluster(plan, *args, **named)  # type: ignore[arg-type]
    return [f"{endpoint.address}:{endpoint.port}" for endpoint in found.endpoints]


def test_slices_give_the_ready_addresses_with_the_port_of_the_same_name() -> None:
    plan = plan_of(SERVICE + SLICE)
    assert addresses(plan) == ["10.0.0.1:9080", "10.0.0.3:9080"]
    assert addresses(plan, 8080) == []
    assert cluster(plan).endpoints[0].locality == "/z1"


def test_a_pods_name_leads_to_its_deployment_and_its_labels() -> None:
    plan = plan_of(SERVICE + SLICE)
    known, unknown = (plan.workloads[endpoint.workload] for endpoint in cluster(plan).endpoints)
    assert (known.name, known.app, known.version, known.canonical_service) == ("reviews-v1", "reviews", "v1", "reviews")
    assert unknown == plan.workloads[0]
    assert unknown.name == "unknown"


def test_endpoints_of_a_mirrored_service_count_once() -> None:
    plan = plan_of(
        SERVICE
        + SLICE
        + """
---
apiVersion: v1
kind: Endpoints
metadata: {name: reviews}
subsets:
- addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.4}]
  notReadyAddresses: [{ip: 10.0.0.5}]
  ports: [{name: http, port: 9080}]
"""
    )
    assert addresses(plan) == ["10.0.0.1:9080", "10.0.0.3:9080", "10.0.0.4:9080"]


def test_pods_with_an_address_stand_in_for_missing_endpoints() -> None:
    plan = plan_of(
        SERVICE
        + """
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v1-5d4f8c6b7d-abcde, labels: {app: reviews, version: v2}}
spec: {containers: [{name: a, image: b, ports: [{name: web, containerPort: 7000}]}]}
status: {podIP: 10.0.0.9, phase: Running}
"""
    )
    assert addresses(plan) == ["10.0.0.9:7000"]
    assert addresses(plan, 8080) == ["10.0.0.9:8080"]
    assert plan.workloads[cluster(plan).endpoints[0].workload].version == "v2"


def test_a_service_selects_workload_entries() -> None:
    plan = plan_of(
        SERVICE
        + """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1}
spec: {address: 10.1.0.1, labels: {app: reviews, version: v1}, ports: {http: 8081}, weight: 3, locality: r/z/s}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm2}
spec: {address: 10.1.0.2, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere, namespace: other}
spec: {address: 10.1.0.3, labels: {app: reviews}}
"""
    )
    assert addresses(plan) == ["10.1.0.1:8081", "10.1.0.2:9080"]
    assert addresses(plan, 8080) == ["10.1.0.1:8080", "10.1.0.2:8080"]
    first = cluster(plan).endpoints[0]
    assert (first.weight, first.locality, plan.workloads[first.workload].name) == (3, "r/z/s", "vm1")


def test_subsets_select_by_label() -> None:
    plan = plan_of(
        SERVICE
        + SLICE
        + """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: all}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {exact: /all}}]
    route: [{destination: {host: reviews, subset: all}}]
  - route: [{destination: {host: reviews, subset: v1}}]
"""
    )
    assert addresses(plan, subset="v1") == ["10.0.0.1:9080"]
    assert addresses(plan, subset="all") == ["10.0.0.1:9080", "10.0.0.3:9080"]


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com, two.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8000}, {number: 443, name: tls, protocol: TLS}]
"""


def test_static_entry_ports_are_the_endpoints_then_the_target_then_the_number() -> None:
    text = ENTRY + "  resolution: STATIC\n  endpoints: [{address: 1.1.1.1, ports: {http: 90}}, {address: 2.2.2.2}]\n"
    plan = plan_of(text)
    assert addresses(plan, host="api.example.com") == ["1.1.1.1:90", "2.2.2.2:8000"]
    assert addresses(plan, host="two.example.com") == ["1.1.1.1:90", "2.2.2.2:8000"]
    assert cluster(plan, host="api.example.com").service_name == "api.example.com"


def test_dns_entries_use_all_answers() -> None:
    text = ENTRY + "  resolution: DNS\n"
    assert dns_names(config_of(text)) == {"api.example.com", "two.example.com"}
    plan = plan_of(text, resolve={"api.example.com": ["1.1.1.1", "2001:db8::1"]})
    assert addresses(plan, host="api.example.com") == ["1.1.1.1:8000", "2001:db8::1:8000"]
    assert addresses(plan, host="two.example.com") == []


def test_dns_endpoints_are_looked_up_instead_of_the_hosts() -> None:
    text = ENTRY + "  resolution: DNS\n  endpoints: [{address: a.example.net, ports: {http: 7}}, {address: 9.9.9.9}]\n"
    assert dns_names(config_of(text)) == {"a.example.net"}
    plan = plan_of(text, resolve={"a.example.net": ["1.1.1.1", "1.1.1.2"]})
    assert addresses(plan, host="api.example.com") == ["1.1.1.1:7", "1.1.1.2:7", "9.9.9.9:8000"]


def test_round_robin_dns_is_one_address() -> None:
    plan = plan_of(ENTRY + "  resolution: DNS_ROUND_ROBIN\n", resolve={"api.example.com": ["1.1.1.1", "1.1.1.2"]})
    assert addresses(plan, host="api.example.com") == ["1.1.1.1:8000"]


def test_resolution_none_keeps_the_original_address() -> None:
    plan = plan_of(ENTRY)
    assert cluster(plan, host="api.example.com").kind == "original_dst"
    assert cluster(plan, host="api.example.com").endpoints == []


def test_a_workload_selector_takes_entries_of_the_namespace() -> None:
    plan = plan_of(
        ENTRY
        + """
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {labels: {app: api}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec: {address: 10.1.0.1, labels: {app: api}, ports: {http: 8081}}
"""
    )
    assert addresses(plan, host="api.example.com") == ["10.1.0.1:8081"]


def test_unix_sockets_have_no_port() -> None:
    plan = plan_of("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: "unix:///run/api.sock"}]
""")
    assert addresses(plan, host="api.example.com") == ["unix:///run/api.sock:0"]


def test_an_entry_adds_workloads_to_a_service_of_its_namespace_only() -> None:
    entry = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: more, namespace: NAMESPACE}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 3.3.3.3, ports: {http: 33}}]
"""
    assert addresses(plan_of(SERVICE + entry.replace("NAMESPACE", "default"))) == ["3.3.3.3:33"]
    assert addresses(plan_of(SERVICE + entry.replace("NAMESPACE", "other"))) == []


def test_external_name_without_a_service_is_looked_up() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {type: ExternalName, externalName: db.example.com, ports: [{name: http, port: 80}]}
"""
    assert dns_names(config_of(text)) == {"db.example.com"}
    plan = plan_of(text, resolve={"db.example.com": ["5.5.5.5"]})
    assert addresses(plan, host="db.default.svc.cluster.local") == ["5.5.5.5:80"]


def test_entries_of_one_host_have_the_ports_of_all_and_each_its_own_endpoints() -> None:
    """The ports of the second one were lost."""
    text = ""
    for name, port, address in (("one", 80, "10.0.0.1"), ("two", 443, "10.0.0.2")):
        ports = f"[{{number: {port}, name: http-{port}, protocol: HTTP}}]"
        spec = f"{{hosts: [api.example.com], ports: {ports}, resolution: STATIC, endpoints: [{{address: {address}}}]}}"
        head = f"metadata: {{name: {name}, namespace: shop}}"
        text += f"---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n{head}\nspec: {spec}\n"
    plan = plan_of(text)
    found = {each.name: [(one.address, one.port) for one in each.endpoints] for each in plan.clusters}
    assert found == {
        "outbound|80||api.example.com": [("10.0.0.1", 80)],
        "outbound|443||api.example.com": [("10.0.0.2", 443)],
    }
