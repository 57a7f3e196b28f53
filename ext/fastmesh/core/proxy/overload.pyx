"""See overload.pxd."""
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_add
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport CLUSTER_ROW, CL_RQ_ACTIVE, GU_ANSWERED, GU_FAILED_OVER, GU_LIMITED, GU_SHED, HC_WINDOW
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.guard.breaker cimport breaker_admit, breaker_due, breaker_judge, breaker_let_go, breaker_probed
from fastmesh.core.guard.gradient cimport gradient_limit, gradient_sample
from fastmesh.core.guard.health cimport chance_note, chance_of
from fastmesh.core.proxy.find cimport ANSWERED, GO_ON
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.route.flags cimport FLAG_FB, FLAG_UO
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.resilience cimport PriorityClass, Refusal, Resilience
from fastmesh.core.route.rule cimport Destination, mirrored
from fastmesh.core.wire.grpc cimport http_of_grpc

cdef object log = logging.getLogger("fastmesh.breaker")


cdef int guard(Replying t):
    cdef Resilience rule = t.cluster.resilience
    if rule.breaks and not breaker_admit(rule.words, &rule.breaker, now_ms(), &t.probing):
        if rule.backup is None:
            fm_add(&rule.words[GU_ANSWERED], 1)
            return _refuse(t, rule.broken, "breaker_open")
        fm_add(&rule.words[GU_FAILED_OVER], 1)
        if not _fail_over(t, rule.backup):
            return _refuse(t, rule.broken, "breaker_open")
        rule = t.cluster.resilience
    if rule is not None and rule.limits:
        return _limit(t, rule)
    return GO_ON


cdef int _refuse(Replying t, Refusal refusal, const char* details):
    return t._reply(refusal.status, FLAG_UO, details, b"text/plain" if refusal.body else None,
                    PyBytes_AS_STRING(refusal.body), PyBytes_GET_SIZE(refusal.body), refusal.headers)


cdef bint _fail_over(Replying t, str name):
    """The backup's cluster with the headers of the request's destination. Its own breaker is not asked."""
    cdef Destination to = Destination.__new__(Destination)
    to.cluster = t.snapshot.cluster(name)
    if to.cluster is None:
        return False
    to.cluster_name = to.cluster.name
    t.flags |= FLAG_FB
    t.destination = mirrored(t.destination, to)
    t.cluster = to.cluster
    if to.cluster.rows == NULL:
        to.cluster.attach(t.engine.arena, t.engine.slot)
    return True


cdef int _limit(Replying t, Resilience rule):
    cdef Cluster cluster = t.cluster
    cdef PriorityClass priority
    cdef uint64_t limit = rule.limit
    cdef uint64_t active = sum_rows(cluster.rows + CL_RQ_ACTIVE, CLUSTER_ROW, cluster.slots)
    if limit == 0:
        limit = gradient_limit(rule.words, &rule.gradient, now_ns() // 1000, rng_below(&t.engine.rng, 100))
    if active < limit:
        priority = rule.class_of(&t.request)
        if priority is None or active * 100 < limit * priority.share:
            return GO_ON                  # the likely case
        fm_add(&rule.words[GU_SHED], 1)
        _let_go(t)
        return _refuse(t, rule.full, "shed_by_priority")
    fm_add(&rule.words[GU_LIMITED], 1)
    _let_go(t)
    return _refuse(t, rule.full, "reached_concurrency_limit")


cdef void _let_go(Replying t):
    if t.probing:
        t.probing = False
        breaker_let_go(t.cluster.resilience.words)


cdef void guard_told(Replying t, bint good):
    cdef Resilience rule = t.cluster.resilience
    cdef uint64_t now = now_ms()
    chance_note(&t.endpoint.health[HC_WINDOW], good, now, rule.half_life)
    if rule.breaks and not good and breaker_due(rule.words, &rule.breaker, now):
        _judge(t.cluster, now)


cdef void _judge(Cluster cluster, uint64_t now):
    """The mean error rate of the instances that anything was observed of."""
    cdef Resilience rule = cluster.resilience
    cdef Endpoint endpoint
    cdef uint64_t rates = 0, observed = 0, count = 0
    cdef uint32_t weight = 0
    for endpoint in cluster.endpoints:
        rates += 1000000 - chance_of(endpoint.health[HC_WINDOW], now, rule.half_life, &weight)
        observed += weight
        count += 1 if weight else 0
    if count and breaker_judge(rule.words, &rule.breaker, rates // count, observed // 16, now):
        _tell(cluster, f"opens: the mean error rate of {count} instances is {rates / count / 10000:.1f} %")


cdef void guard_left(Replying t):
    cdef Resilience rule = t.cluster.resilience
    cdef bint bad
    cdef int verdict
    if rule.limits and rule.limit == 0 and t.answered_at:
        gradient_sample(rule.words, &rule.gradient, t.started // 1000, t.ended // 1000, rng_below(&t.engine.rng, 100))
    if not t.probing:
        return
    t.probing = False
    if t.status == 0:
        breaker_let_go(rule.words)        # the client left: nothing was learned
        return
    bad = t.status >= 500 or t.charged >= 500 or (t.grpc and t.grpc_status > 0 and http_of_grpc(t.grpc_status) >= 500)
    verdict = breaker_probed(rule.words, &rule.breaker, not bad, now_ms())
    if verdict > 0:
        _forget(t.cluster)
        _tell(t.cluster, "closes: its probes went well")
    elif verdict < 0:
        _tell(t.cluster, "opens again: a probe failed")


cdef void guard_failed(Replying t):
    cdef Resilience rule = t.cluster.resilience
    if t.probing:
        t.probing = False
        if breaker_probed(rule.words, &rule.breaker, False, now_ms()) < 0:
            _tell(t.cluster, "opens again: a probe failed")


cdef void _forget(Cluster cluster):
    """What was observed before it opened would open it again."""
    cdef Endpoint endpoint
    for endpoint in cluster.endpoints:
        endpoint.health[HC_WINDOW] = 0


cdef _tell(Cluster cluster, str what):
    log.warning("the breaker of %s %s", cluster.name.decode(), what)
