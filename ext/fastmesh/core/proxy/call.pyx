"""See call.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.wheel cimport timer_running
from fastmesh.core.proxy.relay cimport RelayText
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.grpc cimport is_grpc, read_grpc_status, read_grpc_timeout, write_grpc_timeout
from fastmesh.core.wire.h1_write cimport HeadOut, drop_field, out_field
from fastmesh.core.wire.message cimport Field, HDR_CONTENT_TYPE, HDR_GRPC_STATUS, HDR_GRPC_TIMEOUT, Head

cdef enum:
    UNLIMITED = 0x7fffffffffffffff


cdef void look_for_call(Transit t) noexcept:
    cdef const Head* head = &t.head
    cdef const Field* field
    cdef int64_t limit
    cdef int i
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id == HDR_CONTENT_TYPE:
            if not is_grpc(head.base + field.value.off, field.value.len):
                return
            t.grpc = True
    if not t.grpc:
        return
    memset(&t.request_frames, 0, sizeof(t.request_frames))
    memset(&t.response_frames, 0, sizeof(t.response_frames))
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id == HDR_GRPC_TIMEOUT:
            limit = read_grpc_timeout(head.base + field.value.off, field.value.len)
            if limit > 0:
                t.deadline = now_ms() + <uint64_t>limit
            return


cdef void call_out(Transit t, HeadOut* out, RelayText* text) noexcept:
    """What is left for all attempts, or the rule's time when that is less.

    Not the attempt's own time, which Envoy says when it is the least: an endpoint that keeps to it answers DEADLINE_EXCEEDED just as
    the attempt ends here, and whether there is another one would be a race.
    """
    cdef uint64_t now = now_ms()
    cdef int64_t left = UNLIMITED
    if timer_running(&t.route_timer):
        left = <int64_t>t.route_timer.deadline - 1 - <int64_t>now
    elif t.deadline:
        left = <int64_t>t.deadline - <int64_t>now
    if t.rule.timeout and t.rule.timeout < left:
        left = t.rule.timeout
    if left == UNLIMITED:
        return
    drop_field(out, "grpc-timeout", 12)
    out_field(out, "grpc-timeout", 12, text.timeout, <uint32_t>write_grpc_timeout(text.timeout, left if left > 0 else 1),
              HDR_GRPC_TIMEOUT)


cdef void read_call_status(Transit t, const Head* head) noexcept:
    cdef int i
    for i in range(head.field_count):
        if head.fields[i].id == HDR_GRPC_STATUS:
            t.grpc_status = read_grpc_status(head.base + head.fields[i].value.off, head.fields[i].value.len)
            return


cdef Head _late
cdef bytes _late_text = b"grpc-status4grpc-messageupstream request timeout"


cdef void _make_late() noexcept:
    memset(&_late, 0, sizeof(Head))
    _late.base = PyBytes_AS_STRING(_late_text)
    _late.size = <uint32_t>PyBytes_GET_SIZE(_late_text)
    _late.field_count = 2
    _late.fields[0].name.len, _late.fields[0].value.off, _late.fields[0].value.len = 11, 11, 1
    _late.fields[0].id = HDR_GRPC_STATUS
    _late.fields[1].name.off, _late.fields[1].name.len = 12, 12
    _late.fields[1].value.off, _late.fields[1].value.len = 24, 24


_make_late()


cdef const Head* late_trailers() noexcept:
    return &_late


cdef bint call_is_late(Transit t) noexcept:
    return t.deadline != 0 and now_ms() >= t.deadline
