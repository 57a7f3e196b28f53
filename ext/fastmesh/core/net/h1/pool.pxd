"""Connections that carry one request at a time: idle ones are kept to be used again."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.net.h1.client cimport ClientH1
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef class PoolH1(Pool):
    cdef ClientH1 idle        # stack: the one used last is used first
    cdef readonly int idle_count
    cdef Sharing sharing      # hands idle connections back when other workers wait for room
    cdef uint64_t learned_at  # ms: when endpoint.closed_after was seen last

    cdef ClientH1 _reuse(self, StreamUser user, bint idempotent)
    cdef void _hand_on(self, ClientH1 connection)
    cdef bint _fits_again(self, ClientH1 connection)
    cdef void _keep(self, ClientH1 connection)
    cdef void _unlink(self, ClientH1 connection)
    cdef void _learn(self, uint64_t age)
    cdef void _close_idle(self)

cdef class Sharing(Timed):    # of a pool whose cluster limits its connections
    cdef PoolH1 pool
    cdef Timer timer
    cdef void start(self)

cdef PoolH1 make_pool_h1(Reactor reactor, Cluster cluster, Endpoint endpoint)
