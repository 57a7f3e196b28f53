"""Header values that are put together for each message: `%REQ(x-user)%`, `%DOWNSTREAM_REMOTE_ADDRESS%` and the rest of Envoy's words.

What comes from outside can never end a field or a head: CR, LF, NUL and other control characters become blanks.
"""
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.header_ops cimport HeaderOps
from fastmesh.core.wire.h1_write cimport HeadOut

# All of the level's made values as they are before the level changes anything. A request is told from a response by `out.status`.
cdef void expand(Transit t, HeaderOps ops, const HeadOut* out)
