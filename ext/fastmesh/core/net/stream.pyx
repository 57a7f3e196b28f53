"""See stream.pxd: the bodies here do nothing, codecs and the exchange fill them."""
from fastmesh.core.net.readiness cimport HIGH_WATER, SCRATCH, Descriptor
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.upstream cimport Upstream
from fastmesh.core.route.chain cimport ChainTable
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head


cdef class StreamUser(Timed):
    cdef bytes server_name(self): return b""
    cdef bytes preface(self, int version): return b""
    cdef void on_request(self, ServerStream client): pass
    cdef void on_request_body(self, const char* data, size_t size): pass
    cdef void on_request_end(self, const Head* trailers): pass
    cdef void on_request_failed(self, int status, const char* why): pass
    cdef void on_client_gone(self): pass
    cdef void on_cut(self): pass
    cdef void on_client_drained(self): pass
    cdef void on_client_turn(self): pass
    cdef void on_upstream(self, ClientStream upstream): pass
    cdef void on_interim(self, const Head* head): pass
    cdef void on_response(self, const Head* head): pass
    cdef void on_response_body(self, const char* data, size_t size): pass
    cdef void on_response_spliced(self, size_t size): pass
    cdef void on_response_end(self, const Head* trailers): pass
    cdef void on_upstream_failed(self, int failure): pass
    cdef void on_upstream_drained(self): pass
    cdef void on_upstream_turn(self): pass


cdef class ServerUserFactory:
    cdef void accepted(self, int fd, bytes peer, bytes peer_text, bytes local_text): pass
    cdef StreamUser make_user(self, ServerStream client): return None
    cdef void refused(self, ServerStream client, int status, const char* why): pass
    cdef void connection_opened(self, Downstream connection): pass
    cdef void connection_closed(self, Downstream connection): pass
    cdef ChainTable chains_of(self, Downstream connection): return None
    cdef void codec_found(self, Downstream connection, int codec, const char* data, size_t size): pass


cdef class Downstream(Descriptor):
    def __cinit__(self):
        self.fd = -1

    cdef void take_after(self, Downstream other):
        self.reactor = other.reactor
        self.factory = other.factory
        self.tls = other.tls
        self.chain = other.chain
        self.sni = other.sni
        self.peer = other.peer
        self.peer_text = other.peer_text
        self.local_text = other.local_text
        self.own_port = other.own_port
        self.aim, self.aim_port = other.aim, other.aim_port

    cdef void start(self, const char* data, size_t size): pass
    cdef void announce_end(self): pass
    cdef void close_if_idle(self): pass
    cdef void close_if_quiet(self, uint64_t since): pass
    cdef void wind_down(self): pass
    cdef void cut(self): pass


cdef class ServerStream(Downstream):
    def __cinit__(self):
        self.high_water = HIGH_WATER
        self.piece = SCRATCH

    cdef void send_interim(self, const HeadOut* out): pass
    cdef void send_head(self, HeadOut* out): pass
    cdef void send_body(self, const char* data, size_t size): pass
    cdef void send_end(self, const Head* trailers): pass
    cdef bint takes_splice(self) noexcept: return False
    cdef bint splice_from(self, Pipe pipe): return True
    cdef void abort_response(self): pass
    cdef void flush(self): pass
    cdef size_t waiting(self) noexcept: return 0
    cdef void pause_request(self): pass
    cdef void resume_request(self): pass


cdef class ClientStream(Upstream):
    def __cinit__(self):
        self.read_size = SCRATCH

    cdef bint takes_upgrade(self) noexcept: return True
    cdef void send_request(self, const HeadOut* out, bint to_head): pass
    cdef void send_body(self, const char* data, size_t size): pass
    cdef void send_end(self, const Head* trailers): pass
    cdef int flush(self): return 0
    cdef size_t waiting(self) noexcept: return 0
    cdef void cancel(self): pass
    cdef void splice_to(self, ServerStream client): pass
    cdef void pause_response(self): pass
    cdef void resume_response(self): pass
