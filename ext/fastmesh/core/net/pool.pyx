"""See pool.pxd."""
from collections import deque

from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_CX_ACTIVE, CL_CX_CONNECT_FAIL, CL_CX_CONNECT_TIMEOUT, CL_CX_OVERFLOW, CL_CX_TOTAL,
    CL_RQ_PENDING, CL_RQ_PENDING_OVERFLOW, EP_CX_ACTIVE, EP_CX_CONNECT_FAIL, EP_CX_TOTAL, WK_OPEN_FDS,
    WK_TLS_OUTDATED,
)
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_OVERFLOW, FAIL_TLS
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.client cimport ClientContext
from fastmesh.core.net.upstream cimport Upstream
from fastmesh.core.route.cluster cimport Cluster


cdef class Pool(ConnectionOwner):
    def __cinit__(self):
        self.waiting = deque()

    cdef ClientStream take(self, StreamUser user, bint idempotent, bint fresh, int* failure): return None
    cdef void retire(self): pass
    cdef void _no_room(self): pass
    cdef Upstream _open(self, Tls tls): return None

    cdef bint _wait(self, StreamUser user, int* failure):
        cdef Cluster cluster = self.cluster
        fm_bump(&cluster.row[CL_RQ_PENDING], 1)
        if cluster.max_pending and sum_rows(cluster.rows + CL_RQ_PENDING, CLUSTER_ROW, cluster.slots) > cluster.max_pending:
            fm_bump(&cluster.row[CL_RQ_PENDING], <uint64_t>-1)
            fm_bump(&cluster.row[CL_RQ_PENDING_OVERFLOW], 1)
            failure[0] = FAIL_OVERFLOW
            return False
        self.waiting.append(user)
        return True

    cdef void forget(self, StreamUser user):
        try:
            self.waiting.remove(user)
        except ValueError:
            return
        fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)

    cdef StreamUser _next(self, Upstream connection):
        cdef StreamUser user
        if not self.waiting:
            return None
        user = self.waiting[0]
        if connection is not None and not self._suits(connection, user):
            for user in self.waiting:
                if self._suits(connection, user):
                    break
            else:
                return None
            self.waiting.remove(user)
        else:
            self.waiting.popleft()
        fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)
        return user

    cdef bint _suits(self, Upstream connection, StreamUser user):
        return self.fits(connection, user)

    cdef bint _room(self) noexcept:
        cdef Cluster cluster = self.cluster
        fm_bump(&cluster.row[CL_CX_ACTIVE], 1)
        if cluster.max_connections and sum_rows(cluster.rows + CL_CX_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_connections:
            fm_bump(&cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&cluster.row[CL_CX_OVERFLOW], 1)
            self._no_room()
            return False
        return True

    cdef bint _connect(self, StreamUser user):
        cdef ClientContext context = self.tls_now()
        cdef Tls tls = None
        cdef Upstream opened = None
        cdef bytes preface = user.preface(self.cluster.proxy_protocol) if self.cluster.proxy_protocol else None
        if context is not None:
            tls = context.open(self.endpoint.text, context.name or user.server_name(), self.http2)
        if context is None or tls is not None:
            opened = self._open(tls)
        if opened is None:
            fm_bump(&self.cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&self.cluster.row[CL_CX_CONNECT_FAIL], 1)
            fm_bump(&self.endpoint.row[EP_CX_CONNECT_FAIL], 1)
            return False
        opened.preface = preface
        self.connections += 1
        self.connecting += 1
        fm_bump(&self.cluster.row[CL_CX_TOTAL], 1)
        fm_bump(&self.endpoint.row[EP_CX_TOTAL], 1)
        fm_bump(&self.endpoint.row[EP_CX_ACTIVE], 1)
        fm_bump(&self.reactor.row[WK_OPEN_FDS], 1)
        return True

    cdef void _count_out(self, Upstream connection, bint connecting, int failure):
        self.connections -= 1
        fm_bump(&self.cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
        fm_bump(&self.endpoint.row[EP_CX_ACTIVE], <uint64_t>-1)
        fm_bump(&self.reactor.row[WK_OPEN_FDS], <uint64_t>-1)
        if connecting and failure != FAIL_NONE:
            fm_bump(&self.cluster.row[CL_CX_CONNECT_FAIL], 1)
            fm_bump(&self.endpoint.row[EP_CX_CONNECT_FAIL], 1)
            if failure == FAIL_CONNECT_TIMEOUT:
                fm_bump(&self.cluster.row[CL_CX_CONNECT_TIMEOUT], 1)
            elif failure == FAIL_TLS:
                self.tls_error = connection.tls.error
        self.connecting -= connecting

    cdef void _gone(self, Upstream connection, bint connecting, int failure):
        cdef StreamUser user
        self._count_out(connection, connecting, failure)
        if connecting and failure != FAIL_NONE:
            user = self._next(connection)
            if user is not None:
                user.on_upstream_failed(failure)
        if self.waiting and self.connecting < len(self.waiting) and self._room() and not self._connect(self.waiting[0]):
            self._next(None).on_upstream_failed(FAIL_CONNECT)

    cdef ClientContext tls_now(self):
        cdef Cluster cluster = self.cluster
        if cluster.tls is None or cluster.tls_auto and not self.endpoint.mesh_tls:
            return None
        return <ClientContext>cluster.tls

    cdef bint named_by_host(self):
        cdef ClientContext context = self.tls_now()
        return self.cluster.proxy_protocol != 0 or context is not None and not context.name

    cdef bint current(self, Upstream connection):
        cdef ClientContext context = self.tls_now()
        if (connection.preface is None) != (self.cluster.proxy_protocol == 0):
            return False
        if connection.tls is None:
            return context is None
        return connection.tls.context is context or (<ClientContext>connection.tls.context).lasts(
            context, connection.born, self.reactor.timeouts.renewed)

    cdef void _outdated(self) noexcept:
        fm_bump(&self.reactor.row[WK_TLS_OUTDATED], 1)

    cdef bint fits(self, Upstream connection, StreamUser user):
        cdef ClientContext context = self.tls_now()
        if self.cluster.proxy_protocol and connection.preface != user.preface(self.cluster.proxy_protocol):
            return False                  # it speaks for another client
        if connection.tls is None:
            return context is None
        return self.current(connection) and (context.name or user.server_name()) == connection.tls.sni
