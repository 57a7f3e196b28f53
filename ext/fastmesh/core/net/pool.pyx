"""See pool.pxd."""
from collections import deque

from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_CX_ACTIVE, CL_CX_CONNECT_FAIL, CL_CX_CONNECT_TIMEOUT, CL_CX_OVERFLOW, CL_CX_TOTAL,
    CL_RQ_PENDING, CL_RQ_PENDING_OVERFLOW, EP_CX_ACTIVE, EP_CX_CONNECT_FAIL, EP_CX_TOTAL, WK_OPEN_FDS,
)
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_OVERFLOW
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.upstream cimport Upstream
from fastmesh.core.route.cluster cimport Cluster


cdef class Pool(ConnectionOwner):
    def __cinit__(self):
        self.waiting = deque()

    cdef ClientStream take(self, StreamUser user, bint idempotent, bint fresh, int* failure): return None
    cdef void retire(self): pass
    cdef void _no_room(self): pass
    cdef Upstream _open(self): return None

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

    cdef StreamUser _next(self):
        fm_bump(&self.cluster.row[CL_RQ_PENDING], <uint64_t>-1)
        return self.waiting.popleft()

    cdef bint _room(self) noexcept:
        cdef Cluster cluster = self.cluster
        fm_bump(&cluster.row[CL_CX_ACTIVE], 1)
        if cluster.max_connections and sum_rows(cluster.rows + CL_CX_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_connections:
            fm_bump(&cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
            fm_bump(&cluster.row[CL_CX_OVERFLOW], 1)
            self._no_room()
            return False
        return True

    cdef bint _connect(self):
        if self._open() is None:
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

    cdef void _count_out(self, bint connecting, int failure):
        self.connections -= 1
        fm_bump(&self.cluster.row[CL_CX_ACTIVE], <uint64_t>-1)
        fm_bump(&self.endpoint.row[EP_CX_ACTIVE], <uint64_t>-1)
        fm_bump(&self.reactor.row[WK_OPEN_FDS], <uint64_t>-1)
        if connecting and failure != FAIL_NONE:
            fm_bump(&self.cluster.row[CL_CX_CONNECT_FAIL], 1)
            fm_bump(&self.endpoint.row[EP_CX_CONNECT_FAIL], 1)
            if failure == FAIL_CONNECT_TIMEOUT:
                fm_bump(&self.cluster.row[CL_CX_CONNECT_TIMEOUT], 1)

    cdef void _gone(self, bint connecting, int failure):
        self._count_out(connecting, failure)
        if connecting and failure != FAIL_NONE and self.waiting:
            self._next().on_upstream_failed(failure)
        if self.waiting and self.connections < len(self.waiting) and self._room() and not self._connect():
            self._next().on_upstream_failed(FAIL_CONNECT)
