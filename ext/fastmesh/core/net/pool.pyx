"""See pool.pxd.

How long an idle connection may be trusted is learned from the application: the shortest idle time after which it closed one lately
(`closed_after`). A request that must not run twice only takes a connection that has been idle for less than half of that.
"""
from collections import deque

from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_CX_ACTIVE, CL_CX_CONNECT_FAIL, CL_CX_CONNECT_TIMEOUT, CL_CX_OVERFLOW, CL_CX_TOTAL,
    CL_RQ_PENDING, CL_RQ_PENDING_OVERFLOW, EP_CX_ACTIVE, EP_CX_CONNECT_FAIL, EP_CX_TOTAL, WK_OPEN_FDS,
)
from fastmesh.core.net.client_h1 cimport CLIENT_CONNECTING, CLIENT_IDLE, ClientH1, connect_h1
from fastmesh.core.net.readiness cimport EAGAIN, MSG_DONTWAIT, MSG_PEEK, Reactor, c_recv, errno
from fastmesh.core.net.stream cimport (
    FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_OVERFLOW, StreamUser,
)

cdef enum:
    TIMER_IDLE = 1            # the kind that ClientH1 knows
    SHARING_EVERY = 20        # ms
    LEARNED_FOR = 60000       # ms: what was learned of an application holds this long
    IDLE_MAX = 1024           # idle connections kept to one endpoint


cdef Pool make_pool(Reactor reactor, Cluster cluster, Endpoint endpoint):
    cdef Pool pool = Pool.__new__(Pool)
    pool.reactor = reactor
    pool.cluster = cluster
    pool.endpoint = endpoint
    pool.waiting = deque()
    return pool


