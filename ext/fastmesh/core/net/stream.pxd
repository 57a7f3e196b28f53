"""Where the exchange meets the codecs. One ServerStream carries one request and its response from and to a client, one
ClientStream the same to and from an endpoint; HTTP/1 and HTTP/2 both look like this. Writes are collected; `flush` sends them.

A head with FRAMING_TUNNEL opens a tunnel: `on_response` with it says that the endpoint agreed, `send_head` tells the client. Codecs
write it as their version has it (HTTP/1: 101, HTTP/2: 200). Bodies are bytes from there on, and each direction ends by itself:
`on_request_end` and `on_response_end` are what the peer sent as its last, `send_end` passes it on. A stream of a tunnel stays its
user's until both have ended; `cancel` and `abort_response` break it off before.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.base.wheel cimport Timed
from fastmesh.core.net.readiness cimport Descriptor
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.upstream cimport Upstream
from fastmesh.core.route.chain cimport Chain, ChainTable
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef class StreamUser(Timed):
    """What streams report to (the exchange)."""
    cdef bint wants_new       # waits for a connection that served nobody before: the last one was closed under it
    cdef Head head            # the request, parsed in place by the server codec; `keep_head` before its bytes go away
    cdef bytes server_name(self)                                     # that a TLS connection for it asks for: its host, lower case
    cdef bytes preface(self, int version)                            # the PROXY header of a connection for it
    # from the client
    cdef void on_request(self, ServerStream client)
    cdef void on_request_body(self, const char* data, size_t size)
    cdef void on_request_end(self, const Head* trailers)
    cdef void on_request_failed(self, int status, const char* why)   # the rest of the message is bad or too large
    cdef void on_client_gone(self)
    cdef void on_cut(self)
    cdef void on_client_drained(self)
    cdef void on_client_turn(self)                                   # all that has arrived was used: send what was collected
    # from the endpoint
    cdef void on_upstream(self, ClientStream upstream)               # connected and ours
    cdef void on_interim(self, const Head* head)                     # a 1xx response
    cdef void on_response(self, const Head* head)
    cdef void on_response_body(self, const char* data, size_t size)
    cdef void on_response_spliced(self, size_t size)                 # bytes that took the way of `splice_to`
    cdef void on_response_end(self, const Head* trailers)
    cdef void on_upstream_failed(self, int failure)
    cdef void on_upstream_drained(self)
    cdef void on_upstream_turn(self)                                 # as on_client_turn

cdef class ServerUserFactory:     # who makes exchanges, and knows the connections of one listening socket (the worker)
    cdef void accepted(self, int fd, bytes peer, bytes peer_text, bytes local_text)
    cdef StreamUser make_user(self, ServerStream client)
    cdef void refused(self, ServerStream client, int status, const char* why)   # a head that could not be read
    cdef void connection_opened(self, Downstream connection)
    cdef void connection_closed(self, Downstream connection)
    # What of the listener's chains is for this connection, now that a PROXY header has told whose it is; None: plaintext HTTP
    cdef ChainTable chains_of(self, Downstream connection)
    # `connection` has found out what is spoken on it; data[0:size] was read already. Another object takes it over.
    cdef void codec_found(self, Downstream connection, int codec, const char* data, size_t size)

cdef enum Codec:
    CODEC_H1 = 0
    CODEC_H2
    CODEC_TCP                 # bytes, passed on as they are

cdef class Downstream(Descriptor):
    """What is known of a connection from a client. A stream of an HTTP/2 connection has a copy of it, and no descriptor."""
    cdef ServerUserFactory factory
    cdef Chain chain          # the filter chain that the connection took; None: plaintext HTTP, the listener has no chains
    cdef bytes sni            # server name that TLS was begun for; b"" = none, None = plaintext
    cdef bytes peer           # address text, without port
    cdef bytes peer_text      # address:port
    cdef bytes local_text     # address:port
    cdef int own_port         # of the listening socket; where a client is known to have wanted to go elsewhere, that port
    cdef bytes aim            # the address that the client wanted to reach: 16 bytes, IPv4 as ::ffff:a.b.c.d. None: that is not known
    cdef int aim_port
    cdef void take_after(self, Downstream other)     # the facts above (and `reactor`, `tls`) are those of `other`
    cdef void start(self, const char* data, size_t size)      # the descriptor is ours; data[0:size] was read from it already
    cdef void announce_end(self)                     # the worker drains, or is under pressure: tell the client, where the protocol can
    cdef void close_if_idle(self)
    cdef void close_if_quiet(self, uint64_t since)   # HTTP/1: it has served a request, and none has come since that time (ms)
    cdef void wind_down(self)                        # finish what is under way, then close; no new requests
    cdef void cut(self)                              # the proxy ends now: close; users hear of it through on_cut

cdef class ServerStream(Downstream):
    cdef bint request_done    # the whole request was read
    cdef bint last            # the exchange wants the connection closed behind this response
    cdef uint8_t minor        # version of the client: 0, 1; 2 = HTTP/2
    cdef uint32_t high_water  # bytes that may wait, here or at the endpoint, before the source is paused
    cdef uint32_t piece       # bytes that may be read at once for it from an endpoint
    cdef void send_interim(self, const HeadOut* out)
    cdef void send_head(self, HeadOut* out)
    cdef void send_body(self, const char* data, size_t size)
    cdef void send_end(self, const Head* trailers)
    cdef bint takes_splice(self) noexcept                            # body bytes may go to `fd` without passing through here
    cdef bint splice_from(self, Pipe pipe)                           # False: it is full, on_client_drained follows
    cdef void abort_response(self)                                   # a broken message, seen as such by the client
    cdef void flush(self)
    cdef size_t waiting(self) noexcept                               # bytes that the client did not take yet
    cdef void pause_request(self)
    cdef void resume_request(self)

cdef class ClientStream(Upstream):
    cdef uint8_t minor        # 1; 2 = HTTP/2
    cdef bint reused          # served another request before this one
    cdef bint answered        # a byte of the answer has come
    cdef uint32_t read_size   # most bytes that are read at once: the client's piece
    cdef bytes local_text     # address:port
    cdef bint takes_upgrade(self) noexcept                           # HTTP/2: the endpoint allows extended CONNECT
    cdef void send_request(self, const HeadOut* out, bint to_head)   # with out.protocol: asks for an upgrade; has no body, no end
    cdef void send_body(self, const char* data, size_t size)
    cdef void send_end(self, const Head* trailers)
    cdef int flush(self)
    cdef size_t waiting(self) noexcept
    cdef void cancel(self)                                           # the user leaves; the connection is not reused
    cdef void splice_to(self, ServerStream client)                   # the rest of a long body moves inside the kernel
    cdef void pause_response(self)
    cdef void resume_response(self)
