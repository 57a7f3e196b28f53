"""What of a request is hashed: DestinationRule's consistentHash. A request that lacks it goes anywhere."""
from libc.stdint cimport uint8_t, uint64_t
from fastmesh.core.route.match cimport Request

cdef enum HashSource:
    HASH_NOTHING = 0
    HASH_HEADER
    HASH_COOKIE
    HASH_SOURCE_IP
    HASH_QUERY

cdef class HashPolicy:
    cdef uint8_t source       # HashSource
    cdef bytes name           # of the header, cookie or parameter
    cdef bytes made           # what stands behind `name="value"` in a cookie of ours; None: we make none
    cdef readonly bint maglev
    cdef readonly uint64_t size       # of the table
    # Whether the request has what is hashed. `peer` is the client's address.
    cdef bint find(self, const Request* request, bytes peer, uint64_t* hash)
    cdef bint find_peer(self, bytes peer, uint64_t* hash)     # of a connection that is no request: only its address can be hashed

cdef HashPolicy make_hash_policy(dict plan)
