"""Cross-origin requests (Fetch standard 3.3): what the proxy answers to a preflight, and what it adds to other answers."""
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef bint find_origin(Transit t)                   # False: the request names none
cdef bint is_preflight(const Head* head) noexcept  # it has an Origin, too
cdef list preflight_fields(Transit t)              # pairs of name and value, for an origin that is allowed
cdef void cors_out(Transit t, HeadOut* out)        # what the application said of it is replaced
