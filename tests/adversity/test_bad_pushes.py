"""Bad configurations, one after the other, while clients ask: the last good one answers every request."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fastmesh.server.watch import fingerprint
from tests.adversity.bad_pushes import KINDS, Push, pushes, put_back
from tests.adversity.steady import Steady
from tests.running import Proxy
from tests.traffic import eventually, replicas, replicas_of, thing

SEED = 20261128
HOSTS = ("one", "two")


def rule(name: str, version: str) -> str:
    spec = {
        "hosts": [name],
        "http": [{"route": [{"destination": {"host": name}}], "headers": {"response": {"set": {"x-rule": version}}}}],
    }
    return thing("VirtualService", name, spec)


def mesh(ports: dict[str, int], version: str) -> str:
    """The hosts of the load, and last the victim."""
    text = "".join(replicas_of(name, port) for name, port in ports.items())
    return text + "".join(rule(name, version) for name in (*HOSTS, "victim"))


class Pushed:
    """A proxy under load whose file is changed."""

    def __init__(self, proxy: Proxy, load: Steady, ports: dict[str, int], watched: bool) -> None:
        self.proxy, self.load, self.ports, self.watched = proxy, load, ports, watched
        self.good = mesh(ports, "first")

    def dump(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.proxy.get("/config_dump")[1])
        return found

    def reloads(self) -> dict[str, int]:
        text = self.proxy.get("/stats/prometheus")[1]
        found = re.findall(r'fastmesh_config_reloads_total\{result="(\w+)"\} (\d+)', text)
        return {result: int(number) for result, number in found}

    def push(self, change: Push) -> str:
        """What became of it; "" when a watch sees no difference, as between no file and a link to none."""
        before = self.dump()["last_reload"]
        if self.watched:
            seen = fingerprint([str(self.proxy.file)])
            self.spoil_at_once(change)
            if fingerprint([str(self.proxy.file)]) == seen:
                return ""
        else:
            put_back(self.proxy.file, self.good)
            change.make(self.proxy.file)
            self.proxy.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.dump()["last_reload"] != before, 20)
        result: str = self.dump()["last_reload"]["result"]
        return result

    def spoil_at_once(self, change: Push) -> None:
        """Between two looks of the watch nobody may see the good file come back."""
        aside = self.proxy.file.with_name("next")
        put_back(aside, self.good)
        change.make(aside)
        file = self.proxy.file
        if file.is_dir() and not file.is_symlink():
            put_back(file, "")
        if aside.is_symlink() or not aside.exists() or aside.is_dir():
            file.unlink(missing_ok=True)
        if aside.is_symlink() or aside.exists():
            aside.rename(file)

    def good_again(self, version: str) -> None:
        before = self.dump()["last_reload"]
        put_back(self.proxy.file, mesh(self.ports, version))
        if not self.watched:
            self.proxy.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.dump()["last_reload"] != before, 20)
        assert self.dump()["last_reload"]["result"] == "accepted", self.dump()["last_reload"]
        assert self.dump()["errors"] == []
        for host in (*HOSTS, "victim"):
            assert f"x-rule: {version}".encode() in self.ask(host)

    def ask(self, host: str) -> bytes:
        return self.proxy.send(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())


@contextmanager
def pushed(folder: Path, *flags: str) -> Iterator[Pushed]:
    names = (*HOSTS, "victim")
    watched = "--watch" in flags
    with replicas(*names) as made:
        ports = {replica.name: replica.port for replica in made}
        with (
            Proxy(folder, mesh(ports, "first"), *flags, workers=2) as proxy,
            Steady(proxy.port, HOSTS, HOSTS) as load,
        ):
            yield Pushed(proxy, load, ports, watched)
            load.check()
        assert load.failed == []
        print(f"{load.answered} answered, 0 failed")


def all_refused(one: Pushed, count: int) -> None:
    version = one.dump()["version"]
    before = one.reloads()
    number = 0
    for change in pushes(SEED, one.good):
        if number == count:
            break
        if not (result := one.push(change)):
            continue
        number += 1
        assert result == "refused", (change.name, one.dump()["last_reload"])
        one.load.check()
        dump = one.dump()
        assert dump["version"] == version, change.name
        assert dump["last_reload"]["problems"], change.name
        assert one.reloads() == {**before, "refused": before["refused"] + number}, change.name
        if number % 10 == 0:
            assert b"x-rule: first" in one.ask("victim")
    one.good_again("second")
    assert one.reloads()["refused"] == before["refused"] + count
    assert one.reloads()["accepted"] == before["accepted"] + 1
    assert one.dump()["version"] != version
    assert "Traceback" not in one.proxy.text()


def victim_left_out(one: Pushed, count: int) -> None:
    """With --per-object a wrong object is left out, a file of which nothing can be said is refused."""
    before = one.reloads()["refused"]
    refused = 0
    for change in islice(pushes(SEED + 1, one.good), count):
        result = one.push(change)
        one.load.check()
        refused += not change.alone
        assert result in (("accepted", "unchanged") if change.alone else ("refused",)), (change.name, one.dump())
        assert one.reloads()["refused"] == before + refused, change.name
        if change.alone:
            objects = [item for item in one.dump()["objects"] if item["status"] == "refused"]
            assert len(objects) == 1, change.name
            assert objects[0]["problems"], change.name
        for host in HOSTS:
            assert b"x-rule: first" in one.ask(host)
    one.good_again("second")
    assert "Traceback" not in one.proxy.text()


def test_every_kind_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with pushed(tmp_path) as one:
        all_refused(one, len(KINDS))


@pytest.mark.slow
def test_a_hundred_are_refused_and_change_nothing(tmp_path: Path) -> None:
    with pushed(tmp_path) as one:
        all_refused(one, 100)


def test_every_kind_leaves_out_one_object_or_nothing(tmp_path: Path) -> None:
    with pushed(tmp_path, "--per-object") as one:
        victim_left_out(one, len(KINDS))


@pytest.mark.slow
def test_a_hundred_leave_out_one_object_or_nothing(tmp_path: Path) -> None:
    with pushed(tmp_path, "--per-object") as one:
        victim_left_out(one, 100)


def as_one_list(text: str) -> str:
    """The same objects as one document: whatever it is cut to is no document."""
    items = [json.loads(line) for line in text.splitlines() if line != "---"]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def test_a_write_that_halts_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    with pushed(tmp_path, "--watch") as one:
        whole = as_one_list(mesh(one.ports, "second")).encode()
        with open(one.proxy.file, "wb", buffering=0) as file:  # as a shell's > does: first it is empty
            eventually(lambda: one.reloads()["refused"] == 1, 20)
            file.write(whole[: len(whole) // 2])
            eventually(lambda: one.reloads()["refused"] == 2, 20)
            one.load.check()
            file.write(whole[len(whole) // 2 :])
        eventually(lambda: one.reloads()["accepted"] == 1, 20)
        assert b"x-rule: second" in one.ask("victim")


def test_watched_files_that_go_wrong_change_nothing(tmp_path: Path) -> None:
    with pushed(tmp_path, "--watch") as one:
        all_refused(one, 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_watched_files_that_go_wrong_change_nothing(tmp_path: Path) -> None:
    with pushed(tmp_path, "--watch") as one:
        all_refused(one, 100)
