"""See pool.pxd.

Requests go to the first connection that has room, so that what leaves together is written together. While a connection comes up those
who wait count on the places that the endpoint gave on others. A pool without any connection may always open one: the workers of a proxy share the
limit of connections, but each needs one of its own (Envoy's rule).
"""
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport CL_CX_ACTIVE
from fastmesh.core.net.h2.client cimport STREAMS_UNSAID, ClientH2, connect_h2
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_NONE
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport Upstream
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint


cdef PoolH2 make_pool_h2(Reactor reactor, Cluster cluster, Endpoint endpoint):
    cdef PoolH2 pool = PoolH2.__new__(PoolH2)
    pool.reactor = reactor
    pool.cluster = cluster
    pool.endpoint = endpoint
    pool.open, pool.coming = [], []
    pool.http2 = True
    pool.places = STREAMS_UNSAID
    return pool


cdef class PoolH2(Pool):
    cdef ClientStream take(self, StreamUser user, bint idempotent, bint fresh, int* failure):
        cdef ClientH2 connection
        cdef Py_ssize_t at = 0
        failure[0] = FAIL_NONE
        if not fresh and (not self.waiting or self.named_by_host()):
            while at < PyList_GET_SIZE(self.open):
                connection = <ClientH2>PyList_GET_ITEM(self.open, at)
                if self._worn(connection):
                    connection.frames.leave()
                    self.on_free(connection)          # it is not in the list any more
                    continue
                if connection.frames.room() and self.fits(connection, user) and self._trusted(connection, user, idempotent):
                    connection.cluster = self.cluster
                    return connection.frames.assign(user)
                at += 1
        if self._wait(user, failure) and self._wants_more(user):
            if not self._room():
                self._give_place()
            elif not self._connect(user):
                self.forget(user)
                failure[0] = FAIL_CONNECT
        return None

    cdef bint _trusted(self, ClientH2 connection, StreamUser user, bint idempotent) noexcept:
        if user.head.upgrade and not connection.frames.settings_seen:
            return False                  # it has not said whether it takes extended CONNECT
        # One that was at rest may have been told goodbye since the loop looked at it last; what may run twice finds that out itself
        return idempotent or connection.frames.streams.count > 0 or connection.quiet()

    cdef bint _worn(self, ClientH2 connection) noexcept:
        cdef Cluster cluster = self.cluster
        if self.retired or connection.frames.leaving:
            return True
        if not self.current(connection):
            self._outdated()              # once: it leaves now
            return True
        if cluster.max_requests_per_connection and connection.frames.opened >= cluster.max_requests_per_connection:
            return True
        return cluster.max_connection_duration and now_ms() - connection.born >= cluster.max_connection_duration

    cdef bint _room(self) noexcept:
        if not self.open and self.connecting == 0:
            fm_bump(&self.cluster.row[CL_CX_ACTIVE], 1)
            return True
        return Pool._room(self)

    cdef void _give_place(self):
        """A connection for another server name that carries nothing makes room for one that is waited for."""
        cdef ClientH2 connection
        if self.named_by_host():
            for connection in self.open:
                if connection.frames.streams.count == 0:
                    connection.close(FAIL_NONE)
                    return

    cdef Upstream _open(self, Tls tls):
        cdef ClientH2 connection = connect_h2(self.reactor, self, self.endpoint, self.cluster, tls, self.places)
        if connection is not None:
            self.coming.append(connection)
        return connection

    cdef bint _wants_more(self, StreamUser user):
        cdef ClientH2 connection
        cdef uint32_t places = self.places
        if self.named_by_host():
            for connection in self.coming:
                if self.fits(connection, user):
                    return False
            return True
        if self.cluster.max_streams and self.cluster.max_streams < places:
            places = self.cluster.max_streams
        if self.cluster.max_requests_per_connection and self.cluster.max_requests_per_connection < places:
            places = self.cluster.max_requests_per_connection
        return <uint64_t>len(self.waiting) > <uint64_t>self.connecting * places

    cdef void _more(self):
        cdef StreamUser user
        if not self.waiting:
            return
        user = self.waiting[0]
        if self._wants_more(user) and self._room() and not self._connect(user) and not self.open and not self.connecting:
            self._fail_waiting(None, FAIL_CONNECT)

    cdef void _fail_waiting(self, ClientH2 connection, int failure):
        cdef StreamUser user = self._next(connection)
        cdef list users = []
        while user is not None:
            users.append(user)
            user = self._next(connection)
        for user in users:
            user.on_upstream_failed(failure)

    cdef void _serve(self, ClientH2 connection):
        cdef StreamUser user
        while self.waiting and connection.frames.room():
            user = <StreamUser>self.waiting[0]
            if user.head.upgrade and not connection.frames.settings_seen:
                break                     # nobody knows yet whether the endpoint takes that (RFC 8441 3)
            user = self._next(connection)
            if user is None:
                return
            user.on_upstream(connection.frames.assign(user))

    cdef void _settle(self, ClientH2 connection):
        if connection.frames.peer.max_streams == 0:   # good for nothing; a new one may be told otherwise
            connection.close(FAIL_NONE)
        else:
            connection.rest(self.reactor.timeouts.upstream_idle if self.cluster.idle_timeout < 0 else self.cluster.idle_timeout)

    cdef void on_connected(self, Upstream upstream):
        cdef ClientH2 connection = <ClientH2>upstream
        self.connecting -= 1
        self.coming.remove(connection)
        self.open.append(connection)
        if self.current(connection):
            self._serve(connection)
        self.on_free(connection)

    cdef void on_free(self, Upstream upstream):
        cdef ClientH2 connection = <ClientH2>upstream
        if connection.frames.settings_seen and connection.frames.peer.max_streams:
            self.places = connection.frames.peer.max_streams
        if self._worn(connection):
            connection.frames.leave()
            if connection in self.open:
                self.open.remove(connection)
            if connection.frames.streams.count == 0:
                connection.close(FAIL_NONE)
            self._more()
            return
        if self.waiting:
            self._serve(connection)
        if connection.frames.streams.count == 0 and connection.fd >= 0:
            self._settle(connection)
        if self.waiting and self.named_by_host():
            self._more()

    cdef void on_closed(self, Upstream upstream, int failure):
        cdef ClientH2 connection = <ClientH2>upstream
        if connection.established:
            if connection in self.open:
                self.open.remove(connection)
        else:
            self.coming.remove(connection)
        self._count_out(connection, not connection.established, failure)
        if connection.established or failure == FAIL_NONE:
            self._more()
        elif self.named_by_host():
            self._fail_waiting(connection, failure)
        elif not self.open and self.connecting == 0:
            self._fail_waiting(None, failure)         # else they are served as streams end, or the next request tries again

    cdef void retire(self):
        cdef ClientH2 connection
        self.retired = True
        for connection in list(self.open):
            self.on_free(connection)
