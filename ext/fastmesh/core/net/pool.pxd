"""The connections of one worker to one endpoint, and the users that wait for one. PoolH1 and PoolH2 say how they are shared."""
from libc.stdint cimport uint64_t
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.upstream cimport ConnectionOwner, Upstream
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef class Pool(ConnectionOwner):
    cdef Reactor reactor
    cdef Cluster cluster      # of the newest snapshot
    cdef Endpoint endpoint
    cdef readonly int connections
    cdef object waiting       # deque of StreamUser
    cdef bint retired         # no longer in the configuration: nothing is kept

    # A stream for `user`: at once, or later through user.on_upstream. NULL-like None with *failure set: not to be had.
    # `idempotent`: it may run twice; `fresh`: on a new connection.
    cdef ClientStream take(self, StreamUser user, bint idempotent, bint fresh, int* failure)
    cdef void forget(self, StreamUser user)          # the user does not wait any more
    cdef void retire(self)
    # for the two kinds
    cdef bint _wait(self, StreamUser user, int* failure)      # in the queue; False: too many wait
    cdef StreamUser _next(self)                      # who waited longest, out of the queue
    cdef bint _room(self) noexcept                   # one more connection may be opened; counts it when so
    cdef void _no_room(self)                         # the cluster's connections are all in use
    cdef bint _connect(self)                         # open the connection that `_room` counted
    cdef Upstream _open(self)                        # None: refused at once
    cdef void _count_out(self, bint connecting, int failure)  # a connection has ended
    cdef void _gone(self, bint connecting, int failure)       # the same, and who waited for it is told
