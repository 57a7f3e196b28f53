"""The parts of the real proxy: the config package's compiler and the compiled core's arena and workers."""

from __future__ import annotations

import importlib

from fastmesh.server.configure import Answers, Compiled
from fastmesh.server.crew import SharedArena
from fastmesh.server.failure import FAILED, StartError
from fastmesh.server.master import Parts
from fastmesh.server.settings import ProxySettings

CORE = ("fastmesh.core.base.arena", "fastmesh.core.proxy.worker")


def parts(settings: ProxySettings) -> Parts:
    def compile_sources(answers: Answers) -> Compiled:
        raise NotImplementedError

    return Parts(
        compile=compile_sources,
        worker_module="fastmesh.server.worker",
        create_arena=_create_arena,
        attach_arena=_attach_arena,
        check=check_core,
    )


def check_core() -> None:
    for name in CORE:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise StartError(
                FAILED, f"the compiled core is missing or broken ({error}); build it with: make build"
            ) from None


def _create_arena(size: int, slots: int) -> SharedArena:
    check_core()
    from fastmesh.core.base.arena import Arena

    arena: SharedArena = Arena.create(size, slots)
    return arena


def _attach_arena(fd: int) -> SharedArena:
    from fastmesh.core.base.arena import Arena

    arena: SharedArena = Arena.attach(fd)
    return arena
