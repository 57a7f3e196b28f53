"""The files of a proxy: its configuration, and the key material that this names. Each call reads what has to be read
anew, so the same ones serve the start, every reload and every rotation.

Here the config package, which knows objects and no bytes, meets the security package, which knows bytes and no objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from fastmesh.config.check.report import strictly
from fastmesh.config.compile import Role, compile_plan, dns_names
from fastmesh.config.credentials.sources import Piece as Written
from fastmesh.config.credentials.sources import Wanted, collect
from fastmesh.config.plan import ChainPlan, CredentialPlan, FilterPlan, Plan, WorkloadPlan, encode
from fastmesh.config.services.workloads import UNKNOWN, facts
from fastmesh.config.startup import startup
from fastmesh.config.status.document import statuses
from fastmesh.config.store import ReadResult, read
from fastmesh.errors import EXIT_CONFIG, Problem
from fastmesh.security import folder, spiffe
from fastmesh.security.material import Loaded, Material, Piece, Request
from fastmesh.security.reader import Reader
from fastmesh.security.times import utc_now
from fastmesh.server.configure import ACCEPTED, REFUSED, Answers, Compiled
from fastmesh.server.failure import SourcesError
from fastmesh.server.filter_code import with_code
from fastmesh.server.settings import ProxySettings

STAPLE = ".ocsp"  # beside a file with a chain


class FileSources:
    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._trust_domain = settings.trust_domain  # else the first certificate says it, for the life of the proxy
        self._reader = Reader()
        self._role = Role(
            kind=settings.role,
            listen=settings.outbound if settings.role == "sidecar" else settings.listen,
            inbound=tuple(settings.inbound_pairs()),
            bind=settings.bind,
            ports=settings.port_map(),
            proxy_protocol=settings.proxy_protocol,
            intercepts=settings.interception_mode == "redirect",
            name=settings.workload_name(),
            namespace=settings.namespace,
            locality=settings.locality,
            labels=settings.label_map(),
        )

    def compile(self, answers: Answers, running: Compiled | None) -> Compiled:
        settings = self._settings
        found = read(
            settings.files,
            strict=settings.strict,
            allow_unenforced=settings.allow_unenforced,
            per_object=settings.per_object,
            mesh_config=settings.mesh_config,
        )
        if not found.ok:
            raise SourcesError([str(problem) for problem in found.errors])
        if running is not None and running.accepted() and not found.resources:
            raise SourcesError([*map(str, found.errors), _emptied(settings, running)])
        return self._compiled(found, answers, running.loaded if running is not None else Loaded())

    def readdress(self, answers: Answers, running: Compiled) -> Compiled:
        if running.source is None:
            return running
        return self._compiled(running.source, answers, running.loaded, running.plan.filters)

    def _compiled(
        self, found: ReadResult, answers: Answers, last: Loaded, filters: list[FilterPlan] | None = None
    ) -> Compiled:
        """`filters` have their code already."""
        settings, own = self._settings, self._own_identity(last)
        role = self._role_of(own)
        plan, more = compile_plan(found.resources, role, resolve=answers)
        more = strictly(more) if settings.strict else more
        while errors := [problem for problem in more if problem.severity == "error"]:
            rest = found.without(errors) if settings.per_object else None
            if rest is None:
                raise SourcesError([str(problem) for problem in errors])
            found = rest
            plan, more = compile_plan(found.resources, role, resolve=answers)
        problems = [*found.problems, *more]
        if filters is None:
            plan = with_code(plan, settings.filter_path)
        else:
            plan = msgspec.structs.replace(plan, filters=filters)
        requests = [_request(wanted) for wanted in collect(found.resources, plan) if wanted.kind != "mesh"]
        plan, loaded = self.with_credentials(plan, requests, _with(last, own))
        hosts, mesh = frozenset(dns_names(found.resources)), found.resources.mesh_config
        return Compiled(
            plan=plan,
            encoded=encode(plan),
            errors=[str(problem) for problem in found.errors],
            warnings=[str(problem) for problem in problems if problem.severity == "warning"],
            notes=[str(problem) for problem in problems if problem.severity == "note"],
            objects=_statuses(found, problems),
            statuses=statuses(found.resources, self._role) if settings.status_file else [],
            hosts=hosts,
            dns_refresh=int(mesh.dns_refresh_rate or 0) / 1000 if mesh is not None else 0.0,
            source=found if hosts else None,
            requests=requests,
            startup=startup(found.resources, self._role),
            loaded=loaded,
        )

    def renew(self, running: Compiled) -> Compiled:
        loaded = self._load(running.requests, running.loaded)
        if _same(loaded, running.loaded):
            return msgspec.structs.replace(running, loaded=loaded)
        plan = _letting_in(_complete(running.plan, loaded), loaded.materials.get(folder.MESH))
        return msgspec.structs.replace(running, plan=plan, encoded=encode(plan), loaded=loaded)

    def with_credentials(self, plan: Plan, requests: list[Request], last: Loaded) -> tuple[Plan, Loaded]:
        """SourcesError when one of them cannot run at all."""
        loaded = self._load(requests, last)
        self._reader.keep_only(path for request in self._all(requests) for path in request.paths())
        if loaded.fatal:
            raise SourcesError(loaded.fatal, EXIT_CONFIG)
        return _complete(plan, loaded), loaded

    def watched(self, running: Compiled) -> list[str]:
        return [path for request in self._all(running.requests) for path in request.paths()]

    # ---- credentials

    def _own_identity(self, last: Loaded) -> Material | None:
        """What --certs has. Its trust domain counts when none was said, so it is read before anything is compiled."""
        if not self._settings.certs:
            return None
        loaded = self._load([], last)
        if loaded.fatal:
            raise SourcesError(loaded.fatal, EXIT_CONFIG)
        own = loaded.materials[folder.MESH]
        self._trust_domain = self._trust_domain or spiffe.parse(own.principal).trust_domain
        return own

    def _role_of(self, own: Material | None) -> Role:
        principal = own.principal if own is not None else ""
        workload = UNKNOWN if self._role.name else own_workload(self._settings, principal)
        believed = tuple(own.bundles) if own is not None else ()
        role = replace(self._role, identity=own is not None, principal=principal, workload=workload, believed=believed)
        return replace(role, trust_domain=self._trust_domain) if self._trust_domain else role

    def _all(self, requests: list[Request]) -> list[Request]:
        own = [folder.mesh_request(self._settings.certs, self._trust_domain)] if self._settings.certs else []
        return [*own, *requests]

    def _load(self, requests: list[Request], last: Loaded) -> Loaded:
        wanted = self._all(requests)
        if not wanted:
            return Loaded()
        from fastmesh.security.load import load  # 18 MB of library that a proxy without certificates does not need

        return load(wanted, self._reader, last, utc_now())


def _with(last: Loaded, own: Material | None) -> Loaded:
    if own is None:
        return last
    return msgspec.structs.replace(last, materials={**last.materials, folder.MESH: own})


def _same(one: Loaded, other: Loaded) -> bool:
    return one.materials.keys() == other.materials.keys() and all(
        material is other.materials[name] for name, material in one.materials.items()
    )


def _complete(plan: Plan, loaded: Loaded) -> Plan:
    """The plan with its key material. Its version is that of the configuration: certificates do not change it."""
    names = CredentialPlan.__struct_fields__
    made = [
        CredentialPlan(**{name: getattr(material, name) for name in names}) for material in loaded.materials.values()
    ]
    made = [_with_aliases(each, plan) if each.bundles else each for each in made]
    return msgspec.structs.replace(plan, credentials=made)


def _letting_in(plan: Plan, own: Material | None) -> Plan:
    """The plan with a renewed identity: clients of each trust domain whose roots are there may come in.

    Where files are compiled, `Role.believed` says the same.
    """
    if own is None:
        return plan
    domains = list(dict.fromkeys((plan.mesh.trust_domain, *plan.mesh.trust_domain_aliases, *own.bundles)))
    change = msgspec.structs.replace

    def changed(chain: ChainPlan) -> ChainPlan:
        if chain.tls is None or not chain.tls.mesh:
            return chain
        return change(chain, tls=change(chain.tls, trust_domains=domains))

    return change(plan, listeners=[change(each, chains=[*map(changed, each.chains)]) for each in plan.listeners])


def _with_aliases(credential: CredentialPlan, plan: Plan) -> CredentialPlan:
    """The other names of the trust domain stand for the same roots, but for those that have roots of their own."""
    roots = credential.bundles.get(plan.mesh.trust_domain)
    if roots is None or not plan.mesh.trust_domain_aliases:
        return credential
    aliases = dict.fromkeys(plan.mesh.trust_domain_aliases, roots)
    return msgspec.structs.replace(credential, bundles={**aliases, **credential.bundles})


def _request(wanted: Wanted) -> Request:
    """The same in the words of the security package."""

    def piece(written: Written | None) -> Piece | None:
        if written is None:
            return None
        where = str(wanted.problem("", piece=written)).removesuffix(": ")
        if written.path:
            return Piece(place=written.path, path=written.path, asked=where)
        return Piece(place=where, data=written.data)

    chain, staple = piece(wanted.chain), piece(wanted.staple)
    if chain is not None and chain.path:
        staple = Piece(place=chain.path + STAPLE, path=chain.path + STAPLE, optional=True)
    return Request(
        name=wanted.name,
        chain=chain,
        key=piece(wanted.key),
        roots=tuple(made for written in wanted.roots if (made := piece(written)) is not None),
        crl=piece(wanted.crl),
        staple=staple,
    )


# ---- what is said


def own_workload(settings: ProxySettings, principal: str = "") -> WorkloadPlan:
    """Who the proxy stands for: its labels, and the names that Istio's injector puts into the environment."""
    labels = settings.label_map()
    name = os.environ.get("ISTIO_META_WORKLOAD_NAME", "") or labels.get("app", "")
    known = name or labels or principal
    return facts(name, settings.namespace, labels, principal) if known else UNKNOWN


def _emptied(settings: ProxySettings, running: Compiled) -> str:
    """A file that is cut to nothing, or a folder that is not mounted, is no wish to serve nothing."""
    files = ", ".join(settings.paths())
    return f"{files}: no object is left of {running.accepted()}; to serve none of them, start the proxy anew"


def _statuses(found: ReadResult, problems: list[Problem]) -> list[dict[str, Any]]:
    """What became of each object, for /config_dump."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        said.setdefault((problem.kind, problem.namespace, problem.name), []).append(str(problem))
    served = [
        _status(item.kind, item.namespace, item.name, f"{item.source.file}:{item.line()}", said.get(item.key, []))
        for item in found.resources
    ]
    return served + [
        _status(item.kind, item.namespace, item.name, f"{item.file}:{item.line}", map(str, item.problems), REFUSED)
        for item in found.left_out
    ]


def _status(
    kind: str, namespace: str, name: str, source: str, problems: Iterable[str], status: str = ACCEPTED
) -> dict[str, Any]:
    own = {"kind": kind, "namespace": namespace, "name": name, "source": source}
    return {**own, "status": status, "problems": list(problems)}
