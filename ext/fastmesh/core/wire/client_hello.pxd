"""What a TLS ClientHello says before anything is answered: the server name and the protocols that are offered. RFC 8446 section 4.1.2.

Strict: what OpenSSL would refuse later is refused here, and a name that is no host name is no name that we route by.
"""
from libc.stdint cimport uint8_t
from fastmesh.core.base.outbuf cimport OutBuf

cdef enum HelloVerdict:
    HELLO_DONE = 0
    HELLO_MORE                # so far it is one
    HELLO_PLAIN               # not TLS
    HELLO_BAD                 # it began like one; `error` says what is wrong

cdef enum:
    HELLO_NAME_MAX = 255

cdef struct Hello:
    char name[256]            # lower case, without a final dot
    size_t name_size          # 0 = none was said
    const uint8_t* protocols  # of the ALPN extension: each a length and a name; inside the given bytes or `joined`
    size_t protocols_size
    const char* error

# Reads data[0:size], the first bytes of a connection; a message longer than `most` is bad. A hello that is spread over several records
# is put together in `joined`, which the caller frees.
cdef int read_hello(const char* data, size_t size, size_t most, OutBuf* joined, Hello* hello) noexcept nogil
cdef bint offers_mesh(const Hello* hello) noexcept nogil             # a protocol that begins with "istio"
