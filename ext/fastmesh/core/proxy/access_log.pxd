"""One line per request, written without a Python object: Istio's JSON keys (and the article's five), Istio's text, or ECS.

Lines are gathered and leave with one write per FLUSH_BYTES or FLUSH_MS. A file that cannot take them loses lines, counted in
WK_LOG_DROPPED; requests never wait for it.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.proxy.engine cimport AccessLog, Engine
from fastmesh.core.proxy.transit cimport Transit

cdef enum LogFormat:
    LOG_JSON = 0
    LOG_TEXT = 1
    LOG_ECS = 2

cdef struct Writer:           # a cursor over room that was reserved for the longest line
    char* at

cdef class LogFlush(Timed)

cdef class LogFile(AccessLog):
    cdef Engine engine
    cdef object path          # None = standard output
    cdef int fd
    cdef int format
    cdef OutBuf lines
    cdef LogFlush flusher
    cdef uint64_t second      # of `stamp`
    cdef char[20] stamp       # 2026-11-23T20:00:00
    cdef void flush(self)
    cdef void reopen(self)
    cdef int _stamp(self, uint64_t wall, char* to) noexcept
    cdef void _json(self, Writer* w, Transit t, uint64_t now, uint64_t wall)
    cdef void _article(self, Writer* w, Transit t, uint64_t lasted, const char* begun, uint64_t wall)
    cdef void _plain(self, Writer* w, Transit t, uint64_t now, uint64_t wall)
    cdef void _ecs(self, Writer* w, Transit t, uint64_t now, uint64_t wall)
    cdef void _ecs_request(self, Writer* w, Transit t, uint64_t lasted)

cdef class LogFlush(Timed):
    cdef LogFile log
    cdef Timer timer

cdef LogFile open_log(Engine engine, path, str format)
