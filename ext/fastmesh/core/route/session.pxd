"""sessionPersistence of the Gateway API: a client's later requests go to the endpoint that answered its first one.

What the client keeps is a token, in a cookie or a header: which endpoint (a hash of its cluster and address, so that addresses stay
inside), when the session began, and when it was used last. It is not secret and gives no right: it names one of the rule's endpoints.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.route.match cimport Request

cdef enum:
    TOKEN_MAX = 64

cdef struct Token:
    uint64_t endpoint         # see `identity`
    uint64_t began            # seconds since 1970
    uint64_t used

cdef class Session:
    cdef bytes name           # of the cookie or header
    cdef bint by_header
    cdef bytes made           # what stands behind a cookie's value
    cdef uint64_t absolute    # seconds; 0 = no limit, here and below
    cdef uint64_t idle
    cdef bint find(self, const Request* request, uint64_t now, Token* token)  # False: none, or it is over
    cdef bytes write(self, const Token* token)    # the value of set-cookie, or of the header

cdef Session make_session(plan)       # None when there is none
cdef uint64_t identity(bytes cluster, bytes endpoint)
