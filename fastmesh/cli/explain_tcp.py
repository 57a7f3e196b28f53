"""What `fastmesh explain` says of a connection: `tcp://ADDRESS:PORT`, or `tls://NAME:PORT` with a server name."""

from __future__ import annotations

from typing import Any

import click

from fastmesh.config.hosts import is_address
from fastmesh.config.plan import ListenerPlan, Plan, encode, iterate


def connection(plan: Plan, listener: ListenerPlan, scheme: str, host: str, port: int, sni: str) -> dict[str, Any]:
    """In the form of the answers about requests."""
    from fastmesh.core.proxy.explain_tcp import explain_connection

    address = host if is_address(host) else ""
    if scheme == "tcp" and not address and listener.role == "mesh":
        raise click.UsageError(f"{scheme}://{host}: write the address that the client wants to reach")
    name = None if scheme == "tcp" else sni or ("" if address else host.lower())
    found = explain_connection(iterate(encode(plan)), listener.name, address, port, name)
    shares = found["shares"]
    chosen = max(shares, key=shares.__getitem__) if shares else None
    known = " and ".join(
        text
        for text in (f"by {address}:{port}" if address else "", f"by the server name {name}" if name else "")
        if text
    )
    passes = found["kind"] == "tcp" and bool(shares)
    return {
        "action": "passthrough" if passes else "request" if found["kind"] == "http" else "none",
        "status": None, "rule": None, "cluster": chosen, "weights": shares if len(shares) > 1 else {},
        "endpoints": found["endpoints"], "authority": None, "path": None, "request_headers": {}, "location": None,
        "timeout_ms": None, "retries": None,
        "flags": ["NC"] if chosen in found["missing"] else [] if found["kind"] == "http" or passes else ["NR"],
        "steps": [
            {"step": "find_chain", "decision": found["chain"] or "closed", "why": known or "it is the only one"},
            *_tunnelled(found.get("tunnel", "")),
        ],
    }  # fmt: skip


def _tunnelled(request: str) -> list[dict[str, str]]:
    """The proxy that the bytes go through, by the request that is sent to it first."""
    if not request:
        return []
    method, host = request.partition(" ")[0], request.splitlines()[1].partition(": ")[2]
    why = "in its bodies, once the answer is 2xx" if method == "POST" else "once the answer is 2xx"
    return [{"step": "tunnel", "decision": f"{method} {host}", "why": f"the endpoint carries the bytes there {why}"}]
