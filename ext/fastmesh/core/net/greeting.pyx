"""See greeting.pxd."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport (
    WK_HANDSHAKE_TIMEOUT, WK_NO_CHAIN, WK_TLS_ERROR, WK_TLS_FAIL_CERTIFICATE, WK_TLS_FAIL_NAME, WK_TLS_FAIL_NO_CERTIFICATE,
    WK_PROXY_BAD, WK_TLS_FAIL_PIN, WK_TLS_HANDSHAKE, WK_TLS_NOT_READY, WK_TLS_NO_CERTIFICATE, WK_TLS_RESUMED,
)
from fastmesh.core.base.outbuf cimport OutBuf, out_append, out_consume, out_free, out_size
from fastmesh.core.net.acceptor cimport address_text
from fastmesh.core.net.tls.openssl cimport SSL_get0_peer_certificate
from fastmesh.core.net.readiness cimport EAGAIN, EINTR, MSG_DONTWAIT, SCRATCH, SHUT_WR, c_recv, errno, shutdown
from fastmesh.core.net.stream cimport CODEC_H1, CODEC_H2, CODEC_TCP
from fastmesh.core.net.tls.session cimport (
    FAULT_CERTIFICATE, FAULT_NAME, FAULT_NOT_READY, FAULT_NO_CERTIFICATE, FAULT_PIN,
)
from fastmesh.core.net.tls.server cimport ServerContext
from fastmesh.core.net.tls.verify cimport still_valid
from fastmesh.core.route.chain cimport ChainTable
from fastmesh.core.wire.client_hello cimport HELLO_BAD, HELLO_DONE, HELLO_PLAIN, Hello, offers_mesh, read_hello
from fastmesh.core.wire.proxy_header cimport PROXY_BAD, PROXY_MORE, ProxyHeader, read_proxy_header

cdef enum:
    LINGER_BYTES = 1 << 16


cdef Greeting make_greeting(ChainTable chains, bint proxied):
    cdef Greeting greeting = Greeting.__new__(Greeting)
    greeting.chains = chains
    greeting.proxied = proxied
    return greeting


cdef int _counter(int fault) noexcept nogil:
    if fault == FAULT_NO_CERTIFICATE:
        return WK_TLS_FAIL_NO_CERTIFICATE
    if fault == FAULT_CERTIFICATE:
        return WK_TLS_FAIL_CERTIFICATE
    if fault == FAULT_NAME:
        return WK_TLS_FAIL_NAME
    if fault == FAULT_PIN:
        return WK_TLS_FAIL_PIN
    if fault == FAULT_NOT_READY:
        return WK_TLS_NOT_READY
    return WK_TLS_ERROR


cdef class Greeting(Downstream):
    def __dealloc__(self):
        out_free(&self.held)

    cdef void start(self, const char* data, size_t size):
        if self.reactor.timeouts.handshake:
            self.reactor.wheel.start(&self.timer, self, 0, self.reactor.timeouts.handshake)
        self.watch_read()

    # --- before TLS is known ------------------------------------------------------------------------------------------

    cdef void on_readable(self):
        cdef char* scratch = self.reactor.scratch
        cdef ssize_t got = c_recv(self.fd, scratch, SCRATCH, MSG_DONTWAIT)
        if got > 0:
            if self.lingering:
                self._drop(got)
            elif out_size(&self.held) == 0:
                self._look(scratch, got)  # the likely case: all of the hello is here
            elif out_append(&self.held, scratch, got) == 0:
                self._look(self.held.data + self.held.start, out_size(&self.held))
            else:
                self._close()
        elif got == 0 or errno != EAGAIN and errno != EINTR:
            self._close()

    cdef void _take_header(self, const char* data, size_t size):
        """Who the client is; then the rest of what came is looked at as if it had come first."""
        cdef ProxyHeader header
        cdef int verdict = read_proxy_header(data, size, &header)
        if verdict == PROXY_MORE:
            if out_size(&self.held) == 0 and out_append(&self.held, data, size) < 0:
                self._close()
            return
        if verdict == PROXY_BAD:
            fm_bump(&self.reactor.row[WK_PROXY_BAD], 1)
            self._close()
            return
        self.proxied = False
        if header.told:
            self.peer, self.peer_text = address_text(header.source, header.source_port)
            _, self.local_text = address_text(header.target, header.target_port)
            self.aim, self.aim_port = PyBytes_FromStringAndSize(<char*>header.target, 16), header.target_port
        if out_size(&self.held):
            out_consume(&self.held, header.size)
        data, size = data + header.size, size - header.size
        self.chains = self.factory.chains_of(self)
        if self.chains is None:
            self._found(CODEC_H1, data, size)
        elif not self.chains.listens:
            self.chain = self.chains.plain
            self._found(CODEC_TCP if self.chain.tcp else CODEC_H1, data, size)
        elif size:
            self._look(data, size)

    cdef void _look(self, const char* data, size_t size):
        cdef Hello hello
        cdef OutBuf joined = OutBuf(data=NULL, start=0, end=0, room=0)
        cdef int verdict
        if self.proxied:
            self._take_header(data, size)
            return
        verdict = read_hello(data, size, self.reactor.limits.client_hello, &joined, &hello)
        if verdict == HELLO_DONE:
            self._choose(&hello, data, size)
        elif verdict == HELLO_PLAIN:
            self._plaintext(data, size)
        elif verdict == HELLO_BAD:
            fm_bump(&self.reactor.row[WK_TLS_ERROR], 1)
            self._close()
        elif out_size(&self.held) == 0 and out_append(&self.held, data, size) < 0:
            self._close()
        out_free(&joined)

    cdef void _choose(self, Hello* hello, const char* data, size_t size):
        cdef bytes name = PyBytes_FromStringAndSize(hello.name, hello.name_size)
        self.sni = name
        self.chain = self.chains.find(name, offers_mesh(hello))
        if self.chain is None:
            fm_bump(&self.reactor.row[WK_NO_CHAIN], 1)
            self._close()
        elif not self.chain.ends_tls:
            self._found(CODEC_TCP if self.chain.tcp else CODEC_H1, data, size)
        else:
            self.tls = (<ServerContext>self.chain.context).open(name)
            if self.tls is None:
                self._close()
                return
            self.tls.attach(self.fd)
            self.tls.feed(data, size)
            self.shake()

    cdef void _plaintext(self, const char* data, size_t size):
        self.chain = self.chains.plain
        if self.chain is None:
            fm_bump(&self.reactor.row[WK_NO_CHAIN], 1)
            self._close()
        else:
            self._found(CODEC_TCP if self.chain.tcp else CODEC_H1, data, size)

    # --- the handshake ------------------------------------------------------------------------------------------------

    cdef void on_shaken(self):
        if self.tls.resumed() and not still_valid(self.tls):
            fm_bump(&self.reactor.row[WK_TLS_FAIL_CERTIFICATE], 1)
            self._close()
            return
        fm_bump(&self.reactor.row[WK_TLS_HANDSHAKE], 1)
        if self.tls.resumed():
            fm_bump(&self.reactor.row[WK_TLS_RESUMED], 1)
        if SSL_get0_peer_certificate(self.tls.ssl) == NULL:
            fm_bump(&self.reactor.row[WK_TLS_NO_CERTIFICATE], 1)
        self._found(CODEC_TCP if self.chain.tcp else CODEC_H2 if self.tls.chose_h2() else CODEC_H1, NULL, 0)

    cdef void on_shake_failed(self):
        fm_bump(&self.reactor.row[_counter(self.tls.fault)], 1)
        self._linger()

    # --- the end ------------------------------------------------------------------------------------------------------

    cdef void _found(self, int codec, const char* data, size_t size):
        self.done = True
        self.reactor.wheel.cancel(&self.timer)
        self.factory.codec_found(self, codec, data, size)

    cdef void _linger(self):
        """Closing with unread bytes would reset the alert away that says why."""
        shutdown(self.fd, SHUT_WR)
        self.lingering = True
        self.tls = None
        self.reactor.wheel.start(&self.timer, self, 0, self.reactor.timeouts.linger)
        self.watch_read()

    cdef void _drop(self, size_t size):
        self.dropped += size
        if self.dropped > LINGER_BYTES:
            self._close()

    cdef void _close(self):
        if self.done:
            return
        self.done = True
        self.reactor.wheel.cancel(&self.timer)
        self.close_descriptor()
        self.factory.connection_closed(self)

    cdef void on_hangup(self):
        self._close()

    cdef void close_if_idle(self):
        if self.tls is None and out_size(&self.held) == 0:
            self._close()

    cdef void wind_down(self):
        self.close_if_idle()

    cdef void on_timer(self, int kind) noexcept:
        if self.lingering:
            self._close()
        elif self.tls is None and out_size(&self.held) == 0 and self.chains is not None and self.chains.plain is not None \
                and self.chains.plain.tcp:
            self._plaintext(NULL, 0)      # a client that waits for the endpoint to speak first
        else:
            fm_bump(&self.reactor.row[WK_HANDSHAKE_TIMEOUT], 1)
            self._close()
