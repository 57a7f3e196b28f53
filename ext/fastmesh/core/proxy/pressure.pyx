"""See pressure.pxd."""
from libc.stdint cimport uint32_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport WK_OVERLOAD_SHED
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.flags cimport FLAG_OM
from fastmesh.core.route.resilience cimport PriorityClass
from fastmesh.core.route.rule cimport Destination

cdef list SHED = [(b"x-envoy-local-overloaded", b"true"), (b"retry-after", b"1")]

cdef enum:
    UNCLASSED = 100           # percent, of requests that nobody gave a class: they are refused last


cdef bint is_shed(Replying t):
    cdef PriorityClass priority = class_of(t)
    return (priority.share if priority is not None else UNCLASSED) <= t.engine.shedding


cdef PriorityClass class_of(Replying t):
    cdef Cluster cluster
    cdef PriorityClass found = None
    if t.rule is None:
        return None
    if t.rule.guard is not None:
        found = t.rule.guard.resilience.class_of(&t.request)
    if found is None and t.rule.destinations:
        cluster = (<Destination>t.rule.destinations[0]).open()
        if cluster is not None and cluster.resilience is not None:
            found = cluster.resilience.class_of(&t.request)
    return found


cdef int shed(Replying t):
    fm_bump(&t.engine.row[WK_OVERLOAD_SHED], 1)
    return t._reply(503, FLAG_OM, "overload", b"text/plain", "overloaded", 10, SHED)
