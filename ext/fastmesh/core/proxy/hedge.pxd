"""Hedging: when an endpoint has not answered for a while, a second one is asked, too, and the first answer counts (RoutePolicy `hedge`).

Only for requests without a body whose method may run twice. The second attempt counts as a retry of its cluster, with its limits. What
it hears it passes to the exchange once its answer is the one that counts; the other attempt is broken off then.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.proxy.mirror cimport Mirroring
from fastmesh.core.route.endpoint cimport Endpoint

cdef class Rival(StreamUser):
    cdef Hedging exchange             # None: nobody waits for it any more
    cdef Timer timer                  # runs until it begins
    cdef ClientStream upstream
    cdef Pool pool                    # where a connection is waited for
    cdef Endpoint endpoint            # set when it has begun
    cdef bint won                     # its answer counts
    cdef uint64_t asked_at            # as that of the exchange
    cdef void _begin(self)
    cdef void _win(self)
    cdef void leave(self)
    cdef void _report(self, int outcome, int status)

cdef class Hedging(Mirroring):
    cdef void hedge(self)             # a rival, which begins when the time comes
    cdef bint trying(self)            # an attempt of the exchange's own is under way
