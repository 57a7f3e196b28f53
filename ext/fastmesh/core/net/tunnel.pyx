"""See tunnel.pxd. Small pieces are copied through the worker's buffer; where much comes at once, and neither side is encrypted, a pipe
moves it inside the kernel."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport WK_TCP_AGED, WK_TUNNEL_IDLE
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.outbuf cimport out_append, out_consume, out_free, out_size
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_CONNECT_TIMEOUT
from fastmesh.core.net.readiness cimport EAGAIN, EINTR, SCRATCH, SOL_SOCKET, SO_LINGER, Descriptor, Reactor, errno, setsockopt
from fastmesh.core.net.splice cimport SPLICE_STEP, give_pipe, take_pipe
from fastmesh.core.net.stream cimport Downstream
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport TIMER_CONNECT
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.wire.h1_parse cimport H1_DONE, H1_MORE, parse_response
from fastmesh.core.wire.message cimport Head

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


cdef TunnelEndpoint connect_tunnel(Reactor reactor, TunnelOwner owner, Endpoint endpoint, Cluster cluster, Tls tls,
                                   bytes preface):
    cdef TunnelEndpoint connection = TunnelEndpoint.__new__(TunnelEndpoint)
    connection.request, connection.posts, connection.patience = cluster.tunnel, cluster.tunnel_posts, cluster.connect_timeout
    connection.preface = preface
    return connection if connection.reach(reactor, owner, endpoint, cluster, tls) else None


cdef Tunnel open_tunnel(TunnelOwner owner, TunnelClient client, TunnelEndpoint endpoint, const char* data, size_t size, uint64_t idle,
                        uint64_t most, Flow up, Flow down):
    cdef Tunnel tunnel = Tunnel.__new__(Tunnel)
    cdef Flow first, answer
    tunnel.reactor = client.reactor
    tunnel.owner = owner
    tunnel.client, tunnel.endpoint = client, endpoint
    tunnel.up, tunnel.down = _flow(tunnel, up, client, endpoint), _flow(tunnel, down, endpoint, client)
    tunnel.down.to_client = True
    client.tunnel = endpoint.tunnel = tunnel
    tunnel.moved_at = now_ms()
    tunnel.idle, tunnel.until = idle, tunnel.moved_at + most if most else 0
    tunnel._arm()
    client.watch_read()
    endpoint.watch_read()
    first, answer = tunnel.up, tunnel.down
    if size:
        first.take(data, size)
    if (out_size(&endpoint.answer) or endpoint.posts) and not tunnel.over:
        answer.take(endpoint.answer.data + endpoint.answer.start, out_size(&endpoint.answer))
        out_free(&endpoint.answer)
    return tunnel


cdef Flow _flow(Tunnel tunnel, Flow flow, Descriptor source, Descriptor sink):
    if flow is None:
        flow = Flow.__new__(Flow)
    flow.tunnel, flow.source, flow.sink = tunnel, source, sink
    return flow


cdef void _reset(Descriptor connection):
    """The next close sends RST."""
    cdef LingerOption hard
    hard.on, hard.seconds = 1, 0
    if connection.tls is not None:
        connection.tls.silent = True
    setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))


# An end lets go of the tunnel and its flows, and neither an argument nor a call through an attribute holds them: these
# names do, while a flow is at work.

cdef inline void pull(Flow flow):
    cdef Flow working = flow
    cdef Tunnel tunnel = flow.tunnel
    working.pull()


cdef inline void push(Flow flow):
    cdef Flow working = flow
    cdef Tunnel tunnel = flow.tunnel
    working.push()


cdef inline void lose(Flow flow):
    """The source of this flow is gone."""
    cdef Flow working = flow
    cdef Tunnel tunnel = flow.tunnel
    tunnel.lost(working, True)


cdef class TunnelClient(Downstream):
    cdef void start(self, const char* data, size_t size):
        self.owner.on_begun(data, size)

    cdef void on_readable(self):
        pull(self.tunnel.up)

    cdef void on_writable(self):
        push(self.tunnel.down)

    cdef void on_hangup(self):
        if self.tunnel is not None:
            lose(self.tunnel.up)
        else:
            self.owner.on_client_gone()

    cdef void cut(self):
        cdef Tunnel tunnel = self.tunnel
        if tunnel is not None:
            tunnel.end(TUNNEL_CUT)
        else:
            self.owner.on_client_gone()

    cdef void close(self, bint reset):
        if self.fd >= 0:
            if reset:
                _reset(self)
            self.close_descriptor()
            self.factory.connection_closed(self)


cdef class TunnelEndpoint(Upstream):
    def __dealloc__(self):
        out_free(&self.answer)

    cdef void on_established(self):
        cdef ssize_t size
        if self.request is None:
            self.owner.on_connected(self)
            return
        size = PyBytes_GET_SIZE(self.request)
        self.established = False          # until it has answered
        self.asking = True
        self.reactor.wheel.start(&self.timer, self, TIMER_CONNECT, self.patience)
        if self.transmit(PyBytes_AS_STRING(self.request), size) != size:
            self.on_unreachable(FAIL_CONNECT)         # a fresh connection has room for it

    cdef void _read_answer(self):
        cdef char* scratch = self.reactor.scratch
        cdef Head head
        cdef int verdict
        cdef ssize_t got = self.receive(scratch, SCRATCH)
        if got < 0 and (errno == EAGAIN or errno == EINTR):
            return
        if got <= 0 or out_append(&self.answer, scratch, got) < 0:
            self.on_unreachable(FAIL_CONNECT)
            return
        verdict = self._parse(&head)
        while verdict == H1_DONE and head.status < 200 and head.status != 101:
            out_consume(&self.answer, head.size)      # more is to come
            verdict = self._parse(&head)
        if verdict == H1_MORE:
            return
        if verdict != H1_DONE or head.status < 200 or head.status > 299:
            self.on_unreachable(FAIL_CONNECT)
            return
        self.framing, self.length = head.framing, head.length
        out_consume(&self.answer, head.size)
        self.asking, self.established = False, True
        self.reactor.wheel.cancel(&self.timer)
        self.owner.on_connected(self)

    cdef int _parse(self, Head* head):
        return parse_response(self.answer.data + self.answer.start, out_size(&self.answer), &self.reactor.response_limits,
                              not self.posts, head)

    cdef void on_unreachable(self, int failure):
        self.close(False)
        self.owner.on_closed(self, failure)

    cdef void on_readable(self):
        if self.tunnel is not None:
            pull(self.tunnel.down)
        elif self.asking:
            self._read_answer()

    cdef void on_writable(self):
        if self.tunnel is not None:
            push(self.tunnel.up)
        elif self.asking:
            self.unwatch_write()
        else:
            self.reached()

    cdef void on_hangup(self):
        if self.tunnel is not None:
            lose(self.tunnel.down)
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
            self.take(scratch, got)
        elif got == 0:
            self._end()
        elif errno != EAGAIN and errno != EINTR:
            self.tunnel.lost(self, True)

    cdef void take(self, const char* data, size_t size):
        self.tunnel.owner.on_moved(self.to_client, size)
        self.send(data, size)

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
        cdef Tunnel ending = self                             # whose last holder may be one of those below
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

    cdef void _arm(self):
        """At the time when it would have been idle, or is too old."""
        cdef uint64_t now = now_ms()
        cdef uint64_t at = self.moved_at + self.idle if self.idle else 0
        if self.until and (at == 0 or self.until < at):
            at = self.until
        if at:
            self.reactor.wheel.start(&self.timer, self, 0, at - now if at > now else 1)

    cdef void on_timer(self, int kind) noexcept:
        cdef uint64_t now = now_ms()
        if self.over:
            return
        if self.until and now >= self.until:
            fm_bump(&self.reactor.row[WK_TCP_AGED], 1)
            self.end(TUNNEL_AGED)
        elif self.idle and now - self.moved_at >= self.idle:
            fm_bump(&self.reactor.row[WK_TUNNEL_IDLE], 1)
            self.end(TUNNEL_IDLE)
        else:
            self._arm()
