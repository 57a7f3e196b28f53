"""How a worker measures its pressure and what it decides, with files and time of our own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fastmesh.server.pressure import CLOSE, NONE, SHED, STOP, Memory, Pressure, judge
from fastmesh.server.settings import Overload

MIB = 1 << 20
PAGES = MIB // os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("memory", "connections", "lag", "step"),
    [
        (0.84, 0.84, 0.84, (NONE, 0)),
        (0.85, 0.0, 0.0, (CLOSE, 0)),
        (0.0, 0.85, 0.0, (CLOSE, 0)),
        (0.0, 0.0, 0.85, (CLOSE, 0)),
        (0.0, 1.0, 0.0, (CLOSE, 0)),  # to refuse requests makes no connection go away
        (0.9, 0.0, 0.0, (SHED, 1)),
        (0.92, 0.0, 0.0, (SHED, 40)),
        (0.1, 0.0, 0.92, (SHED, 40)),
        (0.949, 0.0, 0.0, (SHED, 98)),
        (0.95, 0.0, 0.0, (STOP, 100)),
        (0.0, 0.0, 7.0, (STOP, 100)),
    ],
)
def test_steps(memory: float, connections: float, lag: float, step: tuple[int, int]) -> None:
    assert judge(Overload(), memory, connections, lag) == step


def test_steps_that_fall_together() -> None:
    assert judge(Overload(close=90, shed=90, stop=90), 0.9, 0.0, 0.0) == (STOP, 100)
    assert Overload(close=90, shed=90, stop=90).complaint() == ""


@pytest.mark.parametrize(("close", "shed", "stop"), [(0, 90, 95), (91, 90, 95), (85, 96, 95), (85, 90, 101)])
def test_steps_that_do_not_go_upwards(close: int, shed: int, stop: int) -> None:
    assert "not three steps upwards" in Overload(close=close, shed=shed, stop=stop).complaint()


class Machine:
    """What a kernel says of one process."""

    def __init__(self, folder: Path) -> None:
        self.process, self.root = folder / "proc", folder / "cgroup"
        self.process.mkdir()
        self.root.mkdir()

    def uses(self, resident: int, shared: int) -> None:
        (self.process / "statm").write_text(f"9999999 {resident * PAGES} {shared * PAGES} 1 0 1 0\n")

    def group(self, place: str, **files: str) -> None:
        folder = self.root / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(f"{text}\n")

    def is_in(self, *lines: str) -> None:
        (self.process / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def memory(self, most: int = 0) -> Memory:
        return Memory(most, str(self.process), str(self.root))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_memory_of_its_own(machine: Machine) -> None:
    machine.uses(resident=60, shared=20)
    assert machine.memory(80 * MIB).pressure() == 0.5
    assert not machine.memory().is_limited
    assert machine.memory().pressure() == 0.0


def test_the_tightest_group_counts_and_cache_does_not(machine: Machine) -> None:
    machine.is_in("0::/pod/app")
    machine.group("pod/app", memory__max="1000", memory__current="900", memory__stat="anon 1\ninactive_file 300\n")
    machine.group("pod", memory__max="max", memory__current="2000")
    machine.group("", memory__max="2000", memory__current="400")
    assert machine.memory().is_limited
    assert machine.memory().pressure() == 0.6
    machine.group("", memory__current="1900", memory__stat="inactive_file 100\n")
    assert machine.memory().pressure() == 0.9


def test_a_group_of_the_old_kind(machine: Machine) -> None:
    machine.is_in("5:cpu:/x", "4:memory:/app", "0::/")
    machine.group("memory/app", memory__limit_in_bytes="1000", memory__usage_in_bytes="950", memory__stat="cache 5")
    machine.group("memory", memory__limit_in_bytes=str((1 << 63) - 4096), memory__usage_in_bytes="5")
    assert machine.memory().pressure() == 0.95


def test_a_group_that_cannot_be_seen_is_none(machine: Machine) -> None:
    machine.is_in("0::/elsewhere")
    assert not machine.memory().is_limited


class Plane:
    def __init__(self) -> None:
        self.all_connections = 0
        self.pressed: list[tuple[int, int]] = []
        self.pressures = (0, 0, 0)
        self.swept = self.trimmed = 0

    def press(self, level: int, shedding: int, pressures: tuple[int, int, int]) -> None:
        self.pressed.append((level, shedding))
        self.pressures = pressures

    def close_quiet(self, milliseconds: int) -> None:
        self.swept += 1

    def trim(self) -> None:
        self.trimmed += 1


def watcher(plane: Plane, machine: Machine, **settings: int) -> Pressure:
    loop = asyncio.new_event_loop()
    loop.close()
    return Pressure(loop, Overload(**settings), plane, machine.memory(settings.get("memory", 0)))


def test_nothing_is_looked_at_where_nothing_is_limited(machine: Machine) -> None:
    plane = Plane()
    pressure = watcher(plane, machine)
    assert not pressure.is_limited
    pressure.start()  # the loop is closed: to call it would raise
    assert plane.pressed == []


def test_one_late_turn_is_no_pressure_and_many_are(machine: Machine) -> None:
    plane = Plane()
    pressure = watcher(plane, machine, lag=100)
    pressure.look(1.0, 0.2)
    assert plane.pressed[-1] == (NONE, 0)
    for turn in range(20):
        pressure.look(1.1 + turn, 0.2)
    assert plane.pressed[-1] == (STOP, 100)
    for turn in range(20):
        pressure.look(31.0 + turn, 0.0)
    assert plane.pressed[-1] == (NONE, 0)


def test_memory_is_swept_and_given_back_once_a_second(machine: Machine) -> None:
    plane = Plane()
    machine.uses(resident=89, shared=0)
    pressure = watcher(plane, machine, memory=100 * MIB)
    for turn in range(9):
        pressure.look(10.0 + turn / 4, 0.0)
    assert (plane.pressed[-1], plane.pressures) == ((CLOSE, 0), (890, 0, 0))
    assert (plane.swept, plane.trimmed) == (3, 3)
    machine.uses(resident=10, shared=0)
    pressure.look(20.0, 0.0)
    assert plane.pressed[-1] == (NONE, 0)
    assert plane.swept == 3


def test_connections_are_those_of_all_workers(machine: Machine) -> None:
    plane = Plane()
    pressure = watcher(plane, machine, connections=10)
    plane.all_connections = 9
    pressure.look(1.0, 0.0)
    assert (plane.pressed[-1], plane.pressures) == ((CLOSE, 0), (0, 900, 0))
    assert (plane.swept, plane.trimmed) == (1, 0)


def test_the_log_tells_what_is_done_not_each_look(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    plane = Plane()
    pressure = watcher(plane, machine, connections=10)
    for now, count in ((1.0, 9), (1.2, 0), (1.4, 9), (1.6, 0), (2.2, 0), (2.7, 0)):
        plane.all_connections = count
        pressure.look(now, 0.0)
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "under pressure: answers end their connections",
        "takes everything again",
    ]
