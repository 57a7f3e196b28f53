"""See ejection.pxd."""
import logging

from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_bump, fm_load, fm_store
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CL_EJECTIONS_LATENCY, GU_JUDGED_AT, GU_PEERS, GU_TRIALS_FAILED, GU_TRIALS_PASSED, LT_SLOW, LT_TOOK, OUT_EJECTED_AT,
    OUT_EJECTED_UNTIL,
)
from fastmesh.core.guard.latency cimport latency_bound, latency_due, latency_judge, latency_note, latency_take
from fastmesh.core.guard.outlier cimport OUTCOME_LOCAL, OUTCOME_STATUS, outlier_is_ejected
from fastmesh.core.guard.trial cimport ON_TRIAL, TRIAL_BACK, TRIAL_FAILED, trial_due, trial_end
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.resilience cimport Resilience

cdef object log = logging.getLogger("fastmesh.ejection")


cdef void report(Cluster cluster, Endpoint endpoint, int outcome, int status):
    if cluster.report(endpoint, outcome, status, now_ms()):
        _tell_ejected(cluster, endpoint, "errors in a row")


cdef void try_endpoint(Transit t):
    cdef uint64_t now = now_ms()
    t.trial_began = now
    t.endpoint = t.cluster.try_one(now, &t.hash if t.hashed else NULL, &t.trial)


cdef void leave_trial(Transit t):
    trial_end(t.trial, t.trial_began)
    t.trial = NULL


cdef void attempt_told(Transit t, int outcome, int status):
    cdef Resilience rule = t.cluster.resilience
    cdef uint64_t took = 0
    cdef bint bad = outcome != OUTCOME_STATUS or t.cluster.fails(status)
    if rule.times and t.asked_at and not t.response_begun and (not bad or (outcome == OUTCOME_LOCAL and status == 504)):
        # Failures say nothing of how fast an endpoint serves; a time-out says that it takes at least that long
        took = ((t.answered_at if t.answered_at > t.asked_at and not bad else now_ns()) - t.asked_at) // 1000
        if t.trial == NULL:               # whoever comes back begins with a clean slate
            latency_note(t.endpoint.latency, took)
        if latency_due(&rule.words[GU_JUDGED_AT], &rule.latency, now_ms()):
            _judge(t.cluster, now_ms())
    if t.trial != NULL:
        leave_trial(t)
        _try_told(t.cluster, t.endpoint, not bad and not _is_slow(rule, took))


cdef void attempt_lost(Transit t):
    cdef Resilience rule = t.cluster.resilience
    cdef uint64_t took
    if not rule.times or t.asked_at == 0:
        return                            # a trial goes on without a verdict; its end gives the place back
    took = (now_ns() - t.asked_at) // 1000        # it would have taken longer
    if t.trial == NULL:
        latency_note(t.endpoint.latency, took)
    elif _is_slow(rule, took):
        leave_trial(t)
        _try_told(t.cluster, t.endpoint, False)


cdef bint _is_slow(Resilience rule, uint64_t took):
    """Against what the others took when somebody compared them last."""
    cdef uint64_t bound = latency_bound(&rule.latency, fm_load(&rule.words[GU_PEERS])) if rule.times else 0
    return bound != 0 and took > bound


cdef void _try_told(Cluster cluster, Endpoint endpoint, bint passed):
    cdef int verdict = cluster.tried(endpoint, passed, now_ms())
    fm_add(&cluster.resilience.words[GU_TRIALS_PASSED if passed else GU_TRIALS_FAILED], 1)
    if verdict == TRIAL_BACK:
        log.info("%s of %s is back: its trials went well", endpoint.text.decode(), cluster.name.decode())
    elif verdict == TRIAL_FAILED:
        _tell_ejected(cluster, endpoint, "a trial failed")


cdef void check_told(Cluster cluster, Endpoint endpoint, bint passed):
    if trial_due(endpoint.cell, now_ms()):
        _try_told(cluster, endpoint, passed)


cdef void _judge(Cluster cluster, uint64_t now):
    """Each endpoint whose window is over is compared with the median of what the last windows of the others said."""
    cdef Resilience rule = cluster.resilience
    cdef Endpoint endpoint
    cdef uint64_t took, peers, bound
    cdef Py_ssize_t rank, count
    cdef list found = []
    for number, endpoint in enumerate(cluster.endpoints):
        took = latency_take(endpoint.latency, &rule.latency)
        if fm_load(&endpoint.latency[LT_TOOK]) and not outlier_is_ejected(endpoint.cell, now):
            found.append((fm_load(&endpoint.latency[LT_TOOK]), number, took != 0))
    found.sort()
    count = len(found)
    if count:
        fm_store(&rule.words[GU_PEERS], found[count // 2][0])
    for rank, (taken, number, over) in enumerate(found):
        if not over:
            continue
        endpoint, took, peers = cluster.endpoints[number], taken, 0
        if count > 1:                     # the upper median of those without it
            peers = found[(count - 1) // 2 + (1 if (count - 1) // 2 >= rank else 0)][0]
        bound = latency_bound(&rule.latency, peers)
        if latency_judge(endpoint.latency, &rule.latency, took, bound) and cluster.eject(endpoint, &rule.ejection, now):
            fm_store(&endpoint.latency[LT_SLOW], 0)
            fm_store(&endpoint.latency[LT_TOOK], 0)
            fm_bump(&cluster.row[CL_EJECTIONS_LATENCY], 1)
            _tell_ejected(cluster, endpoint, f"p{rule.latency.percentile} of {took / 1000:.1f} ms, above {bound / 1000:.1f} ms")


cdef _tell_ejected(Cluster cluster, Endpoint endpoint, str why):
    until = fm_load(&endpoint.cell[OUT_EJECTED_UNTIL]) & (ON_TRIAL - 1)
    seconds = (until - fm_load(&endpoint.cell[OUT_EJECTED_AT])) / 1000
    log.warning("%s of %s is ejected for %g s: %s", endpoint.text.decode(), cluster.name.decode(), seconds, why)
