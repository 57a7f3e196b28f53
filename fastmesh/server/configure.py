"""From the files to something that runs, as the master sees it: a call that answers a compiled plan or every problem,
and one that answers the same plan with the certificates of this moment.

The rest of the server knows only the two types below; how files are read and rules are compiled is the config
package's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fastmesh.config.plan import Plan
from fastmesh.config.startup import Startup
from fastmesh.config.status.conditions import ObjectStatus
from fastmesh.config.store import ReadResult
from fastmesh.security.material import Loaded, Request
from fastmesh.server.sockets import Wanted

ACCEPTED, REFUSED = "accepted", "refused"  # what became of an object

Answers = Mapping[str, Sequence[str]]  # DNS name -> addresses


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can run."""

    plan: Plan
    encoded: bytes
    errors: list[str] = []  # of the objects that were left out
    warnings: list[str] = []
    notes: list[str] = []
    objects: list[dict[str, Any]] = []  # status of each object, for /config_dump
    statuses: list[ObjectStatus] = []  # for --status-file
    hosts: frozenset[str] = frozenset()  # DNS names whose addresses the plan needs
    dns_refresh: float = 0.0  # seconds between two questions for them; 0: the default
    source: ReadResult | None = None  # what the plan was made of, where `hosts` may get other addresses
    requests: list[Request] = []  # the credentials that the plan names, but for the proxy's own
    startup: Startup = Startup()
    loaded: Loaded = Loaded()  # their material, as it stands in `plan` and `encoded`

    def accepted(self) -> int:
        return len(self.objects) - self.refused()

    def refused(self) -> int:
        """How many objects were left out."""
        return sum(item["status"] == REFUSED for item in self.objects)

    def listeners(self) -> list[Wanted]:
        return [Wanted(listener.name, listener.address) for listener in self.plan.listeners]


class Sources(Protocol):
    """All of it is called in threads, `compile` and `renew` never at the same time."""

    def compile(self, answers: Answers, running: Compiled | None, /) -> Compiled:
        """Read everything anew; SourcesError has every problem. Bad material of what runs leaves the running one."""

    def readdress(self, answers: Answers, running: Compiled, /) -> Compiled:
        """The configuration that runs, with the addresses that its names have now. The files are not read again: what
        they say meanwhile may be wrong, or not meant yet."""

    def renew(self, running: Compiled, /) -> Compiled:
        """The configuration that runs, with the material that its credentials have now."""

    def watched(self, running: Compiled, /) -> list[str]:
        """The files of its credentials."""
