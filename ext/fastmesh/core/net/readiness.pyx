"""See readiness.pxd."""
import os
import sys

from libc.stdlib cimport free, malloc
from fastmesh.core.base.outbuf cimport OutBuf, out_consume, out_size
from fastmesh.core.base.rng cimport rng_seed
from fastmesh.core.base.wheel cimport Wheel


cdef class Reactor:
    def __cinit__(self, *args, **kwargs):
        self.scratch = <char*>malloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError
        rng_seed(&self.rng, int.from_bytes(os.urandom(8), sys.byteorder))

    def __dealloc__(self):
        free(self.scratch)


cdef class Descriptor(Timed):
    cdef void watch_read(self):
        if not self.reading and self.fd >= 0:
            self.reading = True
            self.reactor.loop.add_reader(self.fd, self._readable)

    cdef void unwatch_read(self):
        if self.reading:
            self.reading = False
            self.reactor.loop.remove_reader(self.fd)

    cdef void watch_write(self):
        if not self.writing and self.fd >= 0:
            self.writing = True
            self.reactor.loop.add_writer(self.fd, self._writable)

    cdef void unwatch_write(self):
        if self.writing:
            self.writing = False
            self.reactor.loop.remove_writer(self.fd)

    cdef void close_descriptor(self):
        if self.fd >= 0:
            self.unwatch_read()
            self.unwatch_write()
            c_close(self.fd)
            self.fd = -1

    def _readable(self):
        if self.fd >= 0:
            self.on_readable()

    def _writable(self):
        if self.fd >= 0:
            self.on_writable()

    cdef void on_readable(self):
        pass

    cdef void on_writable(self):
        pass

    cdef int send_out(self, OutBuf* out) noexcept:
        cdef ssize_t sent
        while out_size(out) > 0:
            sent = c_send(self.fd, out.data + out.start, out_size(out), MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent >= 0:
                out_consume(out, sent)
            elif errno == EAGAIN:
                self.watch_write()
                return 0
            elif errno != EINTR:
                return -1
        if self.writing:
            self.unwatch_write()
        return 1
