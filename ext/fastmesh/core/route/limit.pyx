"""See limit.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp
from fastmesh.core.base.arena cimport ENTRY_BUCKET, ENTRY_BUCKET_SET, ENTRY_LIMIT, Arena
from fastmesh.core.base.atomics cimport fm_bump, fm_hash
from fastmesh.core.base.counters cimport LIMIT_ROW, LM_EVICTED, LM_LIMITED, LM_PASSED
from fastmesh.core.guard.token_bucket cimport (
    BUCKET_WORDS, SET_WAYS, Bucket, bucket_of_key, bucket_peek, bucket_take,
)
from fastmesh.core.route.match cimport Request, first_match, header_value, make_clauses
from fastmesh.core.wire.message cimport span_ptr

cdef dict KEYS = {"header": KEY_HEADER, "queryParam": KEY_QUERY, "path": KEY_PATH, "method": KEY_METHOD,
                  "clientAddress": KEY_CLIENT_ADDRESS, "sourcePrincipal": KEY_SOURCE_PRINCIPAL}


cdef class Limit:
    cdef void attach(self, Arena arena, int slot):
        # The numbers are part of the key: a changed limit starts with a full bucket, an unchanged one keeps its state
        cdef bytes key = f"{self.name}\0{self.rule.requests}/{self.rule.period}/{self.rule.burst}".encode()
        cdef bytes name = self.name.encode()
        if self.keys:
            self.words = arena.words(ENTRY_BUCKET_SET, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                     KEYED_SETS * SET_WAYS * 4)
        else:
            self.words = arena.words(ENTRY_BUCKET, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), BUCKET_WORDS)
        self.row = arena.words(ENTRY_LIMIT, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), LIMIT_ROW * arena.slots)
        self.row += slot * LIMIT_ROW

    cdef bint applies(self, const Request* request):
        return not self.clauses or first_match(self.clauses, request) is not None

    cdef bint admit(self, const Request* request, bytes client, bytes principal, uint64_t now):
        if not self.applies(request):
            return True
        if bucket_take(self._bucket(request, client, principal, now), &self.rule, now):
            fm_bump(&self.row[LM_PASSED], 1)
            return True
        fm_bump(&self.row[LM_LIMITED], 1)
        return False

    cdef uint64_t peek(self, const Request* request, bytes client, bytes principal, uint64_t now):
        return bucket_peek(self._bucket(request, client, principal, now), &self.rule, now)

    cdef Bucket* _bucket(self, const Request* request, bytes client, bytes principal, uint64_t now):
        cdef uint64_t hash = <uint64_t>0x9E3779B97F4A7C15
        cdef char[4096] joined
        cdef Py_ssize_t size
        cdef const char* value
        cdef bytes name
        cdef int kind
        cdef bint evicted
        cdef Bucket* bucket
        if not self.keys:
            return <Bucket*>self.words
        for kind, name in self.keys:
            size = 0
            value = NULL
            if kind == KEY_HEADER:
                value = header_value(request.head, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), &size, joined,
                                     sizeof(joined))
            elif kind == KEY_QUERY:
                value = _parameter(request, name, &size)
            elif kind == KEY_PATH:
                value, size = request.path, request.path_size
            elif kind == KEY_METHOD:
                value, size = span_ptr(request.head, request.head.method_name), request.head.method_name.len
            elif kind == KEY_CLIENT_ADDRESS:
                value, size = PyBytes_AS_STRING(client), PyBytes_GET_SIZE(client)
            elif kind == KEY_SOURCE_PRINCIPAL:
                value, size = PyBytes_AS_STRING(principal), PyBytes_GET_SIZE(principal) or -1
            hash += 1 if size >= 0 else 0          # an empty value is not an absent one
            if size > 0:
                hash = fm_hash(value, size, hash)
            else:
                hash = hash * <uint64_t>0x9E3779B97F4A7C15
        bucket = bucket_of_key(self.words, KEYED_SETS, hash, now, &evicted)
        if evicted:
            fm_bump(&self.row[LM_EVICTED], 1)
        return bucket


cdef const char* _parameter(const Request* request, bytes name, Py_ssize_t* size):
    cdef const char* at = request.query
    cdef const char* end = request.query + request.query_size
    cdef const char* stop
    cdef size_t wanted = PyBytes_GET_SIZE(name)
    size[0] = -1
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


cdef Limit make_limit(dict plan):
    cdef Limit limit = Limit.__new__(Limit)
    limit.name = plan["name"]
    limit.origin = plan["origin"]
    limit.rule.requests = plan["requests"]
    limit.rule.period = <uint64_t>plan["period"] * 1000000
    limit.rule.burst = plan["burst"]
    limit.clauses = make_clauses(plan["matches"])
    limit.keys = [(KEYS[kind], name.encode()) for kind, name in plan["keys"]]
    limit.status = plan["status"]
    limit.body = plan["body"]
    limit.headers = [(name.encode(), value.encode()) for name, value in plan["headers"]]
    return limit
