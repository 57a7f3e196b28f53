"""Session ticket keys: one set for all workers, renewed in time, kept over a reload, a crash and an upgrade."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from fastmesh.security.tickets import KEPT, KEY_BYTES, TicketKeys
from fastmesh.server import messages as say
from tests.server.proxies import Proxy, eventually, request
from tests.server.test_upgrade import upgraded

MakeProxy = Callable[..., Proxy]


def keys(one: Proxy) -> list[str]:
    """Fingerprints of the keys that one of the workers has."""
    return request(one.address, "/ticket-keys")[1].split()[0].split(",")


def keys_of_all(one: Proxy, pids: list[int]) -> set[str]:
    """What each of these workers says; connections reach them as the kernel likes."""
    said: dict[str, str] = {}

    def ask() -> bool:
        found, pid = request(one.address, "/ticket-keys")[1].split()
        said[pid] = found
        return set(map(str, pids)) <= said.keys()

    eventually(ask)
    return {said[str(pid)] for pid in pids}


def test_all_workers_have_the_same_keys_before_their_first_request(proxy: MakeProxy) -> None:
    one = proxy().ready()
    (found,) = keys_of_all(one, one.workers())
    assert len(found.split(",")) == 1
    assert found not in ("none", "no-keys-yet")


def test_keys_survive_reload_crash_and_upgrade(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    first = keys(one)
    assert first != ["no-keys-yet"]
    one.say(version="v2")
    one.signal(signal.SIGHUP)
    one.wait_for("accepted")
    assert keys(one) == first
    old = one.workers()
    os.kill(old[0], signal.SIGKILL)
    eventually(lambda: len(one.workers()) == 2 and old[0] not in one.workers())
    assert keys_of_all(one, one.workers()) == {",".join(first)}
    upgraded(one)
    eventually(lambda: len(one.info()["workers"]) == 2)
    assert keys_of_all(one, one.workers()) == {",".join(first)}


def test_keys_are_renewed_and_the_two_before_are_kept(proxy: MakeProxy) -> None:
    one = proxy("--ticket-rotation", "300ms", "--workers", "1").ready()
    first = keys(one)[0]
    second = eventually(lambda: [keys for keys in [keys(one)] if len(keys) > 1 and keys[1] == first])[0]
    assert second[0] != first
    one.wait_for("new session ticket keys", 4)
    last = eventually(lambda: [keys for keys in [keys(one)] if first not in keys])[0]
    assert len(last) == KEPT


def test_zero_means_no_tickets(proxy: MakeProxy) -> None:
    one = proxy("--ticket-rotation", "0", "--workers", "1").ready()
    assert keys(one) == ["none"]


def test_age_goes_over_to_the_next_image_and_a_clock_that_was_set_back_does_no_harm() -> None:
    ours = TicketKeys(60)
    assert len(ours.keys[0]) == KEY_BYTES
    later = TicketKeys(60, ours.keys, ours.made - 30)
    assert later.keys == ours.keys
    due = later.due()
    assert due is not None
    assert 29 < due <= 30
    assert TicketKeys(60, ours.keys, time.time() - 61).due() == 0
    assert TicketKeys(60, ours.keys, time.time() + 9999).due() == 60
    assert TicketKeys(60, [b"short"]).keys[0] != b"short"


def test_nobody_prints_keys_by_accident() -> None:
    ours = TicketKeys(60)
    for thing in (ours, say.TicketKeys(keys=ours.keys)):
        assert repr(thing) == "TicketKeys(1 keys)"
