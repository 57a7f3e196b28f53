"""Attacks on HTTP/2 servers, as published: each runs while an honest client goes on, and its cost is measured.

A row says what is sent on and on, how the proxy has to end it, and what may reach the endpoint. The counts are small
here; test_http2_floods.py sends what the advisories tell of.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.adversity.test_bodies import rss
from tests.adversity.test_slow import Victim
from tests.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    MAX_CONCURRENT,
    MAX_HEADER_LIST,
    PING,
    PRIORITY,
    SETTINGS,
    Http2,
    frame,
    headers,
    request,
    rst_stream,
    settings,
    window_update,
)
from tests.running import Proxy, Upstream, read_head
from tests.traffic import Replica, Request, eventually, open_sockets, replicas_of, stats

BATCH = 200  # frames that are sent with one call


class Cost(NamedTuple):
    """What one attack did."""

    sent: int  # bytes
    seconds: float
    proxy_cpu: float
    own_cpu: float
    grown: int  # KiB
    victim_failed: int
    victim_slowest: float
    upstream: int

    def __str__(self) -> str:
        return (
            f"{self.sent} bytes in {self.seconds:.2f} s; CPU {self.proxy_cpu:.2f} s for {self.own_cpu:.2f} s; "
            f"RSS {self.grown:+} KiB; victim {self.victim_failed} failed, slowest {self.victim_slowest * 1000:.0f} ms; "
            f"{self.upstream} requests upstream"
        )


class Arena:
    """A proxy, its endpoint, and the endpoint's memory of who was there."""

    def __init__(self, directory: Path, *args: str, more: str = "") -> None:
        self.app = Replica("app", self._act)
        self.proxy = Proxy(directory, replicas_of("app", self.app.port) + more, *args)
        self.attacked = 0

    def _act(self, request: Request) -> int:
        if request.path != "/":  # the victim asks for /
            self.attacked += 1
        if request.path == "/slow":
            time.sleep(0.2)
        return 200

    @property
    def worker(self) -> int:
        return self.proxy.workers()[0]

    def cpu(self) -> float:
        """CPU seconds of the worker."""
        ticks = Path(f"/proc/{self.worker}/schedstat").read_text().split()
        return int(ticks[0]) / 1e9

    def counter(self, name: str) -> int:
        return stats(self.proxy, name)[name]

    def settle(self) -> None:
        """Until the endpoint has seen all that was sent to it."""
        seen = -1
        while seen != (seen := self.attacked):
            time.sleep(0.05)

    @contextlib.contextmanager
    def measured(self) -> Iterator[list[Cost]]:
        """The cost of what happens inside, beside an honest client."""
        found: list[Cost] = []
        self.settle()
        before, memory, asked = self.cpu(), rss(self.worker), self.attacked
        with Victim(self.proxy.port) as victim:
            eventually(lambda: victim.answered >= 5)
            began, own = time.monotonic(), time.thread_time()
            totals = [0]
            self.sent = totals
            yield found
            own, took = time.thread_time() - own, time.monotonic() - began
            answered = victim.answered
            eventually(lambda: victim.answered > answered)
            grown = rss(self.worker) - memory
        found.append(
            Cost(
                totals[0],
                took,
                self.cpu() - before,
                own,
                grown,
                len(victim.failed),
                victim.slowest,
                self.attacked - asked,
            )
        )
        print(found[0])


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("attacks"))
    with made.app, made.proxy:
        with Http2(made.proxy.port) as client:  # warm: the first requests of a worker grow it
            streams = [client.open(request("/")) for _ in range(50)]
            client.wait(*streams)
        yield made


def flood(arena: Arena, client: Http2, frames: Iterator[bytes], count: int, read: bool = True) -> None:
    """Send until the proxy ends it, or `count` frames were sent; read what it says meanwhile only when `read`."""
    client.socket.settimeout(5)
    client.generous = False
    with contextlib.suppress(OSError):
        for _ in range(0, count, BATCH):
            batch = b"".join(itertools.islice(frames, BATCH))
            client.send(batch)
            arena.sent[0] += len(batch)
            if read:
                client.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while client.read() is not None:
                        pass
                client.socket.settimeout(5)
                if client.closed:
                    break
    client.socket.settimeout(5)
    with contextlib.suppress(TimeoutError):
        client.drain()


Frames = Callable[[Http2], Iterator[bytes]]


def streams_of(client: Http2, make: Callable[[int], bytes]) -> Iterator[bytes]:
    for stream in itertools.count(1, 2):
        yield make(stream)


