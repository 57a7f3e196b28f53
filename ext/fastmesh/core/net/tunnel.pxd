"""Bytes between two connections, as they are: what a tcp filter chain does with a client's.

Each direction ends by itself: a FIN is passed on behind the last byte, and the other direction goes on. A direction whose sink is full
is not read. A reset of one side resets the other: who got a part must not take it for all. Nothing in either direction for
`timeouts.tunnel`: both are closed.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.net.readiness cimport Descriptor, Reactor
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.stream cimport Downstream
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport ConnectionOwner, Upstream
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef enum TunnelEnd:
    TUNNEL_DONE = 0           # both sides have ended
    TUNNEL_CLIENT_RESET
    TUNNEL_ENDPOINT_RESET
    TUNNEL_IDLE
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
    cdef void close(self, bint reset)

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
    cdef bint over
    cdef void end(self, int how)
    cdef void lost(self, Flow flow, bint source)             # a side of it is gone

# The endpoint's connection on its way up; None: refused at once
cdef TunnelEndpoint connect_tunnel(Reactor reactor, TunnelOwner owner, Endpoint endpoint, Cluster cluster, Tls tls)
# Both sides are connected; data[0:size] is what the client said first
cdef Tunnel open_tunnel(TunnelOwner owner, TunnelClient client, TunnelEndpoint endpoint, const char* data, size_t size)
