"""HTTP/2 endpoints that break the protocol, or flood: 502 or 503, bounded, and nobody else notices.

Each attack runs against a connection that also carries an innocent request; another service is asked meanwhile.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http2_endpoint import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Asked,
    Case,
    Pairs,
    Peer,
    Service,
    World,
    frame,
    setting,
)
from tests.traffic import PATIENCE, Broken, eventually

MIB = 1 << 20
OK: Pairs = [(":status", "200")]
Attack = Callable[[Asked], object]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    services = {"hostile": Service(rule={"retries": {"attempts": 0}}), "clean": Service()}
    with World(tmp_path_factory.mktemp("hostile"), services) as made:
        yield made
        made.cases["hostile"].endpoint.errors.clear()  # connections that the proxy ended while we wrote
        made.check_nothing_is_left()


@pytest.fixture
def hostile(world: World) -> Iterator[Case]:
    case = world["hostile"]
    case.restart()
    yield case
    case.restart()
    assert case.ask().status == 200, "the endpoint can be used again"
    assert world["clean"].ask().status == 200


def block(asked: Asked, fields: Pairs, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, asked.stream, asked.peer.block(fields))


def raw(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block of literals that no encoder would write."""
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


def send(*pieces: bytes) -> Attack:
    return lambda asked: asked.peer.raw(*pieces)


def head(block_of: bytes, flags: int = END_HEADERS | END_STREAM) -> Attack:
    return lambda asked: asked.peer.raw(frame(HEADERS, flags, asked.stream, block_of))


def after_head(*pieces: Callable[[Asked], bytes]) -> Attack:
    """A good head without an end, then these."""

    def act(asked: Asked) -> None:
        asked.peer.raw(block(asked, OK, END_HEADERS), *[piece(asked) for piece in pieces])

    return act


def data(payload: bytes, flags: int = 0) -> Callable[[Asked], bytes]:
    return lambda asked: frame(DATA, flags, asked.stream, payload)


# --- one stream is broken ---------------------------------------------------------------------------------------------

