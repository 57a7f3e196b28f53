"""A plan on its way from the master to its workers: msgpack items `[kind, body]`, each preceded by its length."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from fastmesh.config.plan.clusters import ClusterPlan
from fastmesh.config.plan.listeners import ListenerPlan
from fastmesh.config.plan.whole import Plan, WorkloadPlan

DOMAINS_AT_ONCE = 200
CHAINS_AT_ONCE = 20
WORKLOADS_AT_ONCE = 500
UNKNOWN = WorkloadPlan().principal
_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def encode(plan: Plan) -> bytes:
    """The plan as length-prefixed msgpack items `[kind, body]`, in the order in which the snapshot needs them."""
    out = bytearray()
    for kind, bodies in (
        ("mesh", [plan.mesh]),
        ("filter", plan.filters),
        ("credential", plan.credentials),
        ("workloads", _chunks(plan.workloads)),
        ("limit", plan.limits),
        ("cluster", plan.clusters),
        ("vhost", plan.vhosts),
        ("listener", plan.listeners),
    ):
        for body in bodies:
            for item in _items(kind, body):
                encoded = _encoder.encode(item)
                out += _LENGTH.pack(len(encoded))
                out += encoded
    return bytes(out)


def _chunks(workloads: list[WorkloadPlan]) -> list[list[WorkloadPlan]]:
    return [workloads[start : start + WORKLOADS_AT_ONCE] for start in range(0, len(workloads), WORKLOADS_AT_ONCE)]


def _items(kind: str, body: Any) -> Iterator[tuple[str, Any]]:
    """A part of the plan as items; a listener's chains and domains follow it in slices: no item takes long to build.
    Clusters and workloads stay packed in the workers until a request needs them."""
    if isinstance(body, ClusterPlan):
        yield kind, {"name": body.name, "tls": body.tls, "packed": _encoder.encode(body)}
        return
    if kind == "workloads":
        facts = WorkloadPlan.__struct_fields__
        packed = [_encoder.encode([getattr(workload, name) for name in facts]) for workload in body]
        yield kind, {"facts": facts, "packed": packed, "principals": _encoder.encode(_by_principal(body))}
        return
    if not isinstance(body, ListenerPlan):
        yield kind, body
        return
    fields = {name: getattr(body, name) for name in body.__struct_fields__ if name not in ("domains", "chains")}
    by_place = sum(chain.by_place for chain in body.chains)
    counts = {"chain_count": len(body.chains) - by_place, "place_count": by_place}
    yield kind, {**fields, "domain_count": len(body.domains), **counts}
    for start in range(0, len(body.chains), CHAINS_AT_ONCE):
        yield "chains", {"listener": body.name, "chains": body.chains[start : start + CHAINS_AT_ONCE]}
    for start in range(0, len(body.domains), DOMAINS_AT_ONCE):
        yield "domains", {"listener": body.name, "domains": body.domains[start : start + DOMAINS_AT_ONCE]}


def _by_principal(workloads: list[WorkloadPlan]) -> dict[str, list[int]]:
    """Places of a slice by identity: a worker that meets a client reads the facts of no others."""
    found: dict[str, list[int]] = {}
    for place, workload in enumerate(workloads):
        if workload.principal != UNKNOWN:
            found.setdefault(workload.principal, []).append(place)
    return found


def iterate(encoded: bytes | memoryview) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of `encode`'s result as `(kind, fields)` with plain dicts, lazily."""
    view = memoryview(encoded)
    offset = 0
    while offset < len(view):
        (size,) = _LENGTH.unpack_from(view, offset)
        offset += _LENGTH.size
        kind, body = _decoder.decode(view[offset : offset + size])
        yield kind, body
        offset += size
