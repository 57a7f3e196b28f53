"""Plans of configurations with Gateway API objects, and questions to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fastmesh.config import load
from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.place import Source
from fastmesh.config.plan import Plan, encode, iterate
from fastmesh.config.resource import Resource
from fastmesh.config.store import ConfigSet, read_documents
from fastmesh.model import gateway_api
from fastmesh.model.base import decode_hook

KINDS: dict[str, Any] = {"Gateway": gateway_api.Gateway, "HTTPRoute": gateway_api.HTTPRoute}


@dataclass
class Wider(ConfigSet):
    http_routes: list[Resource[gateway_api.HTTPRoute]] = field(default_factory=list)
    api_gateways: list[Resource[gateway_api.Gateway]] = field(default_factory=list)


def config_of(text: str) -> Wider:
    documents = load.load_text(text, "test.yaml", [])
    api = [item for item in documents if str(item.root["apiVersion"]).startswith(gateway_api.GROUP)]
    others = [item for item in documents if item not in api]
    found = read_documents(load.Loaded(others, [], ["test.yaml"])).require()
    wider = Wider(**{name: getattr(found, name) for name in ConfigSet.__dataclass_fields__})
    for document in api:
        resource = _resource(document)
        if resource.kind in KINDS:
            (wider.http_routes if resource.kind == "HTTPRoute" else wider.api_gateways).append(resource)
    return wider


def _resource(document: Source) -> Resource[Any]:
    root, meta = document.root, document.root["metadata"]
    spec = root["spec"]
    if root["kind"] in KINDS:
        spec = msgspec.convert(spec, KINDS[root["kind"]], dec_hook=decode_hook)
    return Resource(
        kind=root["kind"],
        api_version=root["apiVersion"],
        name=meta["name"],
        namespace=meta.get("namespace", "default"),
        spec=spec,
        source=document,
    )


def plan_of(text: str, **role: Any) -> Plan:
    return compile_plan(config_of(text), Role(**role))[0]


def ask(
    plan: Plan,
    gateway: str,
    host: str,
    target: str,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    port: int = 80,
) -> Mapping[str, Any]:
    """What the compiled snapshot says; an empty gateway means the mesh."""
    from fastmesh.core.proxy.explain import explain

    listener = next(item for item in plan.listeners if not gateway or (gateway in item.origins and item.port == port))
    answer: Mapping[str, Any] = explain(
        iterate(encode(plan)), listener.name, method, "http", host, target, list(headers), port, not gateway
    )
    return answer
