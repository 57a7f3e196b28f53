"""See sticky.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.hash_policy cimport HashPolicy
from fastmesh.core.wire.h1_write cimport HeadOut, out_field
from fastmesh.core.wire.message cimport HDR_SET_COOKIE


cdef void take_hash(Transit t):
    t.hashed = _hash(t, t.cluster.hash, &t.hash)


cdef bint split_hash(Transit t, uint64_t* hash):
    return _hash(t, t.rule.policy.sticky, hash)


cdef bint _hash(Transit t, HashPolicy policy, uint64_t* hash):
    cdef bytes value
    if policy.find(&t.request, t.peer, hash):
        return True
    if policy.made is None:
        return False
    # As Envoy makes it: of the connection's two addresses, so that requests that come before the answer meet the same endpoint
    value = t.local_text + t.peer_text
    value = b"%016x" % xxh64(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
    hash[0] = xxh64(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
    if t.new_cookies is None:
        t.new_cookies = []
    t.new_cookies.append(b'%s="%s"%s' % (policy.name, value, policy.made))
    return True


cdef void cookie_out(Transit t, HeadOut* out):
    cdef bytes cookie
    for cookie in t.new_cookies:
        out_field(out, "set-cookie", 10, PyBytes_AS_STRING(cookie), <uint32_t>PyBytes_GET_SIZE(cookie), HDR_SET_COOKIE)
