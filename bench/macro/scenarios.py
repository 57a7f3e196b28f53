"""What is asked of every proxy. A scenario starts it afresh, loads it, and gives back one round's figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import load
from .load import Shape
from .measure import memory_of
from .peers import DOMAIN, MANY_HOSTS, Peer, Setup, running
from .rounds import MIB, Bench, Figures, Form, figures_of, memory

IDLE = 10_000
LOG_LINE = 200  # bytes: no line with Istio's keys is shorter


@dataclass(frozen=True)
class Scenario:
    """`figure` names the value that decides; `better` says which way."""

    name: str
    says: str
    run: Callable[[Bench, Peer], Figures]
    figure: str
    unit: str
    better: str = "less"


H1 = Shape()
H2 = Shape(connections=8, streams=32)
CALLS = replace(H2, grpc=True)
TLS = Shape(tls=True, host=DOMAIN)


def _plain(bench: Bench) -> tuple[Setup, ...]:
    return (bench.setup(),)


def _raw(bench: Bench) -> tuple[Setup, ...]:
    return (bench.setup(raw=True),)


def _h2_to(app: str) -> Form:
    return lambda bench: (bench.setup(clients="h2", app=app),)


def _tls(bench: Bench) -> tuple[Setup, ...]:
    return (bench.setup(tls=bench.certificates.ecdsa),)


def _tls_rsa(bench: Bench) -> tuple[Setup, ...]:
    return (bench.setup(tls=bench.certificates.rsa),)


def _sidecars(bench: Bench) -> tuple[Setup, ...]:
    """Client, outbound proxy, mTLS, inbound proxy, application."""
    inbound = bench.setup(side="inbound", workload=bench.certificates.server)
    outbound = bench.setup(side="outbound", workload=bench.certificates.client, upstream=inbound.port)
    return outbound, inbound


def _loaded(shape: Shape, form: Form = _plain) -> Callable[[Bench, Peer], Figures]:
    def run(bench: Bench, peer: Peer) -> Figures:
        with running(peer, *form(bench)) as proxy:
            return figures_of(bench.load(proxy, shape)) | memory(proxy, "after")

    return run


def _handshakes(resume: bool, form: Form) -> Callable[[Bench, Peer], Figures]:
    """A connection each: whole handshakes, or all of them resumed; those that were not as wanted count as errors."""
    shape = replace(TLS, mode="close", resume=resume)

    def run(bench: Bench, peer: Peer) -> Figures:
        with running(peer, *form(bench)) as proxy:
            outcome = bench.load(proxy, shape)
            figures = figures_of(outcome) | memory(proxy, "after")
        made, resumed = outcome.counts["handshakes"], outcome.counts["resumed"]
        figures["errors"] += made - resumed if resume else resumed
        return figures

    return run


def _latency(form: Form = _plain, share: float = 1.0) -> Callable[[Bench, Peer], Figures]:
    def run(bench: Bench, peer: Peer) -> Figures:
        with running(peer, *form(bench)) as proxy:
            outcome = bench.load(proxy, Shape("open", rate=int(bench.rate * share)))
            after = memory(proxy, "after")
        tail = {name: float(outcome.counts[name]) for name in ("p50_us", "p99_us", "p999_us", "max_us", "late")}
        return figures_of(outcome) | after | tail

    return run


def _at_rest(bench: Bench, peer: Peer) -> Figures:
    with running(peer, bench.setup()) as proxy:
        time.sleep(1.0)
        return memory(proxy, "rest") | {"rss_rest_mib": memory_of(proxy.workers).rss / MIB, "errors": 0}


def _idle(shape: Shape, form: Form = _plain) -> Callable[[Bench, Peer], Figures]:
    def run(bench: Bench, peer: Peer) -> Figures:
        with running(peer, *form(bench)) as proxy:
            load.run(shape, proxy, 0.2, 0.3)
            time.sleep(0.5)
            before = memory_of(proxy.workers)
            with load.held(replace(shape, mode="hold", connections=IDLE), proxy.port, 60) as finish:
                time.sleep(1.0)
                after = memory_of(proxy.workers)
                counts = finish()
        kept = max(1, int(counts["held"]))
        return {
            "rss_each": (after.rss - before.rss) / kept,
            "pss_each": (after.pss - before.pss) / kept,
            "rss_before": before.rss,
            "rss_after": after.rss,
            "held": kept,
            "errors": IDLE - int(counts["held"]),
        }

    return run


def _pair(bench: Bench, peer: Peer, plain: tuple[Setup, Shape], other: tuple[Setup, Shape]) -> tuple[Figures, Figures]:
    """Two forms of one proxy, one right after the other; who goes first alternates, so that drift cancels out."""
    found: dict[bool, Figures] = {}
    for is_other in (True, False) if next(bench.numbers) % 2 else (False, True):
        setup, shape = other if is_other else plain
        with running(peer, setup) as proxy:
            found[is_other] = figures_of(bench.load(proxy, shape)) | memory(proxy, "after")
            if setup.log:
                found[is_other] |= _logged(setup, found[is_other])
    return found[False], found[True]


def _logged(setup: Setup, figures: Figures) -> Figures:
    """A log that was not written has no price: all of the round's requests count as errors."""
    written = setup.log_file.stat().st_size if setup.log_file.exists() else 0
    each = written / max(1.0, figures["requests"])
    return {"log_bytes": each, "errors": figures["errors"] + (figures["requests"] if each < LOG_LINE else 0)}


