"""Filter chains of the Gateway API's listeners: bytes (TCPRoute), and HTTPS and TLS, ended here or passed on by server
name (TLSRoute)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from fastmesh.config.api_listeners import Attachment, Place
from fastmesh.config.ciphers import usable
from fastmesh.config.credentials.api_material import Material
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.credentials.server_tls import HTTP_ALPN
from fastmesh.config.hosts import intersection
from fastmesh.config.place import Path
from fastmesh.config.plan import ChainPlan, DestinationPlan, ServerTLSPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.http_route import Backends
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.gateway_api import TCPRoute, TLSRoute
from fastmesh.model.gateway_api_tls import ClientValidation


class ApiChains:
    def __init__(
        self,
        config: ConfigSet,
        material: Material,
        credentials: Credentials,
        backends: Backends,
        problems: list[Problem],
    ) -> None:
        self._routes: list[Resource[TLSRoute]] = config.tls_routes
        self._tcp_routes: list[Resource[TCPRoute]] = config.tcp_routes
        self._attachment = Attachment({item.name: item.labels for item in config.namespaces})
        self._material = material
        self._credentials = credentials
        self._backends = backends
        self._problems = problems

    def of_port(self, places: Iterable[Place]) -> list[ChainPlan]:
        chains: list[ChainPlan] = []
        taken: dict[str, str] = {}  # server names of TLSRoutes, and who has them
        for place in places:
            if place.is_tcp:
                mine, to = self._of_bytes(place)
                chains.append(ChainPlan(name=f"{_name(place)} {mine}".strip(), kind="tcp", destinations=to))
            if not place.is_tls:
                continue
            tls = None if place.passes else self._ended(place)
            if place.reads_requests:
                names = [] if place.host == "*" else [place.host]
                chains.append(ChainPlan(name=_name(place), transport="tls", server_names=names, tls=tls))
            else:
                chains += self._by_routes(place, tls, taken)
        return chains

    def _by_routes(self, place: Place, tls: ServerTLSPlan | None, taken: dict[str, str]) -> list[ChainPlan]:
        """A chain for each TLSRoute; a server name belongs to the oldest one."""
        found = []
        for route in self._routes:
            if not self._attachment.holds(place, "TLSRoute", route.namespace, route.spec.parent_refs):
                continue
            mine = f"TLSRoute {route.namespace}/{route.name}"
            common = (intersection(place.host, host.lower()) for host in route.spec.hostnames)
            names = list(dict.fromkeys(host for host in common if host is not None))
            for name in names:
                if taken.setdefault(name, mine) != mine:
                    message = f"{name} is that of {taken[name]} already, which stays"
                    self._problems.append(route.problem(("spec", "hostnames"), message, "warning", "advice"))
            free = [name for name in names if taken[name] == mine]
            if free:
                found.append(
                    ChainPlan(
                        name=f"{_name(place)} {mine}",
                        transport="tls",
                        server_names=[] if "*" in free else free,
                        tls=tls,
                        kind="tcp",
                        destinations=self._destinations(route),
                    )
                )
        mine, to = self._of_bytes(place) if tls is not None else ("", [])
        if mine and taken.setdefault(place.host, mine) == mine:
            names = [] if place.host == "*" else [place.host]
            name = f"{_name(place)} {mine}"
            found.append(
                ChainPlan(name=name, transport="tls", server_names=names, tls=tls, kind="tcp", destinations=to)
            )
        return found

    def _of_bytes(self, place: Place) -> tuple[str, list[DestinationPlan]]:
        """The TCPRoute of a listener, and where it leads. Nothing tells connections apart: the oldest one serves."""
        serving, to = "", list[DestinationPlan]()
        for route in self._tcp_routes:
            if not self._attachment.holds(place, "TCPRoute", route.namespace, route.spec.parent_refs):
                continue
            if not serving:
                serving, to = f"TCPRoute {route.namespace}/{route.name}", self._destinations(route)
                continue
            message = f"the connections of listener {place.listener.name} are those of {serving}, which is older"
            self._problems.append(route.problem(("spec", "parentRefs"), message, "warning", "advice"))
        return serving, to

    def _destinations(self, route: Resource[TLSRoute] | Resource[TCPRoute]) -> list[DestinationPlan]:
        """Of the first rule, as the API allows one."""
        found = []
        for index, backend in enumerate(route.spec.rules[0].backend_refs if route.spec.rules else ()):
            if backend.weight:
                path = ("spec", "rules", 0, "backendRefs", index)
                name, exists = self._backends.cluster(backend, route, path)
                found.append(DestinationPlan(cluster=name, weight=backend.weight, missing=not exists))
        return found

    def _ended(self, place: Place) -> ServerTLSPlan:
        tls, path = place.listener.tls, (*place.path, "tls")
        assert tls is not None
        validation, at = self._validation(place)
        roots = self._material.roots(validation.ca_certificate_refs, place.gateway, at) if validation else []
        names = []
        for index, ref in enumerate(tls.certificate_refs):
            step = (*path, "certificateRefs", index)
            pair = self._material.pair(ref, place.gateway, step)
            crl = next((each for each in roots if each and each.startswith("secret:")), "")
            names.append(self._credentials.put(place.gateway, step, pair, pair, roots, crl))
        client: Literal["none", "optional", "required"] = "none"
        fallback = validation is not None and validation.mode == "AllowInsecureFallback"
        if validation is not None:
            client = "optional" if fallback else "required"
        return ServerTLSPlan(
            credentials=names,
            client=client,
            accept_unverified=fallback,
            ciphers=usable(tls.options.get(CIPHERS, "").split(",")),
            alpn=HTTP_ALPN if place.reads_requests else [],
        )

    def _validation(self, place: Place) -> tuple[ClientValidation | None, Path]:
        """What clients of a listener have to show: by its port, by the Gateway's default, by its own older field."""
        own = place.listener.tls
        if own is not None and own.frontend_validation is not None:
            return own.frontend_validation, (*place.path, "tls", "frontendValidation")
        tls = place.gateway.spec.tls
        frontend = tls.frontend if tls is not None else None
        if frontend is None or not place.reads_requests:
            return None, ()
        path: Path = ("spec", "tls", "frontend")
        for index, port in enumerate(frontend.per_port):
            if port.port == place.listener.port:
                return port.tls.validation, (*path, "perPort", index, "tls", "validation")
        return frontend.default.validation, (*path, "default", "validation")


CIPHERS = "gateway.istio.io/tls-cipher-suites"  # an option of a listener that Istio knows


def _name(place: Place) -> str:
    return f"{place.name} {place.listener.name}"
