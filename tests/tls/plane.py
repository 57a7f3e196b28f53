"""One real worker process that runs a plan made by hand, driven over its control channel as the master does.

The compiler is left out: these tests are about what becomes of connections, and say the plan in the plan's own words.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from fastmesh.config.plan import (
    ChainPlan,
    ClusterPlan,
    CredentialPlan,
    DestinationPlan,
    DirectPlan,
    DomainPlan,
    EndpointPlan,
    ListenerPlan,
    MeshPlan,
    Origin,
    Plan,
    RulePlan,
    ServerTLSPlan,
    VirtualHostPlan,
    WorkloadPlan,
    encode,
)
from fastmesh.core.base.arena import Arena
from fastmesh.server import messages as say
from fastmesh.server import words
from fastmesh.server.channel import channel_pair
from fastmesh.server.memory import sealed
from fastmesh.server.settings import Timeouts, WorkerSettings

REPOSITORY = Path(__file__).resolve().parents[2]
ORIGIN = Origin(kind="Test", namespace="default", name="test")
PATIENCE = 20.0
KEYS = [bytes([number]) * 80 for number in (1, 2)]


def answering(host: str, body: bytes = b"hello") -> VirtualHostPlan:
    """A host that the proxy answers itself."""
    return VirtualHostPlan(name=f"{host}:80", rules=[RulePlan(origin=ORIGIN, direct=DirectPlan(status=200, body=body))])


def routed(host: str, cluster: str) -> VirtualHostPlan:
    return VirtualHostPlan(
        name=f"{host}:80", rules=[RulePlan(origin=ORIGIN, destinations=[DestinationPlan(cluster=cluster, weight=1)])]
    )


def cluster(name: str, *ports: int, mesh_tls: bool = False, **fields: Any) -> ClusterPlan:
    endpoints = [EndpointPlan(address="127.0.0.1", port=port, mesh_tls=mesh_tls) for port in ports]
    return ClusterPlan(name=name, host=name, service_name=name, endpoints=endpoints, **fields)


def make_plan(
    chains: list[ChainPlan],
    credentials: list[CredentialPlan],
    hosts: dict[str, VirtualHostPlan] | None = None,
    clusters: list[ClusterPlan] | None = None,
    role: str = "gateway",
    workloads: list[WorkloadPlan] | None = None,
    own: WorkloadPlan | None = None,
) -> Plan:
    """A plan with one listener."""
    hosts = {"*": answering("*")} if hosts is None else hosts
    return Plan(
        mesh=MeshPlan(version="1", workload=own or WorkloadPlan()),
        workloads=[WorkloadPlan(), *(workloads or [])],
        limits=[],
        clusters=clusters or [],
        vhosts=list(hosts.values()),
        listeners=[
            ListenerPlan(
                name="here",
                role=role,
                port=443,
                address="127.0.0.1:0",
                domains=[DomainPlan(domain=name, port=0, vhost=number) for number, name in enumerate(hosts)],
                chains=chains,
            )
        ],
        credentials=credentials,
    )


def terminate(*credentials: str, names: list[str] | None = None, kind: Any = "http", **fields: Any) -> ChainPlan:
    """A chain at which TLS ends."""
    tls = ServerTLSPlan(credentials=list(credentials), **{"alpn": ["http/1.1"], **fields})
    return ChainPlan(name="-".join(credentials), transport="tls", server_names=names or [], tls=tls, kind=kind)


class Plane:
    """A worker that serves `plan` on `port`."""

    def __init__(
        self,
        plan: Plan,
        keys: list[bytes] | None = None,
        log: Path | None = None,
        log_format: Any = "json",
        **timeouts: int,
    ) -> None:
        self.arena = Arena.create(64 << 20, 1)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._control, theirs = channel_pair()
        self._control.settimeout(PATIENCE)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        os.set_inheritable(theirs.fileno(), True)
        os.set_inheritable(self.arena.fd, True)
        command = [sys.executable, "-m", "fastmesh.server.worker", str(theirs.fileno()), str(self.arena.fd)]
        fds = (theirs.fileno(), self.arena.fd)
        self.process = subprocess.Popen(command, pass_fds=fds, cwd=REPOSITORY, stderr=self._errors)
        theirs.close()
        self._serial = 0
        settings = WorkerSettings(
            slots=1,
            timeouts=Timeouts(**timeouts),
            access_log=str(log) if log else None,
            access_log_format=log_format,
        )
        self._send(say.Hello(settings=settings))
        self.set_keys(KEYS if keys is None else keys)
        self._send(say.Sockets(keys=[1]), [self._listening.fileno()])
        self.run(plan)

    def __enter__(self) -> Plane:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._send(say.Quit())
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._control.close()
        self._listening.close()
        self._errors.seek(0)
        told = self._errors.read().decode()
        self._errors.close()
        assert code == 0, f"the worker ended with {code}:\n{told}"
        assert "Traceback" not in told, told

    def _send(self, message: say.Message, fds: list[int] | None = None) -> None:
        socket.send_fds(self._control, [msgspec.msgpack.encode(message)], fds or [])

    def _await(self, *kinds: type[Any]) -> Any:
        while True:
            message = msgspec.msgpack.decode(self._control.recv(65536), type=say.ToMaster)
            if isinstance(message, kinds):
                return message

    def set_keys(self, keys: list[bytes]) -> None:
        self._send(say.TicketKeys(keys=keys))

    def run(self, plan: Plan) -> say.Built:
        """Build `plan` and run it; AssertionError with the reason when the worker refuses it."""
        self._serial += 1
        image = sealed("plan", encode(plan))
        self._send(say.Config(serial=self._serial, listeners=[say.Listener(name="here", key=1)]), [image])
        os.close(image)
        told = self._await(say.Built, say.Refused)
        assert isinstance(told, say.Built), told
        self._send(say.Apply(serial=self._serial))
        self._await(say.Applied)
        return told

    def counts(self) -> dict[str, int]:
        """The worker's counters under their names in /stats."""
        rows = [values for kind, _, values in self.arena.entries() if kind == words.ENTRY_WORKER]
        return dict(words.summed(rows[0], words.WORKER_ROW, words.WORKER_WORDS))

    def await_count(self, name: str, wanted: int = 1) -> None:
        end = time.monotonic() + PATIENCE
        while self.counts()[name] != wanted:
            assert time.monotonic() < end, f"{name} is {self.counts()[name]}, not {wanted}: {self.counts()}"
            time.sleep(0.005)

    def cluster(self, name: str = "c") -> dict[str, int]:
        rows = [v for kind, key, v in self.arena.entries() if kind == words.ENTRY_CLUSTER and key == name.encode()]
        return dict(words.summed(rows[0], words.CLUSTER_ROW, words.CLUSTER_WORDS))

    def await_cluster(self, name: str, wanted: int) -> None:
        end = time.monotonic() + PATIENCE
        while self.cluster()[name] != wanted:
            assert time.monotonic() < end, self.cluster()
            time.sleep(0.005)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def memory(self) -> int:
        """Resident bytes that are the worker's own."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Private_Dirty")))


def lines(log: Path, count: int = 1) -> list[dict[str, Any]]:
    """The access log once it has `count` lines."""
    return [json.loads(line) for line in text_of(log, count).splitlines()]


def text_of(log: Path, count: int = 1) -> str:
    end = time.monotonic() + PATIENCE
    while True:
        text = log.read_text() if log.exists() else ""
        if text.count("\n") >= count:
            return text
        assert time.monotonic() < end, f"the log has {text.count(chr(10))} lines: {text}"
        time.sleep(0.01)
