"""The demo as its users run it: every scenario passes, a table is shown, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmesh.config.store import read
from fastmesh.demo import certificates, shop
from fastmesh.demo.processes import Children, DemoError
from fastmesh.demo.table import aligned

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = [
    "round_robin", "split", "canary", "retry", "ejection", "rate_limit", "chain", "grpc", "websocket", "strict",
    "identity", "telemetry", "explain",
]  # fmt: skip
MARK = "SHOP_TEST_MARK"  # in the environment of whatever a test starts, and so of whatever that starts
PATIENCE = 90.0


def marked(mark: str) -> list[int]:
    """The processes that carry the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


class Demo:
    """Starts `fastmesh demo` and knows what that started."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex

    def __call__(self, *flags: str) -> subprocess.Popen[str]:
        # An operator's own settings for a proxy are not for the demo's proxies.
        environment = {**os.environ, MARK: self.mark, "FASTMESH_ADMIN": "off"}
        return subprocess.Popen(
            [sys.executable, "-m", "fastmesh", "demo", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )


@pytest.fixture
def start() -> Iterator[Demo]:
    """After a test no process of its demo may be left."""
    demo = Demo()
    yield demo
    left = marked(demo.mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


def test_every_scenario_passes(start: Demo) -> None:
    process = start("--check", "--port", "0")
    said, told = process.communicate(timeout=PATIENCE)
    summary = json.loads(said)
    failed = {name: entry for name, entry in summary["scenarios"].items() if not entry["ok"]}
    assert not failed, told
    assert list(summary["scenarios"]) == SCENARIOS
    assert (summary["passed"], summary["failed"]) == (len(SCENARIOS), 0)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_table_is_shown_until_a_signal(start: Demo, number: signal.Signals) -> None:
    process = start("--port", "0")
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if line.startswith("payment"):
            break
    process.send_signal(number)
    rest, told = process.communicate(timeout=PATIENCE)
    text = "".join(shown) + rest
    assert process.returncode == 0, told
    assert "\x1b" not in text
    assert re.search(r"^service +version +requests +success % +p50 ms +p99 ms +ejected +limited$", text, re.M)
    assert re.search(r"^gateway +\d+ +\d+\.\d +\d+\.\d +\d+\.\d +\d+$", text, re.M)
    assert re.search(r"^product +v2 +\d+ +\d+\.\d", text, re.M)
    folder = re.search(r"explain -f (\S+)", text)
    assert folder is not None
    assert not Path(folder[1]).exists()


def test_a_signal_in_the_middle_of_the_start(start: Demo) -> None:
    process = start("--check", "--port", "0")
    ends = time.monotonic() + PATIENCE
    while len(marked(start.mark)) < 3:  # itself and the first of its children
        assert time.monotonic() < ends
        time.sleep(0.002)
    process.terminate()
    said, _ = process.communicate(timeout=PATIENCE)
    assert said == ""
    assert process.returncode == 130


def test_a_taken_port_is_said(start: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--check", "--port", str(port))
        said, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert said == ""
    assert told == f"port {port}: Address already in use; choose another with --port (0: any free one)\n"


def test_a_start_that_fails_half_way_ends_what_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setattr(shop, "REPLICAS", (*shop.REPLICAS, ("unknown", "unknown-v1-a", "v1")))

    async def opened() -> None:
        async with shop.open_shop(0, watch=False):
            raise AssertionError("it has an impossible replica")

    with pytest.raises(DemoError, match=r"unknown-v1-a did not start(?s:.*)KeyError"):
        asyncio.run(opened())
    assert marked(mark) == []


def test_a_certificate_that_cannot_be_made_is_told_in_the_words_of_the_command(tmp_path: Path) -> None:
    async def made() -> None:
        async with Children() as children:
            await certificates.issue(children, tmp_path, ["two.names"])

    with pytest.raises(DemoError, match=r"the certificate of two\.names failed(?s:.*)is not NAME\.NAMESPACE"):
        asyncio.run(made())


def test_the_rules_are_strictly_valid(tmp_path: Path) -> None:
    shop._write_rules(tmp_path, {name: 3000 + n for n, (_, name, _) in enumerate(shop.REPLICAS)})
    result = read([str(tmp_path)], strict=True)
    assert [str(problem) for problem in result.problems] == []
    assert len(result.resources) == 22


def test_columns_are_left_aligned_two_spaces_apart() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc  d"]
