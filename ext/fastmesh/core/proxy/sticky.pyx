"""See sticky.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.clock cimport wall_us
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.hash_policy cimport HashPolicy
from fastmesh.core.route.rule cimport Destination
from fastmesh.core.route.session cimport Session, Token, identity
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


cdef void resume_session(Transit t):
    cdef Session session = t.rule.session
    cdef Destination destination
    cdef Cluster cluster
    cdef Endpoint endpoint
    cdef Token token
    t.session_began = 0
    if not session.find(&t.request, wall_us() // 1000000, &token):
        return
    for destination in t.rule.destinations:
        cluster = destination.open()
        if cluster is None or destination.late.outside:
            continue                      # its endpoints are nobody's choice, or the client's
        for endpoint in cluster.endpoints:
            if identity(cluster.name, endpoint.text) == token.endpoint:
                t.destination, t.bound, t.session_began = destination, endpoint, token.began
                return


cdef void cookie_out(Transit t, HeadOut* out):
    cdef bytes cookie
    for cookie in t.new_cookies:
        out_field(out, "set-cookie", 10, PyBytes_AS_STRING(cookie), <uint32_t>PyBytes_GET_SIZE(cookie), HDR_SET_COOKIE)


cdef void session_out(Transit t, HeadOut* out):
    cdef Session session = t.rule.session
    cdef bytes name = session.name if session.by_header else b"set-cookie"
    cdef Token token
    if t.endpoint is None or (t.endpoint is t.bound and not session.idle):
        return
    token.endpoint = identity(t.cluster.name, t.endpoint.text)
    token.used = wall_us() // 1000000
    token.began = t.session_began if t.endpoint is t.bound else token.used
    t.session_token = session.write(&token)
    out_field(out, PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), PyBytes_AS_STRING(t.session_token),
              <uint32_t>PyBytes_GET_SIZE(t.session_token), 0 if session.by_header else HDR_SET_COOKIE)
