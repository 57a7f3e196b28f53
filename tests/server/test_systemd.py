"""What systemd hears and what it may hand over."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.proxies import ROOT, Proxy, request

MakeProxy = Callable[..., Proxy]


@pytest.fixture
def notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(15)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def hear(notify: socket.socket, words: str) -> str:
    ends = time.monotonic() + 15
    while time.monotonic() < ends:
        said = notify.recv(4096).decode()
        if words in said:
            return said
    raise AssertionError(words)


def test_notifications(proxy: MakeProxy, notify: socket.socket) -> None:
    one = proxy("--no-watch").ready()
    said = hear(notify, "READY=1")
    assert f"MAINPID={one.process.pid}" in said
    assert "2 of 2 workers" in said
    one.say(version="v2")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    one.signal(signal.SIGHUP)
    found = re.search(r"MONOTONIC_USEC=(\d+)", hear(notify, "RELOADING=1"))
    assert found is not None
    assert int(found[1]) >= before  # systemd drops an older one
    hear(notify, "READY=1")
    one.signal(signal.SIGHUP)  # nothing has changed, and systemd waits for an answer all the same
    hear(notify, "RELOADING=1")
    hear(notify, "READY=1")
    one.say(version="v3", problems=["bad"])
    one.signal(signal.SIGHUP)
    hear(notify, "RELOADING=1")
    hear(notify, "READY=1")
    one.signal(signal.SIGUSR2)
    one.wait_for("upgrade refused")
    one.signal(signal.SIGTERM)
    hear(notify, "STOPPING=1")
    assert one.wait() == 0


def test_upgrade_is_ready_again(proxy: MakeProxy, notify: socket.socket) -> None:
    one = proxy("--no-watch").ready()
    hear(notify, "READY=1")
    one.signal(signal.SIGUSR2)
    hear(notify, "READY=1")
    assert one.stop() == 0


def test_watchdog(proxy: MakeProxy, notify: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    proxy().ready()
    hear(notify, "READY=1")
    began = time.monotonic()
    for _ in range(3):
        hear(notify, "WATCHDOG=1")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("names", ["", "b:a"])
def test_socket_activation(tmp_path: Path, names: str) -> None:
    """systemd's part is played by a launcher: two open sockets at 3 and 4, then exec with our pid announced."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [sock.getsockname()[1] for sock in socks]
    by_name = {"b": ports[0], "a": ports[1]}
    listeners = "{" + ", ".join(f'"{name}": "127.0.0.1:{0 if names else port}"' for name, port in by_name.items()) + "}"
    (tmp_path / "mesh.json").write_text(f'{{"version": "v1", "listeners": {listeners}}}')
    launcher = (
        "import os, sys\n"
        "a, b = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))\n"
        "os.dup2(a, 3), os.dup2(b, 4)\n"
        "os.set_inheritable(3, True), os.set_inheritable(4, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES=sys.argv[3])\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'tests.server.fake_proxy', *sys.argv[4:]])\n"
    )
    flags = ["-f", str(tmp_path / "mesh.json"), "--listen", "127.0.0.1:0", "--admin", "off", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", launcher, *(str(sock.fileno()) for sock in socks), names, *flags],
        pass_fds=[sock.fileno() for sock in socks],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    for sock in socks:
        sock.close()
    try:
        assert process.stderr is not None
        banner = next(line for line in process.stderr if line.startswith("fastmesh ready"))
        for port in ports:
            assert f"127.0.0.1:{port}" in banner
            assert request(f"127.0.0.1:{port}")[0] == 200
        process.send_signal(signal.SIGUSR2)  # the sockets stay ours over an upgrade
        next(line for line in process.stderr if line.startswith("fastmesh ready"))
        assert request(f"127.0.0.1:{ports[0]}")[0] == 200
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
