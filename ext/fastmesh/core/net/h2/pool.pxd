"""Connections that carry many requests at a time: as many connections as that takes."""
from libc.stdint cimport uint32_t
from fastmesh.core.net.h2.client cimport ClientH2
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef class PoolH2(Pool):
    cdef list open            # of ClientH2: established, and good for new streams
    cdef list coming          # of those that are being opened
    cdef uint32_t places      # streams of one connection, as the endpoint said last; at least one, or nothing would ever be tried

    cdef bint _trusted(self, ClientH2 connection, StreamUser user, bint idempotent) noexcept     # one with room, for this request
    cdef bint _worn(self, ClientH2 connection) noexcept       # it has carried enough, or is not wanted any more
    cdef void _serve(self, ClientH2 connection)               # those who wait
    cdef bint _wants_more(self, StreamUser user)              # more wait than the connections that come up can carry
    cdef void _more(self)
    cdef void _give_place(self)
    cdef void _fail_waiting(self, ClientH2 connection, int failure)   # those that waited for it (None: all)
    cdef void _settle(self, ClientH2 connection)              # it has no stream

cdef PoolH2 make_pool_h2(Reactor reactor, Cluster cluster, Endpoint endpoint)
