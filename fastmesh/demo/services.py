"""The shop's services, an ASGI app each. Every answer says who gave it and what it was asked with.

`PUT /-/behaviour?status=500` makes a replica answer 500 until `status=0`; `every=5` answers 503 to each fifth request.
It is asked on the replica's own port, behind its sidecar: the mesh does not know of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl

import orjson

from fastmesh.demo.client import Client
from fastmesh.demo.serve import Message, Receive, Send

# What a service hands on to those that it calls, so that one request can be followed through the shop.
PASSED_ON = (
    "x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid",
    "x-b3-sampled", "x-b3-flags", "x-canary",
)  # fmt: skip
STATES = ("received", "paid", "on its way")
COUNTS = {b"tea": 12, b"bread": 3, b"honey": 1}
PRODUCTS = {"v1": ["tea", "bread"], "v2": ["tea", "bread", "honey"]}


class Service:
    """One replica. Services differ in `content`."""

    def __init__(self, name: str, service: str, version: str) -> None:
        self.name = name
        self.service = service
        self.version = version
        self.served = 0
        self.failed = 0
        self.status = 0  # answered to every request, unless 0
        self.every = 0  # each so many requests one is answered 503, unless 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.tell(send)
            return
        if scope["path"].startswith("/-/"):
            await self._reply(send, 200, self._behave(scope))
            return
        self.served += 1
        status = self.status or (503 if self.every and self.served % self.every == 0 else 0)
        if status:
            self.failed += 1
            await self._reply(send, status, {"replica": self.name, "error": "this replica has a bad day"})
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        passed_on = {name: headers[name] for name in PASSED_ON if name in headers}
        answer = {"replica": self.name, "version": self.version, "path": scope["path"], "headers": passed_on}
        answer["caller"] = caller(headers.get("x-forwarded-client-cert", ""))
        await self._reply(send, 200, answer | await self.content(passed_on))

    async def content(self, passed_on: dict[str, str]) -> dict[str, object]:
        raise NotImplementedError

    async def tell(self, send: Send) -> None:
        await send({"type": "websocket.close"})  # nothing to tell

    def _behave(self, scope: Message) -> dict[str, object]:
        if scope["method"] == "PUT":
            wanted = dict(parse_qsl(scope["query_string"].decode()))
            self.status = int(wanted.get("status", self.status))
            self.every = int(wanted.get("every", self.every))
        return {"served": self.served, "failed": self.failed, "status": self.status, "every": self.every}

    async def _reply(self, send: Send, status: int, content: dict[str, object]) -> None:
        body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-served-by", self.name.encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Product(Service):
    async def content(self, passed_on: dict[str, str]) -> dict[str, object]:
        return {"products": PRODUCTS[self.version]}


class Payment(Service):
    async def content(self, passed_on: dict[str, str]) -> dict[str, object]:
        return {"paid": True}


class Order(Service):
    """Calls product and payment by their names, through the sidecar that stands beside it."""

    def __init__(self, name: str, service: str, version: str, mesh: str) -> None:
        super().__init__(name, service, version)
        self._mesh = Client(mesh)

    async def content(self, passed_on: dict[str, str]) -> dict[str, object]:
        answers = await asyncio.gather(
            self._mesh.get("/product", {**passed_on, "host": "product"}),
            self._mesh.get("/payment", {**passed_on, "host": "payment"}),
        )
        calls = [{"status": answer.status, **(answer.json() if answer.status == 200 else {})} for answer in answers]
        return {"ordered": all(answer.status == 200 for answer in answers), "calls": calls}

    async def tell(self, send: Send) -> None:
        self.served += 1
        await send({"type": "websocket.accept", "headers": [(b"x-served-by", self.name.encode())]})
        for state in STATES:
            await send({"type": "websocket.send", "text": f"{self.name}: {state}"})
        await send({"type": "websocket.close"})


def caller(forwarded: str) -> str:
    """The identity of who called, as the sidecar says it: the last element is about the nearest client."""
    parts = forwarded.rpartition(",")[2].split(";")
    return next((part.removeprefix("URI=") for part in parts if part.startswith("URI=")), "")


def stock(name: str) -> dict[str, Callable[[bytes], bytes]]:
    """The methods of stock, a gRPC service: how many there are of a product, as text."""
    return {"/shop.Stock/Count": lambda product: b"%s: %d of %s" % (name.encode(), COUNTS.get(product, 0), product)}


def make(service: str, name: str, version: str, mesh: str) -> Service:
    if service == "order":
        return Order(name, service, version, mesh)
    return {"product": Product, "payment": Payment}[service](name, service, version)
