"""What is fuzzed: one function a target, which takes any bytes and raises when an invariant does not hold.

Reading past the end, overflow and the like are the sanitizers' to find: the probes copy their input into a malloc block
of exactly its size. FASTMESH_FUZZ_LIB leads to instrumented modules, where there are some.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

for _layer in ("base", "wire", "guard", "route", "net", "proxy") if "FASTMESH_FUZZ_LIB" in os.environ else ():
    _package = importlib.import_module(f"fastmesh.core.{_layer}")
    _package.__path__.insert(0, f"{os.environ['FASTMESH_FUZZ_LIB']}/fastmesh/core/{_layer}")

from fastmesh.core.wire import client_hello_probe, h1_probe, h2_probe, proxy_header_probe  # noqa: E402
from tests.fuzz.hpack_oracle import check_block  # noqa: E402
from tests.fuzz.plane import connection  # noqa: E402

Target = Callable[[bytes], None]
STATUSES = (400, 413, 414, 431, 501, 502, 505)
TIGHT = {"line": 60, "head": 150, "fields": 4}


def _head(parse: Callable[[bytes], dict[str, Any]], data: bytes) -> None:
    """A verdict is the same for a prefix that has it all and for more behind; a refusal is never taken back."""
    found = parse(data)
    cut = data[-1] * len(data) // 256 if data else 0
    if found["verdict"] == "done":
        size = found["size"]
        assert size <= len(data)
        assert parse(data[:size]) == found
        assert parse(data[: min(cut, size - 1)])["verdict"] == "more"
        assert parse(data + b"\r\nX") == found
        _fields(found)
    elif found["verdict"] == "bad":
        assert found["status"] in STATUSES
        assert parse(data + b"\n")["verdict"] == "bad"
    else:
        assert parse(data[:cut])["verdict"] == "more"


def _fields(found: dict[str, Any]) -> None:
    names = [name.lower() for name, *_ in found["fields"]]
    lengths, codings = names.count(b"content-length"), names.count(b"transfer-encoding")
    assert found["framing"] != "chunked" or codings == 1
    assert found["framing"] != "length" or (lengths, codings) == (1, 0)
    for name, value, *_ in found["fields"]:
        assert name
        assert not set(name + value) & set(b"\r\n\0")
        assert value == value.strip(b" \t")
        assert not set(name) & set(b": \t")


def h1_request(data: bytes) -> None:
    tight = TIGHT if data[:1] == b"\xff" else {}
    _head(lambda piece: h1_probe.parse_request(piece, **tight), data[1:])


def h1_response(data: bytes) -> None:
    first = data[0] if data else 0
    tight = TIGHT if first & 2 else {}
    _head(lambda piece: h1_probe.parse_response(piece, bool(first & 1), **tight), data[1:])


def chunks(data: bytes) -> None:
    """A body is the same however it is cut."""
    first, body = data[:4], data[4:]
    tight = {"body": 8, "head": 30, "fields": 2, "chunk_extension": 5} if first[:1] == b"\xff" else {}
    whole = h1_probe.decode_chunked([body], **tight)
    cuts = [0, *sorted(byte * len(body) // 256 for byte in first), len(body)]
    parts = h1_probe.decode_chunked([body[a:b] for a, b in pairwise(cuts)], **tight)
    assert parts["verdict"] == whole["verdict"]
    if whole["verdict"] == "done":
        assert parts == whole
        assert h1_probe.decode_chunked([body[: whole["used"]]], **tight) == whole
        assert h1_probe.decode_chunked([body[: whole["used"] - 1]], **tight)["verdict"] == "more"


def path(data: bytes) -> None:
    mode, written = (data[0] % 5 if data else 0), data[1:]
    once = h1_probe.normalize_path(written, mode)
    assert h1_probe.path_needs_work(written, mode) == (once != written)
    if once is not None:
        assert len(once) <= len(written)
        assert h1_probe.normalize_path(once, mode) == once
    found = h1_probe.split_authority(written)
    assert found is None or (found[0] and written.startswith(found[0]))


def huffman(data: bytes) -> None:
    decoded = h2_probe.huffman_decode(data, 4096)
    if isinstance(decoded, bytes):
        assert h2_probe.huffman_encode(decoded) == data
    if len(data) <= 512:
        assert h2_probe.huffman_decode(h2_probe.huffman_encode(data), 4096) == data


def hpack(data: bytes) -> None:
    """Blocks of one connection, each after two bytes: how it is taken, and its length."""
    check_block.fresh()
    while len(data) > 2:
        kind, size = data[0], data[1]
        check_block(kind, data[2 : 2 + size])
        data = data[2 + size :]


def frames(data: bytes) -> None:
    """Heads of frames, padding and SETTINGS."""
    while len(data) >= 9:
        size, kind, flags, stream = h2_probe.frame_head(data[:9])
        payload = data[9 : 9 + size]
        h2_probe.check_frame(size, kind, flags, stream)
        inner = h2_probe.strip_padding(payload, kind, flags)
        assert isinstance(inner, str) or len(inner[0]) <= len(payload)
        if kind == 4:
            h2_probe.read_settings([payload], from_server=bool(flags & 2))
        data = data[9 + size :]


def client_hello(data: bytes) -> None:
    """Known from its first bytes on, and the same with more behind it."""
    found = client_hello_probe.hello(data)
    if found[0] in ("done", "plain", "bad"):
        assert client_hello_probe.hello(data + b"\x16")[0] == found[0]
    for cut in {len(data) // 2, len(data) * 9 // 10, len(data) - 1} - {-1}:
        before = client_hello_probe.hello(data[:cut])
        assert before[0] == "more" or before == found, (cut, before, found)
    if found[0] == "done":
        name = found[1]
        assert isinstance(name, bytes | str)
        assert len(name) <= 255
        assert name == name.lower()


def proxy_header(data: bytes) -> None:
    """The same with more behind it; no byte of one is dispensable, and a refusal is never taken back."""
    found = proxy_header_probe.read(data)
    if found[0] == "done":
        size = found[1]
        assert isinstance(size, int)
        assert size <= min(len(data), 4096)
        assert proxy_header_probe.read(data[:size]) == found
        assert proxy_header_probe.read(data[: size - 1]) == ("more",)
    elif found[0] == "bad":
        assert proxy_header_probe.read(data + b"\r\n")[0] == "bad"
    else:
        assert all(proxy_header_probe.read(data[:cut]) == ("more",) for cut in {len(data) // 2, max(len(data) - 1, 0)})


TARGETS: dict[str, Target] = {
    "h1_request": h1_request,
    "h1_response": h1_response,
    "chunks": chunks,
    "path": path,
    "huffman": huffman,
    "hpack": hpack,
    "frames": frames,
    "client_hello": client_hello,
    "proxy_header": proxy_header,
    "connection": connection,
}


def target(name: str) -> Target:
    return TARGETS[name]
