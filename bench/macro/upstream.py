"""The application behind the proxies: one for the whole run, on the load generator's core."""

from __future__ import annotations

import socket
import subprocess

from . import build, process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Upstream:
    """`with Upstream() as upstream`: listens on `upstream.port` until the block ends."""

    def __enter__(self) -> Upstream:
        self.port = free_port()
        command = [str(build.program("upstream")), str(self.port)]
        self.child = process.start(command, process.LOAD_CORE, output=subprocess.PIPE, stdin=subprocess.PIPE)
        assert self.child.stdout
        if self.child.stdout.readline() != b"ready\n":
            raise RuntimeError("the upstream did not start")
        return self

    def __exit__(self, *_: object) -> None:
        process.stop(self.child)
