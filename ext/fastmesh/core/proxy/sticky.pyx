"""See sticky.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.hash_policy cimport HashPolicy
from fastmesh.core.wire.h1_write cimport HeadOut, out_field
from fastmesh.core.wire.message cimport HDR_SET_COOKIE


cdef void take_hash(Transit t):
    cdef HashPolicy policy = t.cluster.hash
    cdef bytes value
    t.hashed = policy.find(&t.request, t.peer, &t.hash)
    if t.hashed or policy.made is None:
        return
    # As Envoy makes it: of the connection's two addresses, so that requests that come before the answer meet the same endpoint
    value = t.local_text + t.peer_text
    value = b"%016x" % xxh64(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
    t.hash = xxh64(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
    t.hashed = True
    t.new_cookie = b'%s="%s"%s' % (policy.name, value, policy.made)


cdef void cookie_out(Transit t, HeadOut* out):
    out_field(out, "set-cookie", 10, PyBytes_AS_STRING(t.new_cookie), <uint32_t>PyBytes_GET_SIZE(t.new_cookie), HDR_SET_COOKIE)
