"""A DNS server on a loopback address of its own that answers as it is told: also wrong, late or not at all.

The system's resolver asks port 53 of what /etc/resolv.conf says and nothing else, so a process that shall ask this
server gets a view of the file system of its own (`prefix`), with a resolver that waits for `patience` seconds. That
takes root; elsewhere the tests are skipped.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

A = 1
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5
FAILURES = ("servfail", "nxdomain", "refused", "empty", "silent", "garbage", "cut", "of another")
_CODES = {"servfail": SERVFAIL, "nxdomain": NXDOMAIN, "refused": REFUSED}
_RESPONSE, _CUT = 0x8180, 0x0200
_INSIDE = 'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"'


class NameServer:
    """`zone` has the addresses of each name; `mood` is a failure for every question, or "" for answers."""

    def __init__(self, folder: Path, patience: int = 1) -> None:
        self.zone: dict[str, list[str]] = {}
        self.mood = ""
        self.delay = 0.0
        self.asked: Counter[tuple[str, str]] = Counter()  # by mood and name, where the address was asked for
        self.socket, address = _bound()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        resolv, switch = folder / "resolv.conf", folder / "nsswitch.conf"
        resolv.write_text(f"nameserver {address}\noptions timeout:{patience} attempts:1\n")
        switch.write_text("hosts: files dns\n")
        self.prefix = ("unshare", "-m", "sh", "-ec", _INSIDE, "sh", str(resolv), str(switch))
        if shutil.which("unshare") is None or subprocess.run([*self.prefix, "true"], capture_output=True).returncode:
            pytest.skip("this user may not mount a resolv.conf for a process (unshare -m, mount --bind)")

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mood = "over"
        self.socket.close()

    def _serve(self) -> None:
        while self.mood != "over":
            try:
                question, client = self.socket.recvfrom(4096)
            except TimeoutError:
                continue
            except OSError:
                return
            name, kind, end = _read(question)
            mood = self.mood
            time.sleep(self.delay)
            answer = self._answer(question[:end], name, kind, mood)
            if answer:
                with contextlib.suppress(OSError):  # it ended meanwhile
                    self.socket.sendto(answer, client)
            if kind == A:
                self.asked[mood, name] += 1

    def _answer(self, question: bytes, name: str, kind: int, mood: str) -> bytes:
        found = self.zone.get(name, []) if kind == A else []
        flags = _RESPONSE | _CODES.get(mood, 0)
        if mood == "" and name not in self.zone:
            flags |= NXDOMAIN
        if mood:
            found = []
        match mood:
            case "silent":
                return b""
            case "garbage":
                return question[:2] + b"\xff" * 40
            case "of another":
                return bytes((question[0] ^ 1, question[1])) + question[2:]
            case "cut":
                flags |= _CUT
        records = b"".join(
            b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + socket.inet_aton(address)
            for address in random.sample(found, len(found))
        )
        head = question[:2] + flags.to_bytes(2, "big") + b"\0\x01" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
        return head + question[12:] + records


def _bound() -> tuple[socket.socket, str]:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.settimeout(0.2)
    for _ in range(20):
        address = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        try:
            server.bind((address, 53))
        except PermissionError:
            pytest.skip("this user may not listen on port 53")
        except OSError:
            continue
        return server, address
    pytest.skip("no loopback address has a free port 53")


def _read(question: bytes) -> tuple[str, int, int]:
    """Name, type, and where the question ends."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    return ".".join(labels).lower(), int.from_bytes(question[at + 1 : at + 3], "big"), at + 5
