"""What a proxy is made of, and the check that all of it is there. Tests make proxies of other parts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

import msgspec

from fastmesh.errors import EXIT_OK
from fastmesh.server.configure import Sources
from fastmesh.server.crew import SharedArena
from fastmesh.server.failure import SourcesError, StartError
from fastmesh.server.leases import Desk


class Parts(msgspec.Struct, frozen=True):
    """What a proxy is made of; tests put other parts in."""

    sources: Sources
    worker_module: str
    create_arena: Callable[[int, int], SharedArena]  # size, slots
    attach_arena: Callable[[int], SharedArena]  # ValueError: another layout
    check: Callable[[], object]  # imports what a worker imports
    make_desk: Callable[[SharedArena], Desk] | None = None  # None: global limits count nowhere


def preflight(parts: Parts) -> int:
    """Whether this code and these files would start: 0, or 65 or 78 with every problem printed. Nothing is bound."""
    try:
        importlib.import_module(parts.worker_module)
        parts.check()
        parts.sources.compile({}, None)
    except SourcesError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return error.code
    except StartError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return error.code
    return EXIT_OK
