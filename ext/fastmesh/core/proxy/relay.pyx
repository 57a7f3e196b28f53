"""See relay.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from fastmesh.core.base.scratch cimport scratch_reset
from fastmesh.core.proxy.client_cert cimport add_client_cert
from fastmesh.core.proxy.cors cimport cors_out
from fastmesh.core.proxy.sticky cimport cookie_out, session_out
from fastmesh.core.proxy.substitute cimport expand
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.header_ops cimport HeaderOps, Made
from fastmesh.core.route.rule cimport STEP_SESSION
from fastmesh.core.wire.h1_write cimport HeadOut, OutField, drop_field, out_clear, out_field, write_number
from fastmesh.core.wire.message cimport (
    FIELD_HOP, FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE, FRAMING_STREAM, HDR_CONTENT_LENGTH, HDR_DATE, HDR_OTHER,
    HDR_SERVER, HDR_X_ENVOY, HDR_X_FORWARDED_CLIENT_CERT, HDR_X_FORWARDED_FOR, HDR_X_FORWARDED_PROTO, HDR_X_REQUEST_ID, METHOD_PATCH,
    METHOD_POST, METHOD_PUT, Field, Head,
    span_ptr,
)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)


cdef inline void _copy(HeadOut* out, const Head* head, const Field* field) noexcept nogil:
    out_field(out, head.base + field.name.off, field.name.len, head.base + field.value.off, field.value.len, field.id)


cdef inline bint _is(const char* name, uint32_t size, bytes wanted) noexcept:
    return size == <uint32_t>PyBytes_GET_SIZE(wanted) and strncasecmp(name, PyBytes_AS_STRING(wanted), size) == 0


cdef bint said_again(const HeadOut* out, const char* name, uint32_t size) noexcept nogil:
    cdef int i
    for i in range(out.count):
        if out.fields[i].name_size == size and strncasecmp(out.fields[i].name, name, size) == 0:
            return True
    return False


cdef void _remove(HeadOut* out, bytes name) noexcept:
    cdef int i
    for i in range(out.count):
        if _is(out.fields[i].name, out.fields[i].name_size, name):
            out.fields[i].name_size = 0


cdef void apply_ops(Transit t, list levels, HeadOut* out):
    """Level by level: remove, set, add. The names and values belong to the rule, which outlives the write."""
    cdef HeaderOps ops
    cdef bytes name, value
    cdef bint begun = False
    for ops in levels:
        for name in ops.removed:
            _remove(out, name)
        if ops.made is not None:
            if not begun:
                scratch_reset(&t.engine.made)
                begun = True
            expand(t, ops, out)
        for name, value in ops.assigned:
            _remove(out, name)
            out_field(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value),
                      PyBytes_GET_SIZE(value), HDR_OTHER)
        if ops.made is not None:
            _put_made(ops.made, out, False)
        for name, value in ops.appended:
            out_field(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value),
                      PyBytes_GET_SIZE(value), HDR_OTHER)
        if ops.made is not None:
            _put_made(ops.made, out, True)


cdef void _put_made(list values, HeadOut* out, bint append):
    cdef Made made
    for made in values:
        if made.append != append or made.now.size == 0:
            continue
        if not append:
            _remove(out, made.name)
        out_field(out, PyBytes_AS_STRING(made.name), <uint32_t>PyBytes_GET_SIZE(made.name), made.now.value, made.now.size, HDR_OTHER)


cdef void _target(Transit t, HeadOut* out):
    """Method, path, query and authority as the rule wants them."""
    cdef const Head* head = &t.head
    cdef bytes authority = None
    out.method, out.method_size = span_ptr(head, head.method_name), head.method_name.len
    if t.rewritten is not None:
        out.path, out.path_size = PyBytes_AS_STRING(t.rewritten), PyBytes_GET_SIZE(t.rewritten)
    else:
        out.path, out.path_size = t.request.path, t.request.path_size
    out.has_query = t.request.has_query
    out.query, out.query_size = t.request.query, t.request.query_size
    if t.destination is not None:
        authority = t.destination.authority if t.destination.authority is not None else t.rule.authority
    if authority is not None:
        out.authority, out.authority_size = PyBytes_AS_STRING(authority), PyBytes_GET_SIZE(authority)
    else:
        out.authority, out.authority_size = span_ptr(head, head.authority), head.authority.len
        if out.authority_size == 0 and t.cluster is not None:        # HTTP/1.0 without Host
            out.authority, out.authority_size = PyBytes_AS_STRING(t.cluster.host_text), PyBytes_GET_SIZE(t.cluster.host_text)


cdef void request_out(Transit t, HeadOut* out, RelayText* text):
    cdef const Head* head = &t.head
    cdef const Field* field
    cdef const Field* forwarded_for = NULL
    cdef bint gateway = t.listener.gateway
    cdef bint proto_said = False
    cdef int i
    out_clear(out)
    _target(t, out)
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.flags & FIELD_HOP:
            continue
        if field.id == HDR_OTHER:
            _copy(out, head, field)       # the likely case
        elif field.id == HDR_X_REQUEST_ID:
            continue
        elif field.id == HDR_X_FORWARDED_CLIENT_CERT:
            continue                      # see client_cert
        elif field.id == HDR_X_ENVOY and gateway:
            continue                      # instructions to a proxy from outside the mesh
        elif field.id == HDR_X_FORWARDED_FOR and gateway:
            forwarded_for = field
        elif field.id == HDR_X_FORWARDED_PROTO and (gateway or proto_said):
            continue
        else:
            proto_said = proto_said or field.id == HDR_X_FORWARDED_PROTO
            _copy(out, head, field)
    if gateway:
        _forwarded_for(t, out, forwarded_for, text)
    if t.tls is not None:
        add_client_cert(t, out)
    if not proto_said:
        out_field(out, "x-forwarded-proto", 17, "https" if t.request.https else "http", 5 if t.request.https else 4,
                  HDR_X_FORWARDED_PROTO)
    out_field(out, "x-request-id", 12, t.request_id_at, t.request_id_size, HDR_X_REQUEST_ID)
    if not gateway:
        _drop_envoy(out, "x-envoy-attempt-count", 21)
    out_field(out, "x-envoy-attempt-count", 21, text.attempt, write_number(text.attempt, t.attempts), 0)
    if t.original_path is not None:
        _drop_envoy(out, "x-envoy-original-path", 21)
        out_field(out, "x-envoy-original-path", 21, PyBytes_AS_STRING(t.original_path), PyBytes_GET_SIZE(t.original_path), 0)
    if t.destination is not None and t.destination.request_ops is not None:
        apply_ops(t, t.destination.request_ops, out)
    out.framing = head.framing if head.framing != FRAMING_STREAM else FRAMING_CHUNKED
    if head.framing == FRAMING_NONE and head.minor == 2 \
            and (head.method == METHOD_POST or head.method == METHOD_PUT or head.method == METHOD_PATCH):
        out.framing = FRAMING_LENGTH      # HTTP/1 says that nothing follows (RFC 9110 8.6)
    out.length = head.length
    out.te_trailers = head.te_trailers
    out.scheme = 2 if t.request.https else 1


cdef void _drop_envoy(HeadOut* out, const char* name, uint32_t size) noexcept nogil:
    cdef int i
    for i in range(out.count):
        if out.fields[i].id == HDR_X_ENVOY and out.fields[i].name_size == size and strncasecmp(out.fields[i].name, name, size) == 0:
            out.fields[i].name_size = 0


cdef void _forwarded_for(Transit t, HeadOut* out, const Field* given, RelayText* text) noexcept:
    cdef bytes peer = t.client.peer if t.client is not None else b""
    cdef size_t size = PyBytes_GET_SIZE(peer), before = 0
    if size == 0:
        return
    if given != NULL and given.value.len + size + 2 <= sizeof(text.forwarded_for):
        before = given.value.len
        memcpy(text.forwarded_for, t.head.base + given.value.off, before)
        text.forwarded_for[before] = c','
        before += 1
    memcpy(text.forwarded_for + before, PyBytes_AS_STRING(peer), size)
    out_field(out, "x-forwarded-for", 15, text.forwarded_for, <uint32_t>(before + size), HDR_X_FORWARDED_FOR)


cdef void limit_out(Transit t, HeadOut* out, char* numbers):
    """What is left of the tightest limit that is to be told of; in place of what the application said."""
    cdef bytes quota = t.told_limit.quota
    drop_field(out, "x-ratelimit-limit", 17)
    drop_field(out, "x-ratelimit-remaining", 21)
    drop_field(out, "x-ratelimit-reset", 17)
    out_field(out, "x-ratelimit-limit", 17, PyBytes_AS_STRING(quota), <uint32_t>PyBytes_GET_SIZE(quota), 0)
    out_field(out, "x-ratelimit-remaining", 21, numbers, <uint32_t>write_number(numbers, t.told_left), 0)
    numbers += 32
    out_field(out, "x-ratelimit-reset", 17, numbers, <uint32_t>write_number(numbers, t.told_wait), 0)


cdef void response_out(Transit t, const Head* head, HeadOut* out, RelayText* text):
    cdef const Field* field
    cdef const char* length = NULL
    cdef size_t length_size = 0
    cdef bint server_said = False, date_said = False
    cdef bytes date
    cdef int i
    out_clear(out)
    out.status = head.status
    if head.minor != 2:                   # HTTP/2 has no phrases: the standard one
        out.reason, out.reason_size = span_ptr(head, head.reason), head.reason.len
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id == HDR_CONTENT_LENGTH:
            length, length_size = head.base + field.value.off, field.value.len
        if field.flags & FIELD_HOP:
            continue
        if field.id == HDR_X_ENVOY and field.name.len == 29 \
                and strncasecmp(head.base + field.name.off, "x-envoy-upstream-service-time", 29) == 0:
            continue                      # of a proxy behind us: ours counts from here
        server_said = server_said or field.id == HDR_SERVER
        date_said = date_said or field.id == HDR_DATE
        _copy(out, head, field)
    if t.sent_at:
        out_field(out, "x-envoy-upstream-service-time", 29, text.number,
                  write_number(text.number, (t.answered_at - t.sent_at) // 1000000), 0)
    if not server_said:
        out_field(out, "server", 6, PyBytes_AS_STRING(t.snapshot.server_name), PyBytes_GET_SIZE(t.snapshot.server_name),
                  HDR_SERVER)
    if not date_said and head.status >= 200:                      # RFC 9110 6.6.1
        date = t.engine.http_date()
        out_field(out, "date", 4, PyBytes_AS_STRING(date), PyBytes_GET_SIZE(date), HDR_DATE)
    if t.destination is not None and t.destination.response_ops is not None:
        apply_ops(t, t.destination.response_ops, out)
    if head.status >= 200:
        if t.cors_policy is not None:
            cors_out(t, out)
        if t.new_cookies is not None:
            cookie_out(t, out)
        if t.steps & STEP_SESSION:
            session_out(t, out)
        if t.told_limit is not None:
            limit_out(t, out, text.limit)
    out.framing = FRAMING_CHUNKED if head.framing == FRAMING_CLOSE or head.framing == FRAMING_STREAM else head.framing
    out.length = head.length
    if t.grpc and head.framing == FRAMING_LENGTH and head.length == 0:
        out.framing = FRAMING_NONE        # trailers only: the end comes with the head
    if head.framing == FRAMING_NONE:
        out.length_known_only = True
        if length != NULL and head.status >= 200 and head.status != 204:
            out.framing = FRAMING_LENGTH
            out.length = _decimal(length, length_size)


cdef uint64_t _decimal(const char* text, size_t size) noexcept nogil:
    cdef uint64_t value = 0
    cdef size_t i
    for i in range(size):
        if c'0' <= text[i] <= c'9':
            value = value * 10 + (text[i] - c'0')
    return value
