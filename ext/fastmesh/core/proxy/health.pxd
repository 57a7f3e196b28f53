"""Active health checks: endpoints are asked every now and then whether they are well, by the one worker that has the duty.

A Check asks one endpoint, in the way and with the TLS that its cluster is spoken to, over a connection of its own that it keeps. The
verdict goes to the arena, where every worker's pick finds it (guard/health).
"""
from libc.stdint cimport uint64_t
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.upstream cimport ConnectionOwner, Upstream
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.health_rule cimport HealthRule
from fastmesh.core.route.snapshot cimport Snapshot
from fastmesh.core.wire.message cimport Head

cdef enum:
    ANSWER_KEPT = 64          # bytes of a gRPC server's answer; that of a health check has 7

cdef class CheckOwner(ConnectionOwner):
    cdef Check check          # None: it is over

cdef class Knock(Upstream):   # of a TCP check: connects, and that is all
    cdef void close(self, int failure)

cdef class Check(StreamUser):
    cdef Engine engine
    cdef Cluster cluster      # of the newest snapshot, and so the endpoint
    cdef Endpoint endpoint
    cdef CheckOwner owner
    cdef Upstream connection  # that is kept, or on its way
    cdef ClientStream stream
    cdef Timer timer
    cdef bint asking
    cdef int status           # of the answer; 0 = none
    cdef int grpc_status
    cdef int failure          # Failure, of the connection
    cdef char[64] answer
    cdef size_t answer_size
    cdef void begin(self)
    cdef bint _usable(self) noexcept
    cdef bint _http2(self) noexcept
    cdef void _open(self)
    cdef void _ask(self)
    cdef void _read_status(self, const Head* head) noexcept
    cdef bint _passed(self) noexcept
    cdef void _finish(self, bint passed, bint network)
    cdef void connected(self, Upstream connection)
    cdef void closed(self, Upstream connection, int failure)
    cdef void _drop(self)
    cdef void stop(self)

cdef class Checker(Timed):
    cdef Engine engine
    cdef uint64_t* duty       # the arena's word; NULL until there is a check
    cdef bint leading
    cdef bint stopped
    cdef list wanted          # clusters with a HealthCheck
    cdef dict checks          # cluster and endpoint -> Check
    cdef Timer timer
    cdef void apply(self, Snapshot snapshot)
    cdef void look(self)
    cdef void _sync(self)
    cdef void _drop_all(self)
    cdef void stop(self)      # the worker drains: another one takes the duty

cdef Checker make_checker(Engine engine)
