"""What keeps a client with one endpoint, or one destination: hashes of its requests, its session, and cookies that this proxy makes."""
from libc.stdint cimport uint64_t
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut

# What the cluster's hash policy says of the request; once for all attempts. A cookie that is asked for and missing is made.
cdef void take_hash(Transit t)
# The same of the rule's policy, which chooses among its destinations; False: there is nothing to hash.
cdef bint split_hash(Transit t, uint64_t* hash)
# The destination and the endpoint of the client's session, when it has one that still stands.
cdef void resume_session(Transit t)
# The token that the client is to come back with, when the endpoint that answers is not the one of its session.
cdef void session_out(Transit t, HeadOut* out)
cdef void cookie_out(Transit t, HeadOut* out)
