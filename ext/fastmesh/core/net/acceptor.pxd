"""A listening socket, shared by all workers: connections in, until the descriptor table is full."""
from libc.stdint cimport uint8_t
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.readiness cimport Descriptor, Reactor
from fastmesh.core.net.stream cimport ServerUserFactory

cdef class Acceptor(Descriptor):
    cdef ServerUserFactory factory
    cdef bytes local_text     # of the listening socket, when it is bound to one address
    cdef bint any_address
    cdef Timer timer
    cdef int batch            # connections accepted in one turn
    cdef bint open
    cdef bint _accept_one(self)
    cdef void _full(self)
    cdef void _wait(self)     # for less pressure, or for fewer connections
    cdef void stop(self)      # take what waits in the queue, then no more

cdef tuple address_text(const uint8_t* raw, int port)         # of 16 bytes: without and with the port, IPv4 in IPv6 as IPv4
# Where the client of an accepted connection wanted to go: what a REDIRECT of the kernel has changed, else the address that was reached.
# (16 bytes, port), or None: not over IP
cdef tuple wanted_of(int fd)

cdef Acceptor make_acceptor(Reactor reactor, ServerUserFactory factory, int fd, int batch)
