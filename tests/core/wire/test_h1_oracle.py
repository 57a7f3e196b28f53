"""h11 as a second opinion: what we accept, h11 reads as the same message; what only h11 accepts, we refuse for a reason
we chose."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastmesh.core.wire.h1_probe import parse_request, parse_response

from .test_h1_corpora import messages

# Where h11 is more lenient, on purpose.
STRICTER = {
    "bare_lf", "bare_lf_in_chunk", "folded_field", "space_before_field", "lower_case_method", "method_too_long",
    "bad_target",
    "asterisk_without_options", "bad_authority", "fragment_in_target", "bad_host", "host_differs_from_target",
    "unsupported_version",
    "http2_preface", "empty_request_line", "framing_lookalike", "bad_content_length", "duplicate_content_length",
    "bad_transfer_encoding", "duplicate_transfer_encoding", "unsupported_transfer_encoding",
    "transfer_encoding_in_http_1_0",
    "content_length_and_transfer_encoding", "body_in_trace", "control_in_value", "bad_chunk_extension",
    "too_many_connection_options",
    "chunk_size_overflow", "bad_chunk_size", "duplicate_host", "missing_host", "bad_reason_phrase", "bad_status_line",
}  # fmt: skip

TOKENS = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "X", "M-SEARCH", "G(T"]
TARGETS = ["/", "/a?b", "*", "http://a/", "http://b/x", "a:443", "/a b", "/\x7f", "/#", "http://a:80?x", "/\xe9"]
NAMES = [
    "Host",
    "host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "X",
    "X-Y",
    "Expect",
    "Upgrade",
    "TE",
    "X Y",
    "",
    "X_Y",
    "Content_Length",
]
VALUES = ["a", "b", "a:80", "5", "05", "5, 5", "+5", "chunked", "Chunked", "gzip, chunked", "close", "keep-alive",
    "100-continue", "",
          " \t5\t", "\x00", "\x0b", "\xe9", "a b", "upgrade, x"]  # fmt: skip
BODIES = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "fffffff\r\n",
]
ENDS = ["\r\n"] * 9 + ["\n", "\r", "\r\n "]

field_lines = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from([":", ": ", ":\t", " :", ""]),
    st.sampled_from(VALUES),
    st.sampled_from(ENDS),
).map("".join)
sane_lines = st.sampled_from(
    ["Host: a\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "X: y\r\n", "Connection: close\r\n"]
)
request_lines = st.tuples(
    st.sampled_from(TOKENS), st.sampled_from([" "] * 8 + ["\t", "  "]), st.sampled_from(TARGETS),
    st.sampled_from([" HTTP/1.1"] * 6 + [" HTTP/1.0", " HTTP/1.2", " HTTP/2.0", ""]), st.sampled_from(ENDS),
).map("".join)  # fmt: skip
status_lines = st.tuples(
    st.sampled_from(["HTTP/1.1 "] * 4 + ["HTTP/1.0 ", "HTTP/2.0 "]), st.sampled_from(["200", "204", "304", "100",
        "404", "20", "99"]),
    st.sampled_from([" OK", " ", "", " O\tK", " \xe9", "-"]), st.sampled_from(ENDS),
).map("".join)  # fmt: skip


def stream(start: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    lines = st.lists(sane_lines | sane_lines | field_lines, max_size=4, unique_by=lambda line: line.split(":")[0])
    whole = st.tuples(start, lines.map("".join), st.just("\r\n"), st.sampled_from(BODIES)).map("".join)
    return st.tuples(
        whole.map(lambda text: text.encode("latin-1")),
        st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=1),
    ).map(lambda both: _mutate(*both))


def _mutate(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    for at, char in changes:
        if at < len(data):
            data = data[:at] + bytes([char]) + data[at + 1 :]
    return data


def h11_reads(role: type[h11.CLIENT] | type[h11.SERVER], data: bytes) -> tuple[Any, bytes, bool] | None:
    """First message head, its body, and whether it ended; None when h11 refuses it."""
    connection = h11.Connection(role, max_incomplete_event_size=1 << 20)
    if role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(data)
        head, body = None, b""
        while True:
            event = connection.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                return head, body, False
            if isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
                if head is not None:
                    return head, body, True
                head = event
                if isinstance(event, h11.InformationalResponse):
                    return head, body, True
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return head, body, True
    except h11.RemoteProtocolError:
        return None


def same_fields(head: Any, ours: dict[str, Any]) -> bool:
    """h11 folds names, and the value of Transfer-Encoding."""
    theirs = [(bytes(name), bytes(value)) for name, value in head.headers]
    mine = [(name.lower(), value) for name, value, _, _ in ours["fields"]]
    return theirs == [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in mine]


@settings(max_examples=1500)
@given(stream(request_lines))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
def test_requests(data: bytes) -> None:
    ours = parse_request(data)
    theirs = h11_reads(h11.SERVER, data)
    if ours["verdict"] == "done":
        found, end = messages(data)
        if end["verdict"] == "bad" and not found:
            assert theirs is None or end["error"] in STRICTER, end
            return
        assert theirs is not None, ours
        head, body, ended = theirs
        assert head is not None, ours
        assert (bytes(head.method), bytes(head.http_version)) == (ours["method_name"], b"1.%d" % ours["minor"])
        assert same_fields(head, ours)
        if ours["target"] == "origin":
            query = b"" if ours["query"] is None else b"?" + ours["query"]
            assert bytes(head.target) == ours["path"] + query
        if found and not ours["upgrade"]:
            assert (body, ended) == (found[0][1], True)
    elif ours["verdict"] == "bad":
        assert theirs is None or theirs[0] is None or ours["error"] in STRICTER, (ours, theirs)
    else:
        assert theirs is None or theirs[0] is None, "we wait for the end of a head that h11 has seen"


@settings(max_examples=1500)
@given(stream(status_lines))
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
def test_responses(data: bytes) -> None:
    ours = parse_response(data)
    theirs = h11_reads(h11.CLIENT, data)
    if ours["verdict"] == "done":
        found, end = messages(data, responses=True)
        if end["verdict"] == "bad" and not found:
            assert theirs is None or end["error"] in STRICTER, end
            return
        assert theirs is not None, ours
        head, body, ended = theirs
        assert head is not None, ours
        assert (head.status_code, bytes(head.http_version)) == (ours["code"], b"1.%d" % ours["minor"])
        assert same_fields(head, ours)
        if found and ours["framing"] in ("length", "chunked"):
            assert (body, ended) == (found[0][1], True)
    elif ours["verdict"] == "bad":
        assert theirs is None or theirs[0] is None or ours["error"] in STRICTER, (ours, theirs)


@pytest.mark.parametrize("size", range(1, 20))
def test_content_length_digits(size: int) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * size + b"\r\n\r\n"
    assert parse_request(data)["length"] == int(b"9" * size)
    assert h11_reads(h11.SERVER, data) is not None
