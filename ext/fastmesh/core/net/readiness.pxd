"""Raw descriptors, and who says when they are ready.

`Reactor` is what everything on descriptors shares within one worker: the loop, the timers, the scratch buffer, the limits, and one
epoll set, which uvloop watches like any other descriptor. uvloop's own poll handles are not used per connection: after EPOLLERR they
call back once and forget the descriptor, so that an error behind unread bytes is never seen; and each costs about 700 bytes.
`Descriptor` is one socket, with a TLS session on it or without. recv, send and the rest are called here, in C.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.base.wheel cimport Timed, Wheel
from fastmesh.core.net.h2.budget cimport H2Limits
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.wire.message cimport Limits

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    ssize_t c_recv "recv"(int fd, void* buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void* buffer, size_t size, int flags)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* size)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t size)
    int MSG_NOSIGNAL, MSG_DONTWAIT, MSG_PEEK, SHUT_WR, SHUT_RD, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_LINGER
    int MSG_MORE

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, EINTR, EINPROGRESS, EMFILE, ENFILE, ECONNABORTED, ENOBUFS, ENOMEM, ECONNRESET, EPIPE, ECONNREFUSED

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int room, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP

cdef enum:
    BATCH = 256               # events taken from the epoll set at a time
    SCRATCH = 262144          # one receive buffer for all connections of a worker
    HIGH_WATER = 262144       # bytes waiting for a slow peer above which the other side is no longer read
    LOW_WATER = 65536

cdef struct Timeouts:         # ms
    uint32_t header           # from the first byte (or the accept) to the end of a request head
    uint32_t idle             # between requests
    uint32_t body             # between two pieces of a request body, and of a response that a client does not take
    uint32_t upstream_idle    # how long an idle upstream connection is kept, unless a rule says otherwise
    uint32_t linger           # reading on after a refusal, so that it arrives
    uint32_t handshake        # from the accept to the end of the TLS handshake
    uint32_t renewed          # at most, that an upstream connection is used after its certificate was renewed
    uint32_t tunnel           # without a byte in either direction of a tunnel

cdef class Reactor:
    cdef object loop
    cdef Wheel wheel
    cdef Rng rng
    cdef char* scratch
    cdef Limits limits
    cdef Limits response_limits       # the same without a limit on bodies
    cdef Timeouts timeouts
    cdef H2Limits h2
    cdef uint64_t* row        # this worker's WorkerWord row
    cdef int epoll            # -1 until `start_reactor`
    cdef list closed          # what ended since the last batch: events and callers may still point to it
    cdef list ending          # descriptors that asked for `on_turn_end`
    cdef list unread          # descriptors whose TLS session has bytes that the kernel does not know of
    cdef bint turning         # inside `dispatch`
    cdef bint heard_all       # the last look at the epoll set brought all that was ready
    cdef uint64_t turn        # number of that look
    cdef bint called          # `_ready` will be called soon, whatever the epoll set says
    cdef bint draining
    cdef bint parting         # answers end their connections: it drains, or is under pressure
    cdef bint accepts_none    # under pressure: connections wait in the kernel's queue
    cdef uint32_t shedding    # requests whose class has this share or less are refused; 0 = none are
    cdef uint64_t* rows       # WorkerWord rows of all workers
    cdef int slots            # how many
    cdef uint64_t most_connections    # of clients, all workers together; 0 = no limit
    cdef readonly Py_ssize_t connections      # downstream

    cdef bint is_full(self) noexcept  # of connections
    cdef void dispatch(self)
    cdef void end_of_turn(self, Descriptor descriptor)    # call its on_turn_end once, when this batch of events is served
    cdef void again(self, Descriptor descriptor)          # call its on_readable once more, soon
    cdef void _finish_turn(self)
    cdef void _call_soon(self)

cdef int start_reactor(Reactor reactor) except -1

cdef class Descriptor(Timed):
    cdef Reactor reactor
    cdef Tls tls              # None: plaintext
    cdef readonly int fd      # -1 = closed, or a stream that shares the descriptor of its connection
    cdef bint known           # in the epoll set
    cdef uint32_t armed       # what it waits for there: at least what is wanted
    cdef bint reading         # what is wanted
    cdef bint writing
    cdef bint shaking         # the TLS handshake is under way: events go to it
    cdef bint ending          # in reactor.ending
    cdef bint unread          # in reactor.unread
    cdef uint64_t heard       # reactor.turn of its last event
    cdef bint shut            # our last byte was written
    cdef inline uint32_t wanted(self) noexcept
    cdef void arm(self)
    cdef void mute(self)      # out of the epoll set, until it is watched again
    cdef void watch_read(self)
    cdef void unwatch_read(self)
    cdef void watch_write(self)
    cdef void unwatch_write(self)
    cdef void close_descriptor(self)
    cdef void end_sending(self)       # FIN, with TLS behind close_notify; what the peer still sends can be read
    cdef void hand_over(self, Descriptor to)  # the socket and its TLS session go to another object; this one is closed
    cdef void shake(self)     # begin or go on with the handshake of `tls`
    cdef void on_readable(self)
    cdef void on_writable(self)
    cdef void on_hangup(self) # the peer is gone while nobody reads or writes
    cdef void on_turn_end(self)
    cdef void on_shaken(self)         # the handshake is complete; what to read may have come already (`again`)
    cdef void on_shake_failed(self)   # tls.error says why
    # What recv and send answer, with or without TLS: bytes, 0 = the peer has closed its side, -1 with errno
    cdef ssize_t receive(self, char* buffer, size_t size) noexcept
    cdef bint quiet(self) noexcept    # alive, and nothing has come that an application could read
    cdef bint unheard(self) noexcept  # it was quiet when this turn began; False: that is not known. No system call
    cdef ssize_t transmit(self, const char* data, size_t size) noexcept
    cdef ssize_t transmit_two(self, const char* first, size_t first_size, const char* second, size_t second_size) noexcept
    # Sends what waits in `out`: 1 all gone, 0 the kernel is full (watching for writability), -1 the peer is gone
    cdef int send_out(self, OutBuf* out) noexcept
