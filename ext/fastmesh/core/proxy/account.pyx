"""See account.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from fastmesh.core.base.arena cimport ENTRY_SERIES, ENTRY_TCP_SERIES
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport (
    CL_RQ_2XX, CL_RQ_3XX, CL_RQ_4XX, CL_RQ_5XX, CL_RQ_TOTAL, CL_RX_BYTES, CL_TX_BYTES, WK_NO_ROUTE, WK_RATE_LIMITED,
    WK_RQ_2XX, WK_RQ_3XX, WK_RQ_4XX, WK_RQ_5XX, WK_RQ_TOTAL,
)
from fastmesh.core.net.tls.client cimport ClientContext
from fastmesh.core.net.tls.peer cimport Peer, peer_of
from fastmesh.core.net.tls.server cimport ServerContext
from fastmesh.core.proxy.route_stats cimport count_route
from fastmesh.core.proxy.transit cimport FLAG_NR, FLAG_RL, Transit
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.rule cimport STEP_COUNT
from fastmesh.core.route.snapshot cimport UNKNOWN_404, UNKNOWN_PASSTHROUGH, Snapshot

# Histogram bounds of Istio's standard metrics, in ms and in bytes alike
BOUNDS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
LABELS = (
    "reporter", "source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
    "source_cluster", "source_canonical_service", "source_canonical_revision", "destination_workload",
    "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
    "destination_service", "destination_service_name", "destination_service_namespace", "destination_cluster",
    "destination_canonical_service", "destination_canonical_revision", "request_protocol", "response_code",
    "grpc_response_status", "response_flags", "connection_security_policy",
)
TCP_LABELS = tuple(name for name in LABELS if name not in ("response_code", "grpc_response_status"))
FLAG_NAMES = (
    "UH", "UF", "UO", "NR", "URX", "NC", "UT", "UC", "LR", "DC", "DI", "FI", "RL", "DPE", "UPE", "SI", "UR", "DT", "FB", "FE",
    "OM",
)

cdef uint64_t[19] _bounds_us
cdef uint64_t[19] _bounds_bytes
for _i, _bound in enumerate(BOUNDS):
    _bounds_us[_i] = int(_bound * 1000)
    _bounds_bytes[_i] = int(_bound)

cdef enum:
    CELLS_MAX = 1024          # sets of labels of one endpoint that are told apart quickly
    PRINCIPALS_MAX = 16383    # peers that one worker tells apart


cdef bytes flags_text(uint32_t flags):
    if flags == 0:
        return b"-"
    return ",".join(name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1).encode()


cdef class Series:
    def __cinit__(self):
        self.room = 8
        self.cells = <Cell*>calloc(self.room, sizeof(Cell))

    def __dealloc__(self):
        free(self.cells)

    cdef uint64_t* _make(self, Transit t, uint64_t key):
        """The cell of a set of labels that this endpoint has not seen yet."""
        cdef bytes text = _labels(t)
        cdef uint64_t* words = t.engine.arena.words(ENTRY_TCP_SERIES if t.tcp else ENTRY_SERIES, PyBytes_AS_STRING(text),
                                                    PyBytes_GET_SIZE(text), TCP_WORDS if t.tcp else SERIES_WORDS)
        cdef Cell* grown
        cdef uint32_t i
        if self.used * 2 >= self.room and self.room < CELLS_MAX:
            grown = <Cell*>calloc(self.room * 2, sizeof(Cell))
            if grown == NULL:
                return words
            for i in range(self.room):
                if self.cells[i].key:
                    _place(grown, self.room * 2, self.cells[i].key)[0] = self.cells[i]
            free(self.cells)
            self.cells = grown
            self.room *= 2
        if self.used * 2 < self.room:
            _place(self.cells, self.room, key)[0] = Cell(key=key, words=words)
            self.used += 1
        return words


cdef inline Cell* _place(Cell* cells, uint32_t room, uint64_t key) noexcept nogil:
    cdef uint32_t i = <uint32_t>((key * <uint64_t>0x9E3779B97F4A7C15) >> 32) & (room - 1)
    while cells[i].key != 0 and cells[i].key != key:
        i = (i + 1) & (room - 1)
    return &cells[i]


cdef bytes _labels(Transit t):
    cdef bint inbound = t.listener.inbound
    cdef Peer peer = _peer(t)
    own = t.snapshot.source
    if inbound:
        source, target = _source_of(t.snapshot, peer), own
    else:
        source, target = own, t.snapshot.workload(t.endpoint.workload if t.endpoint is not None else 0)
    theirs, ours = _principals(t, peer)
    service, name, namespace = _service(t)
    values = (
        "destination" if inbound else "source",
        source["name"], source["namespace"], theirs if inbound else ours, source["app"], source["version"],
        source["cluster"], source["canonical_service"], source["canonical_revision"], target["name"],
        target["namespace"], ours if inbound else theirs, target["app"], target["version"], service, name, namespace,
        target["cluster"] if t.endpoint is not None else "unknown", target["canonical_service"], target["canonical_revision"],
        *(("tcp",) if t.tcp else
          ("grpc" if t.grpc else "http", str(t.status), str(t.grpc_status) if t.grpc_status >= 0 else "")),
        flags_text(t.flags).decode(), "unknown" if not inbound else "none" if peer is None else "mutual_tls",
    )
    slot = t.engine.slot
    return bytes((slot & 255, slot >> 8)) + b"".join([value.encode() + b"\x1f" for value in values])


cdef inline Peer _peer(Transit t):
    """The other side of the mesh: who asked for it, or who served it."""
    return peer_of(t.tls if t.listener.inbound else t.upstream_tls)


cdef tuple _principals(Transit t, Peer peer):
    """What certificates proved of the other side and of this one. What the configuration says of them proves nothing."""
    cdef bytes own = b""
    if peer is not None:
        own = (<ServerContext>t.tls.context).identity if t.listener.inbound else (<ClientContext>t.upstream_tls.context).identity
    return (peer.principal.decode() if peer is not None and peer.label else "") or "unknown", own.decode() or "unknown"


cdef _source_of(Snapshot snapshot, Peer peer):
    """The workload of a client, by its identity."""
    unknown = snapshot.workload(0)
    if peer is None or not peer.principal:
        return unknown
    principal = peer.principal.decode()
    known = snapshot.workload_of(principal)
    if known is not None:
        return known
    parts = principal.split("/")
    return {**unknown, "namespace": parts[4]} if len(parts) > 5 and parts[3] == "ns" else unknown


cdef tuple _service(Transit t):
    """destination_service, its name and its namespace. Names come from the configuration only: a client cannot make up labels."""
    if t.cluster is not None:
        return t.cluster.host or "unknown", t.cluster.service_name, t.cluster.service_namespace
    if t.vhost is None:
        name = "unknown" if t.listener.unknown == UNKNOWN_404 else (
            "PassthroughCluster" if t.listener.unknown == UNKNOWN_PASSTHROUGH else "BlackHoleCluster")
        return "unknown", name, "unknown"
    host = t.destination.cluster_name.decode().rpartition("|")[2] if t.destination is not None else t.vhost.name.rpartition(":")[0]
    parts = host.split(".")
    if len(parts) > 2 and parts[2] == "svc":
        return host, parts[0], parts[1]
    return host or "unknown", host or "unknown", "unknown"


cdef inline void _observe(uint64_t* histogram, const uint64_t* bounds, uint64_t value) noexcept nogil:
    cdef int i = 0
    while i < 19 and value > bounds[i]:
        i += 1
    fm_bump(&histogram[i], 1)
    fm_bump(&histogram[BUCKETS], value)


cdef Series _series(Transit t):
    if t.endpoint is not None:
        if t.endpoint.series is None:
            t.endpoint.series = Series.__new__(Series)
        return <Series>t.endpoint.series
    if t.cluster is not None:
        if t.cluster.series is None:
            t.cluster.series = Series.__new__(Series)
        return <Series>t.cluster.series
    if t.vhost is not None:
        if t.vhost.series is None:
            t.vhost.series = Series.__new__(Series)
        return <Series>t.vhost.series
    return <Series>t.engine.series


cdef inline uint64_t _key(Transit t) noexcept:
    """Status 10 bits, gRPC status 13, a call or not 1, flags 21, the peer's number 14; what the listener is, for those that met no host."""
    cdef Peer peer = _peer(t) if t.tls is not None or t.upstream_tls is not None else None
    cdef uint64_t key = <uint64_t>1 << 63 | <uint64_t>t.listener.unknown << 61 | <uint64_t>t.listener.inbound << 60
    if peer is not None:
        if peer.label < 0:
            peer.label = _number_of(t, peer.principal)
        key |= <uint64_t>1 << 59 | <uint64_t>peer.label << 45
    if t.tcp:
        return key | <uint64_t>t.flags << 24 | <uint64_t>8191 << 10
    return key | <uint64_t>t.flags << 24 | <uint64_t>t.grpc << 23 | <uint64_t>(t.grpc_status + 1 & 8191) << 10 | t.status


