"""What one HTTP message head is to everybody above the wire: offsets into bytes that somebody else owns.

HTTP/1 and HTTP/2 both fill a `Head`; the exchange, the router and the log read only this. All offsets count from `base`, so a
head can move with its bytes (`rebase` = set `base`). No head is larger than 65,535 bytes.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, int64_t

cdef enum:
    FIELDS_MAX = 128          # capacity; the limit in force is Limits.fields (default 100)

cdef enum HeaderId:           # headers that the proxy itself reads or writes; everything else is HDR_OTHER
    HDR_OTHER = 0
    HDR_HOST
    HDR_CONTENT_LENGTH
    HDR_TRANSFER_ENCODING
    HDR_CONNECTION
    HDR_KEEP_ALIVE
    HDR_PROXY_CONNECTION
    HDR_TE
    HDR_TRAILER
    HDR_UPGRADE
    HDR_EXPECT
    HDR_HTTP2_SETTINGS
    HDR_USER_AGENT
    HDR_CONTENT_TYPE
    HDR_X_REQUEST_ID
    HDR_X_FORWARDED_FOR
    HDR_X_FORWARDED_PROTO
    HDR_X_FORWARDED_HOST
    HDR_X_FORWARDED_PORT
    HDR_X_FORWARDED_CLIENT_CERT
    HDR_FORWARDED
    HDR_TRACEPARENT
    HDR_TRACESTATE
    HDR_B3
    HDR_X_ENVOY               # any x-envoy-* header (also X_ENVOY_ORIGINAL_PATH and the rest)
    HDR_GRPC_STATUS
    HDR_GRPC_TIMEOUT
    HDR_SERVER
    HDR_DATE
    HDR_LOCATION
    HDR_COOKIE
    HDR_SET_COOKIE
    HDR_ORIGIN
    HDR_AUTHORIZATION
    HDR_RETRY_AFTER

cdef enum FieldFlag:
    FIELD_HOP = 1             # hop-by-hop or framing: never copied to the other side

cdef enum Method:
    METHOD_OTHER = 0
    METHOD_GET
    METHOD_HEAD
    METHOD_POST
    METHOD_PUT
    METHOD_DELETE
    METHOD_OPTIONS
    METHOD_PATCH
    METHOD_TRACE
    METHOD_CONNECT

cdef enum Framing:            # how the end of this message's body is known
    FRAMING_NONE = 0          # no body
    FRAMING_LENGTH
    FRAMING_CHUNKED
    FRAMING_CLOSE             # responses only: until the peer closes
    FRAMING_STREAM            # HTTP/2: END_STREAM
    FRAMING_TUNNEL            # an upgrade was agreed on: bytes of another protocol, until both sides have ended

cdef enum Target:
    TARGET_ORIGIN = 0         # /path?query
    TARGET_ABSOLUTE           # http://host/path
    TARGET_ASTERISK           # OPTIONS *
    TARGET_AUTHORITY          # CONNECT host:port

cdef struct Span:
    uint16_t off
    uint16_t len

cdef struct Field:
    Span name
    Span value                # blanks at both ends already cut
    uint8_t id                # HeaderId
    uint8_t flags             # FieldFlag

cdef struct Head:
    const char* base
    uint32_t size             # bytes of the head, the empty line included
    bint is_request
    uint8_t minor             # HTTP/1.<minor>; 2 stands for HTTP/2
    # request
    uint8_t method            # Method
    uint8_t target            # Target
    uint8_t scheme            # 0 = not said, 1 = http, 2 = https (absolute form or :scheme)
    Span method_name
    Span path                 # without query; "*" for OPTIONS *, empty for CONNECT; `/` when an absolute target has none
    Span query                # without '?'
    bint has_query
    Span authority            # as the client meant it: absolute form wins over Host, equal otherwise; port included
    Span host                 # authority without port and trailing dot; brackets of IPv6 kept
    uint16_t port             # of the authority; 0 = none
    Span protocol             # :protocol of an extended CONNECT (RFC 8441); of Upgrade "websocket" if it is there, else the first
    # response
    uint16_t status
    Span reason
    # both
    uint8_t framing           # Framing
    uint64_t length           # with FRAMING_LENGTH
    bint keep_alive           # the peer is ready for another message on this connection
    bint expect_continue
    bint expect_other         # an Expect that is not 100-continue
    bint upgrade              # Upgrade together with Connection: upgrade; HTTP/2: CONNECT with :protocol (RFC 8441)
    bint te_trailers          # TE: trailers was asked for
    uint16_t field_count
    Field fields[128]
    # on failure
    uint16_t error_status     # the status to answer with (requests), 502 for responses
    const char* error         # static text: the reason for the log and response_code_details

cdef struct Limits:
    uint32_t line             # request line (414) or one field line (431): default 16384
    uint32_t head             # whole head: default 61440
    uint16_t fields           # default 100
    uint64_t body             # largest body that is accepted (413); 0 = no limit
    uint32_t chunk_extension  # bytes of chunk extensions in one body: default 4096
    uint32_t client_hello     # a ClientHello: default 16384

cdef inline const char* span_ptr(const Head* head, Span span) noexcept nogil:
    return head.base + span.off
