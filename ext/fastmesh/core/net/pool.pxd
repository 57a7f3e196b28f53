"""The connections of one worker to one endpoint: idle ones to reuse, and users that wait for one."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.net.client_h1 cimport ClientH1, ConnectionOwner
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef class Pool(ConnectionOwner):
    cdef Reactor reactor
    cdef Cluster cluster
    cdef Endpoint endpoint
    cdef ClientH1 idle        # stack: the one used last is used first
    cdef readonly int idle_count
    cdef readonly int connections
    cdef object waiting       # deque of StreamUser
    cdef bint retired         # no longer in the configuration: nothing is kept
    cdef Sharing sharing      # hands idle connections back when other workers wait for room
    cdef uint64_t learned_at  # ms: when endpoint.closed_after was seen last

    # A connection for `user`: at once, or later through user.on_upstream. NULL-like None with *failure set: not to be had.
    cdef ClientH1 take(self, StreamUser user, bint idempotent, bint fresh, int* failure)
    cdef void forget(self, StreamUser user)          # the user does not wait any more
    cdef void retire(self)
    cdef ClientH1 _reuse(self, bint idempotent)
    cdef bint _room(self) noexcept
    cdef bint _connect(self)
    cdef void _share(self)
    cdef bint _fits_again(self, ClientH1 connection)
    cdef void _keep(self, ClientH1 connection)
    cdef void _unlink(self, ClientH1 connection)
    cdef void _learn(self, uint64_t age)
    cdef void _close_idle(self)

cdef class Sharing(Timed):    # of a pool whose cluster limits its connections
    cdef Pool pool
    cdef Timer timer
    cdef void start(self)

cdef Pool make_pool(Reactor reactor, Cluster cluster, Endpoint endpoint)
