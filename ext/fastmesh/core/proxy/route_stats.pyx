"""See route_stats.pxd. As Envoy's router counts: a request that the proxy answered itself is not one of the route."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport ENTRY_ROUTE
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport ROUTE_ROW, RT_RQ_2XX, RT_RQ_MS, RT_RQ_RETRY, RT_RQ_TIMEOUT, RT_RQ_TOTAL
from fastmesh.core.proxy.transit cimport FLAG_UT, Transit
from fastmesh.core.route.match cimport Clause, first_match


cdef void count_route(Transit t):
    cdef Clause clause
    cdef uint64_t* row
    cdef int kind = (t.charged if t.charged else t.status) // 100
    if t.destination is None:
        return
    clause = t.matched if t.matched is not None else first_match(t.rule.clauses, &t.request)
    if clause is None or clause.stat_prefix is None:
        return
    if clause.row == NULL:
        _attach(t, clause)
    row = clause.row
    fm_bump(&row[RT_RQ_TOTAL], 1)
    if 2 <= kind <= 5:
        fm_bump(&row[RT_RQ_2XX + kind - 2], 1)
    if t.flags & FLAG_UT:
        fm_bump(&row[RT_RQ_TIMEOUT], 1)
    if t.attempts > 1:
        fm_bump(&row[RT_RQ_RETRY], t.attempts - 1)
    fm_bump(&row[RT_RQ_MS], (t.ended - t.started) // 1000000)


cdef void _attach(Transit t, Clause clause):
    """Its words by host and prefix: those of equal names are the same, and they outlive a reload."""
    cdef bytes key = t.vhost.name_bytes + b"\0" + clause.stat_prefix
    clause.row = t.engine.arena.words(ENTRY_ROUTE, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), ROUTE_ROW * t.engine.arena.slots)
    clause.row += t.engine.slot * ROUTE_ROW
