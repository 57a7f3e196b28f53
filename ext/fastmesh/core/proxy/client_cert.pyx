"""See client_cert.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from fastmesh.core.net.tls.peer cimport Peer, peer_of
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut, out_field
from fastmesh.core.wire.message cimport HDR_X_FORWARDED_CLIENT_CERT, span_ptr


cdef void add_client_cert(Transit t, HeadOut* out):
    cdef Peer peer = peer_of(t.tls)
    if peer is None:
        return
    if t.listener.gateway:
        t.client_cert = peer.forwarded_whole
    elif t.listener.inbound:
        t.client_cert = _appended(t, peer.forwarded)
    else:
        return
    out_field(out, "x-forwarded-client-cert", 23, PyBytes_AS_STRING(t.client_cert), <unsigned int>PyBytes_GET_SIZE(t.client_cert), 0)


cdef bytes _appended(Transit t, bytes own):
    cdef list said = []
    cdef int i
    for i in range(t.head.field_count):
        if t.head.fields[i].id == HDR_X_FORWARDED_CLIENT_CERT:
            said.append(PyBytes_FromStringAndSize(span_ptr(&t.head, t.head.fields[i].value), t.head.fields[i].value.len))
    said.append(own)
    return b",".join(said) if len(said) > 1 else own
