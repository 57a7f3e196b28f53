"""The parts of the real proxy: its files, and the compiled core's arena and workers."""

from __future__ import annotations

import importlib
from typing import cast

from fastmesh.errors import EXIT_FAILURE
from fastmesh.server.crew import SharedArena
from fastmesh.server.failure import StartError
from fastmesh.server.leases import Desk
from fastmesh.server.parts import Parts
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sources import FileSources

CORE = ("fastmesh.core.base.arena", "fastmesh.core.proxy.worker")


def parts(settings: ProxySettings) -> Parts:
    return Parts(
        sources=FileSources(settings),
        worker_module="fastmesh.server.worker",
        create_arena=_create_arena,
        attach_arena=_attach_arena,
        check=check_core,
        make_desk=_make_desk,
    )


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


def _make_desk(arena: SharedArena) -> Desk:
    from fastmesh.core.base.arena import Arena
    from fastmesh.core.guard.lease_desk import LeaseDesk

    desk: Desk = LeaseDesk(cast("Arena", arena))
    return desk


def _attach_arena(fd: int) -> SharedArena:
    from fastmesh.core.base.arena import Arena

    arena: SharedArena = Arena.attach(fd)
    return arena
