"""Everything that can be set on `fastmesh proxy`: one row each with its type, default, flag and explanation.

The command line, the environment (`FASTMESH_` and the flag in capitals) and the settings that a worker is given are
all made from these rows, so a setting is added here and nowhere else. Times are integer milliseconds, sizes are bytes.
Workers import this file: it imports nothing but msgspec.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Flag(msgspec.Struct, frozen=True):
    """How a setting is written on the command line."""

    name: str
    help: str
    unit: Literal["", "duration", "size"] = ""
    short: str = ""
    metavar: str = ""


class Setting(msgspec.Struct, kw_only=True, frozen=True):
    """Base of the groups of settings."""


class Limits(Setting, kw_only=True, frozen=True):
    """What one message may be; passing a limit is answered with the status named."""

    line: Annotated[int, Flag("--max-request-line", "Longest request line (414) or field line (431).", "size")] = 16384
    head: Annotated[int, Flag("--max-head", "Largest head of a message (431).", "size")] = 61440
    fields: Annotated[int, Flag("--max-fields", "Most header fields in a head, at most 128 (431).")] = 100
    body: Annotated[int, Flag("--max-body", "Largest request body (413); 0 = no limit.", "size")] = 0
    chunk_extension: Annotated[
        int, Flag("--max-chunk-extension", "Most bytes of chunk extensions in one body (400).", "size")
    ] = 4096
    client_hello: Annotated[
        int, Flag("--max-client-hello", "Largest ClientHello of a TLS connection (closed).", "size")
    ] = 16384
    retry_body: Annotated[
        int, Flag("--max-retry-body", "A request whose body is larger is not kept for a retry.", "size")
    ] = 65536


class Timeouts(Setting, kw_only=True, frozen=True):
    """How long a client may keep us waiting; 0 switches one off."""

    header: Annotated[
        int, Flag("--header-timeout", "From the first byte of a request head to its last (408).", "duration")
    ] = 10_000
    idle: Annotated[
        int, Flag("--idle-timeout", "A keep-alive connection without a request is closed after this.", "duration")
    ] = 75_000
    body: Annotated[
        int, Flag("--body-timeout", "A body that makes no progress for this long is cut (408, or a reset).", "duration")
    ] = 60_000
    handshake: Annotated[
        int,
        Flag("--handshake-timeout", "From the accept to the end of the TLS handshake (closed).", "duration"),
    ] = 10_000
    upstream_idle: Annotated[
        int,
        Flag(
            "--upstream-idle-timeout",
            "An idle upstream connection is closed after this; keep it shorter than the application's (uvicorn: 5 s).",
            "duration",
        ),
    ] = 4_000
    tunnel: Annotated[
        int,
        Flag(
            "--tunnel-idle-timeout",
            "A WebSocket or TCP connection on which nothing moves is closed after this.",
            "duration",
        ),
    ] = 3_600_000
    tickets: Annotated[
        int,
        Flag(
            "--ticket-rotation",
            "TLS session ticket keys are renewed after this, the two before open old tickets; 0 = no tickets.",
            "duration",
        ),
    ] = 43_200_000
    renewed: Annotated[
        int,
        Flag(
            "--renewed-timeout",
            "A connection to an endpoint made with a certificate that was renewed since takes requests for at most "
            "this long, some for a third of it; 0 = none.",
            "duration",
        ),
    ] = 30_000
    linger: Annotated[
        int, Flag("--linger-timeout", "What a client still sends after an early answer is read for this.", "duration")
    ] = 1_000


class Http2(Setting, kw_only=True, frozen=True):
    """What one HTTP/2 connection of a client may do. A bucket passes its number at once, then its rate."""

    streams: Annotated[int, Flag("--h2-max-streams", "Requests at a time on one connection (REFUSED_STREAM).")] = 100
    window: Annotated[
        int, Flag("--h2-window", "Bytes of a request body that may come before the endpoint takes some.", "size")
    ] = 65536
    connection_window: Annotated[
        int, Flag("--h2-connection-window", "Bytes that may be under way to us on one connection.", "size")
    ] = 1 << 20
    continuations: Annotated[int, Flag("--h2-max-continuations", "CONTINUATION frames of one header block.")] = 8
    unpacked: Annotated[
        int,
        Flag("--h2-max-unpacked", "What heads of running requests unpack to beyond ten times what came.", "size"),
    ] = 512 << 10
    settings: Annotated[int, Flag("--h2-max-settings", "Entries of one SETTINGS frame.")] = 32
    control: Annotated[
        int, Flag("--h2-max-control-frames", "Acknowledgements, resets and windows that a peer does not take.")
    ] = 1000
    empty: Annotated[int, Flag("--h2-max-empty-frames", "Frames without content and without an end, in a row.")] = 10
    resets: Annotated[int, Flag("--h2-max-resets", "Streams that are reset, by the client or for its errors.")] = 200
    resets_per_second: Annotated[int, Flag("--h2-resets-per-second", "The rate of the same.")] = 33
    chatter: Annotated[int, Flag("--h2-max-pings", "PING, SETTINGS and unknown frames.")] = 1000
    chatter_per_second: Annotated[int, Flag("--h2-pings-per-second", "The rate of the same.")] = 100
    requests: Annotated[
        int, Flag("--h2-max-requests", "Requests of one connection, then it is wound down; 0 = no limit.")
    ] = 10_000
    age: Annotated[int, Flag("--h2-max-age", "A connection is wound down after this; 0 = no limit.", "duration")] = (
        3_600_000
    )


class Outside(Setting, kw_only=True, frozen=True):
    """Hosts of requests that are asked of DNS, for ALLOW_ANY and for ServiceEntries without endpoints."""

    private: Annotated[
        list[str],
        Flag(
            "--outside-private",
            "A network that is not public and may be reached through hosts of requests; may be repeated.",
            metavar="CIDR",
        ),
    ] = []
    hosts: Annotated[int, Flag("--max-outside-hosts", "Most such hosts that are remembered for one cluster (502).")] = (
        1000
    )


class Overload(Setting, kw_only=True, frozen=True):
    """When the proxy has too much to do, and what it does then; see docs/overload.md. The steps are percent of what may
    be: of `memory` or the control group's, of `lag`, and the first one also of `connections`."""

    memory: Annotated[
        int,
        Flag(
            "--max-memory",
            "Memory of one worker, without what is shared; 0 = what the control group allows.",
            "size",
        ),
    ] = 0
    connections: Annotated[
        int, Flag("--max-connections", "Connections of clients, all workers together: more wait; 0 = no limit.")
    ] = 0
    lag: Annotated[
        int, Flag("--max-lag", "How late the turns of a worker's loop may be, by and large; 0 = no limit.", "duration")
    ] = 0
    close: Annotated[
        int, Flag("--overload-close", "From this pressure (percent) on answers end their connections.")
    ] = 85
    shed: Annotated[
        int, Flag("--overload-shed", "From here on requests are refused, the lowest class first (503).")
    ] = 90
    stop: Annotated[int, Flag("--overload-stop", "From here on every request is refused, and connections wait.")] = 95

    def complaint(self) -> str:
        """What is wrong with the steps, or nothing."""
        if 0 < self.close <= self.shed <= self.stop <= 100:
            return ""
        return f"{self.close}, {self.shed} and {self.stop} are not three steps upwards, as 85, 90 and 95 are"


