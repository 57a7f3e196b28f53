"""See hash_policy.pxd. The same bytes are hashed in the same way as by Envoy."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.route.cookie cimport cookie_value
from fastmesh.core.route.match cimport Request, find_parameter
from fastmesh.core.wire.message cimport Field, Head, Span

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

cdef dict SOURCES = {"": HASH_NOTHING, "header": HASH_HEADER, "cookie": HASH_COOKIE, "source_ip": HASH_SOURCE_IP,
                     "query": HASH_QUERY}

cdef enum:
    VALUES_MAX = 16           # of one header in one request; more are not looked at


cdef HashPolicy make_hash_policy(dict plan):
    cdef HashPolicy policy = HashPolicy.__new__(HashPolicy)
    policy.source = SOURCES[plan["source"]]
    policy.name = plan["name"].encode()
    policy.made = plan["cookie"].encode() if plan["cookie"] is not None else None
    policy.maglev = plan["table"] == "maglev"
    policy.size = plan["size"]
    return policy


cdef class HashPolicy:
    cdef bint find(self, const Request* request, bytes peer, uint64_t* hash):
        cdef const char* value = NULL
        cdef Py_ssize_t size = -1
        cdef size_t length = 0
        if self.source == HASH_HEADER:
            return _of_header(request.head, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), hash)
        if self.source == HASH_COOKIE:
            value = cookie_value(request.head, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), &size)
        elif self.source == HASH_SOURCE_IP:
            return self.find_peer(peer, hash)
        elif self.source == HASH_QUERY and request.has_query:
            if find_parameter(request.query, request.query_size, self.name, &value, &length):
                size = length
        if size < 0 or (size == 0 and self.source == HASH_COOKIE):
            return False
        hash[0] = xxh64(value, size, 0)
        return True

    cdef bint find_peer(self, bytes peer, uint64_t* hash):
        if self.source != HASH_SOURCE_IP or not peer:
            return False
        hash[0] = xxh64(PyBytes_AS_STRING(peer), PyBytes_GET_SIZE(peer), 0)
        return True


cdef bint _of_header(const Head* head, const char* name, size_t name_size, uint64_t* hash) noexcept nogil:
    """Several values count together, whatever their order."""
    cdef Span[VALUES_MAX] values
    cdef Span value
    cdef const Field* field
    cdef int i, at, count = 0
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.name.len != name_size or strncasecmp(head.base + field.name.off, name, name_size) != 0 or count == VALUES_MAX:
            continue
        value, at = field.value, count
        while at > 0 and _before(head, value, values[at - 1]):
            values[at] = values[at - 1]
            at -= 1
        values[at] = value
        count += 1
    if count == 0:
        return False
    hash[0] = 0
    for i in range(count):
        hash[0] = xxh64(head.base + values[i].off, values[i].len, hash[0])
    return True


cdef bint _before(const Head* head, Span one, Span other) noexcept nogil:
    cdef int order = memcmp(head.base + one.off, head.base + other.off, one.len if one.len < other.len else other.len)
    return order < 0 or (order == 0 and one.len < other.len)
