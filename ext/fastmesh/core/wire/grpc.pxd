"""gRPC over HTTP: its statuses beside those of HTTP, its deadlines, and the frames that its messages lie in.

gRPC-over-HTTP2 (grpc/grpc doc/PROTOCOL-HTTP2.md) and Envoy's tables, which dashboards are read by.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum GrpcStatus:
    GRPC_UNSAID = -1
    GRPC_OK = 0
    GRPC_CANCELLED
    GRPC_UNKNOWN
    GRPC_INVALID_ARGUMENT
    GRPC_DEADLINE_EXCEEDED
    GRPC_NOT_FOUND
    GRPC_ALREADY_EXISTS
    GRPC_PERMISSION_DENIED
    GRPC_RESOURCE_EXHAUSTED
    GRPC_FAILED_PRECONDITION
    GRPC_ABORTED
    GRPC_OUT_OF_RANGE
    GRPC_UNIMPLEMENTED
    GRPC_INTERNAL
    GRPC_UNAVAILABLE
    GRPC_DATA_LOSS
    GRPC_UNAUTHENTICATED

cdef enum:
    GRPC_TIMEOUT_SIZE = 9     # 8 digits and a unit
    GRPC_MESSAGE_MAX = 1024   # bytes of an error's text; a head has its limits

# application/grpc, application/grpc+proto, application/grpc;...; not application/grpc-web
cdef bint is_grpc(const char* content_type, size_t size) noexcept nogil

cdef int read_grpc_status(const char* text, size_t size) noexcept nogil        # GRPC_UNKNOWN for what is none
cdef int grpc_of_http(int status) noexcept nogil      # for an answer that did not come from a gRPC server
cdef int http_of_grpc(int status) noexcept nogil      # as outlier detection counts it

# A grpc-timeout in ms, rounded up; -1 = it is none (then there is no deadline)
cdef int64_t read_grpc_timeout(const char* text, size_t size) noexcept nogil
cdef int write_grpc_timeout(char* at, uint64_t ms) noexcept nogil              # GRPC_TIMEOUT_SIZE at most; its length

# grpc-message: what is not printable ASCII, and '%', as %XX. Room for 3 x size; the length
cdef int write_grpc_message(char* at, const char* text, size_t size) noexcept nogil

cdef struct GrpcFrames:       # one direction of a call: 5 bytes of prefix, then as many as it says
    uint32_t left             # of the message at hand
    uint32_t length           # of the next one, while its prefix comes
    uint8_t prefix            # bytes of the prefix that have come
    uint64_t messages         # begun so far

cdef void count_messages(GrpcFrames* frames, const char* data, size_t size) noexcept nogil
