"""WebSocket: a request for an upgrade on its way to the endpoint, and the tunnel that its 101 opens.

The rules and the log see a GET whatever the versions are. HTTP/1 says Upgrade and proves the answer with a key, HTTP/2 says extended
CONNECT and needs none (RFC 8441 5): where the two meet the key is made, checked and left out here. Bytes that the client sends before
the endpoint has agreed wait in `body`.

In a tunnel each direction ends by itself. One that stands still in both for `timeouts.tunnel` (after one of them has ended:
`timeouts.body`) is broken off; no other time-out holds for it.
"""
from fastmesh.core.proxy.attempt cimport Attempting
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef enum TunnelEnd:          # Transit.tunnel_ends
    CLIENT_ENDED = 1
    ENDPOINT_ENDED = 2

cdef enum:
    TIMER_TUNNEL = 4          # beside attempt.AttemptTimer

cdef class Tunnelling(Attempting):
    cdef int begin_upgrade(self)                          # a verdict
    cdef void upgrade_out(self, HeadOut* out)
    cdef bint agreed(self, const Head* head)              # the endpoint's answer opens a tunnel
    cdef void upgraded_out(self, const Head* head, HeadOut* out)
    cdef void open_tunnel(self)                           # the client was told
    cdef void hold(self, const char* data, size_t size)
    cdef void end_side(self, int end)
    cdef void look_idle(self)

cdef bytes accept_of(bytes key)                           # RFC 6455 4.2.2
