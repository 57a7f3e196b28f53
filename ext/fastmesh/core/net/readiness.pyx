"""See readiness.pxd."""
import os
import sys

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.counters cimport WK_CX_ACTIVE, WORKER_ROW
from fastmesh.core.base.outbuf cimport OutBuf, out_consume, out_size
from fastmesh.core.base.rng cimport rng_seed
from fastmesh.core.base.wheel cimport Wheel
from fastmesh.core.net.tls.session cimport SHAKE_DONE, SHAKE_READ, SHAKE_WRITE


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

    cdef bint is_full(self) noexcept:
        return self.most_connections and sum_rows(self.rows + WK_CX_ACTIVE, WORKER_ROW, self.slots) >= self.most_connections

    cdef void dispatch(self):
        """Serve one batch of ready descriptors."""
        cdef epoll_event[BATCH] events
        cdef Descriptor descriptor
        cdef uint32_t what
        cdef int i
        cdef int count = epoll_wait(self.epoll, events, BATCH, 0)
        self.turning = True
        self.turn += 1
        self.heard_all = count < BATCH
        for i in range(count):
            (<Descriptor>events[i].data.ptr).heard = self.turn
        for i in range(count):
            descriptor = <Descriptor>events[i].data.ptr
            what = events[i].events
            if descriptor.shaking:
                descriptor.shake()
            elif descriptor.reading and what & (EPOLLIN | EPOLLERR | EPOLLHUP):
                descriptor.on_readable()
                if descriptor.writing and what & EPOLLOUT:
                    descriptor.on_writable()
            elif descriptor.writing and what & (EPOLLOUT | EPOLLERR | EPOLLHUP):
                descriptor.on_writable()
            elif descriptor.fd >= 0 and what & (EPOLLERR | EPOLLHUP):
                descriptor.on_hangup()
            if descriptor.known and what & descriptor.armed & ~descriptor.wanted():
                descriptor.arm()          # nobody has come back to it since: the set must not tell it again
        self._finish_turn()
        if self.closed:
            self.closed = []

    cdef void _finish_turn(self):
        """Read what waits inside TLS sessions, then let everybody write what the turn has gathered."""
        cdef Descriptor descriptor
        cdef list now
        self.turning = True
        if self.unread:
            now, self.unread = self.unread, []
            for descriptor in now:
                descriptor.unread = False
                if descriptor.reading and not descriptor.shaking:
                    descriptor.on_readable()
        while self.ending:
            now, self.ending = self.ending, []
            for descriptor in now:
                descriptor.ending = False
                descriptor.on_turn_end()
        self.turning = False
        if self.unread:
            self._call_soon()             # the kernel's events have their turn in between

    cdef void end_of_turn(self, Descriptor descriptor):
        if not descriptor.ending:
            descriptor.ending = True
            self.ending.append(descriptor)
            if not self.turning:
                self._call_soon()

    cdef void again(self, Descriptor descriptor):
        if not descriptor.unread:
            descriptor.unread = True
            self.unread.append(descriptor)
            if not self.turning:
                self._call_soon()

    cdef void _call_soon(self):
        if not self.called:
            self.called = True
            self.loop.call_soon(self._soon)

    def _soon(self):
        self.called = False
        self.dispatch()

    def _ready(self):
        self.dispatch()


cdef int start_reactor(Reactor reactor) except -1:
    """Make the epoll set and let the loop watch it."""
    reactor.closed = []
    reactor.ending = []
    reactor.unread = []
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


cdef ssize_t _send_two(int fd, const char* first, size_t first_size, const char* second, size_t second_size) noexcept nogil:
    cdef iovec[2] parts
    cdef msghdr message
    memset(&message, 0, sizeof(message))
    parts[0].iov_base, parts[0].iov_len = <void*>first, first_size
    parts[1].iov_base, parts[1].iov_len = <void*>second, second_size
    message.msg_iov = &parts[0 if first_size else 1]
    message.msg_iovlen = 2 if first_size else 1
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)