def block_of(path: str, method: str = "GET", *more: tuple[str, str]) -> bytes:
    """A header block that leaves the dynamic table alone, so that it may be repeated."""
    fields = [(name.encode(), value.encode()) for name, value in request(path, method, "app", *more)]
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)


def pings(client: Http2) -> Iterator[bytes]:
    yield from itertools.repeat(frame(PING, payload=b"12345678"))


def setting_frames(client: Http2) -> Iterator[bytes]:
    yield from itertools.repeat(settings((MAX_CONCURRENT, 5)))


def setting_acks(client: Http2) -> Iterator[bytes]:
    yield from itertools.repeat(frame(SETTINGS, ACK))


def unknown(client: Http2) -> Iterator[bytes]:
    yield from itertools.repeat(frame(77, 0, 0, b"?"))


def priorities(client: Http2) -> Iterator[bytes]:
    yield from itertools.repeat(frame(PRIORITY, 0, 5, b"\0\0\0\3\20"))


def windows(client: Http2) -> Iterator[bytes]:
    yield from itertools.repeat(window_update(0, 1))


def empty_data(client: Http2) -> Iterator[bytes]:
    yield headers(1, block_of("/empty", "POST"))
    yield from itertools.repeat(frame(DATA, 0, 1))


def empty_headers(client: Http2) -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1)
    yield from itertools.repeat(frame(CONTINUATION, 0, 1))


def continuations(client: Http2) -> Iterator[bytes]:
    yield frame(HEADERS, END_STREAM, 1, block_of("/continued"))
    yield from itertools.repeat(frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 100))


def large_continuations(client: Http2) -> Iterator[bytes]:
    """Huffman code that is costly to read, past the limit in bytes before the limit in frames."""
    yield frame(HEADERS, END_STREAM, 1, block_of("/continued"))
    yield from itertools.repeat(frame(CONTINUATION, 0, 1, b"\0\x01a\x7f\xfd\x7e" + b"\xff\xff\xff\xf0" * 4000))


def rapid_resets(client: Http2) -> Iterator[bytes]:
    """CVE-2023-44487."""
    block = block_of("/rapid")
    yield from streams_of(client, lambda stream: headers(stream, block, END_STREAM) + rst_stream(stream))


def resets_in_rounds(client: Http2) -> Iterator[bytes]:
    """Open a hundred, reset all, again: CVE-2021-32778."""
    block = block_of("/rounds")
    for first in itertools.count(1, 200):
        for stream in range(first, first + 200, 2):
            yield headers(stream, block, END_STREAM)
        for stream in range(first, first + 200, 2):
            yield rst_stream(stream)


def malformed(client: Http2) -> Iterator[bytes]:
    """Heads that earn a reset: CVE-2019-9514."""
    block = block_of("/malformed", "GET", ("connection", "close"))
    yield from streams_of(client, lambda stream: headers(stream, block, END_STREAM))


def empty_names(client: Http2) -> Iterator[bytes]:
    """CVE-2019-9516."""
    block = block_of("/empty-name") + b"\0\0\0" * 50
    yield from streams_of(client, lambda stream: headers(stream, block))


def made_resets_by_window(client: Http2) -> Iterator[bytes]:
    """CVE-2025-8671: the proxy is made to reset, the endpoint works on."""
    block = block_of("/made")
    yield from streams_of(client, lambda s: headers(s, block, END_STREAM) + window_update(s, 2**31 - 1))


def made_resets_by_length(client: Http2) -> Iterator[bytes]:
    block = block_of("/made", "POST", ("content-length", "2"))
    yield from streams_of(client, lambda s: headers(s, block) + frame(DATA, 0, s, b"abc"))


def made_resets_by_trailers(client: Http2) -> Iterator[bytes]:
    block = block_of("/made", "POST")
    yield from streams_of(client, lambda s: headers(s, block) + headers(s, b"\0\1a\1b"))


def refused_streams(client: Http2) -> Iterator[bytes]:
    """Far more than the limit, none of them ended."""
    block = block_of("/refused", "POST")
    yield from streams_of(client, lambda stream: headers(stream, block))


class Row(NamedTuple):
    frames: Frames
    code: str  # of the GOAWAY
    reason: str
    counter: str
    read: bool = True
    upstream: int = 0


