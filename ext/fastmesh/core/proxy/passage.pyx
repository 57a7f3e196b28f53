"""See passage.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from fastmesh.core.base.arena cimport ENTRY_ENDPOINT, sum_rows
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_CX_ACTIVE, CL_CX_CONNECT_FAIL, CL_CX_CONNECT_TIMEOUT, CL_CX_OVERFLOW, CL_CX_TOTAL, CL_NONE_HEALTHY,
    CL_RX_BYTES, CL_TX_BYTES, ENDPOINT_ROW, EP_CX_ACTIVE, EP_CX_CONNECT_FAIL, EP_CX_TOTAL, EP_RQ_ACTIVE, OUTLIER_WORDS, WK_OPEN_FDS,
    WK_RX_BYTES, WK_TX_BYTES,
)
from fastmesh.core.guard.outlier cimport OUTCOME_LOCAL, OUTCOME_STATUS
from fastmesh.core.net.failure cimport FAIL_CONNECT_TIMEOUT, FAIL_TLS
from fastmesh.core.net.post cimport open_post
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.client cimport ClientContext
from fastmesh.core.net.tunnel cimport (
    TUNNEL_AGED, TUNNEL_CLIENT_RESET, TUNNEL_ENDPOINT_RESET, TUNNEL_IDLE, TunnelClient, TunnelEndpoint, connect_tunnel, open_tunnel,
)
from fastmesh.core.net.upstream cimport Upstream
from fastmesh.core.proxy.account cimport TCP_CLOSED, TCP_OPENED, TCP_RECEIVED, TCP_SENT, account_connection
from fastmesh.core.proxy.ejection cimport attempt_told, leave_trial, report, try_endpoint
from fastmesh.core.proxy.transit cimport (
    FLAG_DC, FLAG_DT, FLAG_NC, FLAG_NR, FLAG_SI, FLAG_UC, FLAG_UF, FLAG_UH, FLAG_UO, FLAG_URX, Transit,
)
from fastmesh.core.proxy.wanted cimport all_speak_mesh, endpoint_at
from fastmesh.core.route.cluster cimport CLUSTER_ENDPOINTS, Cluster
from fastmesh.core.route.endpoint cimport Endpoint, make_address
from fastmesh.core.route.snapshot cimport Listener


cdef TunnelClient make_passage(Engine engine, Listener listener):
    cdef TunnelClient client = TunnelClient.__new__(TunnelClient)
    cdef Passage passage = Passage.__new__(Passage)
    cdef Transit facts = Transit.__new__(Transit)
    facts.engine, facts.listener, facts.snapshot = engine, listener, engine.snapshot
    facts.tcp = True
    facts.grpc_status = -1
    passage.engine, passage.facts, passage.client = engine, facts, client
    client.owner = passage
    return client


cdef class Passage(TunnelOwner):
    cdef void on_begun(self, const char* data, size_t size):
        cdef Transit t = self.facts
        cdef TunnelClient client = self.client
        t.started = now_ns()
        t.meet(client)
        self.first = PyBytes_FromStringAndSize(data, size)
        self._connect()

    cdef void _connect(self):
        """A destination by weight, a place under its cluster's limit, an endpoint, a connection."""
        cdef Transit t = self.facts
        cdef Cluster cluster
        cdef ClientContext context
        cdef Tls tls = None
        if not self.client.chain.destinations:
            self._fail(FLAG_NR)
            return
        t.destination = self.client.chain.choose(&self.engine.rng)
        t.cluster = cluster = t.destination.open()
        if cluster is None:
            self._fail(FLAG_NC)
            return
        if cluster.rows == NULL:
            cluster.attach(self.engine.arena, self.engine.slot)
        if cluster.hash is not None:
            t.hashed = cluster.hash.find_peer(t.peer, &t.hash)
        if cluster.kind != CLUSTER_ENDPOINTS:
            t.endpoint = self._wanted(cluster)
        else:
            if cluster.resilience is not None and cluster.resilience.half_open:
                try_endpoint(t)
            if t.endpoint is None:
                t.endpoint = cluster.pick(
                    &self.engine.rng, now_ms() if cluster.timed else 0, &t.hash if t.hashed else NULL, NULL, 0)
        if t.endpoint is None:
            fm_bump(&cluster.row[CL_NONE_HEALTHY], 1)
            t.endpoint = None
            self._fail(FLAG_UH)
            return
        fm_bump(&cluster.row[CL_CX_ACTIVE], 1)
        fm_bump(&t.endpoint.row[EP_CX_ACTIVE], 1)
        fm_bump(&t.endpoint.row[EP_RQ_ACTIVE], 1)          # what the balancer looks at
        self.counted = True
        if cluster.max_connections and sum_rows(cluster.rows + CL_CX_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_connections:
            fm_bump(&cluster.row[CL_CX_OVERFLOW], 1)
            self._fail(FLAG_UO)
            return
        if cluster.tls is not None and (not cluster.tls_auto or t.endpoint.mesh_tls):
            context = <ClientContext>cluster.tls
            tls = context.open(t.endpoint.text, context.name or t.requested_name, False)
        fm_bump(&cluster.row[CL_CX_TOTAL], 1)
        fm_bump(&t.endpoint.row[EP_CX_TOTAL], 1)
        fm_bump(&self.engine.row[WK_OPEN_FDS], 1)
        self.coming = connect_tunnel(self.engine, self, t.endpoint, cluster, tls,
                                     t.preface(cluster.proxy_protocol) if cluster.proxy_protocol else None)
        if self.coming is None:
            self.on_closed(None, FAIL_TLS)

    cdef Endpoint _wanted(self, Cluster cluster):
        """The place that the client wanted to reach, as an endpoint for this one connection; None: that is not known."""
        cdef Endpoint endpoint
        cdef bytes key
        if self.client.aim is None:
            return None
        endpoint = endpoint_at(cluster, self.facts.local_text)
        if endpoint is not None:
            return endpoint
        host, _, port = self.facts.local_text.rpartition(b":")
        endpoint = make_address(host.strip(b"[]").decode(), int(port))
        endpoint.mesh_tls = all_speak_mesh(cluster)
        key = cluster.name + b"\0*"           # of all of them: there may be as many as addresses
        endpoint.cell = self.engine.arena.words(ENTRY_ENDPOINT, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                                OUTLIER_WORDS + ENDPOINT_ROW * self.engine.arena.slots)
        endpoint.rows = endpoint.cell + OUTLIER_WORDS
        endpoint.row = endpoint.rows + self.engine.slot * ENDPOINT_ROW
        return endpoint

    # --- the endpoint -------------------------------------------------------------------------------------------------

    cdef void on_connected(self, Upstream connection):
        cdef Transit t = self.facts
        cdef bytes first = self.first
        cdef uint64_t idle
        cdef int64_t own
        self.first = None
        t.upstream_tls = connection.tls
        self.coming = None
        self._told(OUTCOME_STATUS, 200)
        self.words = account_connection(t)
        fm_bump(&self.words[TCP_OPENED], 1)
        own = self.client.chain.idle()
        idle = self.engine.timeouts.tunnel if own < 0 else <uint64_t>own
        if t.cluster.tunnel_posts:
            open_post(self, self.client, <TunnelEndpoint>connection, PyBytes_AS_STRING(first), PyBytes_GET_SIZE(first), idle,
                      t.cluster.max_connection_duration)
        else:
            open_tunnel(self, self.client, <TunnelEndpoint>connection, PyBytes_AS_STRING(first), PyBytes_GET_SIZE(first), idle,
                        t.cluster.max_connection_duration, None, None)

    cdef void on_closed(self, Upstream connection, int failure):
        cdef Transit t = self.facts
        self.coming = None
        fm_bump(&t.cluster.row[CL_CX_CONNECT_FAIL], 1)
        fm_bump(&t.endpoint.row[EP_CX_CONNECT_FAIL], 1)
        if failure == FAIL_CONNECT_TIMEOUT:
            fm_bump(&t.cluster.row[CL_CX_CONNECT_TIMEOUT], 1)
        if failure == FAIL_TLS and connection is not None:
            t.transport_failure = connection.tls.error
        self._told(OUTCOME_LOCAL, 503)
        fm_bump(&self.engine.row[WK_OPEN_FDS], <uint64_t>-1)
        self._fail(FLAG_UF | FLAG_URX)    # one try: Envoy's max_connect_attempts, which Istio leaves at 1

    cdef void _told(self, int outcome, int status):
        """For outlier detection: a connection that was made is a success."""
        cdef Transit t = self.facts
        if t.trial != NULL:
            attempt_told(t, outcome, status)
        if t.cluster.watched:
            report(t.cluster, t.endpoint, outcome, status)

    # --- the tunnel ---------------------------------------------------------------------------------------------------

    cdef void on_moved(self, bint to_client, size_t size):
        cdef Transit t = self.facts
        if to_client:
            t.bytes_sent += size
            fm_bump(&self.words[TCP_SENT], size)
            fm_bump(&self.engine.row[WK_TX_BYTES], size)
            fm_bump(&t.cluster.row[CL_RX_BYTES], size)
        else:
            t.bytes_received += size
            fm_bump(&self.words[TCP_RECEIVED], size)
            fm_bump(&self.engine.row[WK_RX_BYTES], size)
            fm_bump(&t.cluster.row[CL_TX_BYTES], size)

    cdef void on_ended(self, int how):
        cdef Transit t = self.facts
        if how == TUNNEL_CLIENT_RESET:
            t.flags |= FLAG_DC
        elif how == TUNNEL_ENDPOINT_RESET:
            t.flags |= FLAG_UC
        elif how == TUNNEL_IDLE:
            t.flags |= FLAG_SI
        elif how == TUNNEL_AGED:
            t.flags |= FLAG_DT
        fm_bump(&account_connection(t)[TCP_CLOSED], 1)        # with what became of it; `opened` was counted without
        fm_bump(&self.engine.row[WK_OPEN_FDS], <uint64_t>-1)
        self._finish()

    cdef void on_client_gone(self):
        """Before there was a tunnel."""
        if self.coming is not None:
            self.coming.close(False)
            self.coming = None
            fm_bump(&self.engine.row[WK_OPEN_FDS], <uint64_t>-1)
        self._fail(FLAG_DC)

    cdef void _fail(self, unsigned int flag):
        """No tunnel: the client is closed, and sees no byte of an answer."""
        cdef Transit t = self.facts
        if self.over:
            return
        t.flags |= flag
        self.words = account_connection(t)
        fm_bump(&self.words[TCP_OPENED], 1)
        fm_bump(&self.words[TCP_CLOSED], 1)
        self.client.close(True)
        self._finish()

    cdef void _finish(self):
        cdef Transit t = self.facts
        if self.over:
            return
        self.over = True
        if t.trial != NULL:
            leave_trial(t)
        if self.counted:
            fm_bump(&t.cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&t.endpoint.row[EP_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&t.endpoint.row[EP_RQ_ACTIVE], <uint64_t>-1)
        t.ended = now_ns()
        if self.engine.log is not None:
            self.engine.log.write(t)
        self.client = None
