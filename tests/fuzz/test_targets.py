"""The targets of the fuzzer without the fuzzer: each with its seeds, and with some hundred mutations of them."""

from __future__ import annotations

import random
import zlib

import pytest

from tests.fuzz.plane import plane
from tests.fuzz.seeds import GET, OK, SEEDS
from tests.fuzz.targets import TARGETS

MUTATIONS = {"connection": 150}


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0 if at < len(data):
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case 2:
                other = chance.choice(seeds)
                data[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                data[at:at] = data[at : at + chance.randrange(1, 30)]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)
    chance = random.Random(zlib.crc32(name.encode()))
    for _ in range(MUTATIONS.get(name, 1000)):
        data = mutated(chance, SEEDS[name])
        try:
            TARGETS[name](data)
        except Exception:
            print(f"{name}: {data!r}")
            raise


def test_every_target_has_seeds() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert sum(len(seed) for seeds in SEEDS.values() for seed in seeds) < 16_000


@pytest.mark.parametrize("door", [0, 1])
def test_the_plane_serves(door: int) -> None:
    """Else the target `connection` would find nothing for ever."""
    here = plane()
    client = here.dial(door)
    client.send(GET)
    here.turn(10)
    (upstream,) = here.accept()
    here.turn()
    assert upstream.recv(1000).startswith(b"GET /a?b=c HTTP/1.1\r\n")
    upstream.send(OK)
    here.turn(10)
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    client.close()
    upstream.close()
    here.turn(10)
    assert here.worker.connections == 0
