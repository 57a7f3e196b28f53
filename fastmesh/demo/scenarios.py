"""What the shop promises, each asked once with real traffic. A scenario fills in its figures and says what is wrong.

`figures` belongs to the scenario: what was counted is shown also when it fails.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from fastmesh.demo import calls, certificates
from fastmesh.demo.admin import Admins, Numbers, Received
from fastmesh.demo.client import Answer, Client
from fastmesh.demo.services import STATES
from fastmesh.demo.shop import PAYMENT_FAILS_EVERY, Proxy, Shop
from fastmesh.demo.websocket import listen

Figures = dict[str, Any]
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PRODUCT = "outbound|80||product.default.svc.cluster.local"


class BrokenError(Exception):
    """A promise that did not hold."""


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenError(otherwise)


class Visit:
    """A client of the shop, and the shop itself, for the time of one scenario."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._client = Client(shop.gateway.address)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._client.get(path, {name.replace("_", "-"): value for name, value in headers.items()})

    async def one_by_one(self, count: int, path: str, **headers: str) -> list[Answer]:
        return [await self.get(path, **headers) for _ in range(count)]

    async def at_once(self, count: int, path: str, lanes: int = 8, **headers: str) -> list[Answer]:
        share = count // lanes
        lots = await asyncio.gather(*(self.one_by_one(share, path, **headers) for _ in range(lanes)))
        return [answer for lot in lots for answer in lot]

    async def numbers(self, *proxies: Proxy) -> Numbers:
        """The gateway's, or those of other proxies."""
        admins = Admins(*(each.admin for each in proxies or (self.shop.gateway,)))
        try:
            return await admins.numbers()
        finally:
            admins.close()

    def versions(self, answers: list[Answer]) -> Counter[str]:
        return Counter(self.shop.replicas[served_by(answer)].version for answer in answers)

    def close(self) -> None:
        self._client.close()


def served_by(answer: Answer) -> str:
    return answer.headers.get("x-served-by", "")


def only_200(answers: list[Answer]) -> None:
    wrong = Counter(answer.status for answer in answers if answer.status != 200)
    expect(not wrong, f"of {len(answers)} answers these were not 200: {dict(wrong)}")


async def round_robin(visit: Visit, figures: Figures) -> None:
    """Every replica gets the same share."""
    answers = await visit.one_by_one(60, "/product")
    only_200(answers)
    figures |= {"requests": 60, "replicas": dict(sorted(Counter(map(served_by, answers)).items()))}
    expect(set(figures["replicas"].values()) == {20}, "the three replicas did not get 20 each")


async def split(visit: Visit, figures: Figures) -> None:
    """v2 gets a fifth; 0.07 is four standard deviations of 480 draws."""
    answers = await visit.at_once(480, "/catalog")
    only_200(answers)
    share = visit.versions(answers)["v2"] / len(answers)
    figures |= {"requests": len(answers), "v2_share": round(share, 3), "wanted": 0.2}
    expect(abs(share - 0.2) <= 0.07, "the share of v2 is too far from 0.2")


async def canary(visit: Visit, figures: Figures) -> None:
    """The header decides, and only its exact value."""
    chosen = visit.versions(await visit.one_by_one(20, "/product", x_canary="true"))
    others = visit.versions(await visit.one_by_one(21, "/product", x_canary="True"))
    figures |= {"with_header": dict(chosen), "without": dict(others)}
    expect(chosen == {"v2": 20}, "a request with x-canary: true did not go to v2")
    expect(others == {"v1": 14, "v2": 7}, "without the header the three replicas did not take turns")


