"""See trait.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp
from fastmesh.core.base.atomics cimport fm_hash
from fastmesh.core.route.match cimport Request, header_value
from fastmesh.core.wire.message cimport span_ptr

cdef dict KINDS = {"header": TRAIT_HEADER, "queryParam": TRAIT_QUERY, "path": TRAIT_PATH, "target": TRAIT_TARGET,
                   "method": TRAIT_METHOD, "authority": TRAIT_AUTHORITY, "scheme": TRAIT_SCHEME,
                   "clientAddress": TRAIT_CLIENT_ADDRESS, "sourcePrincipal": TRAIT_SOURCE_PRINCIPAL}
cdef dict TESTS = {"present": TEST_PRESENT, "is": TEST_IS, "not": TEST_NOT, "absent": TEST_ABSENT}
cdef uint64_t SALT = 0x9E3779B97F4A7C15


cdef class Trait:
    cdef const char* read(self, const Request* request, bytes client, bytes principal, Py_ssize_t* size, char* joined,
                          size_t room):
        size[0] = -1
        if self.kind == TRAIT_HEADER:
            return header_value(request.head, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), size, joined, room)
        if self.kind == TRAIT_QUERY:
            return _parameter(request, self.name, size)
        if self.kind == TRAIT_PATH:
            size[0] = request.path_size
            return request.path
        if self.kind == TRAIT_TARGET:     # the query stands behind the path, see Finding.normalize
            size[0] = request.path_size + (1 + request.query_size if request.has_query else 0)
            return request.path
        if self.kind == TRAIT_METHOD:
            size[0] = request.head.method_name.len
            return span_ptr(request.head, request.head.method_name)
        if self.kind == TRAIT_AUTHORITY:
            size[0] = request.head.authority.len
            return span_ptr(request.head, request.head.authority)
        if self.kind == TRAIT_SCHEME:
            size[0] = 5 if request.https else 4
            return "https" if request.https else "http"
        if self.kind == TRAIT_CLIENT_ADDRESS:
            size[0] = PyBytes_GET_SIZE(client)
            return PyBytes_AS_STRING(client)
        size[0] = PyBytes_GET_SIZE(principal) or -1
        return PyBytes_AS_STRING(principal)

    cdef bint fits(self, const Request* request, bytes client, bytes principal):
        cdef char[4096] joined
        cdef Py_ssize_t size
        cdef const char* value = self.read(request, client, principal, &size, joined, sizeof(joined))
        if self.test == TEST_PRESENT:
            return size >= 0
        if self.test == TEST_ABSENT:
            return size < 0
        return (size == PyBytes_GET_SIZE(self.value) and memcmp(value, PyBytes_AS_STRING(self.value), size) == 0) \
            == (self.test == TEST_IS)


cdef const char* _parameter(const Request* request, bytes name, Py_ssize_t* size):
    cdef const char* at = request.query
    cdef const char* end = request.query + request.query_size
    cdef const char* stop
    cdef size_t wanted = PyBytes_GET_SIZE(name)
    while request.has_query and at < end:
        stop = <const char*>memchr(at, c'&', end - at)
        if stop == NULL:
            stop = end
        if <size_t>(stop - at) >= wanted and (at + wanted == stop or at[wanted] == c'=') \
                and memcmp(at, PyBytes_AS_STRING(name), wanted) == 0:
            size[0] = stop - at - wanted - 1 if at + wanted < stop else 0      # `?q` is `?q=`
            return at + wanted + 1
        at = stop + 1
    return NULL


cdef uint64_t hash_traits(list traits, const Request* request, bytes client, bytes principal):
    cdef uint64_t hash = SALT
    cdef char[4096] joined
    cdef Py_ssize_t size
    cdef const char* value
    cdef Trait trait
    for trait in traits:
        value = trait.read(request, client, principal, &size, joined, sizeof(joined))
        hash += 1 if size >= 0 else 0          # an empty value is not an absent one
        if size > 0:
            hash = fm_hash(value, size, hash)
        else:
            hash = hash * SALT
    return hash or 1


cdef Trait make_trait(str kind, str name, str test, str value):
    cdef Trait trait = Trait.__new__(Trait)
    trait.kind = KINDS[kind]
    trait.test = TESTS[test]
    trait.name = name.encode()
    trait.value = value.encode()
    return trait