STATUS = (b":status", b"200")
BAD_STREAMS: dict[str, Attack] = {
    "no status": head(raw((b"server", b"x"))),
    "bad status": head(raw((b":status", b"20"))),
    "101": head(raw((b":status", b"101")), END_HEADERS),
    "a request's pseudo-header": head(raw(STATUS, (b":path", b"/"))),
    "status behind a field": head(raw((b"server", b"x"), STATUS)),
    "upper case": head(raw(STATUS, (b"Server", b"x"))),
    "empty name": head(raw(STATUS, (b"", b"x"))),
    "LF in a value": head(raw(STATUS, (b"x", b"a\nb"))),
    "NUL in a value": head(raw(STATUS, (b"x", b"a\0b"))),
    "transfer-encoding": head(raw(STATUS, (b"transfer-encoding", b"chunked"))),
    "connection": head(raw(STATUS, (b"connection", b"close"))),
    "two lengths": head(raw(STATUS, (b"content-length", b"1"), (b"content-length", b"1")), END_HEADERS),
    "length and no body": head(raw(STATUS, (b"content-length", b"5"))),
    "the end in an interim": head(raw((b":status", b"103"))),
    "data before the head": lambda asked: asked.peer.raw(frame(DATA, 0, asked.stream, b"x")),
    "the end before the head": lambda asked: asked.peer.raw(frame(DATA, END_STREAM, asked.stream)),
    "data behind an interim": lambda asked: asked.peer.raw(
        block(asked, [(":status", "103")], END_HEADERS), frame(DATA, 0, asked.stream, b"x")),
    "101 fields": lambda asked: asked.head(200, *[("x", "y")] * 101),
    "a head over 60 KiB": lambda asked: asked.head(200, *[(f"x-{n}", "y" * 8000) for n in range(8)]),
    "17 interims": lambda asked: [asked.head(103) for _ in range(17)],
    "window overflow": lambda asked: asked.peer.raw(frame(WINDOW_UPDATE, 0, asked.stream, b"\x7f\xff\xff\xff") * 2),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_broken_stream(hostile: Case, name: str) -> None:
    """502 for it, RST_STREAM to the endpoint, and the rest of the connection goes on."""
    innocent: list[Asked] = []
    hostile.act(lambda asked: innocent.append(asked) if asked.path == "/innocent" else BAD_STREAMS[name](asked))
    with hostile.connect("GET /innocent") as client:
        eventually(lambda: innocent)
        before = hostile.story.stats("upstream_protocol_error")
        answer, line = hostile.log("/bad")
        assert (answer.status, line["response_flags"]) == (502, "UPE")
        asked = hostile.last("/bad")
        assert asked.reset_seen.wait(PATIENCE)
        assert asked.code == (3 if name == "window overflow" else 1)
        assert asked.peer.pong()
        innocent[0].answer()
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert sum(hostile.story.stats("upstream_protocol_error").values()) > sum(before.values())


LATE: dict[str, Attack] = {
    "more than the length": lambda asked: asked.peer.raw(
        block(asked, [*OK, ("content-length", "3")], END_HEADERS), frame(DATA, END_STREAM, asked.stream, b"12345")),
    "less than the length": lambda asked: asked.peer.raw(
        block(asked, [*OK, ("content-length", "9")], END_HEADERS), frame(DATA, END_STREAM, asked.stream, b"12345")),
    "less, then trailers": lambda asked: asked.peer.raw(
        block(asked, [*OK, ("content-length", "9")], END_HEADERS), frame(DATA, 0, asked.stream, b"12345"),
        block(asked, [("x", "y")])),
    "trailers without an end": after_head(lambda asked: block(asked, [("x", "y")], END_HEADERS)),
    "trailers with a status": after_head(data(b"x"), lambda asked: frame(HEADERS, 5, asked.stream, raw(STATUS))),
    "a second head": after_head(lambda asked: block(asked, OK)),
    "bad trailers": after_head(lambda asked: frame(HEADERS, 5, asked.stream, raw((b"Bad", b"x")))),
    "101 trailers": after_head(lambda asked: block(asked, [("x", "y")] * 101)),
}  # fmt: skip


@pytest.mark.parametrize("name", LATE)
def test_a_stream_that_breaks_behind_its_head(hostile: Case, name: str) -> None:
    """The client sees a broken message, never a short one that looks complete."""
    hostile.act(LATE[name])
    with pytest.raises(Broken):
        hostile.ask("/late")
    assert hostile.last("/late").reset_seen.wait(PATIENCE)
    assert hostile.last("/late").peer.pong()


@pytest.mark.parametrize("status", ["200", "304"])
def test_a_body_where_there_is_none(hostile: Case, status: str) -> None:
    """HEAD and 304: the head is passed on, the bytes are not."""
    fields = [(":status", status), ("content-length", "5")]
    hostile.act(
        lambda asked: asked.peer.raw(block(asked, fields, END_HEADERS), frame(DATA, END_STREAM, asked.stream, b"12345"))
    )
    with hostile.connect(f"{'HEAD' if status == '200' else 'GET'} /\r\nconnection: close") as client:
        said = b""
        while piece := client.recv(4096):
            said += piece
    assert said.startswith(b"HTTP/1.1 " + status.encode())
    assert b"12345" not in said
    assert hostile.seen[0].reset_seen.wait(PATIENCE)


# --- the connection is broken -----------------------------------------------------------------------------------------


def entries(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


BAD_CONNECTIONS: dict[str, tuple[Attack, str]] = {
    "bad HPACK": (head(b"\xff\xff\xff\xff\xff\xff"), "COMPRESSION_ERROR"),
    "an index behind the table": (head(b"\x88\xff\x7f"), "COMPRESSION_ERROR"),
    "HPACK bomb": (lambda asked: asked.peer.raw(*bomb(asked)), "ENHANCE_YOUR_CALM"),
    "continuations": (lambda asked: asked.peer.raw(
        frame(HEADERS, 0, asked.stream, raw(STATUS)), *[frame(CONTINUATION, 0, asked.stream, b"\0\1a\1b")] * 100),
        "ENHANCE_YOUR_CALM"),
    "interrupted block": (lambda asked: asked.peer.raw(
        frame(HEADERS, 0, asked.stream, raw(STATUS)), frame(PING, payload=bytes(8))), "PROTOCOL_ERROR"),
    "push promise": (lambda asked: asked.peer.raw(
        frame(PUSH_PROMISE, 4, asked.stream, b"\0\0\0\2\x88")), "PROTOCOL_ERROR"),
    "push allowed by a server": (send(setting(2, 1)), "PROTOCOL_ERROR"),
    "33 settings": (send(entries(*[(7, 7)] * 33)), "ENHANCE_YOUR_CALM"),
    "a window over 2^31": (send(setting(4, 1 << 31)), "FLOW_CONTROL_ERROR"),
    "a frame size of nothing": (send(setting(5, 0)), "PROTOCOL_ERROR"),
    "data on an idle stream": (send(frame(DATA, 0, 9999, b"x")), "PROTOCOL_ERROR"),
    "data on an even stream": (send(frame(DATA, 0, 2, b"x")), "PROTOCOL_ERROR"),
    "a head on an idle stream": (send(frame(HEADERS, 5, 9999, raw(STATUS))), "PROTOCOL_ERROR"),
    "a reset of an idle stream": (send(frame(RST_STREAM, 0, 9999, bytes(4))), "PROTOCOL_ERROR"),
    "a frame that is too large": (send(frame(DATA, 0, 1, bytes(16385))), "FRAME_SIZE_ERROR"),
    "a ping of 7 bytes": (send(frame(PING, payload=bytes(7))), "FRAME_SIZE_ERROR"),
    "settings on a stream": (send(frame(SETTINGS, 0, 1)), "PROTOCOL_ERROR"),
    "padding over the frame": (lambda asked: asked.peer.raw(
        block(asked, OK, END_HEADERS), frame(DATA, 8, asked.stream, b"\xffx")), "PROTOCOL_ERROR"),
    "connection window overflow": (send(frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")), "FLOW_CONTROL_ERROR"),
    "window update of nothing": (send(frame(WINDOW_UPDATE, 0, 1, bytes(4))), "PROTOCOL_ERROR"),
    "window updates": (send(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 1000), "ENHANCE_YOUR_CALM"),
    "empty frames": (lambda asked: asked.peer.raw(
        block(asked, OK, END_HEADERS), frame(DATA, 0, asked.stream) * 1000), "ENHANCE_YOUR_CALM"),
    "priorities": (send(frame(PRIORITY, 0, 1, b"\0\0\0\3\1") * 100_000), "ENHANCE_YOUR_CALM"),
    "settings flood": (send(setting(7, 7) * 100_000), "ENHANCE_YOUR_CALM"),
    "ping flood": (send(frame(PING, payload=bytes(8)) * 100_000), "ENHANCE_YOUR_CALM"),
    "unknown frames": (send(frame(99) * 100_000), "ENHANCE_YOUR_CALM"),
}  # fmt: skip


def bomb(asked: Asked) -> list[bytes]:
    entry = b"\x40\x01x\x7f" + b"\xa1\x1e" + b"y" * 4000
    pieces = [b"\x88" + entry + b"\xbe" * 10_000, *[b"\xbe" * 16_000] * 6]
    frames = [frame(CONTINUATION, 0, asked.stream, piece) for piece in pieces]
    frames[0] = frame(HEADERS, 0, asked.stream, pieces[0])
    return [*frames, frame(CONTINUATION, END_HEADERS, asked.stream, b"\xbe")]


FLOODS = {
    "HPACK bomb",
    "continuations",
    "window updates",
    "priorities",
    "settings flood",
    "ping flood",
    "unknown frames",
}


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", BAD_CONNECTIONS)
def test_a_broken_connection(world: World, hostile: Case, name: str) -> None:
    """Ended with a GOAWAY that says why; its requests fail, in bounded memory, and others are answered."""
    attack, code = BAD_CONNECTIONS[name]
    (worker,) = hostile.story.proxy.workers()
    before = resident(worker)
    hostile.act(lambda asked: attack(asked) if asked.path == "/bad" else None)
    with hostile.connect("GET /innocent") as client:
        eventually(lambda: hostile.count("/innocent"))
        try:
            answer, line = hostile.log("/bad")
            assert (answer.status, line["response_flags"]) == (502, "UPE")
        except Broken:  # its head had gone to the client already
            pass
        assert client.recv(4096).startswith(b"HTTP/1.1 502 ")
        assert world["clean"].ask().status == 200
    peer = hostile.last("/bad").peer
    assert peer.over.wait(PATIENCE)
    # With bytes of a flood unread the kernel sends a reset, which may overtake the GOAWAY
    assert peer.goaway_name == code or (name in FLOODS and not peer.goaway_name)
    assert resident(worker) - before < 2 * MIB


@pytest.mark.parametrize("greeting", [
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    bytes(256),
    frame(PING, payload=bytes(8)),
    frame(HEADERS, 5, 1, b"\x88"),
    frame(SETTINGS, 1),
])  # fmt: skip
def test_what_does_not_begin_with_settings(hostile: Case, greeting: bytes) -> None:
    """A server of something else behind the port."""
    hostile.ask()
    hostile.peers[-1].close()
    eventually(lambda: hostile.stat("upstream_cx_active") == 0)

    def talk(peer: Peer) -> None:
        peer.socket.sendall(greeting)
        while peer.socket.recv(65536):
            pass
        peer.over.set()

    hostile.endpoint.talk = talk
    answer, line = hostile.log("/odd", "POST", body=b"x")
    hostile.endpoint.talk = Peer.talk
    assert (answer.status, line["response_flags"]) == (502, "UPE")
    assert hostile.peers[-1].over.wait(PATIENCE)


# --- floods and stalls ------------------------------------------------------------------------------------------------


def test_no_streams_after_a_goaway(world: World, hostile: Case) -> None:
    """CVE-2021-32780: GOAWAY, then SETTINGS with MAX_CONCURRENT_STREAMS 0, while requests are under way."""

    def act(asked: Asked) -> None:
        asked.peer.raw(frame(GOAWAY, payload=b"\x7f\xff\xff\xff" + bytes(4)), setting(3, 0))
        asked.answer()

    hostile.act(act)
    for _ in range(5):
        assert hostile.ask("/", "POST", body=b"x").status == 200
    assert world["clean"].ask().status == 200


def test_no_streams_ever(hostile: Case) -> None:
    """MAX_CONCURRENT_STREAMS 0 from the start, and each stream refused: no connection after connection for nothing."""
    hostile.endpoint.greet = lambda peer: peer.raw(setting(3, 0))
    hostile.act(lambda asked: asked.reset(7))
    eventually(lambda: [peer.close() for peer in hostile.peers] and hostile.stat("upstream_cx_active") == 0)
    before = hostile.accepted
    for _ in range(5):
        answer, line = hostile.log("/", "POST", body=b"x")
        assert (answer.status, line["response_flags"]) == (503, "UR")
    assert hostile.accepted - before <= 10
    eventually(lambda: hostile.stat("upstream_cx_active") == 0)


def test_frames_for_streams_that_were_cancelled(hostile: Case) -> None:
    """They are skipped, and the table for heads stays right; a flood of them ends the connection."""
    held: list[Asked] = []
    hostile.act(held.append)
    hostile.connect("GET /left").close()
    (asked,) = eventually(lambda: held)
    assert asked.reset_seen.wait(PATIENCE)
    late = frame(HEADERS, END_HEADERS, asked.stream, b"\x88\x40\x03key\x05value")
    asked.peer.raw(late, frame(DATA, 0, asked.stream, b"late"), frame(WINDOW_UPDATE, 0, asked.stream, b"\0\0\0\1"))
    hostile.act(lambda other: other.peer.raw(frame(HEADERS, 5, other.stream, b"\x88\xbe")))
    answer = hostile.ask("/next")
    assert (answer.status, answer.headers["key"]) == (200, "value")
    assert hostile.last("/next").peer is asked.peer
    asked.peer.raw(late * 30_000)
    assert asked.peer.over.wait(PATIENCE)


def test_an_endpoint_that_dribbles(world: World, hostile: Case) -> None:
    """100,000 DATA frames of one byte: passed on, coalesced, in bounded memory."""

    def act(asked: Asked) -> None:
        piece = frame(DATA, 0, asked.stream, b"x") * 10_000
        asked.peer.raw(block(asked, OK, END_HEADERS))
        for _ in range(6):
            asked.peer.raw(piece)
        asked.peer.raw(frame(DATA, END_STREAM, asked.stream))

    (worker,) = hostile.story.proxy.workers()
    before = resident(worker)
    hostile.act(act)
    assert hostile.ask("/dribble").body == b"x" * 60_000
    assert resident(worker) - before < 2 * MIB
    assert world["clean"].ask().status == 200


def test_an_endpoint_that_never_reads(world: World, hostile: Case) -> None:
    """Requests gather up to the marks; the worker goes on, and they end with their clients."""
    stopped = threading.Event()

    def greet(peer: Peer) -> None:
        stopped.wait(60)

    hostile.endpoint.greet = greet
    for peer in hostile.peers:
        peer.close()
    eventually(lambda: hostile.stat("upstream_cx_active") == 0)
    (worker,) = hostile.story.proxy.workers()
    before = resident(worker)
    clients = [hostile.connect("POST /\r\ncontent-length: 100000000", timeout=0.2) for _ in range(20)]
    for client in clients:
        began = time.monotonic()
        while time.monotonic() < began + 5:
            try:
                client.send(b"x" * 65536)
            except TimeoutError:
                break
    assert world["clean"].ask().status == 200
    assert resident(worker) - before < 20 * MIB
    for client in clients:
        client.close()
    stopped.set()
    hostile.peers[-1].close()
