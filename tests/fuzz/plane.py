"""A whole data plane in this process, fed with the bytes of a client and of an upstream.

The first byte of an input says how: which listener, how the client's bytes are cut, how both sides end; the second how
much of the rest the client sends, the rest is what the upstream answers. With FRAMED, bytes stand for HTTP/2 frames
(kind, flags, stream, length of the payload: one byte each), so that a changed byte seldom breaks the framing.
INBOUND bytes go to the inbound side of a sidecar, which tells TLS from plaintext by them. Afterwards nothing may be
left: no connection, no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import struct
import tempfile
import time

import msgspec

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import CredentialPlan, Plan, encode, iterate
from fastmesh.config.store import read
from fastmesh.security import pem
from tests.security import making

HALF, RAW_UPSTREAM, UPSTREAM_STAYS, SPLIT, FRAMED, RESET, INBOUND = 1, 2, 4, 8, 16, 32, 64
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TURNS = 3
SPIN, PATIENCE = 200, 10.0  # turns without waiting; seconds in which back-offs and retries must have ended


def framed(data: bytes) -> bytes:
    """HTTP/2 frames from their short form; what is left over is sent as it is."""
    out = b""
    while len(data) >= 4:
        kind, flags, stream, size = data[:4]
        payload = data[4 : 4 + size]
        out += struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload
        data = data[4 + size :]
    return out + data


def short(raw: bytes) -> bytes:
    """The short form of real frames, for seeds: streams under 256, payloads cut to 255 bytes."""
    out = b""
    while len(raw) >= 9:
        size = int.from_bytes(raw[:3], "big")
        payload = raw[9 : 9 + size][:255]
        out += bytes((raw[3], raw[4], raw[8], len(payload))) + payload
        raw = raw[9 + size :]
    return out


def _yaml(upstream: int, inbound: int) -> str:
    """At the upstream's port `one` is spoken to in HTTP/1.1, `two` in HTTP/2; `own` is what we stand before."""
    text = ""
    for name, kind, port in (("one", "http", upstream), ("two", "http2", upstream), ("own", "http", inbound)):
        ports = [{"name": kind, "port": 80, "targetPort": upstream}]
        labels = {"app": name, "security.istio.io/tlsMode": "disabled"}
        spec = {"address": "127.0.0.1", "ports": {kind: port}, "labels": labels, "serviceAccount": name}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
        text += json.dumps({**service, "spec": {"selector": {"app": name}, "ports": ports}}) + "\n---\n"
        entry = {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "metadata": {"name": name}}
        text += json.dumps({**entry, "spec": spec}) + "\n---\n"
    return text


class Plane:
    def __init__(self) -> None:
        from fastmesh.core.base.arena import Arena
        from fastmesh.core.proxy.worker import Worker

        self.loop = asyncio.new_event_loop()
        self.upstream = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.upstream.setblocking(False)
        self.doors = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(2)]
        for door in self.doors:
            door.setblocking(False)
        self.ports = [int(door.getsockname()[1]) for door in self.doors]
        settings = {"timeouts": {"linger": 1}, "workers": 1, "role": "sidecar"}
        self.worker = Worker(self.loop, Arena.create(1 << 24, 16), 0, settings)
        plan = _plan(self.upstream.getsockname()[1], *self.ports)
        snapshot = self.worker.load(iterate(encode(plan)))
        while not snapshot.step(1_000_000):
            pass
        names = [listener.name for listener in sorted(plan.listeners, key=lambda each: each.role == "inbound")]
        self.worker.apply(snapshot, {name: door.detach() for name, door in zip(names, self.doors, strict=True)})

    def turn(self, times: int = TURNS) -> None:
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def wait(self) -> None:
        """A turn that ends after a millisecond."""
        self.loop.call_later(0.001, self.loop.stop)
        self.loop.run_forever()

    def accept(self) -> list[socket.socket]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.upstream.accept()[0])
        return found

    def dial(self, door: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.ports[door]))
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return client


def _plan(upstream: int, outbound: int, inbound: int) -> Plan:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(_yaml(upstream, inbound))
        file.flush()
        found = read([file.name])
    assert found.ok, found.errors
    pair = (f"127.0.0.1:{inbound}", f"127.0.0.1:{upstream}")
    role = Role(kind="sidecar", listen=f"127.0.0.1:{outbound}", inbound=(pair,), name="own", identity=True)
    plan, problems = compile_plan(found.resources, role)
    assert not problems, problems
    return msgspec.structs.replace(plan, credentials=[_credential()])


def _credential() -> CredentialPlan:
    """The sidecar's own."""
    ca = making.root()
    own = making.leaf(ca, "spiffe://cluster.local/ns/default/sa/own")
    chain, roots = pem.of_certificates([own.certificate]), pem.of_certificates([ca.certificate])
    return CredentialPlan(name="mesh", chain=chain, key=pem.of_key(own.key), bundles={"cluster.local": roots})


@functools.cache
def plane() -> Plane:
    return Plane()


def connection(data: bytes) -> None:
    if len(data) < 3:
        return
    how, share, rest = data[0], data[1], data[2:]
    cut = len(rest) * share // 255
    mine, theirs = rest[:cut], rest[cut:]
    if how & FRAMED:
        mine = PREFACE + framed(mine)
    if not how & RAW_UPSTREAM:
        theirs = framed(theirs)
    here = plane()
    client, upstreams = here.dial(1 if how & INBOUND else 0), []
    try:
        half = len(mine) // 2 if how & SPLIT else len(mine)
        for piece in (mine[:half], mine[half:]):
            _send(client, piece)
            here.turn()
            upstreams += _answer(here, theirs, stays=bool(how & UPSTREAM_STAYS))
            _drain(client)
        if how & HALF:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            here.turn()
    finally:
        if not how & RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        client.close()
        for each in upstreams:
            each.close()
    _settle(here)


def _send(to: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        to.send(data)


def _drain(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while client.recv(65536):
            pass


def _answer(here: Plane, theirs: bytes, *, stays: bool) -> list[socket.socket]:
    found = here.accept()
    for each in found:
        each.setblocking(False)
        _drain(each)
        _send(each, theirs)
        if not stays:
            each.close()
    here.turn()
    return [each for each in found if stays]


def _settle(here: Plane) -> None:
    """Most inputs leave nothing at once. A retry waits for its back-off, which is chance."""
    ends = time.monotonic() + PATIENCE
    spun = 0
    while spun < SPIN or time.monotonic() < ends:
        if spun < SPIN:
            here.turn(1)
        else:
            here.wait()
        spun += 1
        for late in here.accept():  # a retry
            late.close()
        if here.worker.connections == 0 and here.worker.active == 0:
            return
    raise AssertionError(f"left over: {here.worker.connections} connections, {here.worker.active} requests")
