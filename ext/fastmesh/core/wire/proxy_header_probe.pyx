"""Shows the PROXY header to tests."""
import socket

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from fastmesh.core.wire.proxy_header cimport PROXY_BAD, PROXY_MORE, ProxyHeader, make_proxy_header, read_proxy_header


def read(bytes data):
    """("done", size, None or (source, port, target, port)), ("more",) or ("bad", why)."""
    cdef ProxyHeader header
    cdef size_t size = len(data)
    cdef char* copy = <char*>malloc(size or 1)        # of exactly its size: reading past it is seen by sanitizers
    cdef int verdict
    memcpy(copy, <const char*>data, size)
    verdict = read_proxy_header(copy, size, &header)
    free(copy)
    if verdict == PROXY_MORE:
        return ("more",)
    if verdict == PROXY_BAD:
        return ("bad", header.error.decode())
    if not header.told:
        return ("done", header.size, None)
    source, target = (<const char*>header.source)[:16], (<const char*>header.target)[:16]
    return ("done", header.size, (_text(source), header.source_port, _text(target), header.target_port))


def _text(raw):
    if raw[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def make(int version, bytes source, bytes target):
    return make_proxy_header(version, source, target)
