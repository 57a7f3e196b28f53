"""An honest client with an endpoint of its own, in a process of their own, which share no lock with the attacker.

`python -m tests.adversity.bystander` prints the port of the endpoint. Then, for each line with the ports of two
proxies, it says `begun` and asks both 50 times a second until the next line comes, on a kept connection and on a fresh
one. Only the first proxy is attacked; the second shows what the machine does to everybody in the same seconds.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.running import Upstream, keep_answering
from tests.traffic import Broken, Client

EVERY = 0.02
FLOOR = 0.004  # a turn of the scheduler or two: below it, differences tell of the machine and not of the proxy
ROOT = Path(__file__).resolve().parents[2]


def p99(found: list[float]) -> float:
    return sorted(found)[int(len(found) * 0.99)] if found else 0.0


class Felt(NamedTuple):
    """What the client saw of one time: seconds of 99 of 100 requests, and how many there were."""

    attacked: float
    other: float
    answered: int
    failed: list[str]

    def __str__(self) -> str:
        return f"p99 {self.attacked * 1000:.1f} ms, the other proxy {self.other * 1000:.1f} ms, of {self.answered}"

    def calm_beside(self, idle: Felt) -> bool:
        """The goal: at most five times what is usual when all is quiet, or for the other proxy in the same seconds."""
        return self.attacked <= 5 * max(idle.attacked, self.other, FLOOR)


class Bystander:
    def __enter__(self) -> Bystander:
        command = [sys.executable, "-m", "tests.adversity.bystander"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.port = int(self._heard())
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)

    def _say(self, what: str) -> None:
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)

    def _heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def begin(self, attacked: int, other: int) -> None:
        self._say(f"{attacked} {other}")
        assert self._heard() == "begun\n"

    def end(self) -> Felt:
        self._say("end")
        return Felt(*json.loads(self._heard()))

    @contextlib.contextmanager
    def unnoticed(self, attacked: int, other: int) -> Iterator[None]:
        """What goes on inside is not to be noticed."""
        self.begin(attacked, other)
        time.sleep(2)
        idle = self.end()
        self.begin(attacked, other)
        yield
        felt = self.end()
        print(f"idle {idle}; attacked {felt}")
        assert felt.failed == idle.failed == []
        assert felt.calm_beside(idle), (idle, felt)


def ask_until_told(*ports: int) -> Felt:
    took: list[list[float]] = [[], []]
    failed: list[str] = []
    kept = [Client(port, "calm", 5) for port in ports]
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        due = max(due + EVERY, time.monotonic())
        fresh = [Client(port, "calm", 5) for port in ports]
        for client, found in zip(kept + fresh, took + took, strict=True):
            try:
                answer = client.ask()
            except (OSError, Broken) as error:
                failed.append(repr(error))
                continue
            found.append(answer.seconds)
            if answer.status != 200:
                failed.append(str(answer.status))
        for client in fresh:
            client.close()
    for client in kept:
        client.close()
    return Felt(p99(took[0]), p99(took[1]), len(took[0]), failed)


if __name__ == "__main__":
    with Upstream(keep_answering) as endpoint:
        print(endpoint.port, flush=True)
        while line := sys.stdin.readline():
            print("begun", flush=True)
            felt = ask_until_told(*map(int, line.split()))
            if not sys.stdin.readline():
                break
            print(json.dumps(felt), flush=True)