CALM = "ENHANCE_YOUR_CALM"
PREMATURE = "http.downstream_rq_too_many_premature_resets"
ROWS = {
    "ping flood": Row(pings, CALM, "too_many_pings", "http2.inbound_ping_frames_flood"),
    "ping flood, never read": Row(pings, CALM, "too_many_pings", "http2.inbound_ping_frames_flood", read=False),
    "settings flood": Row(setting_frames, CALM, "too_many_settings", "http2.inbound_ping_frames_flood"),
    "settings acknowledged": Row(setting_acks, CALM, "too_many_settings", "http2.inbound_ping_frames_flood"),
    "unknown frames": Row(unknown, CALM, "too_many_pings", "http2.inbound_ping_frames_flood"),
    "resource loop": Row(priorities, CALM, "too_many_priorities", "http2.inbound_priority_frames_flood"),
    "window updates": Row(windows, CALM, "too_many_window_updates", "http2.inbound_window_update_frames_flood"),
    "empty DATA": Row(empty_data, CALM, "too_many_empty_frames", "http2.inbound_empty_frames_flood", upstream=1),
    "empty HEADERS": Row(empty_headers, CALM, "too_many_continuations", "http2.inbound_continuation_frames_flood"),
    "CONTINUATION flood": Row(continuations, CALM, "too_many_continuations", "http2.inbound_continuation_frames_flood"),
    "large CONTINUATION": Row(large_continuations, CALM, "header_block_too_large", "http2.header_overflow"),
    "rapid reset": Row(rapid_resets, CALM, "too_many_resets", PREMATURE, upstream=300),
    "rapid reset, never read": Row(rapid_resets, CALM, "too_many_resets", PREMATURE, read=False, upstream=300),
    "a hundred at a time": Row(resets_in_rounds, CALM, "too_many_resets", PREMATURE, upstream=300),
    "reset flood": Row(malformed, CALM, "too_many_resets", PREMATURE),
    "empty names": Row(empty_names, CALM, "too_many_resets", PREMATURE),
    "MadeYouReset, window": Row(made_resets_by_window, CALM, "too_many_resets", PREMATURE, upstream=300),
    "MadeYouReset, length": Row(made_resets_by_length, CALM, "too_many_resets", PREMATURE, upstream=300),
    "MadeYouReset, trailers": Row(made_resets_by_trailers, CALM, "too_many_resets", PREMATURE, upstream=300),
    "refused streams": Row(refused_streams, CALM, "too_many_resets", PREMATURE, upstream=100),
}


def run(arena: Arena, row: Row, count: int) -> Cost:
    before = arena.counter(row.counter)
    with arena.measured() as costs, Http2(arena.proxy.port) as client:
        client.until(SETTINGS)
        flood(arena, client, row.frames(client), count, row.read)
    eventually(lambda: arena.counter(row.counter) == before + 1)
    if row.read:  # else the answer may be lost with what was not read
        assert client.goaway is not None
        assert (client.goaway.code, client.goaway.reason) == (row.code, row.reason)
    cost = costs[0]
    assert client.closed
    assert cost.victim_failed == 0
    assert cost.upstream <= row.upstream
    assert cost.grown <= 4096
    eventually(lambda: arena.counter("http2.streams_active") == 0)
    return cost


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_floods_end(arena: Arena, row: Row) -> None:
    assert run(arena, row, 12_000).seconds < 10


def exactly(arena: Arena, allowed: list[bytes], more: bytes, reason: str) -> None:
    """The last frame that is allowed leaves the connection alive; one more ends it."""
    with Http2(arena.proxy.port) as client:
        client.until(SETTINGS)
        client.send(*allowed)
        assert client.alive()
    with Http2(arena.proxy.port) as client:
        client.until(SETTINGS)
        client.send(*allowed, more)
        client.drain()
        assert client.goaway is not None
        assert client.goaway.reason == reason


