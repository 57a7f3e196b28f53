"""How many requests may be retried at a time: what their destination says, and what the proxy says for all destinations together."""
from fastmesh.core.proxy.transit cimport Transit

cdef bint retry_begins(Transit t)     # False: one of the two does not allow it. Else it is counted until
cdef void retry_ends(Transit t)       # this is called, before the request goes to another destination