def _many_hosts(bench: Bench, peer: Peer) -> Figures:
    many_shape = Shape(hosts=MANY_HOSTS, host=DOMAIN)
    one, many = _pair(bench, peer, (bench.setup(), Shape()), (bench.setup(hosts=MANY_HOSTS), many_shape))
    return many | {"cpu_us_plain": one["cpu_us"], "change_percent": (many["cpu_us"] / one["cpu_us"] - 1) * 100}


def _access_log(bench: Bench, peer: Peer) -> Figures:
    off, on = _pair(bench, peer, (bench.setup(), Shape()), (bench.setup(log=True), Shape()))
    return on | {"cpu_us_plain": off["cpu_us"], "price_us": on["cpu_us"] - off["cpu_us"]}


def _price(plain: dict[str, bool], other: dict[str, bool | int]) -> Callable[[Bench, Peer], Figures]:
    """What a part of the configuration costs a request: the same proxy with and without it."""

    def run(bench: Bench, peer: Peer) -> Figures:
        off, on = _pair(bench, peer, (bench.setup(**plain), Shape()), (bench.setup(**other), Shape()))
        share = on["cpu_us"] / off["cpu_us"]
        difference = {"price_us": on["cpu_us"] - off["cpu_us"], "times": share, "change_percent": (share - 1) * 100}
        return on | {"cpu_us_plain": off["cpu_us"]} | difference

    return run


PER_CPU = ("per_cpu_s", "conn/CPU s", "more")
SCENARIOS = (
    Scenario("keepalive_small", "64 kept connections, 13-byte body", _loaded(H1), "cpu_us", "us/req"),
    Scenario("body_10k", "the same, 10 KiB body", _loaded(Shape(path="/10k")), "cpu_us", "us/req"),
    Scenario("body_1m", "the same, 1 MiB body", _loaded(Shape(path="/1m")), "mib_per_cpu_s", "MiB/CPU s", "more"),
    Scenario("new_connection", "one connection a request", _loaded(Shape("close")), "cpu_us", "us/req"),
    Scenario("latency", "open loop, from the intended send time", _latency(), "p99_us", "us p99"),
    Scenario("h2_to_h1", "8 connections x 32 streams, prior knowledge", _loaded(H2, _h2_to("h1")), "cpu_us", "us/req"),
    Scenario("h2_to_h2", "the same, HTTP/2 upstream", _loaded(H2, _h2_to("h2")), "cpu_us", "us/req"),
    Scenario("grpc_unary", "the same, calls with trailers", _loaded(CALLS, _h2_to("grpc")), "cpu_us", "us/req"),
    Scenario("tls_keepalive", "64 kept TLS 1.3 connections", _loaded(TLS, _tls), "cpu_us", "us/req"),
    Scenario("tls_new_ecdsa", "a TLS connection a request, P-256", _handshakes(False, _tls), *PER_CPU),
    Scenario("tls_new_rsa", "the same, RSA 2048", _handshakes(False, _tls_rsa), *PER_CPU),
    Scenario("tls_resumed", "the same, resumed by tickets", _handshakes(True, _tls), *PER_CPU),
    Scenario("mtls_pair", "two sidecars, mTLS between them", _loaded(H1, _sidecars), "cpu_us", "us/req"),
    Scenario("mtls_pair_latency", "the same, open loop, half the rate", _latency(_sidecars, 0.5), "p99_us", "us p99"),
    Scenario("idle_10k", "10,000 idle connections, RSS of each", _idle(H1), "rss_each", "B/conn"),
    Scenario("idle_tls_10k", "the same, TLS", _idle(TLS, _tls), "rss_each", "B/conn"),
    Scenario("idle_h2_10k", "the same, HTTP/2", _idle(H2, _h2_to("h1")), "rss_each", "B/conn"),
    Scenario("hosts_10k", "10,000 hosts, random, against one", _many_hosts, "change_percent", "% CPU"),
    Scenario("access_log", "JSON log to tmpfs, against none", _access_log, "price_us", "us/req"),
    Scenario("hash", "consistentHash on a header, against none", _price({}, {"hashed": True}), "price_us", "us/req"),
    Scenario("limit", "a RateLimit, against none", _price({"limited": False}, {}), "price_us", "us/req"),
    Scenario(
        "rules_1k", "1,000 rules of a host, the last fits", _price({}, {"rules": 1000}), "change_percent", "% CPU"
    ),
    Scenario("mirror", "every request copied, against none", _price({}, {"mirrored": True}), "times", "x CPU"),
    Scenario("tcp_small", "bytes passed on: 64 connections, 13-byte body", _loaded(H1, _raw), "cpu_us", "us/req"),
    Scenario("tcp_1m", "the same, 1 MiB body", _loaded(Shape(path="/1m"), _raw), "mib_per_cpu_s", "MiB/CPU s", "more"),
    Scenario("tcp_new", "the same, a connection a request", _loaded(Shape("close"), _raw), "cpu_us", "us/req"),
    Scenario("filter", "a header hook in Python each way", _price({}, {"filtered": True}), "times", "x CPU"),
    Scenario("at_rest", "a worker that has served one request", _at_rest, "rss_rest_mib", "MiB RSS"),
)
