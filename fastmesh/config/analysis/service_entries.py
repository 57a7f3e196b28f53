"""ServiceEntries: addresses that TCP needs, and one port of a host with two protocols."""

from __future__ import annotations

from fastmesh.config.analysis.workloads import Workloads
from fastmesh.config.check.report import At
from fastmesh.config.resource import Resource
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.service_entry import ServiceEntry

_EVERYWHERE = "*"
_Used = dict[tuple[str, str, int], list[tuple[str, Resource[ServiceEntry]]]]


def analyze_service_entries(config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    for entry in config.service_entries:
        _addresses(entry, problems)
    _protocols(config, problems)


def _addresses(entry: Resource[ServiceEntry], problems: list[Problem]) -> None:
    """Connections that are intercepted say where they go by their address only, unless they are HTTP or TLS."""
    status = entry.source.root.get("status")
    if entry.spec.addresses or (isinstance(status, dict) and status.get("addresses")):
        return
    for index, port in enumerate(entry.spec.ports):
        if port.protocol.upper() in ("", "TCP"):
            what = "TCP" if port.protocol else "a port without protocol"
            message = f"{what} needs addresses to be told from other hosts, add addresses: [...] or a protocol"
            At(entry, problems)["ports"][index].found("IST0134", message)


def _protocols(config: ConfigSet, problems: list[Problem]) -> None:
    used: _Used = {}
    for entry in config.service_entries:
        exported = entry.spec.export_to
        everywhere = not exported or _EVERYWHERE in exported
        scopes = {_EVERYWHERE} if everywhere else {entry.namespace if each == "." else each for each in exported}
        for scope in scopes:
            for host in entry.spec.hosts:
                for port in entry.spec.ports:
                    row = used.setdefault((scope, host.lower(), port.number), [])
                    row.append((port.protocol.upper(), entry))
    told: set[int] = set()
    for (scope, host, number), row in used.items():
        together = row if scope == _EVERYWHERE else [*row, *used.get((_EVERYWHERE, host, number), [])]
        protocols = sorted({protocol or "none" for protocol, _ in together})
        for _, entry in together if len(protocols) > 1 else ():
            if id(entry) not in told:
                told.add(id(entry))
                message = f"{host}:{number} is {' and '.join(protocols)} in several ServiceEntries, make them the same"
                At(entry, problems)["ports"].found("IST0177", message)
