"""See cors.pxd. As Envoy's filter does it: neither the method nor the headers that are asked for are compared with the policy."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cors cimport Cors
from fastmesh.core.route.match cimport header_value
from fastmesh.core.wire.h1_write cimport HeadOut, drop_field, out_field
from fastmesh.core.wire.message cimport HDR_ORIGIN, METHOD_OPTIONS, Field, Head

cdef const char* ASKED_METHOD = "access-control-request-method"
cdef const char* ASKED_HEADERS = "access-control-request-headers"


cdef bint find_origin(Transit t):
    cdef const Head* head = &t.head
    cdef const Field* field
    cdef int i
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id == HDR_ORIGIN and field.value.len:
            t.origin_at, t.origin_size = head.base + field.value.off, field.value.len
            return True
    return False


cdef bint is_preflight(const Head* head) noexcept:
    cdef Py_ssize_t size
    if head.method != METHOD_OPTIONS:
        return False
    header_value(head, ASKED_METHOD, 29, &size, NULL, 0)
    return size > 0


cdef list preflight_fields(Transit t):
    cdef Cors cors = t.rule.cors
    cdef list fields = [(b"access-control-allow-origin", PyBytes_FromStringAndSize(t.origin_at, t.origin_size))]
    if cors.credentials:
        fields.append((b"access-control-allow-credentials", b"true"))
    _add(fields, b"access-control-allow-methods", cors.methods, cors.echo, &t.head, ASKED_METHOD, 29)
    _add(fields, b"access-control-allow-headers", cors.headers, cors.echo, &t.head, ASKED_HEADERS, 30)
    if cors.exposed:                      # of no use to a preflight; Envoy's filter says it of its own answer, too
        fields.append((b"access-control-expose-headers", cors.exposed))
    if cors.max_age:
        fields.append((b"access-control-max-age", cors.max_age))
    return fields


cdef void _add(list fields, bytes name, bytes value, bint echo, const Head* head, const char* asked, size_t size):
    cdef char[4096] joined
    cdef const char* found
    cdef Py_ssize_t found_size
    if echo and value == b"*":
        found = header_value(head, asked, size, &found_size, joined, sizeof(joined))
        value = PyBytes_FromStringAndSize(found, found_size) if found_size > 0 else b""
    if value:
        fields.append((name, value))


cdef void cors_out(Transit t, HeadOut* out):
    cdef Cors cors = t.cors_policy
    _put(out, "access-control-allow-origin", 27, t.origin_at, t.origin_size)
    if cors.credentials:
        _put(out, "access-control-allow-credentials", 32, "true", 4)
    if cors.exposed:
        _put(out, "access-control-expose-headers", 29, PyBytes_AS_STRING(cors.exposed), <uint32_t>PyBytes_GET_SIZE(cors.exposed))


cdef inline void _put(HeadOut* out, const char* name, uint32_t name_size, const char* value, uint32_t size):
    drop_field(out, name, name_size)
    out_field(out, name, name_size, value, size, 0)
