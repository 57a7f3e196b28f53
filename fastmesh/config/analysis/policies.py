"""What is about chosen workloads: Sidecars, Telemetries and policies that select nothing, or the same as another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fastmesh.config.analysis.raw import Raw
from fastmesh.config.analysis.workloads import Workload, Workloads
from fastmesh.config.check.report import At
from fastmesh.config.hosts import ROOT_NAMESPACE
from fastmesh.config.place import Source
from fastmesh.config.resource import AnyResource, Resource
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.authorization_policy import AuthorizationPolicy
from fastmesh.model.telemetry import Telemetry

_AMBIENT = ("ambient.istio.io/redirection", "istio.io/dataplane-mode")
_API_GATEWAY = "gateway.networking.k8s.io/gateway-name"
_INEFFECTIVE = "a selector has no effect on {}, a Gateway of the Gateway API; write targetRef"
Labels = Callable[[AnyResource], Mapping[str, str]]


def analyze_policies(config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    ambient = {each.name for each in config.namespaces if _has_no_sidecars(each)}
    _selectors(config.sidecars, _of_sidecar, workloads, ("IST0110", "IST0111"), ambient, problems)
    _selectors(config.telemetries, _of_policy, workloads, ("IST0159", "IST0160"), set(), problems)
    for telemetry in config.telemetries:
        _providers(telemetry, problems)
    for sidecar in config.sidecars:
        outbound = sidecar.spec.outbound_traffic_policy
        if outbound is not None and outbound.egress_proxy is not None:
            place = At(sidecar, problems)["outboundTrafficPolicy"]["egressProxy"]
            place.found("IST0002", "is ignored by Istio, remove it")
    for policy in config.authorization_policies:
        _matching_nobody(policy, workloads, problems)
        _namespaces(policy, config, problems)
    attached: list[AnyResource] = [*config.authorization_policies, *config.request_authentications, *config.telemetries]
    for each in attached:
        _of_api_gateway(each, workloads, problems)


def _has_no_sidecars(namespace: AnyResource) -> bool:
    labels = namespace.labels
    injected = labels.get("istio-injection") == "enabled" or bool(labels.get("istio.io/rev"))
    return labels.get(_AMBIENT[1]) == "ambient" and not injected


def _of_sidecar(resource: AnyResource) -> Mapping[str, str]:
    selector = resource.spec.workload_selector
    return selector.labels if selector is not None else {}


def _of_policy(resource: AnyResource) -> Mapping[str, str]:
    selector = resource.spec.selector
    return selector.match_labels if selector is not None else {}


# ---- one for each workload


def _selectors(
    resources: Sequence[AnyResource],
    labels_of: Labels,
    workloads: Workloads,
    causes: tuple[str, str],
    ambient: set[str],
    problems: list[Problem],
) -> None:
    """Of several objects for one workload, or for one namespace, only the oldest counts."""
    owners: dict[tuple[str, str, str], list[AnyResource]] = {}
    whole: dict[str, list[AnyResource]] = {}
    for resource in resources:
        labels = labels_of(resource)
        if not labels:
            whole.setdefault(resource.namespace, []).append(resource)
            continue
        found = workloads.selected(labels, resource.namespace)
        if not found:
            shown = ",".join(f"{name}={value}" for name, value in labels.items())
            message = f"no workload of {resource.namespace} has the labels {shown}"
            At(resource, problems).found("IST0101", message)
        for workload in found:
            if causes[0] == "IST0110" and _is_ambient(workload):
                At(resource, problems, ()).found("IST0167", "its workload has no sidecar (ambient mode)")
            else:
                owners.setdefault((workload.kind, workload.namespace, workload.name), []).append(resource)
    for (kind, namespace, name), together in owners.items():
        _told(together, causes[0], f"selects {kind} {namespace}/{name}", problems)
    for namespace, together in whole.items():
        if namespace in ambient:
            for resource in together:
                At(resource, problems, ()).found("IST0167", "its namespace has no sidecars (ambient mode)")
        else:
            _told(together, causes[1], f"is for the whole namespace {namespace}", problems)


def _is_ambient(workload: Workload) -> bool:
    annotations = workload.source.annotations if workload.source is not None else {}
    return annotations.get(_AMBIENT[0]) == "enabled"


def _told(together: list[AnyResource], cause: str, what: str, problems: list[Problem]) -> None:
    for resource in together if len(together) > 1 else ():
        names = ", ".join(sorted(each.name for each in together if each is not resource))
        At(resource, problems, ("metadata", "name")).found(
            cause, f"{what}, and so does {names}; only the oldest counts"
        )


# ---- telemetry


def _providers(telemetry: Resource[Telemetry], problems: list[Problem]) -> None:
    for index, logging in enumerate(telemetry.spec.access_logging):
        if not logging.providers and not logging.disabled:
            place = At(telemetry, problems)["accessLogging"][index]
            place.found("IST0157", "has no providers and is ignored, name one or write disabled: true")


# ---- authorization


def _matching_nobody(policy: Resource[AuthorizationPolicy], workloads: Workloads, problems: list[Problem]) -> None:
    spec, labels = policy.spec, _of_policy(policy)
    root = policy.namespace == ROOT_NAMESPACE
    if spec.target_ref is not None or spec.target_refs or (root and not labels):
        return
    if not workloads.selected(labels, None if root else policy.namespace):
        shown = ",".join(f"{name}={value}" for name, value in labels.items()) or "any"
        At(policy, problems, ()).found("IST0127", f"there is no workload for it ({shown})")


def _namespaces(policy: Resource[AuthorizationPolicy], config: ConfigSet, problems: list[Problem]) -> None:
    known = {each.name for each in config.namespaces}
    for number, rule in enumerate(policy.spec.rules):
        for index, entry in enumerate(rule.from_ or ()):
            source = entry.source
            if source is None:
                continue
            place = At(policy, problems)["rules"][number]["from"][index]["source"]
            for name, values in (("namespaces", source.namespaces), ("notNamespaces", source.not_namespaces)):
                for position, value in enumerate(values):
                    if known and not any(_covers(value, namespace) for namespace in known):
                        place[name][position].found("IST0101", f"there is no Namespace {value}")


def _covers(pattern: str, namespace: str) -> bool:
    """One `*`, at the beginning or at the end."""
    if pattern.startswith("*"):
        return namespace.endswith(pattern[1:])
    if pattern.endswith("*"):
        return namespace.startswith(pattern[:-1])
    return namespace.lower() == pattern.lower()


def _of_api_gateway(policy: AnyResource, workloads: Workloads, problems: list[Problem]) -> None:
    if policy.spec.target_ref is not None or policy.spec.selector is None:
        return
    for name in _api_gateways(_of_policy(policy), policy.namespace, workloads):
        At(policy, problems)["selector"].found("IST0166", _INEFFECTIVE.format(name))


def _api_gateways(labels: Mapping[str, str], namespace: str, workloads: Workloads) -> list[str]:
    selected = workloads.selected(labels, namespace)
    return [pod.labels[_API_GATEWAY] for pod in selected if _API_GATEWAY in pod.labels]


def analyze_plugins(documents: Iterable[Source], workloads: Workloads, problems: list[Problem]) -> None:
    """The same of WasmPlugins, which are not read."""
    for raw in map(Raw, documents):
        labels = raw.get("spec", "selector", "matchLabels")
        if raw.kind == "WasmPlugin" and isinstance(labels, dict) and not raw.get("spec", "targetRef"):
            for name in _api_gateways(labels, raw.namespace, workloads):
                problems.append(raw.found(("spec", "selector"), "IST0166", _INEFFECTIVE.format(name)))
