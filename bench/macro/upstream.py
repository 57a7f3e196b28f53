"""The applications behind the proxies: one of each protocol for the whole run, on the load generator's core."""

from __future__ import annotations

import socket
import subprocess

from . import build, process

STREAMS = 1024  # that the HTTP/2 applications allow on one connection, so that proxies may gather as much as they like
COMMANDS = {
    "h1": ("upstream", "{port}"),
    "h2": ("upstream_h2", "{port}", "plain", str(STREAMS)),
    "grpc": ("upstream_h2", "{port}", "grpc", str(STREAMS)),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Upstreams:
    """`with Upstreams() as upstreams`: `upstreams.ports[protocol]` listen until the block ends."""

    def __enter__(self) -> Upstreams:
        self.ports: dict[str, int] = {}
        self.children: list[subprocess.Popen[bytes]] = []
        try:
            for protocol, words in COMMANDS.items():
                self._start(protocol, *words)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, protocol: str, program: str, *options: str) -> None:
        port = self.ports[protocol] = free_port()
        command = [str(build.program(program)), *(option.format(port=port) for option in options)]
        child = process.start(command, process.LOAD_CORE, output=subprocess.PIPE, stdin=subprocess.PIPE)
        self.children.append(child)
        assert child.stdout
        if child.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the upstream for {protocol} did not start")

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            process.stop(child)