RoleName = Literal["mesh", "gateway", "sidecar"]


class WorkerSettings(Setting, kw_only=True, frozen=True):
    """What a worker runs with, sent to it once over its control channel. The data plane gets it as a dict."""

    role: RoleName = "mesh"
    index: int = 0  # the worker's slot in the arena
    slots: int = 16
    workers: int = 1  # how many accept from the same sockets
    access_log: str | None = None  # a path, "-" for standard output, None for off
    access_log_format: Annotated[
        Literal["json", "text", "ecs"],
        Flag("--access-log-format", "json: Istio's JSON keys; text: Istio's text; ecs: Elastic Common Schema."),
    ] = "json"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Flag("--log-level", "Least level of the log on standard error.")
    ] = "info"
    filter_path: list[str] = []  # of the proxy
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    http2: Http2 = Http2()
    outside: Outside = Outside()
    overload: Overload = Overload()
    drain_timeout_ms: Annotated[
        int, Flag("--drain-timeout", "Requests in flight get this long when a worker or the proxy stops.", "duration")
    ] = 30_000
    drain_idle_ms: Annotated[
        int, Flag("--drain-idle", "While draining, idle keep-alive connections are closed after this.", "duration")
    ] = 5_000


class ProxySettings(Setting, kw_only=True, frozen=True):
    """What `fastmesh proxy` was asked to do."""

    files: Annotated[
        list[str], Flag("--file", "A YAML file or a directory of them; may be repeated.", short="-f", metavar="PATH")
    ] = []
    mesh_config: Annotated[
        str,
        Flag("--mesh-config", "A file with MeshConfig; else the ConfigMap istio of the files.", metavar="PATH"),
    ] = ""
    role: Annotated[
        RoleName,
        Flag(
            "--role",
            "mesh: one listener that routes by Host; gateway: one listener per port of the Gateways; sidecar: the mesh "
            "listener for one workload (--outbound), and listeners before its ports (--inbound).",
        ),
    ] = "mesh"
    listen: Annotated[str, Flag("--listen", "The mesh listener.", metavar="HOST:PORT")] = ""
    outbound: Annotated[
        str, Flag("--outbound", "The listener of a sidecar for what its workload calls.", metavar="HOST:PORT")
    ] = ""
    inbound: Annotated[
        list[str],
        Flag(
            "--inbound",
            "A listener of a sidecar, and the port of its workload behind it; may be repeated.",
            metavar="HOST:PORT=HOST:PORT",
        ),
    ] = []
    workload: Annotated[
        str, Flag("--workload", "Whom the proxy stands for; a sidecar needs it.", metavar="NAME.NAMESPACE")
    ] = ""
    certs: Annotated[
        str,
        Flag(
            "--certs",
            "The proxy's own identity: cert-chain.pem, key.pem, root-cert.pem; renewed ones are taken.",
            metavar="DIR",
        ),
    ] = ""
    trust_domain: Annotated[
        str, Flag("--trust-domain", "Of the mesh; that of --certs, else cluster.local.", metavar="TD")
    ] = ""
    map: Annotated[
        list[str],
        Flag("--map", "Bind a Gateway's port elsewhere, as in 80=18080; may be repeated.", metavar="PORT=PORT"),
    ] = []
    bind: Annotated[str, Flag("--bind", "Address of the gateway listeners.", metavar="HOST")] = "0.0.0.0"
    proxy_protocol: Annotated[
        bool,
        Flag(
            "--proxy-protocol",
            "Connections to a gateway, or to the mesh listener, begin with a PROXY header (version 1 or 2).",
        ),
    ] = False
    interception_mode: Annotated[
        Literal["none", "redirect"],
        Flag("--interception-mode", "redirect: the kernel sends connections here (iptables REDIRECT to --outbound)."),
    ] = "none"
    workers: Annotated[int, Flag("--workers", "Worker processes; 0 = one per core.", metavar="N")] = 0
    admin: Annotated[str, Flag("--admin", "The admin interface, or off.", metavar="HOST:PORT|off")] = "127.0.0.1:15000"
    status: Annotated[
        list[str],
        Flag(
            "--status",
            "Serve /healthz/ready and /stats/prometheus, read only; may be repeated (Istio's ports: 15021, 15090).",
            metavar="HOST:PORT",
        ),
    ] = []
    access_log: Annotated[
        str,
        Flag(
            "--access-log",
            "A file, - for standard output, or off; without it MeshConfig's accessLogFile, else off.",
            metavar="FILE|-|off",
        ),
    ] = ""
    namespace: Annotated[str, Flag("--namespace", "The namespace that the proxy stands in.", short="-n")] = "default"
    labels: Annotated[
        str, Flag("--labels", "The labels of the workload that the proxy stands for.", metavar="K=V,...")
    ] = ""
    locality: Annotated[
        str,
        Flag(
            "--locality",
            "Where the proxy stands; a sidecar stands where its workload does.",
            metavar="REGION/ZONE/SUBZONE",
        ),
    ] = ""
    watch: Annotated[bool, Flag("--watch/--no-watch", "Reload when the files change.")] = True
    filter_path: Annotated[
        list[str],
        Flag(
            "--filter-path",
            "A folder with the code of filters; only what lies there is loaded. May be repeated.",
            metavar="FOLDER",
        ),
    ] = []
    strict: Annotated[bool, Flag("--strict", "Warnings about the configuration are errors.")] = False
    status_file: Annotated[
        str,
        Flag("--status-file", "Where to write the status of Gateways and routes, as JSON.", metavar="PATH"),
    ] = ""
    per_object: Annotated[
        bool, Flag("--per-object", "An object that is wrong is left out; without it the whole change is refused.")
    ] = False
    allow_unenforced: Annotated[
        bool, Flag("--allow-unenforced", "Start although security objects are given that are not enforced yet.")
    ] = False
    arena_size: Annotated[
        int, Flag("--arena-size", "Most shared memory for counters and limits; touched as needed.", "size")
    ] = 256 << 20
    redis: Annotated[
        str,
        Flag("--redis", "Where global limits count: redis://HOST:PORT/DB, rediss:// or unix:///PATH.", metavar="URL"),
    ] = ""
    redis_password_file: Annotated[
        str, Flag("--redis-password-file", "A file with the password for --redis.", metavar="FILE")
    ] = ""
    redis_timeout: Annotated[
        int, Flag("--redis-timeout", "Redis is gone when it does not answer within this.", "duration")
    ] = 1_000
    worker: WorkerSettings = WorkerSettings()

    def paths(self) -> list[str]:
        """Where the configuration lies, the code of filters too."""
        return [*self.files, *([self.mesh_config] if self.mesh_config else []), *self.filter_path]

    def label_map(self) -> dict[str, str]:
        """`labels` as a dict; ValueError when one of them has no value."""
        pairs = [item.partition("=") for item in self.labels.split(",") if item.strip()]
        for name, equals, _ in pairs:
            if not equals or not name.strip():
                raise ValueError(f"{name!r} has no value; write --labels app=shop,version=v1")
        return {name.strip(): value.strip() for name, _, value in pairs}

    def workload_name(self) -> str:
        return self.workload.rpartition(".")[0]

    def inbound_pairs(self) -> list[tuple[str, str]]:
        """`inbound` as where it listens and what is behind; ValueError when one of them is not a pair."""
        pairs = []
        for item in self.inbound:
            listen, equals, target = item.partition("=")
            if not equals or not listen or not target:
                raise ValueError(f"{item!r} is not HOST:PORT=HOST:PORT, as in 127.0.0.1:15006=127.0.0.1:3000")
            pairs.append((listen.strip(), target.strip()))
        return pairs

    def port_map(self) -> dict[int, int]:
        """`map` as a dict; ValueError when one of them is not PORT=PORT."""
        ports = {}
        for item in self.map:
            given, equals, bound = item.partition("=")
            if not (equals and given.isdigit() and bound.isdigit() and int(given) < 65536 and int(bound) < 65536):
                raise ValueError(f"{item!r} is not PORT=PORT, as in 80=18080")
            ports[int(given)] = int(bound)
        return ports
