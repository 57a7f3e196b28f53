"""How VirtualServices name the gateways that their rules are for."""

from __future__ import annotations

MESH = "mesh"  # not a gateway: the sidecars


def gateway_name(written: str, namespace: str) -> str:
    """A gateway as a VirtualService of `namespace` names it: `ns/name`, `./name`, `name`, or the old `name.ns...`."""
    if written == MESH:
        return written
    owner, slash, name = written.partition("/")
    if slash:
        return f"{namespace if owner == '.' else owner}/{name}"
    name, dot, rest = written.partition(".")
    return f"{rest.partition('.')[0]}/{name}" if dot else f"{namespace}/{name}"
