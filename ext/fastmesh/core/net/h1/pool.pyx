"""See pool.pxd.

How long an idle connection may be trusted is learned from the application: the shortest idle time after which it closed one lately
(`closed_after`). A request that must not run twice only takes a connection that has been idle for less than half of that.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport CLUSTER_ROW, CL_RQ_PENDING
from fastmesh.core.net.h1.client cimport CLIENT_CONNECTING, ClientH1, connect_h1
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_NONE
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport Upstream

cdef enum:
    TIMER_IDLE = 1            # the kind that ClientH1 knows
    SHARING_EVERY = 20        # ms
    LEARNED_FOR = 60000       # ms: what was learned of an application holds this long
    IDLE_MAX = 1024           # idle connections kept to one endpoint
    LEFT_MAX = 64             # connections on their way for requests that have left since: above it, who comes takes one of those


cdef PoolH1 make_pool_h1(Reactor reactor, Cluster cluster, Endpoint endpoint):
    cdef PoolH1 pool = PoolH1.__new__(PoolH1)
    pool.reactor = reactor
    pool.cluster = cluster
    pool.endpoint = endpoint
    return pool


cdef class PoolH1(Pool):
    cdef ClientStream take(self, StreamUser user, bint idempotent, bint fresh, int* failure):
        cdef ClientH1 connection
        failure[0] = FAIL_NONE
        if not fresh:
            connection = self._reuse(user, idempotent)
            if connection is not None:
                connection.assign(user)
                return connection
        user.wants_new = fresh
        if self._wait(user, failure) and self.connecting < <Py_ssize_t>len(self.waiting) - 1 + LEFT_MAX:
            if self._room():
                if not self._connect(user):
                    self.forget(user)
                    failure[0] = FAIL_CONNECT
            elif self.idle is not None:
                self.idle.close()         # it does not fit this user: its place goes to one that does
        return None

    cdef ClientH1 _reuse(self, StreamUser user, bint idempotent):
        cdef ClientH1 connection, next
        cdef uint64_t age, now, trusted
        next = self.idle
        while next is not None:
            connection = next
            next = connection.next_idle
            if not self.fits(connection, user):
                if not self.current(connection):
                    self._outdated()      # made under another TLS policy
                    connection.close()
                continue
            self._unlink(connection)
            if not idempotent and self.endpoint.closed_after:
                now = now_ms()
                age = now - connection.idle_since
                trusted = self.endpoint.closed_after // 2
                if now - self.learned_at < LEARNED_FOR and age >= trusted:
                    connection.close()
                    continue
            if idempotent and connection.idle_turn != self.reactor.turn and connection.unheard():
                return connection         # the likely case; what comes in this turn finds a request that may run again
            # What came since the last look of the loop would be taken for the answer of this request (or is its FIN)
            if connection.quiet():
                return connection
            connection.close()
        return None

    cdef void _no_room(self):
        """Look now and then whether connections of a limited cluster are needed elsewhere, or have come free."""
        if self.sharing is None:
            self.sharing = Sharing.__new__(Sharing)
            self.sharing.pool = self
        self.sharing.start()

    cdef Upstream _open(self, Tls tls):
        return connect_h1(self.reactor, self, self.endpoint, self.cluster, tls)

    cdef void on_connected(self, Upstream upstream):
        self.connecting -= 1
        if self.current(upstream):
            self._hand_on(<ClientH1>upstream)
        else:
            self._outdated()              # the TLS policy has changed meanwhile
            (<ClientH1>upstream).close()

    cdef bint _suits(self, Upstream connection, StreamUser user):
        return self.fits(connection, user) and not (user.wants_new and (<ClientH1>connection).served)

    cdef void on_free(self, Upstream upstream):
        cdef ClientH1 connection = <ClientH1>upstream
        # For somebody who waits, it is used again at once: the endpoint may have closed it behind its answer
        if self._fits_again(connection) and (not self.waiting or connection.quiet()):
            self._hand_on(connection)
        else:
            connection.close()

    cdef void _hand_on(self, ClientH1 connection):
        cdef StreamUser user = self._next(connection)
        if user is not None:
            connection.assign(user)
            user.on_upstream(connection)
        elif self.waiting and self.connecting < len(self.waiting):
            connection.close()            # those that wait want another server name: one is opened for them
        elif self.idle_count >= IDLE_MAX:
            connection.close()            # who it was meant for has left
        else:
            self._keep(connection)

    cdef bint _fits_again(self, ClientH1 connection):
        cdef Cluster cluster = self.cluster
        if self.retired or self.idle_count >= IDLE_MAX:
            return False
        if not self.current(connection):
            self._outdated()
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
        connection.idle_turn = self.reactor.turn
        connection.next_idle = self.idle
        self.idle = connection
        self.idle_count += 1
        if limit and (connection.timer.next == NULL or limit < connection.idle_limit):
            self.reactor.wheel.start(&connection.timer, connection, TIMER_IDLE, limit)
        connection.idle_limit = limit if limit else <uint64_t>1 << 62
        if cluster.max_connections:
            self._no_room()

    cdef void on_closed(self, Upstream upstream, int failure):
        cdef ClientH1 connection = <ClientH1>upstream
        if connection.in_pool:
            self._unlink(connection)
            if failure != FAIL_NONE:
                self._learn(now_ms() - connection.idle_since)
        self._gone(connection, connection.state == CLIENT_CONNECTING, failure)

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
        cdef PoolH1 pool = self.pool
        cdef Cluster cluster = pool.cluster
        cdef uint64_t pending = sum_rows(cluster.rows + CL_RQ_PENDING, CLUSTER_ROW, cluster.slots)
        if pool.waiting:
            if pool.connecting < len(pool.waiting) and pool._room() and not pool._connect(pool.waiting[0]):
                pool._next(None).on_upstream_failed(FAIL_CONNECT)
        elif pending and pool.idle is not None:
            pool.idle.close()             # its place goes to whoever waits
        if pool.waiting or pool.idle is not None:
            self.start()