cdef int _number_of(Transit t, bytes principal):
    """0 for those without a name, and for the rest when there are too many: they are not told apart."""
    cdef dict known = t.engine.principals
    if not principal or principal not in known and len(known) >= PRINCIPALS_MAX:
        return 0
    return known.setdefault(principal, len(known) + 1)


cdef void account(Transit t, uint64_t now):
    cdef Series series = _series(t)
    cdef uint64_t key = _key(t)
    cdef Cell* cell = _place(series.cells, series.room, key)
    cdef uint64_t* words = cell.words if cell.key == key else series._make(t, key)
    fm_bump(&words[0], 1)
    _observe(&words[1], _bounds_us, (now - t.started) // 1000)
    _observe(&words[1 + HISTOGRAM], _bounds_bytes, t.bytes_received)
    _observe(&words[1 + 2 * HISTOGRAM], _bounds_bytes, t.bytes_sent)
    if t.grpc:
        fm_bump(&words[1 + 3 * HISTOGRAM], t.request_frames.messages)
        fm_bump(&words[2 + 3 * HISTOGRAM], t.response_frames.messages)
    _count(t)
    if t.steps & STEP_COUNT and not t.copied:
        count_route(t)


cdef uint64_t* account_connection(Transit t):
    cdef Series series = _series(t)
    cdef uint64_t key = _key(t)
    cdef Cell* cell = _place(series.cells, series.room, key)
    return cell.words if cell.key == key else series._make(t, key)


cdef inline void _count_client(Transit t, int kind) noexcept:
    cdef uint64_t* row = t.engine.row
    fm_bump(&row[WK_RQ_TOTAL], 1)
    if kind == 2:
        fm_bump(&row[WK_RQ_2XX], 1)
    elif kind == 3:
        fm_bump(&row[WK_RQ_3XX], 1)
    elif kind == 4:
        fm_bump(&row[WK_RQ_4XX], 1)
    elif kind == 5:
        fm_bump(&row[WK_RQ_5XX], 1)
    if t.flags & FLAG_RL:
        fm_bump(&row[WK_RATE_LIMITED], 1)
    if t.flags & FLAG_NR:
        fm_bump(&row[WK_NO_ROUTE], 1)


cdef void _count(Transit t) noexcept:
    """The proxy's own counters and the cluster's."""
    cdef uint64_t* row = t.engine.row
    cdef int kind = t.status // 100
    if not t.copied:
        _count_client(t, kind)
    if t.cluster is None or t.cluster.row == NULL:
        return
    row = t.cluster.row
    if t.charged:
        kind = t.charged // 100           # a call was told 200
    fm_bump(&row[CL_RQ_TOTAL], 1)
    if 2 <= kind <= 5:
        fm_bump(&row[CL_RQ_2XX + kind - 2], 1)
    fm_bump(&row[CL_RX_BYTES], t.bytes_sent)
    fm_bump(&row[CL_TX_BYTES], t.bytes_received)