async def retry(visit: Visit, figures: Figures) -> None:
    """payment answers 503 to each fifth request; the client sees none of them."""
    (payment,) = visit.shop.of("payment")
    before, start = await payment.behave(), await visit.numbers()
    answers = await visit.one_by_one(60, "/payment")
    after, end = await payment.behave(), await visit.numbers()
    failed = after["failed"] - before["failed"]
    retries = [n.total("cluster.outbound|80||payment.", ".upstream_rq_retry") for n in (start, end)]
    figures |= {"requests": 60, "failed_upstream": failed, "retries": retries[1] - retries[0]}
    figures["seen_by_client"] = sum(answer.status != 200 for answer in answers)
    figures["slowest_ms"] = round(1000 * max(answer.seconds for answer in answers), 1)
    only_200(answers)
    expect(figures["slowest_ms"] < 1000, "a retry came late: back-offs of 25 ms reach 250 ms at most")
    expect(failed >= 60 // PAYMENT_FAILS_EVERY, "payment was to fail each fifth time, and did not")
    expect(figures["retries"] == failed, "the proxy's count of retries is not the replica's count of failures")


async def ejection(visit: Visit, figures: Figures) -> None:
    """Three 500s in a row put a replica out; when its time is over it is asked again."""
    sick = visit.shop.replicas["product-v1-b"]
    await sick.behave("status=500")
    started = time.monotonic()
    try:
        first = await visit.one_by_one(9, "/product")
        figures["errors_until_ejected"] = sum(answer.status == 500 for answer in first)
        expect(figures["errors_until_ejected"] == 3, "three 500s were expected until the ejection")
        numbers = await visit.numbers()
        figures["ejections"] = numbers.total(f"cluster.{PRODUCT}", "ejections_enforced_total")
        expect(numbers.endpoints[sick.address].out, "/clusters does not say that the replica is out")
        meanwhile = await visit.one_by_one(30, "/product")
        only_200(meanwhile)
        figures["while_out"] = dict(sorted(Counter(map(served_by, meanwhile)).items()))
        expect(sick.name not in figures["while_out"], "the ejected replica was asked")
    finally:
        await sick.behave("status=0")
    while served_by(answer := await visit.get("/product")) != sick.name:
        only_200([answer])
        await asyncio.sleep(0.02)  # an ejection ends in silence: the only sign is that the replica answers again
    figures["back_after_s"] = round(time.monotonic() - started, 2)
    expect(figures["back_after_s"] >= 2, "it came back before its time")


async def rate_limit(visit: Visit, figures: Figures) -> None:
    """Ten a second for each user: the rest gets 429 with retry-after, other users and nameless ones are free."""
    started = time.monotonic()
    answers = await visit.one_by_one(40, "/product", x_user="greedy")
    took = time.monotonic() - started
    passed = sum(answer.status == 200 for answer in answers)
    limited = [answer for answer in answers if answer.status == 429]
    figures |= {"requests": 40, "passed": passed, "limited": len(limited), "took_s": round(took, 3)}
    expect(passed + len(limited) == 40, "there were answers other than 200 and 429")
    expect(10 <= passed <= 10 * (1 + int(took) + 1), "10 in a second were to pass")
    expect(bool(limited), "nothing was limited")
    wait = limited[-1].headers.get("retry-after", "")
    figures["retry_after"] = wait
    expect(wait == "1", "429 came without retry-after: 1")
    only_200([await visit.get("/product", x_user="modest"), *await visit.one_by_one(20, "/product")])
    await asyncio.sleep(float(wait))  # what the answer asks for
    only_200([await visit.get("/product", x_user="greedy")])
    stats = (await visit.numbers()).stats
    figures["counted_by_proxy"] = stats["rate_limit.default/per-user/0.limited"]
    expect(figures["counted_by_proxy"] >= len(limited), "the proxy's own count is too low")


async def chain(visit: Visit, figures: Figures) -> None:
    """order calls product and payment through its sidecar; all know the request by one id and one trace."""
    given = await visit.get("/order", x_request_id="demo-chain-1", traceparent=TRACEPARENT, x_canary="true")
    made = await visit.get("/order", traceparent=TRACEPARENT)
    only_200([given, made])
    for name, answer in (("given", given), ("made", made)):
        hops = [answer.json(), *answer.json()["calls"]]
        ids = {hop.get("headers", {}).get("x-request-id", "") for hop in hops}
        traces = {hop.get("headers", {}).get("traceparent", "")[:36] for hop in hops}
        figures[name] = {"hops": [hop.get("replica", "") for hop in hops], "request_ids": sorted(ids)}
        expect(len(hops) == 3 and answer.json()["ordered"], "order did not reach product and payment")
        expect(len(ids) == 1, "the hops did not share one x-request-id")
        expect(traces == {TRACEPARENT[:36]}, "the trace of the client was not passed on")
    expect(figures["given"]["request_ids"] == ["demo-chain-1"], "the client's x-request-id was replaced")
    expect(UUID.fullmatch(figures["made"]["request_ids"][0]) is not None, "the id that the gateway made is no UUID")
    expect("product-v2-a" in figures["given"]["hops"], "the canary was forgotten inside the mesh")


async def grpc(visit: Visit, figures: Figures) -> None:
    """stock is asked with gRPC over HTTP/2; the gateway's own answers are in gRPC's form, too."""
    address = visit.shop.gateway.address
    said = await asyncio.gather(*(calls.call(address, "shop", "/shop.Stock/Count", b"tea") for _ in range(20)))
    figures |= {"calls": len(said), "answers": dict(Counter(each.data.decode() for each in said))}
    expect(all((each.http, each.status) == (200, 0) for each in said), "not all calls ended with OK")
    expect(set(figures["answers"]) == {"stock-v1-a: 12 of tea"}, "stock did not count 12 of tea")
    unknown = await calls.call(address, "shop", "/shop.Stock/Steal", b"tea")
    nowhere = await calls.call(address, "shop", "/no.Service/Call", b"")
    figures |= {"unknown_method": unknown.status, "no_route": nowhere.status}
    expect(unknown[:2] == nowhere[:2] == (200, calls.UNIMPLEMENTED), "UNIMPLEMENTED was to come back for both")


async def websocket(visit: Visit, figures: Figures) -> None:
    """order tells what becomes of an order; each of these WebSockets is one request with 101."""
    before = await visit.numbers()
    told = await asyncio.gather(*(listen(visit.shop.gateway.address, "/order/status") for _ in range(20)))
    after = await visit.numbers()
    total = "http.downstream_cx_upgrades_total"
    figures |= {"opened": len(told), "counted_by_proxy": after.stats[total] - before.stats[total]}
    figures["messages"] = sum(len(messages) for _, messages in told)
    expect(all(status == 101 for status, _ in told), "not every upgrade was agreed to")
    wanted = [f"order-v1-a: {state}" for state in STATES]
    expect(all(messages == wanted for _, messages in told), "messages were lost or came in another order")
    expect(figures["counted_by_proxy"] == len(told), "the proxy's own count is another")


async def strict(visit: Visit, figures: Figures) -> None:
    """A sidecar answers nobody in plaintext, and nobody over TLS who shows no certificate of the mesh."""
    folder = visit.shop.certs / "gateway"
    contexts = {name: ssl.create_default_context(cafile=folder / "root-cert.pem") for name in ("nameless", "gateway")}
    for context in contexts.values():
        context.check_hostname = False  # the name of a workload is its SPIFFE id
    contexts["gateway"].load_cert_chain(folder / "cert-chain.pem", folder / "key.pem")
    replicas = visit.shop.replicas.values()
    plain = [await _said(each.address, None) for each in replicas]
    nameless = [await _said(each.address, contexts["nameless"]) for each in replicas]
    figures |= {"sidecars": len(plain), "answers_in_plaintext": sum(map(bool, plain))}
    figures["answers_without_certificate"] = sum(map(bool, nameless))
    known = [await _said(each.address, contexts["gateway"]) for each in visit.shop.of("product")]
    figures["answers_with_certificate"] = sum(each.startswith(b"HTTP/1.1 200") for each in known)
    expect(not any(plain), "a sidecar answered in plaintext")
    expect(not any(nameless), "a sidecar answered a client without a certificate")
    expect(figures["answers_with_certificate"] == len(known), "a sidecar did not answer the gateway's certificate")


async def _said(address: str, tls: ssl.SSLContext | None) -> bytes:
    """What comes back for an HTTP request until the end of the connection."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
        try:
            writer.write(b"GET /product HTTP/1.1\r\nhost: product\r\nconnection: close\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()
    except (ConnectionError, ssl.SSLError):
        return b""


async def identity(visit: Visit, figures: Figures) -> None:
    """Applications hear who calls them, and sidecars count it: HTTP, gRPC and WebSockets, all of it mutual TLS."""
    product, order = await visit.get("/product"), await visit.get("/order")
    said = await calls.call(visit.shop.gateway.address, "shop", "/shop.Stock/Count", b"tea")
    opened, _ = await listen(visit.shop.gateway.address, "/order/status")
    only_200([product, order])
    expect((said.status, opened) == (0, 101), "the gRPC call or the WebSocket failed")
    heard = {"product": product.json()["caller"], "order": order.json()["caller"]}
    heard |= {f"{call['replica']} of order": call["caller"] for call in order.json()["calls"]}
    figures["callers_heard"] = heard
    front, behind = certificates.identity("gateway"), certificates.identity("order")
    expect(sorted(heard.values()) == [front, front, behind, behind], "a service did not hear who called")
    sidecars = [each.sidecar for each in visit.shop.replicas.values()]
    received = (await visit.numbers(*sidecars)).received
    figures["policies"] = dict(Counter(each.policy for each in received.elements()))
    expect(set(figures["policies"]) == {"mutual_tls"}, "a sidecar let in something else than mutual TLS")
    for service, protocol, status, caller in (
        ("product", "http", "200", front),
        ("product", "http", "200", behind),
        ("payment", "http", "200", behind),
        ("stock", "grpc", "200", front),
        ("order", "http", "101", front),
    ):
        wanted = Received(service, protocol, status, caller, "mutual_tls")
        expect(received[wanted] > 0, f"no sidecar counted {wanted}")


async def telemetry(visit: Visit, figures: Figures) -> None:
    """What the proxy counts is what the replicas saw, and Istio's metric has it by version."""
    seen, before = await _served(visit), await visit.numbers()
    only_200(await visit.at_once(48, "/product"))
    seen_after, after = await _served(visit), await visit.numbers()
    for each in visit.shop.of("product"):
        proxy = after.endpoints[each.address].attempts - before.endpoints[each.address].attempts
        figures[each.name] = {"proxy": proxy, "replica": seen_after[each.name] - seen[each.name]}
        expect(proxy == figures[each.name]["replica"], "the proxy and the replica count differently")
    for version, wanted in (("v1", 32), ("v2", 16)):
        counted = after.of("product", version, "200") - before.of("product", version, "200")
        figures[f"istio_requests_total_{version}"] = counted
        expect(counted == wanted, f"istio_requests_total of {version} grew by {counted}, {wanted} were sent")


async def _served(visit: Visit) -> dict[str, int]:
    return {each.name: (await each.behave())["served"] for each in visit.shop.of("product")}


async def explain(visit: Visit, figures: Figures) -> None:
    """`fastmesh explain` says of the same files what the traffic does."""
    command = ["-m", "fastmesh", "explain", "-f", str(visit.shop.folder), "--gateway", "default/shop-gateway"]
    question = ["-H", "x-canary: true", "-o", "json", "GET", "http://shop/product"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, *question, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    expect(process.returncode == 0, f"explain ended with {process.returncode}")
    answer = orjson.loads(said)
    figures |= {"action": answer["action"], "rule": answer["rule"]["route"], "cluster": answer["cluster"]}
    served = visit.shop.replicas[served_by(await visit.get("/product", x_canary="true"))]
    expect(figures["rule"] == "canary", "another rule was named")
    expect(answer["endpoints"] == [served.address], "it named other endpoints than the one that answered")


SCENARIOS: tuple[Callable[[Visit, Figures], Awaitable[None]], ...] = (
    round_robin, split, canary, retry, ejection, rate_limit, chain, grpc, websocket, strict, identity,
    telemetry, explain,
)  # fmt: skip
