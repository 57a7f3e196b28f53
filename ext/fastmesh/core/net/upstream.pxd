"""A connection to an endpoint on its way up: connect, the TLS handshake, established. Codecs extend it."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.readiness cimport Descriptor, Reactor
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef class ConnectionOwner:   # who keeps connections to an endpoint (the pool)
    cdef void on_connected(self, Upstream connection)
    cdef void on_free(self, Upstream connection)          # there is room for another request on it
    cdef void on_closed(self, Upstream connection, int failure)

cdef enum:
    TIMER_CONNECT = 0         # the kind of Upstream.timer until the connection is established; then the timer is the codec's

cdef class Upstream(Descriptor):
    """A stream of an HTTP/2 connection is one, too, without a descriptor of its own."""
    cdef ConnectionOwner owner
    cdef Endpoint endpoint
    cdef bint established
    cdef bytes preface        # a PROXY header, sent before everything else; None: none. Set right after `reach`
    cdef Timer timer
    cdef uint64_t born        # ms
    # Open a socket and connect; False: refused at once. `tls` (or None) begins its handshake when TCP is connected.
    cdef bint reach(self, Reactor reactor, ConnectionOwner owner, Endpoint endpoint, Cluster cluster, Tls tls)
    cdef void reached(self)           # on_writable of a codec calls it while the connection is not established
    cdef void _establish(self)
    cdef void on_established(self)
    cdef void on_unreachable(self, int failure)
