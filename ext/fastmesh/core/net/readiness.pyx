"""See readiness.pxd."""
import os
import sys

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from fastmesh.core.base.outbuf cimport OutBuf, out_consume, out_size
from fastmesh.core.base.rng cimport rng_seed
from fastmesh.core.base.wheel cimport Wheel


cdef class Reactor:
    def __cinit__(self, *args, **kwargs):
        self.epoll = -1
        self.scratch = <char*>malloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError
        rng_seed(&self.rng, int.from_bytes(os.urandom(8), sys.byteorder))

    def __dealloc__(self):
        free(self.scratch)
        if self.epoll >= 0:
            c_close(self.epoll)


    cdef void dispatch(self):
        """Serve one batch of ready descriptors."""
        cdef epoll_event[BATCH] events
        cdef Descriptor descriptor
        cdef uint32_t what
        cdef int i
        cdef int count = epoll_wait(self.epoll, events, BATCH, 0)
        for i in range(count):
            descriptor = <Descriptor>events[i].data.ptr
            what = events[i].events
            if descriptor.reading and what & (EPOLLIN | EPOLLERR | EPOLLHUP):
                descriptor.on_readable()
                if descriptor.writing and what & EPOLLOUT:
                    descriptor.on_writable()
            elif descriptor.writing:
                descriptor.on_writable()
            elif descriptor.fd >= 0 and what & (EPOLLERR | EPOLLHUP):
                descriptor.on_hangup()
        if self.closed:
            self.closed = []

    def _ready(self):
        self.dispatch()


cdef int start_reactor(Reactor reactor) except -1:
    """Make the epoll set and let the loop watch it."""
    reactor.closed = []
    reactor.epoll = epoll_create1(EPOLL_CLOEXEC)
    if reactor.epoll < 0:
        raise OSError("no descriptor is left for an epoll set")
    reactor.loop.add_reader(reactor.epoll, reactor._ready)
    return 0


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int fd, const msghdr* message, int flags)


cdef ssize_t send_two(int fd, const char* first, size_t first_size, const char* second, size_t second_size) noexcept nogil:
    cdef iovec[2] parts
    cdef msghdr message
    memset(&message, 0, sizeof(message))
    parts[0].iov_base, parts[0].iov_len = <void*>first, first_size
    parts[1].iov_base, parts[1].iov_len = <void*>second, second_size
    message.msg_iov = &parts[0 if first_size else 1]
    message.msg_iovlen = 2 if first_size else 1
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)


cdef class Descriptor(Timed):
    cdef void _watch(self):
        cdef epoll_event event
        event.data.ptr = <void*>self
        event.events = (EPOLLIN if self.reading else 0) | (EPOLLOUT if self.writing else 0)
        epoll_ctl(self.reactor.epoll, EPOLL_CTL_MOD if self.known else EPOLL_CTL_ADD, self.fd, &event)
        if not self.known:
            self.known = True
            Py_INCREF(self)               # the epoll set points to it

    cdef void watch_read(self):
        if not self.reading and self.fd >= 0:
            self.reading = True
            self._watch()

    cdef void unwatch_read(self):
        if self.reading:
            self.reading = False
            self._watch()

    cdef void watch_write(self):
        if not self.writing and self.fd >= 0:
            self.writing = True
            self._watch()

    cdef void unwatch_write(self):
        if self.writing:
            self.writing = False
            self._watch()

    cdef void mute(self):
        cdef epoll_event event
        if self.known:
            self.known = self.reading = self.writing = False
            epoll_ctl(self.reactor.epoll, EPOLL_CTL_DEL, self.fd, &event)
            self.reactor.closed.append(self)
            Py_DECREF(self)

    cdef void close_descriptor(self):
        if self.fd >= 0:
            self.mute()
            c_close(self.fd)
            self.fd = -1

    cdef void on_readable(self):
        pass

    cdef void on_writable(self):
        pass

    cdef void on_hangup(self):
        self.mute()

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
