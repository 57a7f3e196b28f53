"""See retries.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport ENTRY_RETRIES, sum_rows
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport (
    CL_RETRY_ACTIVE, CL_RQ_RETRY_OVERFLOW, RETRY_ACTIVE, RETRY_ROW, WK_RETRY_OVERFLOW, WK_RQ_ACTIVE, WORKER_ROW,
)
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.transit cimport Transit


cdef bint retry_begins(Transit t):
    fm_bump(&t.cluster.row[CL_RETRY_ACTIVE], 1)
    if t.cluster.retry_allowed(now_ms()) and (not t.snapshot.retry_budgeted or _fits_proxy(t)):
        return True
    fm_bump(&t.cluster.row[CL_RETRY_ACTIVE], <uint64_t>-1)
    fm_bump(&t.cluster.row[CL_RQ_RETRY_OVERFLOW], 1)
    return False


cdef bint _fits_proxy(Transit t):
    """Counted first and then looked at, as for a destination."""
    cdef Engine engine = t.engine
    cdef uint64_t* rows = _rows(engine)
    cdef uint64_t active, most
    fm_bump(&rows[engine.slot * RETRY_ROW + RETRY_ACTIVE], 1)
    active = sum_rows(engine.row - engine.slot * WORKER_ROW + WK_RQ_ACTIVE, WORKER_ROW, engine.arena.slots)
    most = max(t.snapshot.retry_least, <uint64_t>(t.snapshot.retry_share * active))
    if sum_rows(rows + RETRY_ACTIVE, RETRY_ROW, engine.arena.slots) <= most:
        return True
    fm_bump(&rows[engine.slot * RETRY_ROW + RETRY_ACTIVE], <uint64_t>-1)
    fm_bump(&engine.row[WK_RETRY_OVERFLOW], 1)
    return False


cdef inline uint64_t* _rows(Engine engine):
    return engine.arena.words(ENTRY_RETRIES, "proxy", 5, RETRY_ROW * engine.arena.slots)


cdef void retry_ends(Transit t):
    fm_bump(&t.cluster.row[CL_RETRY_ACTIVE], <uint64_t>-1)
    if t.snapshot.retry_budgeted:
        fm_bump(&_rows(t.engine)[t.engine.slot * RETRY_ROW + RETRY_ACTIVE], <uint64_t>-1)
