"""`fastmesh demo`: the shop with traffic, what to try next, and a table of what the proxies count, until Ctrl-C."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import time
from collections.abc import Sequence

from fastmesh.demo.admin import Admins, Numbers
from fastmesh.demo.processes import DemoError
from fastmesh.demo.shop import Replica, Shop, open_shop
from fastmesh.demo.table import Screen, aligned
from fastmesh.demo.traffic import GATEWAY, Traffic

TITLES = ("service", "version", "requests", "success %", "p50 ms", "p99 ms", "ejected", "limited")
WEBSOCKET = "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Key: ZmFzdG1lc2gtZmFzdG1lc2g='"
IN_PLACE, IN_LINES = 0.5, 5.0  # seconds between two tables


async def live(port: int) -> None:
    screen = Screen(sys.stdout)
    print("opening the shop: four services, six replicas, a sidecar before each, a gateway", file=sys.stderr)
    async with open_shop(port, watch=True) as shop:
        print("\n".join(what_to_try(shop)) + "\n", flush=True)
        traffic = Traffic(shop, random.Random())
        sending = asyncio.create_task(traffic.run())
        try:
            await _show(screen, shop, traffic, sending)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            print("\nclosing the shop", file=sys.stderr)


async def _show(screen: Screen, shop: Shop, traffic: Traffic, sending: asyncio.Task[None]) -> None:
    admins = Admins(shop.gateway.admin, *(each.sidecar.admin for each in shop.of("order")))  # those who call
    front = Admins(shop.gateway.admin)
    started = time.monotonic()
    try:
        while True:
            await asyncio.wait((sending,), timeout=IN_PLACE if screen.live else IN_LINES)
            if lost := shop.children.lost:
                raise DemoError("\n  ".join([f"{lost[0].name} ended", *lost[0].lines]))
            if sending.done():
                sending.result()
            both, gateway = await admins.numbers(), await front.numbers()
            rows = [TITLES, _gateway_row(gateway, traffic), *_service_rows(shop, both, traffic)]
            retries = both.total("cluster.", ".upstream_rq_retry_success")
            news = f"{traffic.news}; failures hidden by retries: {retries}; {time.monotonic() - started:.0f} s"
            red = [n for n, row in enumerate(rows) if n and row[6] not in ("", "0")]
            screen.show([*aligned(rows), "", news], bold=(0,), red=red)
    finally:
        admins.close()
        front.close()


def _gateway_row(numbers: Numbers, traffic: Traffic) -> Sequence[str]:
    """What clients of the gateway saw; a request over its limit is no failure."""
    requests = numbers.stats.get("http.downstream_rq_total", 0)
    failed = numbers.stats.get("http.downstream_rq_5xx", 0)
    limited = numbers.total("rate_limit.", ".limited")
    return (*GATEWAY, str(requests), _percent(requests - failed, requests), *_milliseconds(traffic, GATEWAY), "",
            str(limited))  # fmt: skip


def _service_rows(shop: Shop, numbers: Numbers, traffic: Traffic) -> list[Sequence[str]]:
    """What callers got from each version of a service; an attempt whose retry worked is no failure to them."""
    groups: dict[tuple[str, str], list[Replica]] = {}
    for replica in shop.replicas.values():
        groups.setdefault((replica.service, replica.version), []).append(replica)
    rows: list[Sequence[str]] = []
    for group, replicas in groups.items():
        found = [numbers.endpoints[each.address] for each in replicas if each.address in numbers.endpoints]
        requests = numbers.of(*group)
        success = _percent(numbers.of(*group, "200"), requests)
        out = str(sum(each.out for each in found))
        rows.append((*group, str(requests), success, *_milliseconds(traffic, group), out, ""))
    return rows


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def _milliseconds(traffic: Traffic, row: tuple[str, str]) -> tuple[str, str]:
    found = [traffic.percentile(row, part) for part in (0.50, 0.99)]
    half, most = ("" if value is None else f"{1000 * value:.1f}" for value in found)
    return half, most


def what_to_try(shop: Shop) -> list[str]:
    url, folder = shop.url, shop.folder
    command = "fastmesh" if shutil.which("fastmesh") else sys.argv[0]
    ask = f"{command} explain -f {folder} --gateway default/shop-gateway"
    tries = [
        ("one of three replicas in turn", f"curl {url}/product"),
        ("always v2", f"curl -H 'x-canary: true' {url}/product"),
        ("v1 four times of five, v2 once", f"curl {url}/catalog"),
        ("fails each fifth time, a retry hides it", f"curl {url}/payment"),
        ("calls product and payment", f"curl -H 'x-request-id: mine' {url}/order"),
        ("a WebSocket: what becomes of an order", f"curl -N --http1.1 {WEBSOCKET} {url}/order/status"),
        ("ten pass in a second, then 429", f"curl -i -H 'x-user: me' '{url}/product?[1-15]'"),
        ("in plaintext nobody gets in", f"curl http://{shop.of('product')[0].address}/product"),
        ("whose certificate lets one in", f"{command} cert show {shop.certs}/gateway"),
        ("which rule decides, and why", f"{ask} GET http://shop/catalog"),
        ("the rules; saved is taken over", f"$EDITOR {folder}/gateway.yaml"),
        ("the gateway's admin", f"curl http://{shop.gateway.admin}/clusters"),
        ("its metrics", f"curl http://{shop.gateway.admin}/stats/prometheus"),
    ]
    return ["try in another terminal:", *(f"  {line}" for line in aligned(tries))]
