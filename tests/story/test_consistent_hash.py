"""consistentHash with traffic: one user, one endpoint, whichever worker serves and whatever is reloaded.

The first tests are the rows of Istio's `consistentHashCases`; the rest is what a user expects of them.
"""

from __future__ import annotations

import collections
import functools
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.explaining import ask as explained
from tests.ports import free_port
from tests.running import Proxy
from tests.traffic import (
    Answer,
    Client,
    Replica,
    Story,
    ask,
    destination_rule,
    read_answer,
    reload,
    replicas,
    replicas_of,
    thing,
    together,
    virtual_service,
)

HASHES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "address": {"useSourceIp": True},
    "query": {"httpQueryParameterName": "some-query-param"},
    "header": {"httpHeaderName": "x-some-header"},
    "maglev": {"httpHeaderName": "x-some-header", "maglev": {"tableSize": 65537}},
    "made": {"httpCookie": {"name": "session-cookie", "ttl": "3600s", "path": "/shop"}},
    "session": {"httpCookie": {"name": "s", "ttl": "0s", "attributes": [{"name": "SameSite", "value": "Lax"}]}},
    "cookie": {"httpCookie": {"name": "session-cookie"}},
    "small": {"httpHeaderName": "x-some-header", "minimumRingSize": 16},
}
USERS = [f"user-{number}" for number in range(40)]


def mesh(made: list[Replica]) -> str:
    yaml = ""
    for host, hashed in HASHES.items():
        yaml += replicas_of(host, *(replica.port for replica in made))
        policy = {"loadBalancer": {"consistentHash": hashed} if hashed else {"simple": "RANDOM"}}
        yaml += destination_rule(host, policy)
    return yaml


@pytest.fixture(scope="module")
def made() -> Iterator[list[Replica]]:
    with replicas("a", "b", "c", "d", "e") as five:
        yield five


VIP = "127.0.0.66"


@pytest.fixture(scope="module")
def tcp_ports() -> dict[str, int]:
    return {"hashed": free_port(), "spread": free_port()}


def bytes_mesh(made: list[Replica], ports: dict[str, int]) -> str:
    """Services whose connections carry bytes: a socket of this machine stands for each."""
    yaml = ""
    for host, port in ports.items():
        spec = {"hosts": [f"{host}.tcp"], "addresses": [VIP], "resolution": "STATIC", "location": "MESH_INTERNAL"}
        replicas = [{"address": "127.0.0.1", "ports": {"tcp": replica.port}} for replica in made]
        spec |= {"ports": [{"number": port, "name": "tcp", "protocol": "TCP"}], "endpoints": replicas}
        yaml += thing("ServiceEntry", f"{host}-tcp", spec)
        balancer = {"consistentHash": {"useSourceIp": True}} if host == "hashed" else {"simple": "RANDOM"}
        yaml += destination_rule(f"{host}.tcp", {"loadBalancer": balancer})
    return yaml


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, made: list[Replica], tcp_ports: dict[str, int]) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("hash"), mesh(made) + bytes_mesh(made, tcp_ports), workers=2) as one:
        yield one


def ten(proxy: Proxy, host: str, target: str = "/?some-query-param=bar", **headers: str) -> set[str]:
    """Who answered ten requests, each on a connection of its own, so that both workers take part."""
    return {ask(proxy, target, host=host, **headers).text for _ in range(10)}


def test_no_consistent_hash(proxy: Proxy) -> None:
    assert len(ten(proxy, "none", x_some_header="baz")) > 1


@pytest.mark.parametrize("host", ["address", "query", "header", "maglev", "small"])
def test_ten_requests_meet_one_endpoint(proxy: Proxy, host: str) -> None:
    assert len(ten(proxy, host, x_some_header="baz")) == 1


