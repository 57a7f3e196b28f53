"""HPACK bombs (CVE-2016-6581): 14 bytes stand for a head of 56 KB, on a hundred streams whose endpoint takes its time.

What they unpack to is kept while their requests run. The bound is for all requests of a connection together, and honest
clients, whose fields stand in the table once and are named once in a request, do not come near it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastmesh.core.wire.h2_probe import Decoder
from tests.adversity.test_bodies import rss
from tests.adversity.test_slow import Victim
from tests.http2 import DATA, END_STREAM, PING, SETTINGS, Http2, Reply, frame, headers, request, rst_stream
from tests.traffic import Gate, Replica, Request, Story, eventually, replicas_of

ENTRY = b"\x40\x01b\x7f" + bytes((0x80 | (4000 - 127) & 127, (4000 - 127) >> 7)) + b"v" * 4000  # into the table
NAMED = b"\xbe"  # the newest entry of the table
ONCE = 4001  # bytes that it stands for
COUNTER = "http2.unpacked_overflow"
WHY = "heads_unpack_too_far"


def block_of(path: str, method: str = "GET") -> bytes:
    """A header block that leaves the table alone."""
    fields = [(name.encode(), value.encode()) for name, value in request(path, method)]
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)


class Bombed:
    """A proxy whose endpoint holds every request but the victim's."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.gate = Gate()
        self.app = Replica("app", self._act)
        self.story = Story(folder, replicas_of("app", self.app.port), *flags)

    def _act(self, request: Request) -> Any:
        return self.gate(request) if request.path == "/held" else 200

    def __enter__(self) -> Bombed:
        self.app.__enter__()
        self.story.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.opened.set()
        self.story.__exit__()
        self.app.__exit__()

    @property
    def refused(self) -> int:
        return self.story.stats(COUNTER)[COUNTER]

    @property
    def active(self) -> int:
        return self.story.stats("http2.streams_active")["http2.streams_active"]

    @property
    def rss(self) -> int:
        return rss(self.story.proxy.workers()[0])

    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self.story.lines() if line["response_code_details"] == WHY]


@pytest.fixture
def bombed(tmp_path: Path) -> Iterator[Bombed]:
    with Bombed(tmp_path) as made:
        yield made


def connect(bombed: Bombed) -> Http2:
    """A client whose table has the entry."""
    client = Http2(bombed.story.port)
    client.until(SETTINGS)
    client.replies[client.next_id] = Reply()
    client.send(headers(client.next_id, block_of("/") + ENTRY, END_STREAM))
    client.wait(client.next_id)
    client.next_id += 2
    return client


def bomb(client: Http2, times: int, count: int = 1, path: str = "/held") -> tuple[list[int], int]:
    """Requests that name the entry so often: their streams, and the bytes sent for them."""
    raw, streams = b"", []
    for _ in range(count):
        stream, client.next_id = client.next_id, client.next_id + 2
        client.replies[stream] = Reply()
        raw += headers(stream, block_of(path) + NAMED * times, END_STREAM)
        streams.append(stream)
    client.send(raw)
    return streams, len(raw)


def test_a_hundred_bombs(bombed: Bombed) -> None:
    """Ten times what came and 512 KiB are held, not 5.6 MB; every reset has its line and is counted."""
    with Victim(bombed.story.port) as victim, connect(bombed) as client:
        eventually(lambda: victim.answered >= 5)
        before = bombed.rss
        streams, sent = bomb(client, 14, 100)
        assert client.alive()
        reset = [stream for stream in streams if client.replies[stream].reset]
        held = (len(streams) - len(reset)) * 14 * ONCE
        assert 0 < held <= 10 * sent + (512 << 10)
        assert {client.replies[stream].reset for stream in reset} == {"ENHANCE_YOUR_CALM"}
        assert bombed.refused == len(reset) > 80
        eventually(lambda: bombed.gate.held == bombed.active == len(streams) - len(reset))
        grown = bombed.rss - before
        print(f"{sent} bytes came, {held} are held, RSS {grown:+} KiB, {len(reset)} reset")
        assert grown << 10 <= 10 * sent + (2 << 20)
        bombed.gate.opened.set()
        client.wait(*streams)
        eventually(lambda: len(bombed.lines()) == len(reset))
        assert {line["response_code"] for line in bombed.lines()} == {431}
    assert victim.failed == []


def test_what_has_ended_is_not_counted(bombed: Bombed) -> None:
    """Answered, left by the client, or refused: its bytes are free again."""
    bombed.gate.opened.set()
    with connect(bombed) as client:
        for _ in range(15):
            streams, _ = bomb(client, 14, 8)
            assert {reply.status for reply in client.wait(*streams)} == {200}
    assert bombed.refused == 0
    bombed.gate.opened.clear()
    with connect(bombed) as client:
        for _ in range(3):
            streams, _ = bomb(client, 14, 10)
            assert client.alive()
            assert sum(bool(client.replies[stream].reset) for stream in streams) == 1
            client.send(b"".join(rst_stream(stream) for stream in streams[:9]))
            eventually(lambda: bombed.active == 0)


def test_honest_clients(bombed: Bombed) -> None:
    """A hundred requests at once, each with a whole table of cookies and tokens."""
    with connect(bombed) as client:
        streams, _ = bomb(client, 1, 100)
        eventually(lambda: bombed.gate.held == 100)
        assert client.alive()
        bombed.gate.opened.set()
        assert {reply.status for reply in client.wait(*streams)} == {200}
    assert bombed.refused == 0


def test_the_border(tmp_path: Path) -> None:
    """To the byte."""
    block = block_of("/held") + NAMED * 3
    decoder = Decoder()
    decoder.request(block_of("/") + ENTRY)
    border = decoder.request(block)["size"] - 10 * len(block)
    assert border > 3 * 4000 - 10 * len(block)
    for limit, refused in ((2 * border, 0), (2 * border - 1, 1)):
        folder = tmp_path / str(limit)
        folder.mkdir()
        with Bombed(folder, "--h2-max-unpacked", str(limit)) as bombed, connect(bombed) as client:
            bomb(client, 3, 2)
            assert client.alive()
            assert bombed.refused == refused


def test_trailers_count_too(tmp_path: Path) -> None:
    with Bombed(tmp_path, "--h2-max-unpacked", "20KiB") as bombed, connect(bombed) as client:
        for reset in ("", "ENHANCE_YOUR_CALM"):
            stream, client.next_id = client.next_id, client.next_id + 2
            client.replies[stream] = Reply()
            client.send(headers(stream, block_of("/held", "POST")), frame(DATA, 0, stream, b"x"))
            client.send(headers(stream, NAMED * 4, END_STREAM))
            assert client.alive()
            assert client.replies[stream].reset == reset
        assert bombed.refused == 1


def test_who_goes_on_is_ended(bombed: Bombed) -> None:
    """They count as resets: the connection ends with its bucket."""
    with connect(bombed) as client:
        for _ in range(40):
            bomb(client, 14, 50)
            client.send(frame(PING, payload=b"12345678"))
            if client.closed:
                break
        client.drain()
        assert client.goaway is not None
        assert (client.goaway.code, client.goaway.reason) == ("ENHANCE_YOUR_CALM", "too_many_resets")
    assert bombed.refused >= 200
