"""What a Sidecar lets its workload see: which one holds for it, and what each egress listener of it imports.

Without a Sidecar everything that is exported to the namespace is imported. Services that an imported VirtualService
sends to are imported too, for its sake: they get clusters, and no names of their own.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastmesh.config import protocols
from fastmesh.config.hosts import covers, fqdn, intersection, is_wildcard
from fastmesh.config.mesh import Unknown, unknown_by
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.model.sidecar import EgressListener, Sidecar
from fastmesh.model.virtual_service import VirtualService

ANY = "*"
_EXCLUDE = "~"
_HTTP_PROXY = "HTTP_PROXY"


@dataclass(slots=True)
class Hosts:
    """The hosts of one namespace that a listener imports, and those that it leaves out."""

    exact: set[str] = field(default_factory=set)
    wild: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)

    def excludes(self, host: str) -> bool:
        return any(covers(pattern, host) for pattern in self.excluded)

    def has(self, host: str) -> bool:
        """A service is imported when all of its names are."""
        return host in self.exact or any(covers(pattern, host) for pattern in self.wild)

    def touches(self, host: str) -> bool:
        """For a VirtualService one common name is enough, also where its own host is the wider one."""
        if host in self.exact or any(intersection(pattern, host) is not None for pattern in self.wild):
            return True
        return is_wildcard(host) and any(covers(host, exact) for exact in self.exact)


class Egress:
    """One egress listener of a Sidecar; with none written, the one that imports everything."""

    def __init__(self, written: EgressListener | None, index: int, namespace: str) -> None:
        self.written = written
        self.index = index  # in spec.egress
        self._hosts: dict[str, Hosts] = {}
        self._everything = written is None
        for text in written.hosts if written is not None else ():
            self._take(text, namespace)

    @property
    def port(self) -> int:
        """The only port of services that counts; 0 = all of them, as for a proxy that clients know as one."""
        port = self.written.port if self.written is not None else None
        return 0 if port is None or port.protocol.upper() == _HTTP_PROXY else port.number

    @property
    def address(self) -> str:
        """Where it listens by itself: HOST:PORT or unix:///path. Empty: its routes are the mesh listener's."""
        written = self.written
        if written is None or written.port is None:
            return ""
        bind = written.bind
        if bind.startswith("unix:"):
            return bind
        if not bind and written.capture_mode != "NONE":
            return ""
        host = bind or "127.0.0.1"
        return f"[{host}]:{written.port.number}" if ":" in host else f"{host}:{written.port.number}"

    @property
    def protocol(self) -> str:
        port = self.written.port if self.written is not None else None
        return protocols.declared(port.protocol) if port is not None else protocols.SNIFF

    def service(self, host: str, namespace: str) -> bool:
        """Whether the service of this host and namespace is imported."""
        if self._everything:
            return True
        own, everywhere = self._hosts.get(namespace), self._hosts.get(ANY)
        parts = [part for part in (own, everywhere) if part is not None]
        return any(part.has(host) for part in parts) and not any(part.excludes(host) for part in parts)

    def virtual_service(self, written: Resource[VirtualService]) -> bool:
        """Whether some host of it is imported, and not left out."""
        if self._everything:
            return True
        own, everywhere = self._hosts.get(written.namespace), self._hosts.get(ANY)
        parts = [part for part in (own, everywhere) if part is not None]
        for host in written.spec.hosts:
            name = fqdn(host, written.namespace)
            if any(part.touches(name) for part in parts) and not any(part.excludes(name) for part in parts):
                return True
        return False

    def _take(self, text: str, namespace: str) -> None:
        """`ns/host`; `~ns/host` leaves out, `~/host` in every namespace: `~/*` alone imports nothing."""
        owner, _, host = text.partition("/")
        host = host.lower()
        leaves_out = owner.startswith(_EXCLUDE)
        owner = (owner.removeprefix(_EXCLUDE) or ANY) if leaves_out else owner
        hosts = self._hosts.setdefault(namespace if owner == "." else owner, Hosts())
        if leaves_out:
            hosts.excluded.append(host)
        elif is_wildcard(host):
            hosts.wild.append(host)
        else:
            hosts.exact.add(host)


@dataclass(slots=True)
class Imports:
    """The Sidecar of a workload, and what it imports."""

    sidecar: Resource[Sidecar] | None
    egress: list[Egress]

    def apart(self) -> list[Egress]:
        """The egress listeners that listen by themselves."""
        return [each for each in self.egress if each.address]

    def shared(self) -> list[Egress]:
        """Those whose routes are the mesh listener's, each for its port; the one for all other ports comes last."""
        return [each for each in self.egress if not each.address]


def unknown_hosts(imports: Imports, otherwise: Unknown) -> Unknown:
    """What hosts get that the mesh does not know; an empty outboundTrafficPolicy is REGISTRY_ONLY, the zero value."""
    policy = imports.sidecar.spec.outbound_traffic_policy if imports.sidecar is not None else None
    return otherwise if policy is None else unknown_by(policy.mode)


def imports_of(sidecars: Iterable[Resource[Sidecar]], namespace: str, labels: Mapping[str, str], root: str) -> Imports:
    found = find_sidecar(sidecars, namespace, labels, root)
    written = found.spec.egress if found is not None else []
    if not written:
        return Imports(found, [Egress(None, 0, namespace)])
    return Imports(found, [Egress(each, index, namespace) for index, each in enumerate(written)])


def find_sidecar(
    sidecars: Iterable[Resource[Sidecar]], namespace: str, labels: Mapping[str, str], root: str
) -> Resource[Sidecar] | None:
    """One that selects the workload, else its namespace's, else the mesh's; the oldest of several. None is merged."""
    own = everywhere = None
    for item in sidecars:
        selector = item.spec.workload_selector
        wanted = selector.labels if selector is not None else {}
        if item.namespace == namespace:
            if wanted and selects(wanted, labels):
                return item
            if not wanted:
                own = own or item
        elif item.namespace == root and not wanted:
            everywhere = everywhere or item
    return own or everywhere
