"""See worker.pxd. This is the face of the data plane towards Python."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport strcmp, strlen
from fastmesh.core.base.arena cimport ENTRY_PRESSURE, ENTRY_WORKER, Arena, sum_rows
from fastmesh.core.base.atomics cimport fm_bump, fm_store
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport (
    PRESSED_CLOSE, PRESSED_STOP, PRESSURE_ROW, PR_CONNECTIONS, PR_LAG, PR_LEVEL, PR_MEMORY, WK_CX_ACTIVE, WK_CX_TOTAL, WK_OPEN_FDS, WK_REFUSED_400, WK_REFUSED_413, WK_REFUSED_414, WK_REFUSED_431, WK_REFUSED_501,
    WK_REFUSED_505, WORKER_ROW,
)
from fastmesh.core.base.wheel cimport Wheel
from fastmesh.core.net.acceptor cimport address_text, make_acceptor, wanted_of
from fastmesh.core.net.greeting cimport Greeting, make_greeting
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.h2.pool cimport PoolH2
from fastmesh.core.net.readiness cimport start_reactor
from fastmesh.core.net.h1.server cimport ServerH1
from fastmesh.core.net.h2.server cimport make_server_h2
from fastmesh.core.net.stream cimport CODEC_H1, CODEC_H2, CODEC_TCP, Downstream, ServerStream, ServerUserFactory, StreamUser
from fastmesh.core.net.tls.contexts cimport TlsContexts
from fastmesh.core.net.tls.tickets cimport set_ticket_keys
from fastmesh.core.proxy.outside cimport make_outside
from fastmesh.core.proxy.access_log cimport LogFile, open_log
from fastmesh.core.proxy.account cimport Series
from fastmesh.core.proxy.exchange cimport refuse_exchange, take_exchange
from fastmesh.core.proxy.health cimport make_checker
from fastmesh.core.proxy.passage cimport make_passage
from fastmesh.core.route.chain cimport ChainTable
from fastmesh.core.route.cluster cimport Cluster, HTTP_2, HTTP_AS_CLIENT
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.snapshot cimport Listener, Snapshot

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static void fm_trim(void) { malloc_trim(0); }
    #else
    static void fm_trim(void) { }
    #endif
    """
    void fm_trim() nogil

cdef dict REFUSED = {400: WK_REFUSED_400, 413: WK_REFUSED_413, 414: WK_REFUSED_414, 431: WK_REFUSED_431,
                     501: WK_REFUSED_501, 505: WK_REFUSED_505}


cdef double DISMANTLE_AFTER = 0.05     # s: the old snapshot is taken apart once the new one serves
cdef int DISMANTLE_US = 500           # at a time


def _nobody_hears():
    pass


