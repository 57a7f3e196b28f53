"""The status of Gateways, routes and policies in a file: written anew, whole, for each configuration that is applied.

Without Kubernetes nobody counts generations and transitions, so what the file said before goes on: a spec that has
changed is the next generation, a condition that has the same status keeps its time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from fastmesh.config.status.conditions import (
    AncestorStatus,
    Condition,
    ListenerStatus,
    ObjectStatus,
    ParentStatus,
    Status,
)
from fastmesh.config.status.document import with_generation

log = logging.getLogger("fastmesh.config")
replace = msgspec.structs.replace
Part = ListenerStatus | ParentStatus | AncestorStatus


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A List, as `kubectl get -o json` shows one."""

    api_version: str = "v1"
    kind: str = "List"
    items: list[ObjectStatus] = []


class StatusFile:
    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._before = {item.key: item for item in self._read()}

    def write(self, fresh: Iterable[ObjectStatus]) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        items = []
        for item in fresh:
            before = self._before.get(item.key)
            items.append(_timed(_counted(item, before), before, now))
        self._before = {item.key: item for item in items}
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(Document(items=items)), indent=2) + b"\n")
            beside.replace(self._path)
        except OSError as error:
            log.error("%s: the status cannot be written: %s", self._path, error.strerror)
            with contextlib.suppress(OSError):
                beside.unlink()

    def _read(self) -> list[ObjectStatus]:
        """What an earlier process wrote; whatever else stands there is replaced."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Document).items
        except (OSError, msgspec.DecodeError):
            return []


def _counted(item: ObjectStatus, before: ObjectStatus | None) -> ObjectStatus:
    """Generations that nobody has written are counted here."""
    if item.generated or before is None:
        return item
    same = before.digest == item.digest
    return with_generation(item, before.metadata.generation + (0 if same else 1))


def _timed(item: ObjectStatus, before: ObjectStatus | None, now: str) -> ObjectStatus:
    """A condition keeps the time at which its status changed last."""
    old = _conditions(before.status) if before is not None else {}

    def timed(where: str, conditions: list[Condition]) -> list[Condition]:
        found = []
        for each in conditions:
            last = old.get((where, each.type))
            same = last is not None and last.status == each.status
            found.append(replace(each, last_transition_time=last.last_transition_time if last and same else now))
        return found

    status = item.status
    status = replace(
        status,
        conditions=timed("", status.conditions),
        listeners=[replace(each, conditions=timed(_name(each), each.conditions)) for each in status.listeners],
        parents=[replace(each, conditions=timed(_name(each), each.conditions)) for each in status.parents],
        ancestors=[replace(each, conditions=timed(_name(each), each.conditions)) for each in status.ancestors],
    )
    return replace(item, status=status)


def _conditions(status: Status) -> dict[tuple[str, str], Condition]:
    found = {("", each.type): each for each in status.conditions}
    parts: list[Part] = [*status.listeners, *status.parents, *status.ancestors]
    for part in parts:
        found.update({(_name(part), each.type): each for each in part.conditions})
    return found


def _name(part: Part) -> str:
    if isinstance(part, ListenerStatus):
        return part.name
    return repr(sorted((part.parent_ref if isinstance(part, ParentStatus) else part.ancestor_ref).items()))
