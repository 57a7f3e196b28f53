"""One worker: its listeners, its snapshot, and the life of both."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.net.acceptor cimport Acceptor
from fastmesh.core.net.stream cimport Downstream, ServerStream, ServerUserFactory, StreamUser
from fastmesh.core.net.tls.contexts cimport TlsContexts
from fastmesh.core.proxy.access_log cimport LogFile
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.route.chain cimport ChainTable
from fastmesh.core.proxy.health cimport Checker
from fastmesh.core.route.snapshot cimport Listener

cdef class Gate(ServerUserFactory):       # one listening socket with the routes behind it
    cdef Engine engine
    cdef Listener listener
    cdef Acceptor acceptor
    cdef set open             # its connections
    cdef int own_port
    cdef tuple _wanted(self, int fd)
    cdef ChainTable _chains_at(self, bytes wanted, int port)
    cdef bint _outdated(self, Downstream connection)
    cdef void part_with_outdated(self)      # after a reload

cdef class Worker(Engine):
    cdef readonly dict settings
    cdef TlsContexts contexts
    cdef Checker checker
    cdef object load_filter   # (plan of a filter) -> the user's object
    cdef dict gates           # listener name -> Gate
    cdef list closing         # gates without a listener whose connections still live
    cdef uint64_t* pressure   # this worker's PressureWord row
    cdef Gate _open(self, Listener listener, int fd)
    cdef void _sort_pools(self)
    cdef void _limit_h2(self, dict given, uint32_t grace)
