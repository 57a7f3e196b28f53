"""Where the exchange meets the codecs. One ServerStream carries one request and its response from and to a client, one
ClientStream the same to and from an endpoint; HTTP/1 and HTTP/2 both look like this. Writes are collected; `flush` sends them."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.base.wheel cimport Timed
from fastmesh.core.net.readiness cimport Descriptor
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef enum Failure:            # why an attempt failed; a value, not an exception
    FAIL_NONE = 0
    FAIL_CONNECT              # refused or unreachable: nothing was sent
    FAIL_CONNECT_TIMEOUT
    FAIL_STALE                # a reused connection ended before any byte of the answer; nothing tells whether it was processed
    FAIL_CLOSED               # the upstream closed before a complete answer
    FAIL_RESET                # the upstream reset before a complete answer
    FAIL_PROTOCOL             # the upstream broke HTTP
    FAIL_OVERFLOW             # no room in the connection pool
    FAIL_TIMEOUT              # route time-out
    FAIL_PER_TRY_TIMEOUT
    FAIL_NO_HEALTHY
    FAIL_NO_CLUSTER
    FAIL_LOCAL                # this side gave up

cdef class StreamUser(Timed):
    """What streams report to (the exchange)."""
    cdef Head head            # the request, parsed in place by the server codec; `keep_head` before its bytes go away
    # from the client
    cdef void on_request(self, ServerStream client)
    cdef void on_request_body(self, const char* data, size_t size)
    cdef void on_request_end(self, const Head* trailers)
    cdef void on_request_failed(self, int status, const char* why)   # the rest of the message is bad or too large
    cdef void on_client_gone(self)
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

cdef class ServerStream(Descriptor):
    cdef bytes peer           # address text, without port
    cdef bytes peer_text      # address:port
    cdef bytes local_text     # address:port
    cdef bint request_done    # the whole request was read
    cdef int own_port         # of the listening socket
    cdef bint last            # the exchange wants the connection closed behind this response
    cdef uint8_t minor        # version of the client: 0, 1; 2 = HTTP/2
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

cdef class ClientStream(Descriptor):
    cdef bint reused          # served another request before this one
    cdef bint answered        # a byte of the answer has come
    cdef bytes local_text     # address:port
    cdef void send_request(self, const HeadOut* out, bint to_head)
    cdef void send_body(self, const char* data, size_t size)
    cdef void send_end(self, const Head* trailers)
    cdef int flush(self)
    cdef size_t waiting(self) noexcept
    cdef void cancel(self)                                           # the user leaves; the connection is not reused
    cdef void splice_to(self, ServerStream client)                   # the rest of a long body moves inside the kernel
    cdef void pause_response(self)
    cdef void resume_response(self)
