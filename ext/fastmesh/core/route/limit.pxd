"""One rate limit as requests meet it: when it applies, which bucket a request draws from, and the refusal.

Two sorts: a local one draws from a token bucket that all workers share (guard/token_bucket); a global one, which other proxies
share as well, from tokens that the master took ahead from Redis (guard/lease).
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.guard.lease cimport Lease, LeaseAsks, LeaseTable
from fastmesh.core.guard.token_bucket cimport Bucket, BucketRule
from fastmesh.core.route.match cimport Request

cdef enum:
    KEYED_SETS = 4096         # x SET_WAYS: 16,384 keys of one limit are told apart at a time
    ALL = 1000000             # shares are of a million

cdef class Limit:
    cdef readonly str name
    cdef readonly object origin
    cdef BucketRule rule
    cdef list clauses
    cdef list traits          # conditions: route.trait.Trait, all have to fit; None: there are none
    cdef list keys            # of Trait
    cdef uint32_t enabled     # the share of requests that is counted at all
    cdef uint32_t enforced    # the share of those without a token that is refused
    cdef bint told            # x-ratelimit-limit and its like go with every answer
    cdef uint16_t status
    cdef int grpc             # the status of a refused call; -1 = by `status`
    cdef bytes details        # response_code_details of the refusal
    cdef bytes body
    cdef list headers         # (name, value) bytes
    cdef bint retry_after     # say when the next token comes
    cdef bytes quota          # "10" or "10, 10;w=60": x-ratelimit-limit
    # where the tokens are
    cdef uint64_t* words      # the bucket, or the table of keyed buckets; NULL: not attached yet
    cdef uint64_t* row        # this worker's LimitWord row
    # of a global one
    cdef bint is_global
    cdef bint fails_closed    # when Redis is gone
    cdef readonly str domain  # what stands before its counts in Redis
    cdef uint64_t credit
    cdef LeaseTable* table
    cdef LeaseAsks* asks
    cdef object bell          # called without arguments: the master has something to read
    cdef void attach(self, Arena arena, int slot, object bell)
    # True: the request may pass (a token was taken, or the limit does not apply). `client`: its address; `principal`: what its
    # certificate proved, or b"". `now` in ns.
    cdef bint admit(self, const Request* request, bytes client, bytes principal, uint64_t now)
    cdef bint applies(self, const Request* request, bytes client, bytes principal)
    # Tokens left, and the ms until there are more, for the bucket of this request
    cdef uint64_t peek(self, const Request* request, bytes client, bytes principal, uint64_t now, uint64_t* wait)
    cdef Bucket* _bucket(self, const Request* request, bytes client, bytes principal, uint64_t now)
    cdef Lease* _lease(self, const Request* request, bytes client, bytes principal, uint64_t now_ms)
    cdef bint _take_lease(self, Lease* lease, uint64_t now_ms)

cdef Limit make_limit(dict plan)
cdef bytes state_key(str name, uint64_t requests, uint64_t period, uint64_t burst)
