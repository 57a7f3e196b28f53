"""With `-n 2` two processes run the tests. Tests that start processes go by file, whatever only computes by test.

A test that measures (`quiet`: times with little room, CPU, rates) runs alone: no other test is on the machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.room import Room

HERE = Path(__file__).parent
SIDE_BY_SIDE = {"config", "core", "discovery", "security"}  # folders whose tests only compute
AT_ONE_PLACE = {"interop"}  # its peers are started once for all of its files
ROOM = pytest.StashKey[Room]()

# Else every proxy that a test starts compiles all of its Python anew, a third of what a start costs
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        config.stash[ROOM] = Room(Path(tempfile.gettempdir()) / f"fastmesh-tests-{run}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if room := config.stash.get(ROOM, None):
        room.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(HERE)
        if place.parts[0] in AT_ONE_PLACE:
            item.add_marker(pytest.mark.xdist_group(place.parts[0]))
        elif place.parts[0] not in SIDE_BY_SIDE:
            item.add_marker(pytest.mark.xdist_group(str(place)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the time limit: it does not count while a test waits here
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    if room := item.config.stash.get(ROOM, None):
        room.enter(alone=is_quiet(item))
    try:
        return (yield)
    finally:
        if room and not (is_quiet(item) and nextitem is not None and is_quiet(nextitem)):
            room.leave()


def is_quiet(item: pytest.Item) -> bool:
    return item.get_closest_marker("quiet") is not None
