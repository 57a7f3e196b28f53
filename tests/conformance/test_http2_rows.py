"""HTTP/2 in, HTTP/1 out, row by row: what a stream may not say, and what reaches the endpoint. RFC 9113 8."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http2 import (
    DATA,
    END_STREAM,
    PADDED,
    RST_STREAM,
    Fields,
    Http2,
    Reply,
    frame,
    headers,
    request,
    rst_stream,
)
from tests.running import Proxy, Upstream, read_head
from tests.traffic import Client, Replica, Script, eventually, replicas_of, stats


class Place:
    def __init__(self, directory: Path) -> None:
        self.script = Script()
        self.app = Replica("app", self.script)
        self.handle: Callable[[socket.socket], None] = lambda connection: None
        self.raw = Upstream(lambda connection: self.handle(connection))
        yaml = replicas_of("app", self.app.port) + replicas_of("raw", self.raw.port)
        self.proxy = Proxy(directory, yaml, "--max-body", "1MiB")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("h2"))
    with made.app, made.raw, made.proxy:
        yield made


@pytest.fixture
def client(place: Place) -> Iterator[Http2]:
    with Http2(place.proxy.port) as client:
        yield client


raw = client  # the name where the endpoint is `raw`


def without(name: str, fields: Fields) -> list[tuple[str, str]]:
    return [field for field in fields if field[0] != name]


def replaced(name: str, value: str) -> list[tuple[str, str]]:
    return [(name, value) if field[0] == name else field for field in request("/bad")]


def added(name: str, value: str) -> list[tuple[str, str]]:
    return [*request("/bad"), (name, value)]


MALFORMED = {
    "line break in a value": added("x-a", "1\r\nx-b: 2"),
    "line feed in a value": added("x-a", "1\n2"),
    "NUL in a value": added("x-a", "1\x002"),
    "blank before a value": added("x-a", " 1"),
    "blank after a value": added("x-a", "1 "),
    "space in the path": replaced(":path", "/a b"),
    "line break in the path": replaced(":path", "/ HTTP/1.1\r\nHost: evil"),
    "path without a slash": replaced(":path", "a"),
    "empty path": replaced(":path", ""),
    "absolute path": replaced(":path", "http://app/"),
    "asterisk for a GET": replaced(":path", "*"),
    "fragment in the path": replaced(":path", "/#a"),
    "space in the method": replaced(":method", "GET /x HTTP/1.1"),
    "line break in the method": replaced(":method", "GET\r\n"),
    "empty method": replaced(":method", ""),
    "scheme with an authority": replaced(":scheme", "http://x/?"),
    "userinfo in the authority": replaced(":authority", "a@app"),
    "transfer-encoding": added("transfer-encoding", "chunked"),
    "connection": added("connection", "close"),
    "keep-alive": added("keep-alive", "5"),
    "proxy-connection": added("proxy-connection", "close"),
    "upgrade": added("upgrade", "h2c"),
    "te: gzip": added("te", "gzip"),
    "upper case": added("X-A", "1"),
    "empty name": added("", "1"),
    "space in a name": added("x a", "1"),
    "colon in a name": added("x:a", "1"),
    "no method": without(":method", request("/bad")),
    "no scheme": without(":scheme", request("/bad")),
    "no path": without(":path", request("/bad")),
    "two methods": added(":method", "GET"),
    "pseudo behind a field": [*without(":path", request()), ("x-a", "1"), (":path", "/bad")],
    "unknown pseudo": [(":tea", "pot"), *request("/bad")],
    "status in a request": [*request("/bad"), (":status", "200")],
    "protocol without CONNECT": [*request("/bad"), (":protocol", "websocket")],
    "two lengths": [*added("content-length", "0"), ("content-length", "0")],
    "length that is no number": added("content-length", "+5"),
    "length of what does not come": added("content-length", "5"),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_heads_end_their_stream(place: Place, client: Http2, fields: Fields) -> None:
    reply = client.wait(client.open(fields))[0]
    assert (reply.reset, reply.status) == ("PROTOCOL_ERROR", 0)
    assert client.ask("/good").status == 200
    assert place.app.count("/bad") == 0


class TestLengths:
    """Row 77: nothing of a message whose length is wrong looks complete to the endpoint."""

    @pytest.mark.parametrize("pieces", [[b"abc"], [b"abc", b"def"], [b"abcdefgh"], [b""]], ids=repr)
    def test_wrong_sums(self, place: Place, client: Http2, pieces: list[bytes]) -> None:
        before = len(place.app.seen)
        stream = client.open(request("/length", "POST", "app", ("content-length", "5")), end=False)
        for number, piece in enumerate(pieces):
            client.data(stream, piece, end=number == len(pieces) - 1)
        assert client.wait(stream)[0].reset == "PROTOCOL_ERROR"
        assert client.ask("/good").status == 200
        assert not [seen for seen in place.app.seen[before:] if len(seen.body) == 5]  # it may have seen the beginning

    def test_trailers_before_the_end(self, place: Place, client: Http2) -> None:
        before = len(place.app.seen)
        stream = client.open(request("/length", "POST", "app", ("content-length", "5")), end=False)
        client.data(stream, b"abc")
        client.send(client.head(stream, [("x-a", "1")]))
        assert client.wait(stream)[0].reset == "PROTOCOL_ERROR"
        assert not [seen for seen in place.app.seen[before:] if len(seen.body) == 5]

    def test_right_ones_pass(self, place: Place, client: Http2) -> None:
        stream = client.open(request("/right", "POST", "app", ("content-length", "5")), end=False)
        client.send(frame(DATA, PADDED, stream, b"\3ab\0\0\0"), frame(DATA, 0, stream, b"cde"), frame(DATA, 1, stream))
        assert client.wait(stream)[0].status == 200
        assert (place.app.last.body, place.app.last.headers["content-length"]) == (b"abcde", "5")

    def test_a_body_without_length_is_chunked(self, place: Place, client: Http2) -> None:
        assert client.ask("/chunks", "PUT", b"x" * 100_000).status == 200
        assert (place.app.last.body, place.app.last.headers["transfer-encoding"]) == (b"x" * 100_000, "chunked")

    def test_a_body_that_is_too_large(self, place: Place, client: Http2) -> None:
        said = client.open(request("/large", "POST", "app", ("content-length", str(2 << 20))), end=False)
        assert client.wait(said)[0].status == 413
        assert client.ask("/large", "POST", b"x" * (2 << 20)).status == 413
        assert client.ask("/good").status == 200


class TestHosts:
    def test_authority_wins_and_host_goes(self, place: Place, client: Http2) -> None:
        """Row 78: one of the two is routed on and sent on, never one each."""
        reply = client.wait(client.open([*request("/host", host="app"), ("host", "other")]))[0]
        if reply.status == 200:
            assert place.app.last.headers["host"] == "app"
        else:
            assert reply.reset == "PROTOCOL_ERROR" or reply.status == 400
            assert place.app.count("/host") == 0

    def test_host_alone(self, place: Place, client: Http2) -> None:
        reply = client.wait(client.open([*without(":authority", request("/alone")), ("host", "app")]))[0]
        assert (reply.status, place.app.last.headers["host"]) == (200, "app")


class TestFields:
    def test_crumbs_are_joined(self, place: Place, client: Http2) -> None:
        """Row 79."""
        crumbs = [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")]
        assert client.wait(client.open([*request("/cookies"), *crumbs]))[0].status == 200
        assert place.app.last.headers["cookie"] == "a=1; b=2; c=3"

    @pytest.mark.parametrize("name", ["x-a", "cookie"])
    def test_as_many_as_the_limit(self, place: Place, client: Http2, name: str) -> None:
        """Each crumb is a field of its own; the pseudo-headers are none."""
        fits, over = ([(name, "a")] * count for count in (100, 101))
        assert client.wait(client.open([*request("/many"), *fits]))[0].status == 200
        reply = client.wait(client.open([*request("/toomany"), *over]))[0]
        assert reply.status == 431 or reply.reset
        assert client.ask("/good").status == 200
        assert place.app.count("/toomany") == 0

    def test_as_large_as_the_limit(self, place: Place, client: Http2) -> None:
        assert client.ask("/large", x_a="a" * 16_000, x_b="b" * 16_000, x_c="c" * 16_000).status == 200
        assert client.ask("/toolarge", x_a="a" * 16_000, x_b="b" * 16_000, x_c="c" * 30_000).status == 431
        assert place.app.count("/toolarge") == 0
        assert client.ask("/good").status == 200

    def test_a_head_in_pieces(self, place: Place, client: Http2) -> None:
        client.replies[1] = Reply()
        client.send(headers(1, client.block(request("/pieces", "GET", "app", ("x-a", "a" * 1000))), END_STREAM, 150))
        assert client.wait(1)[0].status == 200
        assert place.app.last.headers["x-a"] == "a" * 1000

    def test_te_trailers(self, place: Place, client: Http2) -> None:
        assert client.ask("/te", te="trailers").status == 200
        assert place.app.last.headers["te"] == "trailers"


class TestAnswers:
    def test_without_a_body(self, place: Place, client: Http2) -> None:
        """Whatever the endpoint says of a length, no DATA comes."""
        reply = client.ask("/head", "HEAD")
        assert (reply.status, reply.headers["content-length"], reply.body, reply.ended) == (200, "3", b"", True)
        place.script.say("/204", b"HTTP/1.1 204 No Content\r\n\r\n")
        reply = client.ask("/204")
        assert (reply.status, reply.body, reply.ended) == (204, b"", True)
        place.script.say("/304", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: a\r\n\r\n")
        reply = client.ask("/304")
        assert (reply.status, reply.body, reply.headers["etag"], reply.ended) == (304, b"", "a", True)

    def test_fields_of_the_connection_stay_behind(self, place: Place, client: Http2) -> None:
        said = b"Connection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nX-Stays: 2\r\n"
        said += b"Transfer-Encoding: chunked\r\n"
        place.script.say("/hop", b"HTTP/1.1 200 OK\r\n%s\r\n2\r\nok\r\n0\r\n\r\n" % said)
        reply = client.ask("/hop")
        assert (reply.status, reply.body, reply.headers["x-stays"]) == (200, b"ok", "2")
        assert not {"connection", "keep-alive", "x-hop", "transfer-encoding"} & set(reply.headers)

    def test_interim_answers(self, place: Place, client: Http2) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        place.script.say("/103", early + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        reply = client.ask("/103")
        assert (reply.interim, reply.status, reply.body) == ([103], 200, b"ok")

    def test_trailers(self, place: Place, client: Http2) -> None:
        end = b"0\r\nx-sum: 7\r\ncontent-length: 9\r\n\r\n"
        place.script.say("/trailers", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n" + end)
        reply = client.ask("/trailers")
        assert (reply.body, reply.trailers, reply.ended) == (b"ok", {"x-sum": "7"}, True)

    def test_a_cut_body_is_seen_as_cut(self, place: Place, client: Http2) -> None:
        place.script.say("/cut", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        stream = client.open(request("/cut"))
        while client.replies[stream].body != b"ok":
            client.read()
        place.app.last.connection.shutdown(socket.SHUT_RDWR)
        reply = client.wait(stream)[0]
        assert (reply.ended, reply.reset) == (False, "INTERNAL_ERROR")
        assert client.ask("/good").status == 200

    def test_connect_is_refused(self, client: Http2) -> None:
        stream = client.open([(":method", "CONNECT"), (":authority", "app:80")], end=False)
        assert client.wait(stream)[0].status == 405


class TestBeforeTheEnd:
    """What happens while the request is still being sent."""

    def test_an_early_answer_ends_the_request(self, place: Place, raw: Http2) -> None:
        def handle(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
            while connection.recv(65536):
                pass

        place.handle = handle
        stream = raw.open(request("/", "POST", "raw"), end=False)
        raw.data(stream, b"some")
        reply = raw.wait(stream)[0]
        assert (reply.status, reply.body, reply.ended) == (403, b"no", True)
        assert raw.until(RST_STREAM).code == "NO_ERROR"
        raw.data(stream, b"the rest was on its way", end=True)
        assert raw.alive()

    def test_expect_continue(self, place: Place, raw: Http2) -> None:
        def handle(connection: socket.socket) -> None:
            head, rest = read_head(connection)
            assert b"expect: 100-continue" in head.lower()
            assert rest == b""
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert connection.recv(100) == b"hello"
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        place.handle = handle
        fields = request("/", "POST", "raw", ("content-length", "5"), ("expect", "100-continue"))
        stream = raw.open(fields, end=False)
        while not raw.replies[stream].interim:
            raw.read()
        raw.data(stream, b"hello", end=True)
        reply = raw.wait(stream)[0]
        assert (reply.interim, reply.status) == ([100], 200)
        assert not place.raw.errors

    def test_trailers_of_a_request(self, place: Place, raw: Http2) -> None:
        got: list[bytes] = []

        def handle(connection: socket.socket) -> None:
            _, data = read_head(connection)
            while not data.endswith(b"\r\n\r\n"):
                data += connection.recv(1000)
            got.append(data)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        place.handle = handle
        stream = raw.open(request("/", "POST", "raw"), end=False)
        raw.data(stream, b"body")
        raw.send(raw.head(stream, [("x-sum", "7"), ("content-length", "9")]))
        assert raw.wait(stream)[0].status == 200
        assert got == [b"4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n"]

    def test_a_client_that_resets_frees_its_endpoint(self, place: Place, raw: Http2) -> None:
        ended: list[bytes] = []

        def handle(connection: socket.socket) -> None:
            head, _ = read_head(connection)
            while connection.recv(1000):
                pass
            ended.append(head.split(b" ")[1])

        place.handle = handle
        before = stats(place.proxy, "http2.")
        streams = [raw.open(request(f"/{number}", host="raw"), end=number < 5) for number in range(10)]
        eventually(lambda: stats(place.proxy, "http2.")["http2.streams_active"] == 10)
        for stream in streams:
            raw.send(rst_stream(stream))
        eventually(lambda: len(ended) == 10)
        eventually(lambda: stats(place.proxy, "http2.")["http2.rx_reset"] == before["http2.rx_reset"] + 10)
        assert stats(place.proxy, "http2.")["http2.streams_active"] == 0
        assert raw.alive()


def test_h2c_is_never_upgraded_to(place: Place) -> None:
    """Row 64."""
    with Client(place.proxy.port) as client:
        answer = client.ask(
            "/upgrade", connection="Upgrade, HTTP2-Settings", upgrade="h2c", http2_settings="AAMAAABkAAQAAP__"
        )
    assert answer.status == 200
    assert not {"upgrade", "http2-settings", "connection"} & set(place.app.last.headers)