cdef class Gate(ServerUserFactory):
    cdef StreamUser make_user(self, ServerStream client):
        return take_exchange(self.engine, self.listener)

    cdef void accepted(self, int fd, bytes peer, bytes peer_text, bytes local_text):
        cdef ChainTable chains = self.listener.chains
        cdef Downstream connection
        cdef bytes wanted = None
        cdef int aim_port = 0
        if self.listener.places is not None and not self.listener.proxy_protocol:
            wanted, aim_port = self._wanted(fd)
            chains = self._chains_at(wanted, aim_port)
        if self.listener.proxy_protocol:
            chains = None
            connection = make_greeting(None, True)
        elif chains is not None and chains.listens:
            connection = make_greeting(chains, False)
        elif chains is not None and chains.plain.tcp:
            connection = make_passage(self.engine, self.listener)     # who speaks first is not known: it may be the endpoint
        else:
            connection = ServerH1.__new__(ServerH1)
        if chains is not None and not chains.listens:
            connection.chain = chains.plain
        connection.reactor = self.engine
        connection.factory = self
        connection.fd = fd
        connection.peer = peer
        connection.peer_text = peer_text
        connection.local_text = local_text
        connection.own_port = self.own_port
        if wanted is not None:
            connection.own_port = aim_port
            connection.aim, connection.aim_port = wanted, aim_port
            _, connection.local_text = address_text(<const uint8_t*>PyBytes_AS_STRING(wanted), aim_port)
        self.connection_opened(connection)
        connection.start(NULL, 0)

    cdef tuple _wanted(self, int fd):
        """Where the client wanted to go; (None, 0) when that was this listener itself (or looks like it: else it would be a circle)."""
        cdef tuple found = wanted_of(fd)
        return (None, 0) if found is None or found[1] == self.own_port else found

    cdef ChainTable _chains_at(self, bytes wanted, int port):
        cdef ChainTable found = None
        if wanted is not None and self.listener.places is not None:
            found = self.listener.places.find(wanted, port)
        return self.listener.chains if found is None else found

    cdef ChainTable chains_of(self, Downstream connection):
        if connection.aim_port == self.own_port:
            connection.aim = None      # the proxy before us was asked for this one
        elif connection.aim is not None and self.listener.places is not None:
            connection.own_port = connection.aim_port
        return self._chains_at(connection.aim, connection.aim_port)

    cdef void codec_found(self, Downstream connection, int codec, const char* data, size_t size):
        cdef Downstream after
        if codec != CODEC_TCP and self._outdated(connection):
            connection.close_descriptor() # its handshake began before a reload, and asked less of the client
            self.connection_closed(connection)
            return
        if codec == CODEC_H1:
            after = ServerH1.__new__(ServerH1)
        elif codec == CODEC_H2:
            after = make_server_h2()
        else:
            after = make_passage(self.engine, self.listener)
        after.take_after(connection)
        connection.hand_over(after)
        self.open.discard(connection)
        self.open.add(after)
        after.start(data, size)

    cdef bint _outdated(self, Downstream connection):
        """A new connection of its kind would not come in like this."""
        cdef ChainTable chains = self.listener.chains
        return chains is not None and not chains.stands(connection.chain, None if connection.tls is None else connection.tls.sni)

    cdef void part_with_outdated(self):
        cdef Downstream connection
        for connection in list(self.open):
            if not isinstance(connection, Greeting) and self._outdated(connection):
                connection.wind_down()

    cdef void connection_opened(self, Downstream connection):
        self.open.add(connection)
        self.engine.connections += 1
        fm_bump(&self.engine.row[WK_CX_TOTAL], 1)
        fm_bump(&self.engine.row[WK_CX_ACTIVE], 1)
        fm_bump(&self.engine.row[WK_OPEN_FDS], 1)

    cdef void connection_closed(self, Downstream connection):
        self.open.discard(connection)
        self.engine.connections -= 1
        fm_bump(&self.engine.row[WK_CX_ACTIVE], <unsigned long long>-1)
        fm_bump(&self.engine.row[WK_OPEN_FDS], <unsigned long long>-1)

    cdef void refused(self, ServerStream client, int status, const char* why):
        fm_bump(&self.engine.row[REFUSED.get(status, WK_REFUSED_400)], 1)
        if self.engine.snapshot is not None:
            refuse_exchange(take_exchange(self.engine, self.listener), client, status, why)


