"""What a limit may look at in a request: the parts of a bucket's key, and exact conditions on the same parts."""
from libc.stdint cimport uint64_t
from fastmesh.core.route.match cimport Request

cdef enum TraitKind:
    TRAIT_HEADER = 0
    TRAIT_QUERY
    TRAIT_PATH                # without the query
    TRAIT_TARGET              # with it: Envoy's :path
    TRAIT_METHOD
    TRAIT_AUTHORITY
    TRAIT_SCHEME
    TRAIT_CLIENT_ADDRESS
    TRAIT_SOURCE_PRINCIPAL

cdef enum TraitTest:
    TEST_PRESENT = 0
    TEST_IS
    TEST_NOT                  # something else; absent fits, too
    TEST_ABSENT

cdef class Trait:
    cdef int kind             # TraitKind
    cdef int test             # TraitTest, of a condition
    cdef bytes name           # of a header (lower case) or parameter
    cdef bytes value
    # *size = -1: the request has none. Points into the request, or into `joined` (a header that stands there several times).
    cdef const char* read(self, const Request* request, bytes client, bytes principal, Py_ssize_t* size, char* joined,
                          size_t room)
    cdef bint fits(self, const Request* request, bytes client, bytes principal)

cdef Trait make_trait(str kind, str name, str test, str value)
# One number for the values of all of `traits`
cdef uint64_t hash_traits(list traits, const Request* request, bytes client, bytes principal)
