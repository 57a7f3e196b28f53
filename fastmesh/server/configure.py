"""From the files to something that runs, as the master sees it: one call that answers a compiled plan or every
problem.

The rest of the server knows only the two types below; how files are read and rules are compiled is the config
package's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fastmesh.config.plan import Plan
from fastmesh.server.sockets import Wanted

Answers = Mapping[str, Sequence[str]]  # DNS name -> addresses


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can run."""

    plan: Plan
    encoded: bytes
    warnings: list[str] = []
    notes: list[str] = []
    objects: list[dict[str, Any]] = []  # status of each object, for /config_dump
    hosts: frozenset[str] = frozenset()  # DNS names whose addresses the plan needs

    def listeners(self) -> list[Wanted]:
        return [Wanted(listener.name, listener.address) for listener in self.plan.listeners]


Compile = Callable[[Answers], Compiled]  # raises SourcesError; called in a thread