class TestBorders:
    """Each limit to the frame."""

    def test_pings(self, tmp_path: Path) -> None:
        small = Arena(tmp_path, "--h2-max-pings", "20", "--h2-pings-per-second", "0")
        with small.app, small.proxy:
            ping = frame(PING, payload=b"12345678")
            exactly(
                small, [ping] * 18, ping * 2, "too_many_pings"
            )  # one is the acknowledgement of the settings, one asks

    def test_resets(self, tmp_path: Path) -> None:
        small = Arena(tmp_path, "--h2-max-resets", "5", "--h2-resets-per-second", "0")
        with small.app, small.proxy:
            block = block_of("/slow")
            one = [headers(stream, block, END_STREAM) + rst_stream(stream) for stream in range(1, 11, 2)]
            exactly(small, one, headers(11, block, END_STREAM) + rst_stream(11), "too_many_resets")

    def test_control_frames_that_are_not_taken(self, tmp_path: Path) -> None:
        """A client that never reads: what we owe it is counted once the kernel takes no more."""
        flags = ("--h2-max-pings", "1000000", "--h2-max-control-frames", "50")
        small = Arena(tmp_path, *flags)
        with small.app, small.proxy, Http2(small.proxy.port) as client:
            client.until(SETTINGS)
            client.socket.settimeout(5)
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    client.send(frame(PING, payload=b"12345678") * 1000)
            eventually(lambda: small.counter("http2.outbound_control_flood") == 1)

    def test_settings_entries(self, arena: Arena) -> None:
        exactly(arena, [settings(*[(99, 1)] * 32)], settings(*[(99, 1)] * 33), "too_many_settings_entries")

    def test_priorities(self, arena: Arena) -> None:
        one = frame(PRIORITY, 0, 5, b"\0\0\0\3\20")
        exactly(arena, [one] * 100, one, "too_many_priorities")

    def test_window_updates(self, arena: Arena) -> None:
        exactly(arena, [window_update(0, 1)] * 5, window_update(0, 1), "too_many_window_updates")

    def test_empty_frames(self, arena: Arena) -> None:
        block = block_of("/empty", "POST")
        exactly(arena, [headers(1, block), frame(DATA, 0, 1) * 10], frame(DATA, 0, 1), "too_many_empty_frames")

    def test_continuations(self, arena: Arena) -> None:
        block = block_of("/pieces", "GET", ("x-a", "a" * 100))
        pieces = [block[at : at + 10] for at in range(0, 80, 10)]
        head = frame(HEADERS, END_STREAM, 1, pieces[0])
        eight = [frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:]] + [
            frame(CONTINUATION, END_HEADERS, 1, block[80:])
        ]
        with Http2(arena.proxy.port) as client:
            client.until(SETTINGS)
            client.send(head, *eight)
            assert client.alive()
        with Http2(arena.proxy.port) as client:
            client.until(SETTINGS)
            client.send(head, frame(CONTINUATION, 0, 1), *eight)
            client.drain()
            assert client.goaway is not None
            assert client.goaway.reason == "too_many_continuations"


# --- memory -----------------------------------------------------------------------------------------------------------

BIG = 10 << 20


def send_ten_megabytes(connection: socket.socket) -> None:
    """A kept connection that answers every GET with 10 MiB, and / with two bytes."""
    piece = b"x" * (1 << 20)
    while (head := read_head(connection)[0]) and b" " in head:
        size = 2 if head.split(b" ")[1] == b"/" else BIG
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for at in range(0, size, len(piece)):
            connection.sendall(piece[: size - at])


class Held(NamedTuple):
    grown: int  # KiB, at its highest
    after: int  # KiB
    wire: int  # bytes that the attacker had sent
    ended: float  # seconds


@contextlib.contextmanager
def holding(directory: Path, *flags: str) -> Iterator[tuple[Proxy, Victim]]:
    with (
        Upstream(send_ten_megabytes) as upstream,
        Proxy(directory, replicas_of("app", upstream.port), *flags) as proxy,
        Victim(proxy.port) as victim,
    ):
        eventually(lambda: victim.answered >= 5)
        yield proxy, victim


class TestHeldAnswers:
    """Answers of 10 MiB that the client asks for and does not take, on a hundred streams."""

    @pytest.mark.parametrize(
        ("window", "step"), [(0, 0), (1, 1), (2**31 - 1, 0)], ids=["no window", "data dribble", "no reading"]
    )
    def test_not_taken(self, tmp_path: Path, window: int, step: int) -> None:
        """CVE-2019-9511, CVE-2019-9517, CVE-2020-12604: 64 KiB a stream, and an end in time."""
        with holding(tmp_path, "--body-timeout", "1s") as (proxy, victim):
            worker = proxy.workers()[0]
            before = rss(worker)
            highest = 0
            with Http2(proxy.port, (INITIAL_WINDOW, window), generous=False) as client:
                client.send(window_update(0, 2**31 - 1 - 65535))
                streams = [client.open(request("/big")) for _ in range(100)]
                began = time.monotonic()
                reads = window < 2
                while True:
                    highest = max(highest, rss(worker) - before)
                    if stats(proxy, "http2.streams_active")["http2.streams_active"] == 0 and highest > 100:
                        break
                    assert time.monotonic() - began < 20
                    if reads:
                        client.socket.setblocking(False)
                        with contextlib.suppress(BlockingIOError, OSError):
                            while (got := client.read()) is not None:
                                if step and got.kind == DATA:
                                    client.socket.setblocking(True)
                                    client.send(window_update(got.stream, step))
                                    client.socket.setblocking(False)
                    else:
                        time.sleep(0.05)
                took = time.monotonic() - began
                if reads:
                    client.socket.settimeout(5)
                    assert {reply.reset for reply in client.wait(*streams)} == {"CANCEL"}
            print(f"{highest} KiB at most, ended after {took:.1f} s")
            assert highest <= 100 * 64 + 3072, highest
            assert took < 10
            assert victim.failed == []
            eventually(lambda: open_sockets(worker) < 30)