def over_tcp(port: int, source: str = "127.0.0.1") -> str:
    with socket.create_connection((VIP, port), 10, source_address=(source, 0)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return read_answer(connection.makefile("rb"))[2].decode()


def test_ten_connections_of_one_address_meet_one_endpoint(proxy: Proxy, tcp_ports: dict[str, int]) -> None:
    """The row "tcp source ip"; other addresses meet others."""
    assert len({over_tcp(tcp_ports["hashed"]) for _ in range(10)}) == 1
    assert len({over_tcp(tcp_ports["spread"]) for _ in range(20)}) > 1
    assert len({over_tcp(tcp_ports["hashed"], f"127.0.1.{number}") for number in range(1, 30)}) == 5


def test_a_cookie_without_ttl_is_used_and_never_made(proxy: Proxy) -> None:
    assert len(ten(proxy, "cookie", cookie="a=1; session-cookie=somecookie; b=2")) == 1
    assert len({ask(proxy, host="cookie", cookie=f"session-cookie={user}").text for user in USERS}) == 5
    assert "set-cookie" not in ask(proxy, host="cookie").headers
    assert len(ten(proxy, "cookie")) > 1


def test_a_cookie_with_ttl_is_made(proxy: Proxy) -> None:
    met = set()
    for _ in range(12):
        first = ask(proxy, host="made")
        value, _, rest = first.headers["set-cookie"].removeprefix("session-cookie=").partition("; ")
        assert rest == "Max-Age=3600; Path=/shop; HttpOnly"
        again = [ask(proxy, host="made", cookie=f"session-cookie={value}") for _ in range(3)]
        assert {answer.text for answer in again} == {first.text}
        assert all("set-cookie" not in answer.headers for answer in again)
        met.add(first.text)
    assert len(met) > 1
    with Client(proxy.port, "made") as client:
        both = [client.ask().headers["set-cookie"] for _ in range(2)]
    assert both[0] == both[1], "one connection, one cookie: requests before the answer meet the same endpoint"


def test_a_ttl_of_zero_is_a_session_cookie(proxy: Proxy) -> None:
    said = ask(proxy, host="session").headers["set-cookie"]
    assert said.partition("; ")[2] == "SameSite=Lax; HttpOnly"


@pytest.mark.parametrize("host", ["header", "maglev"])
def test_users_are_spread(proxy: Proxy, host: str) -> None:
    counts = collections.Counter(ask(proxy, host=host, x_some_header=f"user-{n}").text for n in range(200))
    assert len(counts) == 5
    assert max(counts.values()) < 80


def test_a_request_without_it_goes_anywhere(proxy: Proxy) -> None:
    for host in ("header", "query", "maglev"):
        assert len({ask(proxy, host=host).text for _ in range(20)}) > 1


def test_several_values_count_together(proxy: Proxy) -> None:
    def both(first: str, second: str) -> str:
        raw = f"GET / HTTP/1.1\r\nhost: header\r\nx-some-header: {first}\r\nx-some-header: {second}\r\n\r\n"
        with Client(proxy.port) as client:
            return client.exchange(raw.encode()).text

    for user in USERS[:10]:
        assert both(user, "z") == both("z", user)
    assert len({both("one", user) for user in USERS}) > 1


def test_addresses_are_told_apart(proxy: Proxy) -> None:
    def from_address(last: int) -> str:
        with Client(proxy.port, "address") as client:
            client.socket = socket.create_connection(("127.0.0.1", proxy.port), 5, (f"127.0.0.{last}", 0))
            client.stream = client.socket.makefile("rb")
            return client.ask().text

    assert len({from_address(last) for last in range(2, 32)}) == 5
    assert from_address(9) == from_address(9)


def test_explain_knows_the_endpoint(proxy: Proxy, made: list[Replica]) -> None:
    ports = {replica.name: replica.port for replica in made}
    for user in USERS[:8]:
        met = ask(proxy, host="maglev", x_some_header=user).text
        told = explained([proxy.file], "GET", "http://maglev/", "-H", f"x-some-header: {user}")
        step = {each["step"]: each for each in told["steps"]}
        assert step["attempt"]["decision"] == f"127.0.0.1:{ports[met]}"
        assert step["attempt"]["why"] == "Maglev of header x-some-header"
    told = explained([proxy.file], "GET", "http://made/")
    step = {each["step"]: each for each in told["steps"]}
    assert 'session-cookie="..."; Max-Age=3600' in step["hash"]["why"]


def met_by(proxy: Proxy, user: str) -> str:
    return ask(proxy, host="maglev", x_some_header=user).text


def test_reloads_and_restarts_keep_everybody(tmp_path: Path, made: list[Replica]) -> None:
    def met(proxy: Proxy) -> list[str]:
        return together([functools.partial(met_by, proxy, user) for user in USERS])

    yaml = mesh(made)
    with Proxy(tmp_path, yaml, workers=2) as proxy:
        before = met(proxy)
        reload(proxy, yaml + replicas_of("other", made[0].port))
        assert met(proxy) == before
        fewer = "---".join(each for each in yaml.split("---") if '"maglev-2"' not in each)
        reload(proxy, fewer)
        after = met(proxy)
    assert "c" not in after
    assert sum(now != then != "c" for then, now in zip(before, after, strict=True)) <= 3, "the others stay"
    with Proxy(tmp_path, yaml) as proxy:
        assert met(proxy) == before


def test_an_ejected_endpoint_gives_its_users_away_and_gets_them_back(tmp_path: Path) -> None:
    detection = {"consecutive5xxErrors": 1, "interval": "100ms", "baseEjectionTime": "60s", "maxEjectionPercent": 50}
    policy = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}, "outlierDetection": detection}
    with replicas("a", "b", "c", "d") as made:
        yaml = replicas_of("app", *(replica.port for replica in made)) + destination_rule("app", policy)
        yaml += virtual_service("app", {"retries": {"attempts": 1, "retryOn": "5xx", "backoff": "1ms"}})
        with Story(tmp_path, yaml, workers=2) as story:
            before = {user: ask(story.proxy, x_user=user).text for user in USERS}
            sick = next(replica for replica in made if replica.name == before[USERS[0]])
            sick.act = lambda request: 500
            seen = sick.count()
            answer = ask(story.proxy, x_user=USERS[0])  # its retry finds it ejected
            assert (answer.status, sick.count()) == (200, seen + 1)
            after = {user: ask(story.proxy, x_user=user).text for user in USERS}
            moved = {user for user in USERS if after[user] != before[user]}
            assert moved == {user for user in USERS if before[user] == sick.name}


