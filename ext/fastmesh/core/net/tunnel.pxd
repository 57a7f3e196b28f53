"""Bytes between two connections, as they are: what a tcp filter chain does with a client's.

Each direction ends by itself: a FIN is passed on behind the last byte, and the other direction goes on. A direction whose sink is full
is not read. A reset of one side resets the other: who got a part must not take it for all. Nothing in either direction for
the idle time: both are closed. So are they when they are too old.

An endpoint may be a proxy that has to be asked first: then the connection begins with an HTTP/1.1 request, and what comes behind a 200
is the other side (with CONNECT), or in its body (with POST, see post).
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.net.readiness cimport Descriptor, Reactor
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.stream cimport Downstream
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport ConnectionOwner, Upstream
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.wire.message cimport Head

cdef enum TunnelEnd:
    TUNNEL_DONE = 0           # both sides have ended
    TUNNEL_CLIENT_RESET
    TUNNEL_ENDPOINT_RESET
    TUNNEL_IDLE
    TUNNEL_AGED
    TUNNEL_CUT                # the proxy ends

cdef class TunnelOwner(ConnectionOwner):     # who opens a tunnel and counts it. on_connected, on_closed: of the endpoint's connection
    cdef void on_begun(self, const char* data, size_t size)  # the client's connection is ours; data[0:size] came already
    cdef void on_client_gone(self)                           # before the tunnel was open
    cdef void on_moved(self, bint to_client, size_t size)
    cdef void on_ended(self, int how)

cdef class TunnelClient(Downstream):
    cdef TunnelOwner owner
    cdef Tunnel tunnel        # None until it is open
    cdef void close(self, bint reset)

cdef class TunnelEndpoint(Upstream):
    cdef Tunnel tunnel
    cdef bytes request        # that the endpoint has to answer first; None: nothing
    cdef bint asking          # it was sent, the answer has not come
    cdef bint posts           # it is a POST
    cdef int framing          # message.Framing of its answer, and the length of its body
    cdef uint64_t length
    cdef uint32_t patience    # ms, for that answer
    cdef OutBuf answer        # as far as it has come, and then what came behind it
    cdef void close(self, bint reset)
    cdef void _read_answer(self)
    cdef int _parse(self, Head* head)

cdef class Flow:              # one direction
    cdef Tunnel tunnel
    cdef Descriptor source
    cdef Descriptor sink
    cdef bint to_client
    cdef OutBuf rest          # read, and not taken by the sink yet
    cdef Pipe pipe            # the same inside the kernel
    cdef bint bulk            # much comes at once: worth a pipe
    cdef bint ended           # the source has sent FIN
    cdef bint finished        # and it was passed on
    cdef void pull(self)      # the source can be read
    cdef void take(self, const char* data, size_t size)      # this came from it
    cdef void push(self)      # the sink can be written
    cdef void send(self, const char* data, size_t size)
    cdef void _splice(self)
    cdef void _drain(self)
    cdef void _end(self)

cdef class Tunnel(Timed):
    cdef Reactor reactor
    cdef TunnelOwner owner
    cdef TunnelClient client
    cdef TunnelEndpoint endpoint
    cdef Flow up
    cdef Flow down
    cdef Timer timer
    cdef uint64_t moved_at    # ms
    cdef uint64_t idle        # ms without a byte in either direction; 0 = for ever
    cdef uint64_t until       # ms: when it is too old; 0 = never
    cdef void _arm(self)
    cdef bint over
    cdef void end(self, int how)
    cdef void lost(self, Flow flow, bint source)             # a side of it is gone

# The endpoint's connection on its way up, `preface` (or None) its first bytes; None: refused at once
cdef TunnelEndpoint connect_tunnel(Reactor reactor, TunnelOwner owner, Endpoint endpoint, Cluster cluster, Tls tls, bytes preface)
# Both sides are connected; data[0:size] is what the client said first. `idle` and `most`: ms, 0 = for ever. `up` and
# `down`: flows of another kind
cdef Tunnel open_tunnel(TunnelOwner owner, TunnelClient client, TunnelEndpoint endpoint, const char* data, size_t size, uint64_t idle,
                        uint64_t most, Flow up, Flow down)
