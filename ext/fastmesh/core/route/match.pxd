"""Comparisons of one request with the clauses of a rule. Values are compiled once; a request only walks them."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.wire.message cimport Head

cdef struct Request:          # what rules look at: a head whose path was normalised
    const Head* head
    const char* path          # without query
    uint32_t path_size
    const char* query         # without '?'
    uint32_t query_size
    bint has_query
    bint https

cdef enum MatchKind:
    MATCH_EXACT = 0
    MATCH_PREFIX
    MATCH_SUFFIX
    MATCH_REGEX
    MATCH_PRESENT

cdef class Matcher:
    cdef bytes value
    cdef const char* text
    cdef size_t size
    cdef uint8_t kind         # MatchKind
    cdef bint ignore_case
    cdef bint segments        # Gateway API PathPrefix
    cdef object regex
    cdef bint test(self, const char* data, size_t size)
    cdef bint _same(self, const char* data, size_t size)
    cdef bint _test_segments(self, const char* data, size_t size)

cdef class Named:             # a header or query parameter
    cdef bytes name
    cdef Matcher matcher
    cdef bint invert
    cdef uint8_t pseudo       # 0 = a header; else 1 method, 2 authority, 3 path, 4 scheme, 5 a claim of a token
    cdef list claim           # its names from the outside in

cdef class Clause:            # one HTTPMatchRequest: AND of all that is set
    cdef readonly str name
    cdef Matcher path
    cdef Matcher scheme
    cdef Matcher method
    cdef Matcher authority
    cdef list headers         # of Named
    cdef list query           # of Named
    cdef bytes stat_prefix    # or None
    cdef uint64_t* row        # of its statPrefix: see proxy/route_stats
    cdef bint test(self, const Request* request)
    cdef bint _test_headers(self, const Request* request)
    cdef bint _test_query(self, const Request* request)

cdef Matcher make_matcher(plan, bint segments=*)
cdef Clause make_clause(dict plan)
cdef list make_clauses(list plans)
# The first clause that fits, or None; an empty list fits always and answers the empty clause.
cdef Clause first_match(list clauses, const Request* request)
# The value of a header joined with commas; *size = -1 when it is absent. Points into the head, or into `joined` when repeated.
cdef const char* header_value(const Head* head, const char* name, size_t name_size, Py_ssize_t* size, char* joined, size_t room) noexcept
# The first `name` or `name=value` of a query, compared as written (no decoding, as Envoy does)
cdef bint find_parameter(const char* query, size_t size, bytes name, const char** value, size_t* value_size) noexcept