cdef class Descriptor(Timed):
    cdef inline uint32_t wanted(self) noexcept:
        return (EPOLLIN if self.reading else 0) | (EPOLLOUT if self.writing else 0)

    cdef void arm(self):
        cdef epoll_event event
        event.data.ptr = <void*>self
        event.events = self.armed = self.wanted()
        epoll_ctl(self.reactor.epoll, EPOLL_CTL_MOD if self.known else EPOLL_CTL_ADD, self.fd, &event)
        if not self.known:
            self.known = True
            Py_INCREF(self)               # the epoll set points to it

    # What is not wanted any more stays armed until it is told: a pause that ends within its turn costs no system call.
    cdef void watch_read(self):
        if not self.reading and self.fd >= 0:
            self.reading = True
            if not self.armed & EPOLLIN:
                self.arm()
            if self.tls is not None and not self.shaking and self.tls.has_more():
                self.reactor.again(self)

    cdef void unwatch_read(self):
        self.reading = False

    cdef void watch_write(self):
        if not self.writing and self.fd >= 0:
            self.writing = True
            if not self.armed & EPOLLOUT:
                self.arm()

    cdef void unwatch_write(self):
        self.writing = False

    cdef void mute(self):
        cdef epoll_event event
        if self.known:
            self.known = self.reading = self.writing = False
            self.armed = 0
            epoll_ctl(self.reactor.epoll, EPOLL_CTL_DEL, self.fd, &event)
            self.reactor.closed.append(self)
            Py_DECREF(self)

    cdef void close_descriptor(self):
        if self.fd >= 0:
            if self.tls is not None and not self.shut:
                self.tls.say_goodbye()
            self.mute()
            c_close(self.fd)
            self.fd = -1

    cdef void end_sending(self):
        if self.fd >= 0 and not self.shut:
            self.shut = True
            if self.tls is not None:
                self.tls.say_goodbye()
            shutdown(self.fd, SHUT_WR)

    cdef void hand_over(self, Descriptor to):
        self.mute()
        to.reactor = self.reactor
        to.fd, self.fd = self.fd, -1
        to.tls, self.tls = self.tls, None

    cdef void shake(self):
        cdef int verdict
        self.shaking = True
        verdict = self.tls.shake()
        if verdict == SHAKE_READ:
            self.unwatch_write()
            self.watch_read()
        elif verdict == SHAKE_WRITE:
            self.watch_write()
        else:
            self.shaking = False
            self.unwatch_write()
            if verdict == SHAKE_DONE:
                self.on_shaken()
                if self.reading and self.tls is not None and self.tls.has_more():
                    self.reactor.again(self)
            else:
                self.on_shake_failed()

    cdef ssize_t receive(self, char* buffer, size_t size) noexcept:
        cdef ssize_t got
        if self.tls is None:
            return c_recv(self.fd, buffer, size, MSG_DONTWAIT)
        got = self.tls.read(buffer, size)
        if got > 0 and self.tls.has_more():
            self.reactor.again(self)
        return got

    cdef bint quiet(self) noexcept:
        cdef char byte
        if self.tls is not None:
            return self.tls.quiet()
        return c_recv(self.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN

    cdef bint unheard(self) noexcept:
        return self.reactor.turning and self.reactor.heard_all and self.heard != self.reactor.turn and self.reading \
            and (self.tls is None or not self.tls.has_more())

    cdef ssize_t transmit(self, const char* data, size_t size) noexcept:
        if self.tls is None:
            return c_send(self.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT)
        return self.tls.write(data, size)

    cdef ssize_t transmit_two(self, const char* first, size_t first_size, const char* second, size_t second_size) noexcept:
        """Two pieces with one system call."""
        if self.tls is None:
            return _send_two(self.fd, first, first_size, second, second_size)
        return self.tls.write_two(first, first_size, second, second_size)

    cdef void on_readable(self):
        pass

    cdef void on_writable(self):
        pass

    cdef void on_hangup(self):
        self.mute()

    cdef void on_turn_end(self):
        pass

    cdef void on_shaken(self):
        pass

    cdef void on_shake_failed(self):
        pass

    cdef int send_out(self, OutBuf* out) noexcept:
        cdef ssize_t sent
        while out_size(out) > 0:
            sent = self.transmit(out.data + out.start, out_size(out))
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
