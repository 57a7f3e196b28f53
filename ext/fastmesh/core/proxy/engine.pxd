"""What all exchanges of one worker share."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.scratch cimport Scratch
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.snapshot cimport Snapshot
from fastmesh.core.wire.h1_write cimport HeadOut

cdef class AccessLog:         # what the exchange tells about itself; see proxy/access_log
    cdef void write(self, StreamUser exchange)

cdef class Engine(Reactor):
    cdef Arena arena
    cdef readonly int slot
    cdef Snapshot snapshot    # what new requests run on
    cdef AccessLog log        # None = off
    cdef dict pools           # cluster name + endpoint (+ "h2") -> Pool
    cdef StreamUser spare     # exchanges to use again, each the next one's `next_spare`
    cdef int spares
    cdef dict principals      # peer principal -> its number in proxy.account
    cdef object series        # proxy.account's table for requests that met no host
    cdef HeadOut out          # scratch for the head that is being written
    cdef Scratch made         # and for values that are put together for it
    cdef readonly Py_ssize_t active           # exchanges under way
    cdef bytes date           # "Mon, 23 Nov 2026 20:00:00 GMT"
    cdef uint64_t date_at     # the second it stands for
    cdef object lease_bell    # called without arguments: leases of global limits ask the master for tokens
    cdef object outside       # proxy.outside: who asks DNS for the hosts of requests
    cdef uint64_t retry_body  # request body bytes kept for another attempt
    cdef Pool pool_of(self, Cluster cluster, Endpoint endpoint, bint http2)
    cdef Pool _find_pool(self, Cluster cluster, Endpoint endpoint, bint http2)
    cdef bytes http_date(self)
