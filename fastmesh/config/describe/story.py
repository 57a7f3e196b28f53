"""Everything that touches an object or a host, read off the compiled plans; plain data, for text and JSON alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastmesh.config.analysis.workloads import Workload, Workloads
from fastmesh.config.check.reachable import MATCH, RULE
from fastmesh.config.describe import words
from fastmesh.config.describe.shadow import shadows
from fastmesh.config.describe.target import Target
from fastmesh.config.describe.views import View, views
from fastmesh.config.hosts import fqdn
from fastmesh.config.mesh import mesh_of
from fastmesh.config.plan import ClusterPlan, ListenerPlan, Plan, RulePlan, VirtualHostPlan
from fastmesh.config.resource import WRITTEN, AnyResource
from fastmesh.config.selectors import selects
from fastmesh.config.services.peer_authentications import PeerAuthentications
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem

Story = dict[str, Any]
_SERVICES = ("Service", "ServiceEntry")
_SELECTING = (
    "PeerAuthentication",
    "AuthorizationPolicy",
    "RequestAuthentication",
    "Telemetry",
    "Sidecar",
    "ProxyConfig",
)
_PARTS = ("hosts", "clusters", "listeners", "connections")


def describe(
    config: ConfigSet, problems: Iterable[Problem], target: Target, namespace: str | None, labels: Mapping[str, str]
) -> Story:
    """`namespace` and `labels` are those of the client on the mesh; by default it stands beside the target. `problems`
    are what reading the files has said: which rules no request reaches as they are written."""
    found = list(views(config, namespace or target.namespace, labels))
    routed = [_view(view, target) for view in found]
    chosen = _workloads(config, target)
    return {
        "objects": [_object(each) for each in target.objects],
        "hosts": sorted(target.hosts),
        "views": [each for each in routed if any(each[part] for part in _PARTS)],
        "unreachable": _unreachable(problems, target, routed),
        "unused": _unused(config, target, [view.plan for view in found]),
        "peers": list(_peers(config, chosen)),
        "policies": [*_policies(config, chosen), *_server_side(config, target, chosen)],
    }


def _object(resource: AnyResource) -> Story:
    return {
        "kind": WRITTEN.get(resource.kind, resource.kind),
        "namespace": resource.namespace,
        "name": resource.name,
        "file": resource.source.file,
        "line": resource.line(),
    }


# ---- what one proxy has of it


def _view(view: View, target: Target) -> Story:
    plan = view.plan
    own = {index for each in plan.listeners if _serves(each, target) for index in (d.vhost for d in each.domains)}
    groups: dict[str, Story] = {}
    used = set[str]()
    for index, vhost in enumerate(plan.vhosts):
        if index in own or _touches(plan, vhost, target):
            told = _host(plan, index, vhost, target)
            same = str([told["listeners"], told["limits"], told["rules"]])
            groups.setdefault(same, {**told, "hosts": []})["hosts"].append(vhost.name)
            used.update(_clusters_of(vhost))
    carried = _carried(target)
    mine = {cluster.name for cluster in plan.clusters if _is_mine(cluster, target) or cluster.host in carried}
    return {
        "view": view.title,
        "listeners": [
            _listener(each, plan) for each in plan.listeners if _serves(each, target) or _filtered(each, target, plan)
        ],
        "hosts": list(groups.values()),
        "connections": list(_connections(plan, mine)),
        "clusters": [_cluster(each, plan, view.names) for each in plan.clusters if each.name in mine | used],
    }


def _carried(target: Target) -> set[str]:
    """Where tcp and tls rules of what is asked for lead: connections say of no rule that they follow it."""
    return {
        fqdn(route.destination.host, each.namespace)
        for each in target.objects
        if each.kind == "VirtualService"
        for rule in (*each.spec.tcp, *each.spec.tls)
        for route in rule.route
    }


def _connections(plan: Plan, mine: set[str]) -> Iterator[Story]:
    """Connections that go to the target as they are, chosen by the name that TLS asks for or by the port."""
    for listener in plan.listeners:
        for chain in listener.chains:
            if any(each.cluster in mine for each in chain.destinations):
                does = f"go to {words.weights(chain.destinations)}"
                yield {
                    "listener": listener.name,
                    "names": chain.server_names,
                    "port": chain.port,
                    "addresses": chain.to,
                    "does": does,
                }


def _touches(plan: Plan, vhost: VirtualHostPlan, target: Target) -> bool:
    """By its name, by an object that made a rule of it or limits it, or by where its rules go."""
    origins = [rule.origin for rule in vhost.rules]
    origins += [plan.limits[index].origin for index in _limits_of(vhost)]
    origins += [plan.filters[index].origin for rule in vhost.rules for index in rule.filters]
    if vhost.name.rpartition(":")[0] in target.hosts or vhost.name in target.hosts:
        return True
    if any(target.is_of(each.kind, each.namespace, each.name) for each in origins):
        return True
    mine = {cluster.name for cluster in plan.clusters if _is_mine(cluster, target)}
    return bool(mine & _clusters_of(vhost))


def _limits_of(vhost: VirtualHostPlan) -> list[int]:
    return [*vhost.limits, *(index for rule in vhost.rules for index in rule.limits)]


def _clusters_of(vhost: VirtualHostPlan) -> set[str]:
    named = {each.cluster for rule in vhost.rules for each in rule.destinations}
    return named | {each.destination.cluster for rule in vhost.rules for each in rule.mirrors}


def _is_mine(cluster: ClusterPlan, target: Target) -> bool:
    origin = cluster.origin
    shaped = origin is not None and target.is_of(origin.kind, origin.namespace, origin.name)
    return shaped or cluster.host in target.hosts


def _serves(listener: ListenerPlan, target: Target) -> bool:
    names = {f"{each.namespace}/{each.name}" for each in target.objects if each.kind in ("Gateway", "APIGateway")}
    return bool(names & set(listener.origins))


def _filtered(listener: ListenerPlan, target: Target, plan: Plan) -> bool:
    """A filter that is asked for sees requests that no rule of the listener takes."""
    origins = [plan.filters[index].origin for index in listener.filters]
    return any(target.is_of(each.kind, each.namespace, each.name) for each in origins)


def _listener(listener: ListenerPlan, plan: Plan) -> Story:
    return {
        "name": listener.name,
        "port": listener.port,
        "gateways": listener.origins,
        "hosts": sorted({domain.domain for domain in listener.domains}),
        "redirects": listener.https_redirect,
        "tls": [chain.name for chain in listener.chains if chain.tls is not None],
        "filters": [words.filtered(plan.filters[each]) for each in listener.filters],
    }


def _host(plan: Plan, index: int, vhost: VirtualHostPlan, target: Target) -> Story:
    taken = shadows(vhost.rules)
    return {
        "listeners": [each.name for each in plan.listeners if any(domain.vhost == index for domain in each.domains)],
        "limits": [words.limit(plan.limits[each]) for each in vhost.limits],
        "rules": [
            _rule(number, rule, taken[number], plan, target) for number, rule in enumerate(vhost.rules)
        ],
    }  # fmt: skip


def _rule(number: int, rule: RulePlan, taken: list[int | None], plan: Plan, target: Target) -> Story:
    clauses = [words.clause(match) for match in rule.matches] or ["every request"]
    takers = [None if taker is None else taker + 1 for taker in taken]
    origin = rule.origin
    return {
        "number": number + 1,
        "from": words.place(origin),
        "asked": target.is_of(origin.kind, origin.namespace, origin.name),
        "clauses": [
            {"when": text, "never": f"rule {taker} takes these requests"} if taker else {"when": text}
            for text, taker in zip(clauses, takers, strict=True)
        ],
        "never": all(takers),
        "does": words.action(rule),
        "also": [
            *words.extras(rule),
            *(f"limit: {words.limit(plan.limits[each])}" for each in rule.limits),
            *(words.filtered(plan.filters[each]) for each in rule.filters),
        ],
    }


def _cluster(cluster: ClusterPlan, plan: Plan, names: Mapping[str, str]) -> Story:
    return {
        "cluster": cluster.name,
        "from": words.place(cluster.origin),
        "policy": list(words.shape(cluster)),
        "endpoints": [
            {
                "address": f"{names.get(each.address, each.address)}:{each.port}",
                "workload": plan.workloads[each.workload].name,
                "version": plan.workloads[each.workload].version,
                "weight": each.weight,
                "locality": each.locality,
                "mtls": each.mesh_tls,
            }
            for each in cluster.endpoints
        ],
    }


# ---- rules that nobody runs


def _unreachable(problems: Iterable[Problem], target: Target, routed: Iterable[Story]) -> list[str]:
    """What the compiler has left out already: rules behind one that takes everything, and what repeats another."""
    rules = [rule for view in routed for host in view["hosts"] for rule in host["rules"]]
    involved = {rule["from"].split(" route ")[0].split(" (")[0] for rule in rules}
    involved |= {f"{each.kind} {each.namespace}/{each.name}" for each in target.objects}
    return [
        str(problem)
        for problem in problems
        if problem.cause in (RULE, MATCH) and f"{problem.kind} {problem.namespace}/{problem.name}" in involved
    ]


def _unused(config: ConfigSet, target: Target, plans: Iterable[Plan]) -> list[Story]:
    """VirtualServices and DestinationRules of these hosts, or asked for, that made nothing of any plan."""
    used = {
        (origin.kind, origin.namespace, origin.name)
        for plan in plans
        for origin in (
            *(rule.origin for vhost in plan.vhosts for rule in vhost.rules),
            *(cluster.origin for cluster in plan.clusters if cluster.origin is not None),
        )
    }
    found = []
    rules: list[AnyResource] = [*config.virtual_services, *config.destination_rules]
    for each in rules:
        named = each.spec.hosts if each.kind == "VirtualService" else [each.spec.host]
        hosts = {fqdn(host, each.namespace) for host in named}
        carries = each.kind == "VirtualService" and not each.spec.http and (each.spec.tcp or each.spec.tls)
        if each.key not in used and not carries and (hosts & target.hosts or target.is_of(*each.key)):
            found.append({**_object(each), "why": _why(each, hosts, config)})
    return found


def _why(resource: AnyResource, hosts: set[str], config: ConfigSet) -> str:
    if resource.kind == "DestinationRule":
        return (
            "another DestinationRule is nearer to the client, or it is not exported to it, or no service has its host"
        )
    if not hosts:
        return "it is a delegate, and no rule that is used delegates to it"
    for other in config.virtual_services:
        if other is resource:
            break
        common = hosts & {fqdn(host, other.namespace) for host in other.spec.hosts}
        if common:
            return f"VirtualService {other.namespace}/{other.name} is older and has the host {min(common)}"
    return "no listener serves its hosts, or it is not exported to this client"


# ---- the workloads behind it

Ports = dict[str, int | str]  # by the name or number of the service's port, what it means at the workload


def _workloads(config: ConfigSet, target: Target) -> list[tuple[Workload, Ports]]:
    """Who serves it, or is selected by it, with the ports that services name."""
    index, root = Workloads(config), mesh_of(config.mesh_config).root
    services: list[AnyResource] = [*config.services, *config.service_entries]
    found: dict[tuple[str, str, str], tuple[Workload, Ports]] = {}
    for resource in target.objects:
        everywhere = resource.kind in _SELECTING and resource.namespace == root
        chosen = index.selected(_labels(resource), None if everywhere else resource.namespace)
        if resource.kind in _SERVICES and not _labels(resource):
            continue
        if resource.kind not in (*_SERVICES, *_SELECTING):
            chosen = [each for each in chosen if each.source is resource]
        asked = [resource] if resource.kind in _SERVICES else services
        for each in chosen:
            ports: Ports = {}
            for service in asked:
                if service.namespace == each.namespace and _labels(service) and selects(_labels(service), each.labels):
                    ports.update(_ports(service))
            if resource.kind == "PeerAuthentication":
                ports.update({name: int(name) for name in resource.spec.port_level_mtls or ()})
            found.setdefault((each.kind, each.namespace, each.name), (each, ports))
    return list(found.values())


def _labels(resource: AnyResource) -> Mapping[str, str]:
    """What an object selects workloads by."""
    if resource.kind == "Service":
        own: Mapping[str, str] = resource.spec.selector
        return own
    selector = getattr(resource.spec, "workload_selector", None) or getattr(resource.spec, "selector", None)
    return getattr(selector, "match_labels", None) or getattr(selector, "labels", None) or {}


def _ports(service: AnyResource) -> Ports:
    if service.kind == "Service":
        return {port.name: port.target_port or port.port for port in service.spec.ports}
    return {port.name: port.target_port or port.number for port in service.spec.ports}


def _port_of(workload: Workload, name: str, meant: int | str) -> int | str:
    """A port of a workload: a WorkloadEntry says it by the service's name, a pod by the name of its container's."""
    source = workload.source.spec if workload.source is not None else None
    if workload.kind == "WorkloadEntry" and source is not None:
        return int(source.ports.get(name) or meant) if not isinstance(meant, str) else source.ports.get(name, meant)
    pod = source.spec if workload.kind == "Pod" and source is not None else None
    pod = source.template.spec if pod is None and source is not None else pod
    named = (
        {port.name: port.container_port for each in pod.containers for port in each.ports} if pod is not None else {}
    )
    return int(named[meant]) if isinstance(meant, str) and meant in named else meant


def _peers(config: ConfigSet, chosen: Iterable[tuple[Workload, Ports]]) -> Iterator[Story]:
    """What the port of each workload accepts, and which PeerAuthentication says so."""
    policies = PeerAuthentications(config.peer_authentications, mesh_of(config.mesh_config).root)
    for workload, ports in chosen:
        meant = dict.fromkeys(_port_of(workload, name, port) for name, port in ports.items())
        for port in meant or ("any",):
            mode, decided = policies.mode(workload.namespace, workload.labels, port)
            by = f"PeerAuthentication {decided.namespace}/{decided.name}" if decided is not None else ""
            place = f" ({decided.source.file}:{decided.line()})" if decided is not None else ""
            yield {
                "workload": f"{workload.kind} {workload.namespace}/{workload.name}",
                "port": str(port),
                "mode": mode,
                "from": by + place or "nothing is written, so the default",
            }


def _server_side(config: ConfigSet, target: Target, chosen: Iterable[tuple[Workload, Ports]]) -> Iterator[Story]:
    """Resilience in the sidecars of those who serve."""
    workloads = [workload.name for workload, _ in chosen]
    for each in config.resiliences:
        if each.spec.side == "server" and workloads and fqdn(each.spec.host, each.namespace) in target.hosts:
            yield {**_object(each), "workloads": workloads}


def _policies(config: ConfigSet, chosen: Iterable[tuple[Workload, Ports]]) -> Iterator[Story]:
    """What else selects these workloads."""
    root = mesh_of(config.mesh_config).root
    resources: list[AnyResource] = [
        *config.authorization_policies, *config.request_authentications, *config.telemetries, *config.sidecars,
        *config.proxy_configs,
    ]  # fmt: skip
    workloads = [workload for workload, _ in chosen]
    for resource in resources:
        labels = _labels(resource)
        selected = [
            each.name
            for each in workloads
            if resource.namespace in (root, each.namespace) and selects(labels, each.labels)
        ]
        if selected:
            yield {**_object(resource), "workloads": selected}
