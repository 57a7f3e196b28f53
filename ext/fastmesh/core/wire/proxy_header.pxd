"""The header of the PROXY protocol, versions 1 and 2, before the first byte of a connection: who the client really is, and where it
wanted to go. https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt

Strict: one spelling of everything, and what is not a whole header is none.
"""
from libc.stdint cimport uint8_t, uint16_t

cdef enum ProxyVerdict:
    PROXY_DONE = 0
    PROXY_MORE                # so far it is one
    PROXY_BAD                 # `error` says what is wrong

cdef enum:
    PROXY_LINE_MAX = 107      # of version 1, with its line end
    PROXY_MOST = 4096         # of version 2, with its TLVs

cdef struct ProxyHeader:
    size_t size               # bytes of the header
    bint told                 # it names addresses; else (LOCAL, UNKNOWN, sockets) those of the connection stand
    uint8_t source[16]        # IPv4 as ::ffff:a.b.c.d
    uint8_t target[16]
    uint16_t source_port
    uint16_t target_port
    const char* error

cdef int read_proxy_header(const char* data, size_t size, ProxyHeader* header) noexcept nogil
# `version` 1 or 2, of addresses as logs show them: b"10.0.0.1:80", b"[::1]:80"; others are told as unknown
cdef bytes make_proxy_header(int version, bytes source, bytes target)
