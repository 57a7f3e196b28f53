"""Nanoseconds that one HTTP/2 header block costs, beside PyPI `hpack`.

Method: as h1_parse.py; `hpack` is timed over 20 times 100 blocks. "first" is a block of literals (Huffman, as `hpack`
makes them), "again" the same head when the tables know it. Decoding fills a Head with every check of RFC 9113; encoding
starts from a HeadOut.

    python bench/micro/hpack_blocks.py

Seen on an AMD EPYC core (Zen 4) with neighbours, gcc 12 -O2:

    decode h2load, 5 fields, first       32 bytes     148 ns   hpack   17.3 us
    decode h2load, 5 fields, again        5 bytes      42 ns   hpack    9.2 us
    decode grpc, 8 fields, first        151 bytes     603 ns   hpack   66.5 us
    decode grpc, 8 fields, again          8 bytes      72 ns   hpack   14.5 us
    decode browser, 14 fields, first    393 bytes    1684 ns   hpack  241.4 us
    decode browser, 14 fields, again     14 bytes     123 ns   hpack   25.3 us
    encode h2load, 5 fields, first       43 bytes      33 ns   hpack    6.1 us
    encode h2load, 5 fields, again        5 bytes      42 ns   hpack    6.1 us
    encode grpc, 8 fields, first        202 bytes      87 ns   hpack   10.5 us
    encode grpc, 8 fields, again          8 bytes     108 ns   hpack   10.4 us
    encode browser, 14 fields, first    513 bytes     232 ns   hpack   19.4 us
    encode browser, 14 fields, again     14 bytes     266 ns   hpack   19.3 us
    encode answer, 6 fields, first      104 bytes     103 ns   hpack    7.9 us
    encode answer, 6 fields, again        6 bytes     120 ns   hpack    7.9 us
    huffman,  28 bytes to  21     code    41 ns  decode    52 ns
    huffman,  36 bytes to  26     code    51 ns  decode    72 ns
    huffman,  90 bytes to  70     code   126 ns  decode   143 ns

So the encoder uses Huffman only for what it puts into its table: the 36 bytes of a request id would save 10 and cost
the two sides some 120 ns, a copy costs 3. The goal for a request that the tables know was 300 ns.
"""

from __future__ import annotations

import time
from typing import Any

import hpack

from fastmesh.core.wire import h2_probe

ROUNDS = 10_000
Pairs = list[tuple[bytes, bytes]]
REQUESTS: dict[str, Pairs] = {
    "h2load, 5 fields": [
        (b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"localhost:8080"),
        (b"user-agent", b"h2load nghttp2/1.52.0")],
    "grpc, 8 fields": [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/helloworld.Greeter/SayHello"),
        (b":authority", b"greeter.default.svc.cluster.local:50051"), (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-python/1.66.1 grpc-c/43.0.0 (linux; chttp2)"), (b"te", b"trailers"),
        (b"grpc-accept-encoding", b"identity, deflate, gzip")],
    "browser, 14 fields": [
        (b":method", b"GET"), (b":authority", b"www.example.com"), (b":scheme", b"https"),
        (b":path", b"/shop/products/1234?ref=home"), (b"sec-ch-ua", b'"Chromium";v="130", "Not?A_Brand";v="99"'),
        (b"sec-ch-ua-mobile", b"?0"), (b"upgrade-insecure-requests", b"1"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"),
        (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        (b"sec-fetch-site", b"none"), (b"sec-fetch-mode", b"navigate"), (b"accept-language", b"en-US,en;q=0.9"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"cookie", b"session=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08; theme=dark; a=1")],
}  # fmt: skip
RESPONSES: dict[str, Pairs] = {
    "answer, 6 fields": [
        (b":status", b"200"), (b"server", b"istio-envoy"), (b"date", b"Mon, 23 Nov 2026 20:52:20 GMT"),
        (b"content-type", b"application/json"), (b"x-envoy-upstream-service-time", b"2"), (b"content-length", b"13")],
}  # fmt: skip


def best(measure: Any) -> float:
    return min(measure() for _ in range(60))


def theirs(work: Any) -> float:
    figures = []
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(100):
            work()
        figures.append((time.perf_counter() - started) / 100 * 1e9)
    return min(figures)


def show(title: str, size: int, ours: float, other: float) -> None:
    print(f"{title:34} {size:4} bytes {ours:7.0f} ns   hpack {other / 1000:6.1f} us")


def decode(name: str, fields: Pairs) -> None:
    encoder = hpack.Encoder()
    first, again = encoder.encode(fields), encoder.encode(fields)
    for what, block in (("first", first), ("again", again)):
        decoder, other = h2_probe.Decoder(), hpack.Decoder()
        decoder.request(first)
        other.decode(first)
        ours = best(lambda block=block, decoder=decoder: decoder.time_requests([block], ROUNDS))
        show(f"decode {name}, {what}", len(block), ours, theirs(lambda b=block, o=other: o.decode(b)))


def given(fields: Pairs) -> dict[str, Any]:
    said = dict(fields)
    path, mark, query = said.get(b":path", b"").partition(b"?")
    return {
        "method": said.get(b":method"), "path": path, "query": query if mark else None,
        "authority": said.get(b":authority"), "scheme": 1 + (said.get(b":scheme") == b"https"),
        "te_trailers": b"te" in said, "status": int(said.get(b":status", b"0")),
        "framing": "length" if b"content-length" in said else "none", "length": int(said.get(b"content-length", b"0")),
        "fields": [(name, value) for name, value in fields
                   if not name.startswith(b":") and name not in (b"te", b"content-length")],
    }  # fmt: skip


def encode(name: str, fields: Pairs, request: bool) -> None:
    other, out = hpack.Encoder(), given(fields)
    other.encode(fields)
    fresh, encoder = h2_probe.Encoder(), h2_probe.Encoder()
    fresh.resize(0)  # nothing is indexed: every block as the first one
    for what, coder in (("first", fresh), ("again", encoder)):
        time_encode = coder.time_requests if request else coder.time_responses
        write = coder.request if request else coder.response
        ours = best(lambda time_encode=time_encode: time_encode(out, ROUNDS))
        show(f"encode {name}, {what}", len(write(out)), ours, theirs(lambda: other.encode(fields)))


def main() -> None:
    for name, fields in REQUESTS.items():
        decode(name, fields)
    for name, fields in REQUESTS.items():
        encode(name, fields, True)
    for name, fields in RESPONSES.items():
        encode(name, fields, False)
    for text in (
        b"/shop/products/1234?ref=home",
        b"7d3f9b5e-7f6c-4e2e-b8d9-2f7c1a7e9a11",
        REQUESTS["browser, 14 fields"][7][1],
    ):
        both = [h2_probe.time_huffman(text, ROUNDS) for _ in range(60)]
        code, back = min(one for one, _ in both), min(other for _, other in both)
        size = len(h2_probe.huffman_encode(text))
        print(f"huffman, {len(text):3} bytes to {size:3}     code {code:5.0f} ns  decode {back:5.0f} ns")


if __name__ == "__main__":
    main()
