"""The parts of the real proxy: the config package's reader and compiler, and the compiled core's arena and workers."""

from __future__ import annotations

import importlib
import os
from typing import Any

from fastmesh.config.compile import Role, compile_plan, dns_names
from fastmesh.config.plan import WorkloadPlan, encode
from fastmesh.config.store import ConfigSet, read
from fastmesh.config.workloads import UNKNOWN, facts
from fastmesh.errors import EXIT_FAILURE, Problem
from fastmesh.server.configure import Answers, Compiled
from fastmesh.server.crew import SharedArena
from fastmesh.server.failure import SourcesError, StartError
from fastmesh.server.parts import Parts
from fastmesh.server.settings import ProxySettings

CORE = ("fastmesh.core.base.arena", "fastmesh.core.proxy.worker")


def parts(settings: ProxySettings) -> Parts:
    return Parts(
        compile=Sources(settings).compile,
        worker_module="fastmesh.server.worker",
        create_arena=_create_arena,
        attach_arena=_attach_arena,
        check=check_core,
    )


class Sources:
    """The files of a proxy. `compile` reads them anew each time, so the same call serves the start and every reload."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._role = Role(
            kind=settings.role,
            listen=settings.listen,
            bind=settings.bind,
            ports=settings.port_map(),
            namespace=settings.namespace,
            labels=settings.label_map(),
            workload=own_workload(settings),
        )

    def compile(self, answers: Answers) -> Compiled:
        settings = self._settings
        found = read(settings.files, strict=settings.strict, allow_unenforced=settings.allow_unenforced)
        if not found.ok:
            raise SourcesError([str(problem) for problem in found.errors])
        plan, more = compile_plan(found.resources, self._role, resolve=answers)
        problems = [*found.problems, *more]
        errors = [str(problem) for problem in problems if problem.severity == "error"]
        if errors:
            raise SourcesError(errors)
        return Compiled(
            plan=plan,
            encoded=encode(plan),
            warnings=[str(problem) for problem in problems if problem.severity == "warning"],
            notes=[str(problem) for problem in problems if problem.severity == "note"],
            objects=_statuses(found.resources, problems),
            hosts=frozenset(dns_names(found.resources)),
        )


def own_workload(settings: ProxySettings) -> WorkloadPlan:
    """Who the proxy stands for: its labels, and the names that Istio's injector puts into the environment."""
    labels = settings.label_map()
    name = os.environ.get("ISTIO_META_WORKLOAD_NAME", "") or labels.get("app", "")
    return facts(name, settings.namespace, labels) if name or labels else UNKNOWN


def _statuses(resources: ConfigSet, problems: list[Problem]) -> list[dict[str, Any]]:
    """What became of each object, for /config_dump."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        said.setdefault((problem.kind, problem.namespace, problem.name), []).append(str(problem))
    return [
        {
            "kind": item.kind,
            "namespace": item.namespace,
            "name": item.name,
            "source": f"{item.source.file}:{item.line()}",
            "status": "accepted",
            "problems": said.get(item.key, []),
        }
        for item in resources
    ]


def check_core() -> None:
    for name in CORE:
        try:
            importlib.import_module(name)
        except ImportError as error:
            why = f"the compiled core is missing or broken ({error}): make build"
            raise StartError(EXIT_FAILURE, why) from None


def _create_arena(size: int, slots: int) -> SharedArena:
    check_core()
    from fastmesh.core.base.arena import Arena

    arena: SharedArena = Arena.create(size, slots)
    return arena


def _attach_arena(fd: int) -> SharedArena:
    from fastmesh.core.base.arena import Arena

    arena: SharedArena = Arena.attach(fd)
    return arena
