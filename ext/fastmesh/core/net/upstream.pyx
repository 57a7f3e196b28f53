"""See upstream.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_TLS
from fastmesh.core.net.readiness cimport (
    EINPROGRESS, MSG_DONTWAIT, MSG_NOSIGNAL, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, Descriptor, Reactor, c_close, c_send, errno, getsockopt,
    setsockopt, sockaddr, socklen_t,
)
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.verify cimport still_valid
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint, sockaddr_storage

cdef extern from "<sys/socket.h>" nogil:
    int socket(int family, int kind, int protocol)
    int c_connect "connect"(int fd, const sockaddr* address, socklen_t size)
    int SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, AF_UNIX

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP


cdef class ConnectionOwner:
    cdef void on_connected(self, Upstream connection): pass
    cdef void on_free(self, Upstream connection): pass
    cdef void on_closed(self, Upstream connection, int failure): pass


cdef void _tune(int fd, Endpoint endpoint, Cluster cluster) noexcept:
    cdef int on = 1
    if endpoint.where.ss_family == AF_UNIX:
        return
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    if cluster.keepalive:
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on))
        if cluster.keepalive_time:
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &cluster.keepalive_time, sizeof(int))
        if cluster.keepalive_interval:
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &cluster.keepalive_interval, sizeof(int))
        if cluster.keepalive_probes:
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &cluster.keepalive_probes, sizeof(int))


cdef class Upstream(Descriptor):
    def __cinit__(self):
        self.fd = -1

    cdef bint reach(self, Reactor reactor, ConnectionOwner owner, Endpoint endpoint, Cluster cluster, Tls tls):
        cdef int fd = socket(endpoint.where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            return False
        _tune(fd, endpoint, cluster)
        if c_connect(fd, <const sockaddr*>&endpoint.where, endpoint.where_size) < 0 and errno != EINPROGRESS:
            c_close(fd)
            return False
        self.reactor = reactor
        self.owner = owner
        self.endpoint = endpoint
        self.tls = tls
        self.fd = fd
        self.born = now_ms()
        if tls is not None:
            tls.attach(fd)
        self.watch_write()                # also an immediate connect is reported by the loop: one road for all
        reactor.wheel.start(&self.timer, self, TIMER_CONNECT, cluster.connect_timeout)
        return True

    cdef void reached(self):
        cdef int error = 0
        cdef socklen_t size = sizeof(error)
        getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        if error != 0:
            self.on_unreachable(FAIL_CONNECT)
            return
        self.unwatch_write()
        if self.preface is not None and c_send(self.fd, PyBytes_AS_STRING(self.preface), PyBytes_GET_SIZE(self.preface),
                                               MSG_NOSIGNAL | MSG_DONTWAIT) != PyBytes_GET_SIZE(self.preface):
            self.on_unreachable(FAIL_CONNECT)         # a fresh connection has room for it
            return
        if self.tls is not None:
            self.shake()
        else:
            self._establish()

    cdef void on_shaken(self):
        if self.tls.resumed() and not still_valid(self.tls):
            self.tls.error = "certificate has expired"
            self.on_unreachable(FAIL_TLS)
        else:
            self._establish()

    cdef void on_shake_failed(self):
        self.on_unreachable(FAIL_TLS)

    cdef void _establish(self):
        self.reactor.wheel.cancel(&self.timer)
        self.established = True
        self.watch_read()
        self.on_established()

    cdef void on_established(self):
        pass

    cdef void on_unreachable(self, int failure):
        pass
