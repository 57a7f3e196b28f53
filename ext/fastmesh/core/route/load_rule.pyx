"""See load_rule.pxd."""
from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_cas, fm_load, fm_store
from fastmesh.core.wire.load_report cimport LoadReport, read_load_report
from fastmesh.core.wire.message cimport Head


cdef class LoadRule:
    pass


cdef LoadRule make_load_rule(plan):
    if plan is None:
        return None
    cdef LoadRule rule = LoadRule.__new__(LoadRule)
    rule.update = max(1, plan["update"])
    rule.stabilization, rule.expiration = plan["stabilization"], plan["expiration"]
    rule.penalty = plan["penalty"]
    rule.wanted = [name.encode() for name in plan["metrics"]]
    rule.told = "by the load that endpoints report (endpoint-load-metrics)"
    return rule


cdef uint32_t weight_of(LoadRule rule, const LoadReport* report) noexcept:
    cdef double busy = report.application
    cdef double weight
    if busy <= 0:
        busy = report.named
    if busy <= 0:
        busy = report.cpu
    if report.rps <= 0:
        return 0
    busy += rule.penalty * report.eps / report.rps
    if busy <= 0:
        return 0
    weight = report.rps / busy
    return UINT32_MAX if weight >= UINT32_MAX else <uint32_t>weight if weight > 1 else 1


cdef void learn_load(LoadRule rule, const Head* head, uint64_t* cell, uint64_t now):
    cdef LoadReport report
    cdef uint32_t weight
    if not read_load_report(head, rule.wanted, &report):
        return
    weight = weight_of(rule, &report)
    if weight:
        fm_store(&cell[LD_WEIGHT], weight)
        fm_store(&cell[LD_AT], now)
        fm_cas(&cell[LD_SINCE], 0, now)


cdef uint32_t trusted_weight(LoadRule rule, uint64_t* cell, uint64_t now) noexcept:
    cdef uint64_t since = fm_load(&cell[LD_SINCE])
    if since == 0 or now < since + rule.stabilization:
        return 0
    if now > fm_load(&cell[LD_AT]) + rule.expiration:
        fm_cas(&cell[LD_SINCE], since, 0)             # it has to prove itself again
        return 0
    return <uint32_t>fm_load(&cell[LD_WEIGHT])
