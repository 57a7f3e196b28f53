"""A name server that changes its mind, fails and falls silent while clients ask: the last good answer serves on."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.adversity.name_server import FAILURES, NameServer
from tests.adversity.steady import Steady
from tests.ports import free_port
from tests.running import Proxy
from tests.traffic import Replica, eventually, reload, thing

SEED = 20261128
HOST, NAME, OTHER = "shop.example", "pool.flap.test", "other.flap.test"
ADDRESSES = {"127.0.0.2": "two", "127.0.0.3": "three", "127.0.0.4": "four"}


def mesh(port: int, name: str = NAME) -> str:
    spec = {
        "hosts": [HOST],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "DNS",
        "endpoints": [{"address": name, "ports": {"http": port}}],
    }
    return thing("ServiceEntry", "shop", spec)


class Flapping:
    def __init__(self, stack: ExitStack, folder: Path, patience: int = 1) -> None:
        self.port = free_port()
        for address, name in ADDRESSES.items():
            replica = Replica(name)
            replica.socket.close()
            replica.socket = socket.create_server((address, self.port), backlog=256)
            stack.enter_context(replica)
        self.names = stack.enter_context(NameServer(folder, patience))
        self.names.zone = {NAME: ["127.0.0.2"], OTHER: ["127.0.0.4"]}
        settings = folder / "settings.yaml"
        settings.write_text("dnsRefreshRate: 50ms\n")
        self.proxy = stack.enter_context(
            Proxy(
                folder,
                mesh(self.port),
                "--mesh-config",
                str(settings),
                workers=2,
                prefix=self.names.prefix,
            )
        )
        self.load = stack.enter_context(Steady(self.proxy.port, [HOST], ADDRESSES.values()))

    def endpoints(self) -> list[str]:
        statuses = json.loads(self.proxy.get("/clusters?format=json")[1])["cluster_statuses"]
        return [
            host["address"]["socket_address"]["address"]
            for status in statuses
            if HOST in status["name"]
            for host in status["host_statuses"]
        ]

    def counted(self, metric: str) -> dict[str, int]:
        text = self.proxy.get("/stats/prometheus")[1]
        return {word: int(number) for word, number in re.findall(rf'^{metric}{{\w+="(\w+)"}} (\d+)', text, re.M)}

    def answer(self, *addresses: str) -> None:
        """The server answers this, and soon it is what serves."""
        self.names.zone[NAME] = list(addresses)
        self.names.mood = ""
        eventually(lambda: self.endpoints() == sorted(addresses), 20)
        eventually(lambda: self.counted("fastmesh_dns_names")["stale"] == 0, 20)
        self.load.a_while()
        self.load.seen.clear()
        self.load.a_while(8)
        assert set(self.load.seen) == {ADDRESSES[address] for address in addresses}

    def fail(self, mood: str) -> None:
        """The server fails for a while, and nothing changes but the numbers."""
        before, refused = self.endpoints(), self.counted("fastmesh_config_reloads_total")
        failed = self.counted("fastmesh_dns_questions_total")["failed"]
        self.names.mood = mood
        eventually(lambda: self.counted("fastmesh_dns_questions_total")["failed"] > failed, 20)
        eventually(lambda: self.counted("fastmesh_dns_names")["stale"] == 1, 20)
        self.load.check()
        assert self.endpoints() == before, mood
        assert self.counted("fastmesh_config_reloads_total") == refused, mood


@pytest.fixture
def flapping(tmp_path: Path) -> Iterator[Flapping]:
    with ExitStack() as stack:
        made = Flapping(stack, tmp_path)
        yield made
        made.load.check()
        print(f"{made.load.answered} answered, 0 failed; questions {made.names.asked}")
        assert "Traceback" not in made.proxy.text()


def flap(one: Flapping, rounds: int) -> None:
    chance = random.Random(SEED)
    moods = [*FAILURES, *chance.choices(FAILURES, k=max(0, rounds - len(FAILURES)))]
    chance.shuffle(moods)
    for mood in moods[:rounds]:
        one.fail(mood)
        one.answer(*chance.sample(sorted(ADDRESSES), chance.randrange(1, 4)))


def test_every_failure_keeps_the_last_good_answer_and_every_answer_counts(flapping: Flapping) -> None:
    flap(flapping, len(FAILURES))


@pytest.mark.slow
def test_a_hundred_failures_between_a_hundred_answers(flapping: Flapping) -> None:
    flap(flapping, 100)


def test_an_answer_counts_while_the_files_are_wrong_and_takes_no_file_with_it(flapping: Flapping) -> None:
    one = flapping
    good = one.proxy.file.read_text()
    one.proxy.file.write_text("kind: [\n")
    one.proxy.process.send_signal(signal.SIGHUP)
    eventually(lambda: one.counted("fastmesh_config_reloads_total")["refused"] == 1)
    one.answer("127.0.0.3")
    assert one.counted("fastmesh_config_reloads_total")["refused"] == 1
    one.proxy.file.write_text(good + thing("VirtualService", "early", {"hosts": [HOST], "http": [{}]}))
    one.answer("127.0.0.2", "127.0.0.3")  # and no file is read that nobody has pushed
    assert one.counted("fastmesh_config_reloads_total")["refused"] == 1
    one.proxy.file.unlink()
    one.answer("127.0.0.2")
    reload(one.proxy, good)


def test_a_change_of_the_name_waits_for_its_addresses(flapping: Flapping) -> None:
    one = flapping
    one.names.delay = 0.2
    for name in (OTHER, NAME, OTHER):
        reload(one.proxy, mesh(one.port, name))
        one.load.check()
        assert one.endpoints() == one.names.zone[name]


def test_an_upgrade_keeps_the_last_good_answer(flapping: Flapping) -> None:
    one = flapping
    one.fail("servfail")
    one.proxy.process.send_signal(signal.SIGUSR2)
    eventually(lambda: "fastmesh ready" in one.proxy.text().partition("becoming the new code")[2], 30)
    assert json.loads(one.proxy.get("/server_info")[1])["restart_epoch"] == 1
    one.load.seen.clear()
    one.load.check()
    assert one.endpoints() == ["127.0.0.2"]
    one.answer("127.0.0.3")


def test_a_silent_name_server_holds_up_neither_a_reload_nor_the_end(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one = Flapping(stack, tmp_path, patience=30)
        one.names.mood = "silent"
        asked = sum(one.names.asked.values())
        eventually(lambda: sum(one.names.asked.values()) > asked)
        reload(
            one.proxy,
            mesh(one.port)
            + thing("VirtualService", "v", {"hosts": [HOST], "http": [{"route": [{"destination": {"host": HOST}}]}]}),
        )
        one.load.check()
        one.load.__exit__()
        one.proxy.process.send_signal(signal.SIGTERM)
        assert one.proxy.process.wait(20) == 0
