"""Clients that ask all along, over HTTP/1.1 and HTTP/2, and keep every answer that is not the wanted one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from tests.http2 import Http2, request
from tests.traffic import Client

PAUSE = 0.002  # between two requests of one connection: the proxy's master needs the core too


class Steady:
    """`bodies` are the answers that are right now; the test may change them, and `seen` says what came."""

    def __init__(self, port: int, hosts: Iterable[str], bodies: Iterable[str], http1: int = 3, http2: int = 2) -> None:
        self.port = port
        self.hosts = tuple(hosts)
        self.bodies = frozenset(bodies)
        self.seen: Counter[str] = Counter()
        self.failed: list[str] = []
        self._counts = [0] * (http1 + http2)
        self._over = threading.Event()
        kinds: list[Callable[[int], None]] = [self._http1] * http1 + [self._http2] * http2
        self._threads = [
            threading.Thread(target=self._run, args=(kind, number), daemon=True) for number, kind in enumerate(kinds)
        ]

    def __enter__(self) -> Steady:
        for thread in self._threads:
            thread.start()
        self.a_while()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def answered(self) -> int:
        return sum(self._counts)

    def a_while(self, each: int = 3) -> None:
        """Until every connection has asked so many times more; those under way do not count."""
        wanted = [count + each + 1 for count in self._counts]
        ends = time.monotonic() + 20
        while any(count < least for count, least in zip(self._counts, wanted, strict=True)):
            assert not self.failed, self.failed[:5]
            assert time.monotonic() < ends, f"a connection stands still: {self._counts}, wanted {wanted}"
            time.sleep(0.002)

    def check(self) -> None:
        """Nothing failed, and everybody asks on."""
        self.a_while()
        assert not self.failed, self.failed[:5]

    def _run(self, ask: Callable[[int], None], number: int) -> None:
        try:
            ask(number)
        except BaseException as error:
            self.failed.append(f"connection {number}: {error!r}")

    def _note(self, number: int, host: str, status: int, body: bytes) -> None:
        text = body.decode("latin-1")
        if status != 200 or text not in self.bodies:
            self.failed.append(f"{number}, {host}: {status} {text!r}")
        self.seen[text] += 1
        self._counts[number] += 1
        time.sleep(PAUSE)

    def _http1(self, number: int) -> None:
        with Client(self.port, self.hosts[0], timeout=20) as client:
            while not self._over.is_set():
                for host in self.hosts:
                    answer = client.ask(host=host)
                    self._note(number, host, answer.status, answer.body)

    def _http2(self, number: int) -> None:
        """A connection that is wound down is left for the next one; what it says it did not take is asked again."""
        again: list[str] = []
        while not self._over.is_set():
            with Http2(self.port, timeout=20) as client:
                while client.goaway is None and not self._over.is_set():
                    again = self._round(client, number, again or list(self.hosts))

    def _round(self, client: Http2, number: int, hosts: list[str]) -> list[str]:
        streams = [(host, client.open(request(host=host))) for host in hosts]
        untaken = []
        for host, stream in streams:
            reply = client.wait(stream)[0]
            if not reply.status and client.goaway is not None and client.goaway.last_stream < stream:
                untaken.append(host)
            else:
                self._note(number, host, reply.status, reply.body)
            del client.replies[stream]
        return untaken
