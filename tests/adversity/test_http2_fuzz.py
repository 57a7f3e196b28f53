"""HTTP/2 that nobody wrote down: conversations made by hypothesis are answered, damaged ones survived."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adversity.http2_mutations import alive, damaged, main, provoke, recorded
from tests.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    SETTINGS,
    Http2,
    frame,
    headers,
    request,
    window_update,
)
from tests.http2 import settings as settings_frame
from tests.running import Proxy
from tests.traffic import Replica, eventually, replicas_of, stats

FAST = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Replica("app") as app, Proxy(tmp_path_factory.mktemp("fuzz"), replicas_of("app", app.port)) as proxy:
        worker = proxy.workers()
        yield proxy
        assert proxy.workers() == worker
        eventually(lambda: stats(proxy, "http2.streams_active")["http2.streams_active"] == 0)
        eventually(lambda: stats(proxy, "http2_active")["http.downstream_cx_http2_active"] == 0)


class Asked(NamedTuple):
    """One request, well formed, in one of the many ways that the protocol allows."""

    path: str
    fields: list[tuple[str, str]]
    body: list[bytes] | None
    padding: int | None
    priority: bool
    piece: int  # bytes of a frame of the header block
    trailers: bool
    before: bytes  # a frame that changes nothing


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=12).map(lambda text: "x-" + text)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
HARMLESS = st.sampled_from(
    [
        b"",
        frame(PING, payload=b"harmless"),
        frame(PRIORITY, 0, 9, b"\0\0\0\7\1"),
        frame(99, 255, 5, b"who knows"),
        settings_frame((HEADER_TABLE_SIZE, 0)),
        settings_frame((HEADER_TABLE_SIZE, 100), (HEADER_TABLE_SIZE, 4096)),
        settings_frame((77, 1)),
    ]
)
ASKED = st.builds(
    Asked,
    path=st.text("abc/%20", max_size=20).filter(lambda path: "%" not in path.replace("%20", "")).map("/".__add__),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=12),
    body=st.none() | st.lists(st.binary(max_size=3000), max_size=5),
    padding=st.none() | st.integers(0, 255),
    priority=st.booleans(),
    piece=st.integers(30, 16384),
    trailers=st.booleans(),
    before=HARMLESS,
)


def said(client: Http2, asked: Asked) -> bytes:
    stream = client.next_id
    client.next_id += 2
    method = "GET" if asked.body is None else "POST"
    client.head(stream, [])  # a place for its reply
    block = client.block(request(asked.path, method, "app", *asked.fields))
    raw = asked.before
    end = END_STREAM if asked.body is None else 0
    if asked.padding is None and not asked.priority:
        raw += headers(stream, block, end, max(asked.piece, (len(block) + 7) // 8))
    else:
        flags, front, back = end | END_HEADERS, b"", b""
        if asked.padding is not None:
            flags, front, back = flags | PADDED, bytes([asked.padding]), bytes(asked.padding)
        if asked.priority:
            flags, front = flags | PRIORITISED, front + b"\x80\0\0\0\x10"
        raw += frame(HEADERS, flags, stream, front + block + back)
    if asked.body is not None:
        raw += b"".join(frame(DATA, 0, stream, piece) for piece in asked.body)
        raw += headers(stream, client.block([("x-end", "1")]), END_STREAM) if asked.trailers else frame(DATA, 1, stream)
    return raw


@FAST
@given(
    st.lists(ASKED, min_size=1, max_size=8),
    st.sampled_from([1, 7, 1000, 65535]),
    st.lists(st.integers(1, 3000), max_size=20),
)
def test_what_is_right_is_answered(proxy: Proxy, many: list[Asked], window: int, cuts: list[int]) -> None:
    with Http2(proxy.port, (INITIAL_WINDOW, window)) as client:
        client.until(SETTINGS)
        raw = b"".join(said(client, asked) for asked in many)
        for cut in cuts:
            client.send(raw[:cut])
            raw = raw[cut:]
        client.send(raw)
        streams = range(1, client.next_id, 2)
        replies = client.wait(*streams)
        assert [(reply.status, reply.body, reply.reset) for reply in replies] == [(200, b"app", "")] * len(streams)
        assert client.goaway is None


@FAST
@given(st.integers(0, 2**32), st.lists(ASKED, min_size=1, max_size=5))
def test_what_is_damaged_is_survived(proxy: Proxy, seed: int, many: list[Asked]) -> None:
    chance = random.Random(seed)
    with Http2(proxy.port, greet=False) as client:
        frames = [PREFACE + settings_frame(), *(said(client, asked) for asked in many), window_update(0, 1)]
        client.send(damaged(chance, frames))
    assert alive(proxy.port)


def test_mutations(proxy: Proxy) -> None:
    chance, seeds = random.Random(7541), recorded()
    for _ in range(400):
        provoke(proxy.port, chance, seeds)
    assert alive(proxy.port)


@pytest.mark.slow
def test_mutations_for_a_minute(proxy: Proxy) -> None:
    assert main(proxy.port, 60, 9113) > 1000
