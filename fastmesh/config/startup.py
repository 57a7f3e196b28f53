"""How a proxy is started, as far as the configuration says it: flags of the command are stronger.

A ProxyConfig that selects the workload comes before its namespace's, that before the mesh's, and last MeshConfig's
`defaultConfig`; each field by itself. It counts at the start, as in Istio.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastmesh.config.mesh import mesh_of
from fastmesh.config.selectors import selects
from fastmesh.config.services.role import Role, stand_for
from fastmesh.config.store import ConfigSet
from fastmesh.model.proxy_config import ProxyConfig

_STANDARD = {"/dev/stdout": "-"}


class Startup(msgspec.Struct, frozen=True):
    concurrency: int | None = None  # workers; 0 = one for each core
    access_log: str = ""  # a path, "-" for standard output; "": off
    access_log_format: str = "text"


def startup(config: ConfigSet, role: Role) -> Startup:
    written = config.mesh_config
    default = written.default_config if written is not None else None
    concurrency = next((each.concurrency for each in _levels(config, role) if each.concurrency is not None), None)
    if concurrency is None and default is not None:
        concurrency = default.concurrency
    if written is None:
        return Startup(concurrency)
    path = written.access_log_file
    return Startup(concurrency, _STANDARD.get(path, path), written.access_log_encoding.lower())


def _levels(config: ConfigSet, role: Role) -> Iterator[ProxyConfig]:
    """From the most specific one; the oldest of several at one level."""
    mesh = mesh_of(config.mesh_config)
    labels = stand_for(config, role, mesh)[0].labels
    chosen: list[ProxyConfig] = []
    own: list[ProxyConfig] = []
    whole: list[ProxyConfig] = []
    for item in config.proxy_configs:
        wanted = item.spec.selector.match_labels if item.spec.selector is not None else {}
        if wanted and item.namespace == role.namespace and selects(wanted, labels):
            chosen.append(item.spec)
        elif not wanted and item.namespace == role.namespace:
            own.append(item.spec)
        elif not wanted and item.namespace == mesh.root:
            whole.append(item.spec)
    for level in (chosen, own, whole):
        yield from level[:1]
