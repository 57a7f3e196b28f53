"""Byte streams that are nearly HTTP/2. `python -m tests.adversity.http2_mutations PORT SECONDS [SEED]` sends them.

Each begins as a conversation that the proxy has to answer, or as a stream that was recorded of h2spec, and is then
damaged: bits, lengths, ids, flags, frames left out, doubled, cut, put elsewhere. What counts is that the proxy lives.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import sys
import time
from collections.abc import Callable

from tests.corpora import corpora_dir, corpus, decoded
from tests.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    Http2,
    frame,
    rst_stream,
    settings,
    window_update,
)

FIELDS = [
    b"\x82\x86\x84\x41\x03app",
    b"\x83\x86\x84\x41\x03app",
    b"\x40\x01a\x01b",
    b"\xbe",
    b"\x00\x01c\x01d",
    b"\x3f\xe1\x1f",
]


def conversation(chance: random.Random) -> list[bytes]:
    """Frames of a few requests, mostly well formed."""
    frames = [settings((INITIAL_WINDOW, chance.choice([0, 1, 100, 65535, 2**31 - 1])))]
    for stream in range(1, 2 * chance.randrange(2, 12), 2):
        post = chance.random() < 0.5
        block = FIELDS[1 if post else 0] + b"".join(chance.choice(FIELDS[2:5]) for _ in range(chance.randrange(4)))
        frames.append(frame(HEADERS, END_HEADERS | (0 if post else END_STREAM), stream, block))
        for _ in range(chance.randrange(5) if post else 0):
            frames.append(frame(DATA, 0, stream, bytes(chance.randrange(2000))))
        if post:
            frames.append(chance.choice([frame(DATA, END_STREAM, stream), frame(HEADERS, 5, stream, FIELDS[4])]))
        frames.append(chance.choice([b"", *odd_frames(chance, stream)]))
    return frames


def odd_frames(chance: random.Random, stream: int) -> list[bytes]:
    junk = chance.randbytes(chance.randrange(40))
    return [
        window_update(stream, chance.choice([0, 1, 2**31 - 1])),
        window_update(0, chance.choice([0, 1, 2**31 - 1])),
        rst_stream(stream, chance.randrange(16)),
        frame(PRIORITY, 0, stream, chance.randbytes(5)),
        frame(PING, chance.randrange(2), 0, chance.randbytes(8)),
        frame(GOAWAY, 0, 0, chance.randbytes(8) + junk),
        settings(*[(chance.randrange(12), chance.getrandbits(32)) for _ in range(chance.randrange(4))]),
        settings((MAX_FRAME, chance.choice([16383, 16384, 1 << 24]))),
        frame(chance.randrange(256), chance.randrange(256), chance.choice([0, stream, stream + 1, 2**31 - 1]), junk),
        frame(HEADERS, chance.randrange(64), stream + chance.randrange(4), junk),
        frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, stream + 2, bytes([chance.randrange(20)]) + junk),
        frame(CONTINUATION, chance.randrange(8), stream, junk),
    ]


def damaged(chance: random.Random, frames: list[bytes]) -> bytes:
    """One to three faults."""
    frames = list(frames)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(frames))
        kind = chance.randrange(7)
        if kind == 0:
            frames.insert(at, frames[chance.randrange(len(frames))])
        elif kind == 1 and len(frames) > 1:
            del frames[at]
        elif kind == 2:
            frames[at] = frames[at][: chance.randrange(len(frames[at]) + 1)]
        elif kind == 3:
            chance.shuffle(frames)
        elif frames[at]:
            raw = bytearray(frames[at])
            for _ in range(chance.randrange(1, 4)):
                where = chance.randrange(min(len(raw), 9) if chance.random() < 0.6 else len(raw))
                raw[where] = chance.choice([0, 1, 127, 128, 255, raw[where] ^ 1 << chance.randrange(8)])
            frames[at] = bytes(raw)
    return b"".join(frames)


def recorded() -> list[bytes]:
    with contextlib.suppress(BaseException):  # pytest's Skipped is no Exception
        corpora_dir()
        return [decoded(case["bytes_b64"])[len(PREFACE) :] for case in corpus("h2/h2spec-recorded.json")]
    return []


def sent_in_pieces(chance: random.Random, client: socket.socket, raw: bytes) -> None:
    while raw:
        size = len(raw) if chance.random() < 0.5 else chance.randrange(1, len(raw) + 1)
        client.sendall(raw[:size])
        raw = raw[size:]


def provoke(port: int, chance: random.Random, seeds: list[bytes]) -> None:
    """One connection: send, read a little, leave."""
    if seeds and chance.random() < 0.3:
        seed = chance.choice(seeds)
        raw = damaged(chance, [seed[at : at + 9] for at in range(0, len(seed), 9)] or [b"\0"])
    else:
        raw = damaged(chance, conversation(chance))
    with socket.create_connection(("127.0.0.1", port), 10) as client, contextlib.suppress(ConnectionError):
        sent_in_pieces(chance, client, PREFACE + raw)
        for _ in range(chance.randrange(3)):
            if not select.select([client], [], [], 0.005)[0] or not client.recv(65536):
                break


def alive(port: int) -> bool:
    with Http2(port) as client:
        return client.ask("/").status == 200


def main(port: int, seconds: float, seed: int, check: Callable[[int], bool] = alive) -> int:
    chance, seeds = random.Random(seed), recorded()
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        for _ in range(200):
            provoke(port, chance, seeds)
        count += 200
        assert check(port), f"the proxy does not answer after {count} connections with seed {seed}"
    return count


if __name__ == "__main__":
    chosen = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns() & 0xFFFFFF
    print(f"seed {chosen}: {main(int(sys.argv[1]), float(sys.argv[2]), chosen)} connections")
