"""One rate limit as requests meet it: when it applies, which bucket a request draws from, and the refusal."""
from libc.stdint cimport uint16_t, uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.guard.token_bucket cimport Bucket, BucketRule
from fastmesh.core.route.match cimport Request

cdef enum KeyKind:
    KEY_HEADER = 0
    KEY_QUERY
    KEY_PATH
    KEY_METHOD
    KEY_CLIENT_ADDRESS
    KEY_SOURCE_PRINCIPAL

cdef enum:
    KEYED_SETS = 4096         # x SET_WAYS: 16,384 keys of one limit are told apart at a time

cdef class Limit:
    cdef readonly str name
    cdef readonly object origin
    cdef BucketRule rule
    cdef list clauses
    cdef list keys            # (KeyKind, bytes name)
    cdef uint16_t status
    cdef bytes body
    cdef list headers         # (name, value) bytes
    cdef uint64_t* words      # the bucket, or the table of keyed buckets
    cdef uint64_t* row        # this worker's LimitWord row
    cdef void attach(self, Arena arena, int slot)
    cdef Bucket* _bucket(self, const Request* request, bytes client, bytes principal, uint64_t now)
    # True: the request may pass (a token was taken, or the limit does not apply). `client`: its address; `principal`: what its
    # certificate proved, or b"". `now` in ns.
    cdef bint admit(self, const Request* request, bytes client, bytes principal, uint64_t now)
    cdef bint applies(self, const Request* request)
    cdef uint64_t peek(self, const Request* request, bytes client, bytes principal, uint64_t now)

cdef Limit make_limit(dict plan)
