"""A connection from its accept until it is known what is spoken on it, for listeners whose filter chains depend on its first bytes.

The ClientHello is read before TLS is known: its server name and protocols choose the chain, and with it the certificate, what is asked
of the client, or that the bytes are passed on as they are. What is no TLS takes the plaintext chain. Whoever fits no chain is closed
before anything is answered: a STRICT port has no chain for plaintext.

Where connections begin with a PROXY header it is read before all that: the client and the place it wanted to reach are those that it
names. What does not begin so is closed unanswered.
"""
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.stream cimport Downstream
from fastmesh.core.route.chain cimport ChainTable
from fastmesh.core.wire.client_hello cimport Hello

cdef class Greeting(Downstream):
    cdef ChainTable chains    # None: they are known once the PROXY header was read
    cdef bint proxied         # a PROXY header has to come first
    cdef Timer timer          # from the accept to the end of the handshake
    cdef OutBuf held          # a hello that has not come whole
    cdef bint done            # handed over, or closed
    cdef bint lingering       # refused: an alert is on its way, what still comes is thrown away
    cdef size_t dropped       # bytes of that

    cdef void _take_header(self, const char* data, size_t size)
    cdef void _look(self, const char* data, size_t size)
    cdef void _choose(self, Hello* hello, const char* data, size_t size)
    cdef void _plaintext(self, const char* data, size_t size)
    cdef void _found(self, int codec, const char* data, size_t size)
    cdef void _linger(self)
    cdef void _drop(self, size_t size)
    cdef void _close(self)

cdef Greeting make_greeting(ChainTable chains, bint proxied)