cdef class Pool(ConnectionOwner):
    cdef ClientH1 take(self, StreamUser user, bint idempotent, bint fresh, int* failure):
        cdef ClientH1 connection
        cdef Cluster cluster = self.cluster
        failure[0] = FAIL_NONE
        if not fresh:
            connection = self._reuse(idempotent)
            if connection is not None:
                connection.assign(user)
                return connection
        fm_bump(&cluster.row[CL_RQ_PENDING], 1)
        if cluster.max_pending and sum_rows(cluster.rows + CL_RQ_PENDING, CLUSTER_ROW, cluster.slots) > cluster.max_pending:
            fm_bump(&cluster.row[CL_RQ_PENDING], <uint64_t>-1)
            fm_bump(&cluster.row[CL_RQ_PENDING_OVERFLOW], 1)
            failure[0] = FAIL_OVERFLOW
            return None
        self.waiting.append(user)
        if self._room() and not self._connect():
            self.forget(user)
            failure[0] = FAIL_CONNECT
        return None

    cdef void forget(self, StreamUser user):
        try:
            self.waiting.remove(user)
        except ValueError:
            return
        fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)

    cdef ClientH1 _reuse(self, bint idempotent):
        cdef ClientH1 connection
        cdef uint64_t age, now, trusted
        cdef char byte
        while self.idle is not None:
            connection = self.idle
            self.idle = connection.next_idle
            connection.next_idle = None
            connection.in_pool = False
            self.idle_count -= 1
            if not idempotent and self.endpoint.closed_after:
                now = now_ms()
                age = now - connection.idle_since
                trusted = self.endpoint.closed_after // 2
                if now - self.learned_at < LEARNED_FOR and age >= trusted:
                    connection.close()
                    continue
            # What came since the last look of the loop would be taken for the answer of this request (or is its FIN)
            if c_recv(connection.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN:
                return connection
            connection.close()
        return None

    cdef bint _room(self) noexcept:
        """Whether one more connection may be opened; counts it when so."""
        cdef Cluster cluster = self.cluster
        fm_bump(&cluster.row[CL_CX_ACTIVE], 1)
        if cluster.max_connections and sum_rows(cluster.rows + CL_CX_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_connections:
            fm_bump(&cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&cluster.row[CL_CX_OVERFLOW], 1)
            self._share()
            return False
        return True

    cdef void _share(self):
        """Look now and then whether connections of a limited cluster are needed elsewhere, or have come free."""
        if self.sharing is None:
            self.sharing = Sharing.__new__(Sharing)
            self.sharing.pool = self
        self.sharing.start()

    cdef bint _connect(self):
        """Open the connection that `_room` counted."""
        cdef ClientH1 connection = connect_h1(self.reactor, self, self.endpoint, self.cluster)
        if connection is None:
            fm_bump(&self.cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&self.cluster.row[CL_CX_CONNECT_FAIL], 1)
            fm_bump(&self.endpoint.row[EP_CX_CONNECT_FAIL], 1)
            return False
        self.connections += 1
        fm_bump(&self.cluster.row[CL_CX_TOTAL], 1)
        fm_bump(&self.endpoint.row[EP_CX_TOTAL], 1)
        fm_bump(&self.endpoint.row[EP_CX_ACTIVE], 1)
        fm_bump(&self.reactor.row[WK_OPEN_FDS], 1)
        return True

    cdef void on_connected(self, ClientH1 connection):
        cdef StreamUser user
        if self.waiting:
            user = self.waiting.popleft()
            fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)
            connection.assign(user)
            user.on_upstream(connection)
        else:
            self._keep(connection)

    cdef void on_free(self, ClientH1 connection):
        if self._fits_again(connection):
            if self.waiting:
                self.on_connected(connection)
            else:
                self._keep(connection)
        else:
            connection.close()

    cdef bint _fits_again(self, ClientH1 connection):
        cdef Cluster cluster = self.cluster
        if self.retired or self.idle_count >= IDLE_MAX:
            return False
        if cluster.max_requests_per_connection and connection.served >= cluster.max_requests_per_connection:
            return False
        if cluster.max_connection_duration and now_ms() - connection.born >= cluster.max_connection_duration:
            return False
        if cluster.max_connections and not self.waiting:
            # Connections are scarce: another worker may have requests that wait for this one's place
            return sum_rows(cluster.rows + CL_RQ_PENDING, CLUSTER_ROW, cluster.slots) == 0
        return True

    cdef void _keep(self, ClientH1 connection):
        cdef uint64_t limit
        cdef Cluster cluster = self.cluster
        connection.idle_since = now_ms()
        limit = self.reactor.timeouts.upstream_idle if cluster.idle_timeout < 0 else <uint64_t>cluster.idle_timeout
        if self.endpoint.closed_after and connection.idle_since - self.learned_at < LEARNED_FOR \
                and (limit == 0 or limit > self.endpoint.closed_after // 2):
            limit = self.endpoint.closed_after // 2 + 1
        connection.in_pool = True
        connection.next_idle = self.idle
        self.idle = connection
        self.idle_count += 1
        if limit and (connection.timer.next == NULL or limit < connection.idle_limit):
            self.reactor.wheel.start(&connection.timer, connection, TIMER_IDLE, limit)
        connection.idle_limit = limit if limit else <uint64_t>1 << 62
        if cluster.max_connections:
            self._share()

    cdef void on_closed(self, ClientH1 connection, int failure):
        cdef StreamUser user
        cdef bint connecting = connection.state == CLIENT_CONNECTING
        self.connections -= 1
        fm_bump(&self.cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
        fm_bump(&self.endpoint.row[EP_CX_ACTIVE], <uint64_t>-1)
        fm_bump(&self.reactor.row[WK_OPEN_FDS], <uint64_t>-1)
        if connection.in_pool:
            self._unlink(connection)
            if failure != FAIL_NONE:
                self._learn(now_ms() - connection.idle_since)
        if connecting and failure != FAIL_NONE:
            fm_bump(&self.cluster.row[CL_CX_CONNECT_FAIL], 1)
            fm_bump(&self.endpoint.row[EP_CX_CONNECT_FAIL], 1)
            if failure == FAIL_CONNECT_TIMEOUT:
                fm_bump(&self.cluster.row[CL_CX_CONNECT_TIMEOUT], 1)
            if self.waiting:
                user = self.waiting.popleft()
                fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)
                user.on_upstream_failed(failure)
        if self.waiting and self.connections < len(self.waiting) and self._room() and not self._connect():
            user = self.waiting.popleft()
            fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)
            user.on_upstream_failed(FAIL_CONNECT)

    cdef void _unlink(self, ClientH1 connection):
        cdef ClientH1 at = self.idle
        connection.in_pool = False
        self.idle_count -= 1
        if at is connection:
            self.idle = connection.next_idle
        else:
            while at is not None and at.next_idle is not connection:
                at = at.next_idle
            if at is not None:
                at.next_idle = connection.next_idle
        connection.next_idle = None

    cdef void _learn(self, uint64_t age):
        """The application closed a connection that had been idle for `age` ms."""
        cdef uint64_t now = now_ms()
        if age == 0:
            age = 1
        if self.endpoint.closed_after == 0 or now - self.learned_at >= LEARNED_FOR or age < self.endpoint.closed_after:
            self.endpoint.closed_after = age
        else:
            self.endpoint.closed_after += (age - self.endpoint.closed_after) // 8
        self.learned_at = now

    cdef void _close_idle(self):
        cdef ClientH1 connection
        while self.idle is not None:
            connection = self.idle
            connection.close()

    cdef void retire(self):
        self.retired = True
        self._close_idle()


cdef class Sharing(Timed):
    cdef void start(self):
        if self.timer.next == NULL:
            self.pool.reactor.wheel.start(&self.timer, self, 0, SHARING_EVERY)

    cdef void on_timer(self, int kind) noexcept:
        cdef Pool pool = self.pool
        cdef Cluster cluster = pool.cluster
        cdef StreamUser user
        cdef uint64_t pending = sum_rows(cluster.rows + CL_RQ_PENDING, CLUSTER_ROW, cluster.slots)
        if pool.waiting:
            if pool._room() and not pool._connect():
                user = pool.waiting.popleft()
                fm_bump(&cluster.row[CL_RQ_PENDING], <uint64_t>-1)
                user.on_upstream_failed(FAIL_CONNECT)
        elif pending and pool.idle is not None:
            pool.idle.close()             # its place goes to whoever waits
        if pool.waiting or pool.idle is not None:
            self.start()
