"""What `fastmesh explain` says of TLS: how the chosen cluster is spoken to, and what a gateway passes on unread."""

from __future__ import annotations

from typing import Any

from fastmesh.config.hosts import covers
from fastmesh.config.plan import ChainPlan, ClientTLSPlan, ClusterPlan, ListenerPlan, Plan


def tls_of(plan: Plan, cluster: str | None) -> str:
    """One line for people; nothing where requests leave in plaintext."""
    found = next((each for each in plan.clusters if each.name == cluster), None)
    if found is None or found.tls is None:
        return ""
    tls = found.tls
    parts = [_kind(found, tls), f"server name {tls.sni or 'as the Host'}"]
    if not tls.verify:
        parts.append("server not verified")
    elif tls.sans:
        parts.append(f"server is {' or '.join(tls.sans)}")
    if tls.credential and not tls.mesh:
        parts.append(f"credential {tls.credential}")
    return ", ".join(parts)


def _kind(cluster: ClusterPlan, tls: ClientTLSPlan) -> str:
    if not tls.auto:
        return "mutual TLS of the mesh" if tls.mesh else "TLS"
    count = sum(endpoint.mesh_tls for endpoint in cluster.endpoints)
    return f"mutual TLS of the mesh to {count} of {len(cluster.endpoints)} endpoints, the others in plaintext"


def passed_on(plan: Plan, listener: ListenerPlan, host: str) -> dict[str, Any] | None:
    """What becomes of a connection with this server name when no request of it is read; None: its requests are."""
    chain = _chain(listener, host.lower())
    if not listener.chains or (chain is None and listener.role == "mesh") or (chain and chain.kind == "http"):
        return None
    steps = [{"step": "find_chain", "decision": chain.name if chain else "closed", "why": f"by the server name {host}"}]
    answer: dict[str, Any] = {
        "action": "none", "status": None, "rule": None, "cluster": None, "weights": {}, "endpoints": [],
        "authority": None, "path": None, "request_headers": {}, "location": None, "timeout_ms": None, "retries": None,
        "flags": ["NR"], "steps": steps,
    }  # fmt: skip
    if chain is None or not chain.destinations:
        return answer
    total = sum(each.weight for each in chain.destinations)
    shares = {each.cluster: each.weight / total for each in chain.destinations}
    heaviest = max(chain.destinations, key=lambda each: each.weight)
    cluster = next((each for each in plan.clusters if each.name == heaviest.cluster), None)
    answer |= {
        "action": "passthrough",
        "cluster": heaviest.cluster,
        "weights": shares if len(shares) > 1 else {},
        "endpoints": [f"{each.address}:{each.port}" for each in cluster.endpoints] if cluster is not None else [],
        "flags": [] if cluster is not None else ["NC"],
    }
    return answer


def _chain(listener: ListenerPlan, host: str) -> ChainPlan | None:
    """By server name as the data plane chooses: a name, the longest wildcard, then what takes every name."""
    name = host.rpartition(":")[0] or host
    fitting = [(len(own), chain) for chain in listener.chains for own in chain.server_names if covers(own, name)]
    exact = [chain for chain in listener.chains if name in chain.server_names]
    if exact or fitting:
        return (exact or [max(fitting, key=lambda each: each[0])[1]])[0]
    return next((chain for chain in listener.chains if not chain.server_names and chain.transport != "plaintext"), None)
