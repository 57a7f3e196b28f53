"""See tunnel.pxd. Small pieces are copied through the worker's buffer; where much comes at once, and neither side is encrypted, a pipe
moves it inside the kernel."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport WK_TUNNEL_IDLE
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_CONNECT_TIMEOUT
from fastmesh.core.net.readiness cimport EAGAIN, EINTR, SCRATCH, SOL_SOCKET, SO_LINGER, Descriptor, Reactor, errno, setsockopt
from fastmesh.core.net.splice cimport SPLICE_STEP, give_pipe, take_pipe
from fastmesh.core.net.stream cimport Downstream
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport TIMER_CONNECT
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef enum:
    BULK = 32768              # bytes of one read from which on a pipe pays

cdef struct LingerOption:
    int on
    int seconds


cdef class TunnelOwner(ConnectionOwner):
    cdef void on_begun(self, const char* data, size_t size): pass
    cdef void on_client_gone(self): pass
    cdef void on_moved(self, bint to_client, size_t size): pass
    cdef void on_ended(self, int how): pass


cdef TunnelEndpoint connect_tunnel(Reactor reactor, TunnelOwner owner, Endpoint endpoint, Cluster cluster, Tls tls):
    cdef TunnelEndpoint connection = TunnelEndpoint.__new__(TunnelEndpoint)
    return connection if connection.reach(reactor, owner, endpoint, cluster, tls) else None


cdef Tunnel open_tunnel(TunnelOwner owner, TunnelClient client, TunnelEndpoint endpoint, const char* data, size_t size):
    cdef Tunnel tunnel = Tunnel.__new__(Tunnel)
    tunnel.reactor = client.reactor
    tunnel.owner = owner
    tunnel.client, tunnel.endpoint = client, endpoint
    tunnel.up, tunnel.down = _flow(tunnel, client, endpoint), _flow(tunnel, endpoint, client)
    tunnel.down.to_client = True
    client.tunnel = endpoint.tunnel = tunnel
    tunnel.moved_at = now_ms()
    if tunnel.reactor.timeouts.tunnel:
        tunnel.reactor.wheel.start(&tunnel.timer, tunnel, 0, tunnel.reactor.timeouts.tunnel)
    client.watch_read()
    endpoint.watch_read()
    if size:
        owner.on_moved(False, size)
        tunnel.up.send(data, size)
    return tunnel


cdef Flow _flow(Tunnel tunnel, Descriptor source, Descriptor sink):
    cdef Flow flow = Flow.__new__(Flow)
    flow.tunnel, flow.source, flow.sink = tunnel, source, sink
    return flow


cdef void _reset(Descriptor connection):
    """The next close sends RST."""
    cdef LingerOption hard
    hard.on, hard.seconds = 1, 0
    if connection.tls is not None:
        connection.tls.silent = True
    setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))


cdef class TunnelClient(Downstream):
    cdef void start(self, const char* data, size_t size):
        self.owner.on_begun(data, size)

    cdef void on_readable(self):
        self.tunnel.up.pull()

    cdef void on_writable(self):
        self.tunnel.down.push()

    cdef void on_hangup(self):
        if self.tunnel is not None:
            self.tunnel.lost(self.tunnel.up, True)
        else:
            self.owner.on_client_gone()

    cdef void cut(self):
        if self.tunnel is not None:
            self.tunnel.end(TUNNEL_CUT)
        else:
            self.owner.on_client_gone()

    cdef void close(self, bint reset):
        if self.fd >= 0:
            if reset:
                _reset(self)
            self.close_descriptor()
            self.factory.connection_closed(self)


cdef class TunnelEndpoint(Upstream):
    cdef void on_established(self):
        self.owner.on_connected(self)

    cdef void on_unreachable(self, int failure):
        self.close(False)
        self.owner.on_closed(self, failure)

    cdef void on_readable(self):
        self.tunnel.down.pull()

    cdef void on_writable(self):
        if self.established:
            self.tunnel.up.push()
        else:
            self.reached()

    cdef void on_hangup(self):
        if self.tunnel is not None:
            self.tunnel.lost(self.tunnel.down, True)
        elif self.fd >= 0:
            self.on_unreachable(FAIL_CONNECT)

    cdef void on_timer(self, int kind) noexcept:
        if kind == TIMER_CONNECT and not self.established and self.fd >= 0:
            self.on_unreachable(FAIL_CONNECT_TIMEOUT)

    cdef void close(self, bint reset):
        if self.fd >= 0:
            if reset:
                _reset(self)
            self.reactor.wheel.cancel(&self.timer)
            self.close_descriptor()


cdef class Flow:
    def __dealloc__(self):
        out_free(&self.rest)

    cdef void pull(self):
        cdef char* scratch = self.tunnel.reactor.scratch
        cdef ssize_t got
        if self.bulk:
            self._splice()
            return
        got = self.source.receive(scratch, SCRATCH)
        if got > 0:
            self.bulk = got >= BULK and self.source.tls is None and self.sink.tls is None
            self.tunnel.owner.on_moved(self.to_client, got)
            self.send(scratch, got)
        elif got == 0:
            self._end()
        elif errno != EAGAIN and errno != EINTR:
            self.tunnel.lost(self, True)

    cdef void send(self, const char* data, size_t size):
        cdef ssize_t sent = self.sink.transmit(data, size)
        self.tunnel.moved_at = now_ms()
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self.tunnel.lost(self, False)
                return
            sent = 0
        if <size_t>sent < size:
            if out_append(&self.rest, data + sent, size - sent) < 0:
                self.tunnel.lost(self, False)
                return
            self.source.unwatch_read()
            self.sink.watch_write()

    cdef void _splice(self):
        cdef ssize_t got
        if self.pipe is None:
            self.pipe = take_pipe()
            if self.pipe is None:
                self.bulk = False
                return
        got = self.pipe.fill(self.source.fd, SPLICE_STEP)
        if got > 0:
            self.bulk = got >= BULK
            self.tunnel.owner.on_moved(self.to_client, got)
            self.tunnel.moved_at = now_ms()
            self._drain()
            return
        give_pipe(self.pipe)
        self.pipe = None
        if got == 0:
            self._end()
        elif errno != EAGAIN and errno != EINTR:
            self.tunnel.lost(self, True)

    cdef void _drain(self):
        """What is in the pipe goes on; the pipe is given back when it is empty."""
        while self.pipe.inside:
            if self.pipe.empty(self.sink.fd) <= 0:
                if errno != EAGAIN and errno != EINTR:
                    self.tunnel.lost(self, False)
                    return
                self.source.unwatch_read()
                self.sink.watch_write()
                return
        give_pipe(self.pipe)
        self.pipe = None

    cdef void push(self):
        if self.pipe is not None:
            self._drain()
        elif self.sink.send_out(&self.rest) < 0:
            self.tunnel.lost(self, False)
        if self.tunnel.over or self.pipe is not None or out_size(&self.rest):
            return
        self.tunnel.moved_at = now_ms()
        self.sink.unwatch_write()
        if self.ended:
            self._end()
        else:
            self.source.watch_read()

    cdef void _end(self):
        """FIN: passed on behind what still waits."""
        self.ended = True
        self.source.unwatch_read()
        if self.pipe is None and out_size(&self.rest) == 0 and not self.finished:
            self.finished = True
            self.sink.end_sending()
            if self.tunnel.up.finished and self.tunnel.down.finished:
                self.tunnel.end(TUNNEL_DONE)


cdef class Tunnel(Timed):
    cdef void lost(self, Flow flow, bint source):
        self.end(TUNNEL_ENDPOINT_RESET if flow.to_client == source else TUNNEL_CLIENT_RESET)

    cdef void end(self, int how):
        cdef bint reset = how != TUNNEL_DONE
        if self.over:
            return
        self.over = True
        self.reactor.wheel.cancel(&self.timer)
        self.up.pipe = self.down.pipe = None
        self.client.close(reset)
        self.endpoint.close(reset)
        self.owner.on_ended(how)
        self.client.tunnel = self.endpoint.tunnel = None      # whose events are over
        self.up = self.down = None

    cdef void on_timer(self, int kind) noexcept:
        cdef uint64_t limit = self.reactor.timeouts.tunnel
        cdef uint64_t waited = now_ms() - self.moved_at
        if waited < limit:
            self.reactor.wheel.start(&self.timer, self, 0, limit - waited)
        elif not self.over:
            fm_bump(&self.reactor.row[WK_TUNNEL_IDLE], 1)
            self.end(TUNNEL_IDLE)
