"""Requests for hosts whose endpoints the configuration does not have: the host of the request is asked of DNS.

For ALLOW_ANY when somebody wrote it, and for ServiceEntries with resolution NONE or DYNAMIC_DNS. The first request for a host waits
for the answer, at most PATIENCE; later ones use the last good answer while it is asked for anew. An address is refused when it is the
proxy itself, or when it is not a public one and neither a flag nor a whole name in the configuration allows it: what a client writes
into Host must not open the network behind the proxy. What is checked is the address that is connected to, so a name that changes in
between (DNS rebinding) gains nothing."""
from libc.stdint cimport uint64_t
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.late cimport Late

cdef enum:
    OUT_FOUND = 0             # `cluster` of the request is set
    OUT_WAIT = 1              # its timer will come with TIMER_OUTSIDE
    OUT_NOTHING = 2           # DNS knows no address
    OUT_REFUSED = 3

cdef class Answer:
    cdef Cluster cluster      # with the addresses of the last good answer; None: there was none
    cdef uint64_t until       # ms: asked for anew after this
    cdef bint asking
    cdef bint refused         # all its addresses are
    cdef list waiting         # requests

cdef class Outside:
    cdef Engine engine        # a circle, for the life of the worker
    cdef object loop
    cdef list allowed         # networks
    cdef int most             # hosts that are remembered for one cluster
    cdef Answer remember(self, Late late, bytes host, int port)
    cdef void ask(self, Late late, Answer answer, bytes host, int port)
    cdef void take(self, Late late, Answer answer, list found, int port)

cdef Outside make_outside(Engine engine, object loop, dict settings)
cdef int go_outside(Transit t)
# The cluster of the plan with these endpoints, under the same name: its limits and counters are one. `shared`: clients choose the
# addresses, so all of them have one place of the arena, which never gives back what it gave
cdef Cluster make_reached(Engine engine, Late late, list endpoints, bint shared)
cdef dict plain_endpoint(str address, int port)
