"""See acceptor.pxd. The descriptor belongs to the master, which keeps it open while workers come and go."""
import socket as _socket

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy, memset, strlen
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport WK_ACCEPT_FULL, WK_OVERLOAD_WAITED
from fastmesh.core.net.readiness cimport (
    EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, Reactor, errno, setsockopt, sockaddr,
    socklen_t,
)
from fastmesh.core.route.endpoint cimport sockaddr_storage

cdef extern from "<sys/socket.h>" nogil:
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int getsockname(int fd, sockaddr* address, socklen_t* size)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* size)
    int SOCK_NONBLOCK, SOCK_CLOEXEC, AF_INET, AF_INET6, AF_UNIX

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)
    uint16_t ntohs(uint16_t value)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr_ "in_addr":
        pass
    struct sockaddr_in:
        uint16_t sin_port
        in_addr_ sin_addr
    struct in6_addr_ "in6_addr":
        unsigned char s6_addr[16]
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr_ sin6_addr
    int IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef enum:
    QUEUE_MAX = 8192          # connections taken over from the queue at the end
    FULL_PAUSE = 100          # ms without accepting once no descriptor is left,
    PRESSED_PAUSE = 20        # or because the worker takes none
    ORIGINAL_DST = 80         # SO_ORIGINAL_DST of linux/netfilter_ipv4.h, IP6T_SO_ORIGINAL_DST


cdef int _text(const sockaddr_storage* address, char* text, size_t room) noexcept:
    """The address as text; its port. IPv4 in IPv6 is shown as IPv4."""
    cdef const sockaddr_in6* v6 = <const sockaddr_in6*>address
    cdef const unsigned char* raw
    if address.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<const sockaddr_in*>address).sin_addr, text, <socklen_t>room)
        return ntohs((<const sockaddr_in*>address).sin_port)
    if address.ss_family == AF_INET6:
        raw = <const unsigned char*>&v6.sin6_addr
        if raw[10] == 0xff and raw[11] == 0xff and raw[0] == 0 and raw[5] == 0 and raw[9] == 0:
            inet_ntop(AF_INET, raw + 12, text, <socklen_t>room)
        else:
            inet_ntop(AF_INET6, &v6.sin6_addr, text, <socklen_t>room)
        return ntohs(v6.sin6_port)
    text[0] = 0
    return 0


cdef bytes _with_port(bytes address, int port):
    return b"[%s]:%d" % (address, port) if b":" in address else b"%s:%d" % (address, port)


cdef bytes local_name(int fd):
    cdef sockaddr_storage address
    cdef socklen_t size = sizeof(address)
    cdef char[64] text
    cdef int port
    if getsockname(fd, <sockaddr*>&address, &size) != 0:
        return b"-"
    port = _text(&address, text, sizeof(text))
    return _with_port(text[:strlen(text)], port)


cdef tuple address_text(const uint8_t* raw, int port):
    cdef sockaddr_storage address
    cdef sockaddr_in6* v6 = <sockaddr_in6*>&address
    cdef char[64] text
    memset(&address, 0, sizeof(address))
    address.ss_family = AF_INET6
    memcpy(&v6.sin6_addr, raw, 16)
    _text(&address, text, sizeof(text))
    host = text[:strlen(text)]
    return host, _with_port(host, port)


cdef tuple wanted_of(int fd):
    cdef sockaddr_storage address
    cdef const sockaddr_in* v4 = <const sockaddr_in*>&address
    cdef const sockaddr_in6* v6 = <const sockaddr_in6*>&address
    cdef socklen_t size = sizeof(address)
    if getsockopt(fd, IPPROTO_IP, ORIGINAL_DST, &address, &size) != 0:
        size = sizeof(address)
        if getsockopt(fd, IPPROTO_IPV6, ORIGINAL_DST, &address, &size) != 0:
            size = sizeof(address)
            if getsockname(fd, <sockaddr*>&address, &size) != 0:
                return None
    if address.ss_family == AF_INET:
        return bytes(10) + b"\xff\xff" + (<const char*>&v4.sin_addr)[:4], ntohs(v4.sin_port)
    if address.ss_family == AF_INET6:
        return (<const char*>&v6.sin6_addr)[:16], ntohs(v6.sin6_port)
    return None


cdef Acceptor make_acceptor(Reactor reactor, ServerUserFactory factory, int fd, int batch):
    cdef Acceptor acceptor = Acceptor.__new__(Acceptor)
    acceptor.reactor = reactor
    acceptor.factory = factory
    acceptor.fd = fd
    acceptor.batch = batch
    acceptor.local_text = local_name(fd)
    acceptor.any_address = acceptor.local_text.startswith((b"0.0.0.0:", b"[::]:"))
    acceptor.open = True
    acceptor.watch_read()
    return acceptor


cdef class Acceptor(Descriptor):
    cdef void on_readable(self):
        cdef int i
        for i in range(self.batch):
            if self.reactor.accepts_none or self.reactor.is_full():
                if i == 0:
                    fm_bump(&self.reactor.row[WK_OVERLOAD_WAITED], 1)
                self._wait()
                break
            if not self._accept_one():
                break

    cdef bint _accept_one(self):
        """One connection from the queue; False when there is none, or no room for it."""
        cdef sockaddr_storage address
        cdef socklen_t size = sizeof(address)
        cdef char[64] text
        cdef int port, on = 1
        cdef bytes peer
        cdef int fd = accept4(self.fd, <sockaddr*>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                self._full()
            return errno == EINTR or errno == ECONNABORTED
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
        port = _text(&address, text, sizeof(text))
        peer = text[:strlen(text)]
        self.factory.accepted(fd, peer, _with_port(peer, port), local_name(fd) if self.any_address else self.local_text)
        return True

    cdef void _full(self):
        """Connections wait in the kernel's queue until descriptors come free; asking at once again would only burn time."""
        fm_bump(&self.reactor.row[WK_ACCEPT_FULL], 1)
        self.unwatch_read()
        self.reactor.wheel.start(&self.timer, self, 0, FULL_PAUSE)

    cdef void _wait(self):
        self.unwatch_read()
        self.reactor.wheel.start(&self.timer, self, 0, PRESSED_PAUSE)

    cdef void on_timer(self, int kind) noexcept:
        if self.open:
            self.watch_read()

    cdef void stop(self):
        cdef int i
        if not self.open:
            return
        for i in range(QUEUE_MAX):
            if not self._accept_one():
                break
        self.open = False
        self.reactor.wheel.cancel(&self.timer)
        self.close_descriptor()