class TestBombs:
    """Few bytes that stand for many: CVE-2016-6581, CVE-2026-49975, CVE-2026-47774."""

    def held(self, arena: Arena, blocks: list[bytes], count: int = 100) -> tuple[Held, Http2]:
        before = rss(arena.worker)
        client = Http2(arena.proxy.port, (INITIAL_WINDOW, 0), generous=False)
        client.until(SETTINGS)
        sent = 0
        with contextlib.suppress(OSError):
            for number in range(count):
                raw = headers(2 * number + 1, blocks[min(number, len(blocks) - 1)], END_STREAM)
                sent += len(raw)
                client.send(raw)
        began = time.monotonic()
        client.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            client.drain()
        return Held(rss(arena.worker) - before, 0, sent, time.monotonic() - began), client

    @pytest.mark.parametrize("name", [b"a", b"cookie"])
    @pytest.mark.parametrize("times", [99, 50_000], ids=["as many fields as allowed", "50,000"])
    def test_fields_by_index(self, arena: Arena, name: bytes, times: int) -> None:
        """An almost empty field is put into the table once, then a byte stands for it."""
        plain = block_of("/bomb")
        entry = b"\x40" + bytes((len(name),)) + name + b"\x01x"
        held, client = self.held(arena, [plain + entry + b"\xbe" * times, plain + b"\xbe" * times])
        with client:
            assert held.grown * 1024 <= max(10 * held.wire, 2 << 20), held
            if times > 1000:  # four times the limit is over: it is not even read to its end
                assert client.closed
                assert client.goaway is not None
                assert client.goaway.code == "ENHANCE_YOUR_CALM"

    def test_large_fields_by_index(self, arena: Arena) -> None:
        """4,000 bytes go into the table once, then 14 bytes stand for a head of 56 KB."""
        plain = block_of("/slow")
        entry = b"\x40\x01b" + b"\x7f" + bytes((0x80 | (4000 - 127) & 127, (4000 - 127) >> 7)) + b"v" * 4000
        held, client = self.held(arena, [plain + entry + b"\xbe" * 13, plain + b"\xbe" * 14])
        with client:
            print(held)
            assert held.grown << 10 <= 10 * held.wire + (2 << 20), held  # test_unpacking.py has the rest

    def test_index_bytes_without_end(self, arena: Arena) -> None:
        plain = block_of("/bomb")
        entry = b"\x40\x01b" + b"\x7f" + bytes((0x80 | (4000 - 127) & 127, (4000 - 127) >> 7)) + b"v" * 4000
        before = arena.cpu()
        held, client = self.held(arena, [plain + entry + b"\xbe" * 100_000])
        with client:
            assert client.goaway is not None
            assert client.goaway.reason == "header_block_too_large"
        assert arena.cpu() - before < 0.5
        assert held.grown < 2048


def test_a_client_that_wants_no_headers(arena: Arena) -> None:
    """CVE-2026-50560: its SETTINGS_MAX_HEADER_LIST_SIZE is advice, and no reason for resets."""
    with Http2(arena.proxy.port, (MAX_HEADER_LIST, 1)) as client:
        for _ in range(300):
            assert client.ask("/").status == 200


def one_byte_frames(arena: Arena, count: int) -> None:
    """CVE-2020-12603: what stands on the wire as ten bytes costs no buffer of its own."""
    with arena.measured() as costs, Http2(arena.proxy.port, timeout=60) as client:
        client.until(SETTINGS)
        stream = client.open(request("/bytes", "POST"), end=False)
        batch = frame(DATA, 0, stream, b"x") * 1000
        for _ in range(count // 1000):
            while min(client.windows[0], client.windows[stream]) < 1000:
                client.read()
            client.send(batch)
            arena.sent[0] += len(batch)
            client.windows[0] -= 1000
            client.windows[stream] -= 1000
        client.data(stream, b"", end=True)
        assert client.wait(stream)[0].status == 200
        assert arena.app.last.path == "/" or len(arena.app.last.body) == count
    assert costs[0].victim_failed == 0
    assert costs[0].grown < 4096


def test_one_byte_frames(arena: Arena) -> None:
    one_byte_frames(arena, 50_000)
