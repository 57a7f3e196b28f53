"""What keeps a client with one endpoint: the hash of its requests, and the cookies that this proxy makes for it."""
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut

# What the cluster's hash policy says of the request; once for all attempts. A cookie that is asked for and missing is made.
cdef void take_hash(Transit t)
cdef void cookie_out(Transit t, HeadOut* out)
