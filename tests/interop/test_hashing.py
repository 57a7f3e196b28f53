"""consistentHash leads a key to the endpoint that Envoy leads it to: a mesh of both sends a user to one place.

Both have the same endpoints, listed in another order, and are asked with the same keys; who answers says its name.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.peer_envoy import TYPES, Json, address, bootstrap, listener, manager, started, typed
from tests.interop.peers import Ports
from tests.running import Proxy
from tests.traffic import Client, Replica, destination_rule, read_answer, replicas, thing

TCP_PROXY = f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"
TABLES: dict[str, Json] = {
    "ring": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}},
    "wide": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 5000}},
    "maglev": {"lb_policy": "MAGLEV"},
    "small": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}},
}
HASHES: dict[str, Json] = {
    "ring": {"ringHash": {"minimumRingSize": 1024}},
    "wide": {"ringHash": {"minimumRingSize": 5000}},
    "maglev": {"maglev": {"tableSize": 65537}},
    "small": {"maglev": {"tableSize": 251}},
}
WEIGHTS = {"even": (1,) * 7, "uneven": (1, 5, 2, 1, 3, 1, 7)}
HEADER = "x-user"
SOURCES = {
    "header": ({"header": {"header_name": HEADER}}, {"httpHeaderName": HEADER}),
    "address": ({"connection_properties": {"source_ip": True}}, {"useSourceIp": True}),
}
KEYS = [f"user-{number}" for number in range(120)] + ["", "ä-ö", *(str(7919 * number) for number in range(120))]
ADDRESSES = [f"127.{number % 50}.{number % 7}.{number + 2}" for number in range(240)]
VIP = "127.0.0.88"


@pytest.fixture(scope="module")
def made() -> Iterator[list[Replica]]:
    with replicas(*"abcdefg") as seven:
        yield seven


def envoy_config(ports: Ports, made: list[Replica], chance: random.Random) -> Json:
    listeners, clusters = [], []
    for table, weights in itertools.product(TABLES, WEIGHTS):
        name = f"{table}-{weights}"
        listed = list(zip(made, WEIGHTS[weights], strict=True))
        chance.shuffle(listed)
        endpoints = [
            {"endpoint": {"address": address(replica.port)}, "load_balancing_weight": weight}
            for replica, weight in listed
        ]
        assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
        clusters.append({"name": name, "load_assignment": assignment, **TABLES[table]})
        for source, (policy, _) in SOURCES.items():
            filters = manager(f"{name}-{source}", name)
            (host,) = filters[0]["typed_config"]["route_config"]["virtual_hosts"]
            host["routes"][0]["route"]["hash_policy"] = [policy]
            listeners.append(listener(f"{name}-{source}", ports[f"{name}-{source}"], {"filters": filters}))
        tcp = typed("tcp", TCP_PROXY, stat_prefix=name, cluster=name, hash_policy=[{"source_ip": {}}])
        listeners.append(listener(f"{name}-tcp", ports[f"{name}-tcp"], {"filters": [tcp]}))
    return bootstrap(listeners, clusters)


def mesh(ports: Ports, made: list[Replica]) -> str:
    text = ""
    for table, weights, source in itertools.product(TABLES, WEIGHTS, [*SOURCES, "tcp"]):
        host, tcp = f"{table}-{weights}-{source}.example", source == "tcp"
        kind = {"number": ports[f"own-{host}"] if tcp else 80, "name": "it", "protocol": "TCP" if tcp else "HTTP"}
        spec: dict[str, Any] = {"hosts": [host], "ports": [kind], "resolution": "STATIC", "location": "MESH_INTERNAL"}
        spec["endpoints"] = [
            {"address": "127.0.0.1", "ports": {"it": replica.port}, "weight": weight}
            for replica, weight in zip(made, WEIGHTS[weights], strict=True)
        ]
        if tcp:
            spec["addresses"] = [VIP]
        text += thing("ServiceEntry", host, spec)
        hashed = {**SOURCES["address" if tcp else source][1], **HASHES[table]}
        text += destination_rule(host, {"loadBalancer": {"consistentHash": hashed}})
    return text


class Both:
    """Who answers a key, by Envoy and by fastmesh."""

    def __init__(self, ports: Ports, proxy: Proxy) -> None:
        self.ports = ports
        self.proxy = proxy

    def by_header(self, host: str) -> tuple[list[str], list[str]]:
        return of_keys(self.ports[host], host), of_keys(self.proxy.port, f"{host}.example")

    def by_address(self, host: str) -> tuple[list[str], list[str]]:
        theirs = [told(("127.0.0.1", self.ports[host]), host, each) for each in ADDRESSES]
        ours = ("127.0.0.1", self.proxy.port)
        if host.endswith("tcp"):
            ours = (VIP, self.ports[f"own-{host}.example"])
        return theirs, [told(ours, f"{host}.example", each) for each in ADDRESSES]


def of_keys(port: int, host: str) -> list[str]:
    with Client(port, host) as client:
        return [client.ask(x_user=key.encode().decode("latin-1")).text for key in KEYS]


def told(where: tuple[str, int], host: str, source: str) -> str:
    with socket.create_connection(where, 10, source_address=(source, 0)) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return read_answer(connection.makefile("rb"))[2].decode()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, made: list[Replica]) -> Iterator[Both]:
    folder, ports = tmp_path_factory.mktemp("hashing"), Ports()
    config = envoy_config(ports, made, random.Random(7))
    with started(folder / "envoy", config), Proxy(folder, mesh(ports, made)) as proxy:
        yield Both(ports, proxy)


ASKED = [
    *(("header", table, weights) for table in TABLES for weights in WEIGHTS),
    *((source, table, "uneven") for source in ("address", "tcp") for table in ("ring", "maglev")),
]


@pytest.mark.parametrize(("source", "table", "weights"), ASKED)
def test_one_key_one_endpoint(both: Both, table: str, weights: str, source: str) -> None:
    asked: Callable[[str], tuple[list[str], list[str]]] = both.by_header if source == "header" else both.by_address
    theirs, ours = asked(f"{table}-{weights}-{source}")
    apart = [
        key
        for key, one, other in zip(KEYS if source == "header" else ADDRESSES, theirs, ours, strict=True)
        if one != other
    ]
    assert len(theirs) > 200
    assert len(set(theirs)) > 5
    assert apart == []
