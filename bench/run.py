"""`make bench`: nginx, HAProxy and Envoy beside fastmesh on the same work, interleaved (method: bench/README.md)."""

from __future__ import annotations

import argparse
import fcntl
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from macro import build, certificates, install, machine, process, report
from macro.peer_envoy import Envoy
from macro.peer_fastmesh import Fastmesh
from macro.peer_haproxy import Haproxy
from macro.peer_nginx import Nginx
from macro.peers import Peer, Setup, running
from macro.rounds import Bench
from macro.scenarios import SCENARIOS, Scenario
from macro.summary import Summary
from macro.upstream import Upstreams

PEERS: tuple[type[Peer], ...] = (Nginx, Haproxy, Envoy, Fastmesh)
RESULTS = Path(__file__).parent / "results"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="1 round of 0.6 s: to see that it works, not to quote")
    parser.add_argument("--scenario", "--only", action="append", choices=names, help="only this one (repeat for more)")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in PEERS], help="only this one (repeat)")
    parser.add_argument("--rounds", type=int, help="rounds to take the median of (default 5)")
    parser.add_argument("--duration", type=float, help="seconds that each load is measured (default 4)")
    parser.add_argument("--rate", type=int, default=5000, help="requests a second of the open loop (default 5000)")
    parser.add_argument("--settle", type=float, help="most seconds to wait for a quiet machine (default 5)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="results (default bench/results/DATE.json)")
    chosen = parser.parse_args(arguments)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 5)
    chosen.duration = chosen.duration or (0.6 if chosen.quick else 4.0)
    if chosen.settle is None:
        chosen.settle = 0.0 if chosen.quick else 5.0
    if not (1 <= chosen.rounds <= 100 and 0.1 <= chosen.duration <= 120 and 1 <= chosen.rate <= 200_000):
        parser.error("out of range: --rounds 1..100, --duration 0.1..120, --rate 1..200000")
    return chosen


def able_peers(wanted: list[str] | None, bench: Bench) -> list[Peer]:
    """Those that are installed and answer once; each other one is named with its reason."""
    able = []
    for peer in (kind() for kind in PEERS if not wanted or kind.name in wanted):
        reason = peer.missing() or _tried(peer, bench.setup())
        if reason:
            print(f"bench: {peer.name} takes no part: {reason}", flush=True)
        else:
            able.append(peer)
    return able


def _tried(peer: Peer, setup: Setup) -> str | None:
    try:
        with running(peer, setup):
            return None
    except (RuntimeError, OSError) as error:
        return str(error)


def measure(bench: Bench, peers: list[Peer], scenarios: list[Scenario], chosen: argparse.Namespace) -> Summary:
    """Every peer once a round; who begins moves on with each round."""
    summary, rounds = Summary(), chosen.rounds
    started = time.monotonic()
    for number, scenario in itertools.product(range(rounds), scenarios):
        for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
            if scenario.name in peer.unable:
                summary.left_out[scenario.name][peer.name] = peer.unable[scenario.name]
                continue
            if sys.stderr.isatty():
                shown = f"[{time.monotonic() - started:.0f} s] round {number + 1}/{rounds} {scenario.name} {peer.name}"
                print(f"\r{shown:<70}", end="", file=sys.stderr, flush=True)
            machine.wait_for_quiet(chosen.settle)
            try:
                summary.add(scenario.name, peer.name, scenario.run(bench, peer))
            except (RuntimeError, OSError) as error:
                summary.left_out[scenario.name][peer.name] = f"failed: {error}"
                summary.failures.append(f"round {number + 1}, {scenario.name}, {peer.name}: {error}")
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return summary


def finish(summary: Summary, about: dict[str, Any], target: Path, names: list[str]) -> None:
    for by_peer in summary.rounds.values():  # one order in the table, whatever the rotation was
        ordered = {name: by_peer[name] for name in names if name in by_peer}
        by_peer.clear()
        by_peer.update(ordered)
    print(report.as_text(report.table(summary)), "", report.as_text(report.goals(summary)), sep="\n")
    for failure in summary.failures:
        print(f"bench: failed: {failure}")
    markdown = report.write(summary, about, target)
    print(f"\nwritten: {target} {markdown}")


def only_one() -> Any:
    """Two benches at once would measure each other."""
    build.BUILD.mkdir(parents=True, exist_ok=True)
    lock = (build.BUILD / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("bench: another run is under way")
    return lock


def scratch() -> Path:
    """A folder on tmpfs where there is one; what a killed run has left behind goes."""
    base = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    for old in base.glob("fastmesh-bench-*-*"):
        owner = old.name.split("-")[2]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"fastmesh-bench-{os.getpid()}-", dir=base))


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # unwinds: every `with` stops what it started


def main() -> int:
    chosen = options()
    lock = only_one()
    signal.signal(signal.SIGTERM, _end)
    limit = process.raise_descriptor_limit()
    if (os.cpu_count() or 1) < 2:
        print("bench: only one core: load and proxy share it, and the figures mean little")
    scenarios = [one for one in SCENARIOS if not chosen.scenario or one.name in chosen.scenario]
    if lacking := install.libssl():
        print(f"bench: no TLS: {lacking}")
        return 1
    folder = scratch()
    about = machine.describe()
    try:
        with Upstreams() as upstreams:
            warmup = min(1.0, chosen.duration / 2)
            issued = certificates.make(folder / "certificates")
            bench = Bench(folder, upstreams.ports, issued, chosen.duration, warmup, chosen.rate)
            peers = able_peers(chosen.peer, bench)
            if not peers:
                return 1
            about |= {f"version of {peer.name}": peer.version() for peer in peers}
            about["rounds"] = f"{chosen.rounds} of {chosen.duration:g} s after {warmup:g} s of warm-up"
            about["open loop"] = f"{chosen.rate} requests a second"
            about["descriptors"] = str(limit)
            summary = measure(bench, peers, scenarios, chosen)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M") + ("-quick" if chosen.quick else "")
    finish(summary, about, chosen.json or RESULTS / f"{stamp}.json", [peer.name for peer in peers])
    return 1 if summary.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