cdef class Worker(Engine):
    """A worker on `loop`, in slot `index` of the arena. See server/settings for the keys of `settings`."""

    def __init__(self, loop, Arena arena, int index, dict settings, load_filter=None):
        cdef dict limits = settings.get("limits", {})
        cdef dict timeouts = settings.get("timeouts", {})
        self.loop = loop
        start_reactor(self)
        self.wheel = Wheel(loop)
        self.arena = arena
        self.slot = index
        self.lease_bell = _nobody_hears
        self.settings = settings
        self.load_filter = load_filter
        self.limits.line = limits.get("line", 16384)
        self.limits.head = min(limits.get("head", 61440), 65535)
        self.limits.fields = min(limits.get("fields", 100), 128)
        self.limits.body = limits.get("body", 0)
        self.limits.chunk_extension = limits.get("chunk_extension", 4096)
        self.limits.client_hello = limits.get("client_hello", 16384)
        self.response_limits = self.limits
        self.response_limits.body = 0
        self.timeouts.header = timeouts.get("header", 10_000)
        self.timeouts.idle = timeouts.get("idle", 75_000)
        self.timeouts.body = timeouts.get("body", 60_000)
        self.timeouts.upstream_idle = timeouts.get("upstream_idle", 4_000)
        self.timeouts.tunnel = timeouts.get("tunnel", 3_600_000)
        self.timeouts.renewed = timeouts.get("renewed", 30_000)
        self.timeouts.linger = timeouts.get("linger", 1_000)
        self._limit_h2(settings.get("http2", {}), settings.get("drain_idle_ms", 5_000))
        self.timeouts.handshake = timeouts.get("handshake", 10_000)
        self.retry_body = limits.get("retry_body", 65536)
        self.rows = arena.words(ENTRY_WORKER, "workers", 7, WORKER_ROW * arena.slots)
        self.row = self.rows + index * WORKER_ROW
        self.slots = arena.slots
        self.pressure = arena.words(ENTRY_PRESSURE, "workers", 7, PRESSURE_ROW * arena.slots) + index * PRESSURE_ROW
        self.most_connections = settings.get("overload", {}).get("connections", 0)
        self.contexts = TlsContexts()
        self.checker = make_checker(self)
        self.pools = {}
        self.principals = {}
        self.gates = {}
        self.closing = []
        self.series = Series.__new__(Series)
        self.outside = make_outside(self, loop, settings.get("outside", {}))
        if settings.get("access_log"):
            self.log = open_log(self, settings["access_log"], settings.get("access_log_format", "text"))

    cdef void _limit_h2(self, dict given, uint32_t grace):
        self.h2.streams = given.get("streams", 100)
        self.h2.window = min(max(given.get("window", 65536), 16384), 1 << 30)
        self.h2.connection_window = min(max(given.get("connection_window", 1 << 20), 65535), 1 << 30)
        self.h2.continuations = given.get("continuations", 8)
        self.h2.unpacked = given.get("unpacked", 512 << 10)
        self.h2.settings = given.get("settings", 32)
        self.h2.control = given.get("control", 1000)
        self.h2.empty = given.get("empty", 10)
        self.h2.resets = given.get("resets", 200)
        self.h2.resets_per_second = given.get("resets_per_second", 33)
        self.h2.chatter = given.get("chatter", 1000)
        self.h2.chatter_per_second = given.get("chatter_per_second", 100)
        self.h2.requests = given.get("requests", 10_000)
        self.h2.age = given.get("age", 3_600_000)
        self.h2.grace = grace

    @property
    def version(self):
        """The version of the configuration that runs; None before the first."""
        return None if self.snapshot is None else self.snapshot.version

    def load(self, items) -> Snapshot:
        """A snapshot to be built from plan items: call its `step(budget_us)` until True, then `apply`."""
        return Snapshot(items, self.contexts, self.load_filter)

    def apply(self, Snapshot snapshot, dict listeners):
        """Run `snapshot` from the next request on. `listeners`: name -> listening descriptor for each of its listeners."""
        cdef Gate gate
        cdef Listener listener
        if not snapshot.built:
            raise ValueError("the snapshot is not complete")
        missing = [name for name in snapshot.listeners if name not in listeners and name not in self.gates]
        if missing:
            raise ValueError(f"no listening socket for {', '.join(missing)}")
        old = self.snapshot
        snapshot.greet(old, self.arena, self.slot, now_ms())
        self.snapshot = snapshot
        for name in [name for name in self.gates if name not in snapshot.listeners]:
            self._retire(self.gates.pop(name))
        for name, listener in snapshot.listeners.items():
            gate = self.gates.get(name)
            if gate is None:
                self.gates[name] = self._open(listener, listeners[name])
            else:
                gate.listener = listener
                gate.part_with_outdated()
                if name in listeners:
                    _close(listeners[name])       # the one that is open stays
        self._sort_pools()
        self.checker.apply(snapshot)
        if old is not None:
            self.loop.call_later(DISMANTLE_AFTER, self._dismantle, old)

    def _dismantle(self, Snapshot old):
        if not old.dismantle(DISMANTLE_US):
            self.loop.call_soon(self._dismantle, old)

    cdef Gate _open(self, Listener listener, int fd):
        cdef Gate gate = Gate.__new__(Gate)
        gate.engine = self
        gate.listener = listener
        gate.open = set()
        gate.acceptor = make_acceptor(self, gate, fd, 1 if self.settings.get("workers", 1) > 1 else 16)
        port = gate.acceptor.local_text.rpartition(b":")[2]
        gate.own_port = int(port) if port.isdigit() else 0
        return gate

    def _retire(self, Gate gate):
        gate.acceptor.stop()
        self.closing.append(gate)
        self.loop.call_later(5.0, self._close_gate, gate)

    def _close_gate(self, Gate gate):
        cdef Downstream connection
        for connection in list(gate.open):
            connection.wind_down()
        if gate.open:
            self.loop.call_later(5.0, self._close_gate, gate)
        else:
            self.closing.remove(gate)

    def own_ports(self):
        cdef Gate gate
        return {gate.own_port for gate in self.gates.values()}

    cdef void _sort_pools(self):
        """Connections to endpoints that are gone are closed as soon as they are free."""
        cdef Pool pool
        cdef Cluster cluster
        cdef Endpoint endpoint
        for key, pool in list(self.pools.items()):
            cluster = self.snapshot.cluster(key[:key.index(0)].decode())
            if cluster is not None and cluster.http != HTTP_AS_CLIENT and (cluster.http == HTTP_2) != isinstance(pool, PoolH2):
                cluster = None            # another version is spoken now
            if cluster is not None:
                for endpoint in cluster.endpoints:
                    if endpoint.text == pool.endpoint.text:
                        break
                else:
                    cluster = None
            if cluster is None:
                pool.retire()
                del self.pools[key]

    def set_lease_bell(self, bell):
        """`bell()` tells the master that leases ask for tokens."""
        self.lease_bell = bell

    def set_ticket_keys(self, list keys):
        """The keys of session tickets from now on, the newest first."""
        set_ticket_keys(keys)

    def drain(self, idle_grace: float = 5.0):
        """Stop accepting once the queue is empty; from now on answers say `connection: close`; idle connections close after
        `idle_grace` seconds."""
        cdef Gate gate
        cdef Downstream connection
        self.draining = self.parting = True
        self.checker.stop()
        for gate in self.gates.values():
            gate.acceptor.stop()
        for gate in list(self.gates.values()) + self.closing:
            for connection in list(gate.open):
                connection.announce_end()
        self.loop.call_later(idle_grace, self.close_idle)

    @property
    def all_connections(self):
        """Of clients, all workers together."""
        return sum_rows(self.rows + WK_CX_ACTIVE, WORKER_ROW, self.slots)

    def press(self, int level, uint32_t shedding, tuple pressures):
        """What the worker does from now on because it has too much to do (PressureLevel). `pressures`: of memory, connections and lag,
        in thousandths."""
        cdef bint parts = level >= PRESSED_CLOSE
        cdef Gate gate
        cdef Downstream connection
        fm_store(&self.pressure[PR_MEMORY], pressures[0])
        fm_store(&self.pressure[PR_CONNECTIONS], pressures[1])
        fm_store(&self.pressure[PR_LAG], pressures[2])
        fm_store(&self.pressure[PR_LEVEL], level)
        self.shedding = shedding
        self.accepts_none = level >= PRESSED_STOP
        if parts and not self.parting:
            for gate in list(self.gates.values()) + self.closing:
                for connection in list(gate.open):
                    connection.announce_end()
        self.parting = self.draining or parts

    def close_quiet(self, milliseconds: int):
        """Close HTTP/1 connections that are kept for another request, and that none has come on for this long."""
        cdef uint64_t since = now_ms() - <uint64_t>milliseconds
        cdef Gate gate
        cdef Downstream connection
        for gate in list(self.gates.values()) + self.closing:
            for connection in list(gate.open):
                connection.close_if_quiet(since)

    def trim(self):
        """Give memory that is free back to the system."""
        fm_trim()

    def close_idle(self):
        """Close keep-alive connections without a request."""
        cdef Gate gate
        cdef Downstream connection
        for gate in list(self.gates.values()) + self.closing:
            for connection in list(gate.open):
                connection.close_if_idle()
        if self.draining and self.connections:
            self.loop.call_later(0.1, self.close_idle)

    def cut(self):
        """Break off what is under way; each request gets its line in the log."""
        cdef Gate gate
        cdef Downstream connection
        for gate in list(self.gates.values()) + self.closing:
            for connection in list(gate.open):
                connection.cut()

    def reopen_logs(self):
        if self.log is not None:
            (<LogFile>self.log).reopen()

    def flush_logs(self):
        """Write out what is gathered; called before the process ends."""
        if self.log is not None:
            (<LogFile>self.log).flush()

    def set_log_level(self, str level):
        """Kept for the admin interface: the data plane itself writes only the access log."""
        self.settings["log_level"] = level


cdef _close(int fd):
    import os
    os.close(fd)