@pytest.mark.parametrize("table", [{"ringHash": {}}, {"maglev": {"tableSize": 65537}}], ids=["ring", "maglev"])
def test_a_retry_stays_with_the_endpoint(tmp_path: Path, table: dict[str, Any]) -> None:
    """Istio's retries avoid hosts that were tried, but where a hash decides only when somebody wrote that."""
    policy = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", **table}}}
    retries = {"attempts": 2, "retryOn": "5xx", "backoff": "1ms"}
    with replicas("a", "b", "c", act=lambda request: 503) as made:
        yaml = replicas_of("app", *(replica.port for replica in made)) + destination_rule("app", policy)
        leaves = {"match": [{"uri": {"prefix": "/leave"}}], "retries": {**retries, "retryIgnorePreviousHosts": True}}
        yaml += virtual_service("app", leaves, {"retries": retries})
        with Proxy(tmp_path, yaml) as proxy:
            assert ask(proxy, x_user="1").status == 503
            assert sorted(replica.count() for replica in made) == [0, 0, 3]
            assert ask(proxy, "/leave", x_user="1").status == 503
            assert [replica.count("/leave") for replica in made] == [1, 1, 1]


def test_subsets_and_ports_have_their_own(tmp_path: Path) -> None:
    """A subset's policy wins over the rule's, a port's replaces both."""
    hashed = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
    settings = [{"port": {"number": 80}, "loadBalancer": {"consistentHash": {"httpQueryParameterName": "u"}}}]
    spec = {"host": "app", "trafficPolicy": {**hashed, "portLevelSettings": settings}}
    spec["subsets"] = [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": hashed}]
    with replicas("a", "b", "c", "d") as made:
        yaml = replicas_of("app", *(replica.port for replica in made)) + thing("DestinationRule", "app", spec)
        one = {"match": [{"uri": {"prefix": "/v1"}}], "route": [{"destination": {"host": "app", "subset": "v1"}}]}
        yaml += virtual_service("app", one, {})

        def all_of(target: str, **headers: str) -> list[Answer]:
            return [ask(proxy, target, **headers) for _ in range(12)]

        with Proxy(tmp_path, yaml) as proxy:
            assert len({answer.text for answer in all_of("/?u=1", x_user="1")}) == 1
            assert len({answer.text for answer in all_of("/", x_user="1")}) > 1
            assert len({answer.text for answer in all_of("/v1", x_user="1")}) == 1
