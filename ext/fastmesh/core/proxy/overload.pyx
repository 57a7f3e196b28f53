"""See overload.pxd."""
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_add, fm_bump
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_RQ_ACTIVE, GU_ANSWERED, GU_FAILED_OVER, GU_LIMITED, GU_SHED, HC_WINDOW, RG_RQ_ACTIVE, RULE_GUARD_ROW,
)
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.guard.breaker cimport breaker_admit, breaker_due, breaker_judge, breaker_let_go, breaker_probed
from fastmesh.core.guard.gradient cimport gradient_limit, gradient_sample
from fastmesh.core.guard.health cimport chance_note, chance_of
from fastmesh.core.proxy.find cimport ANSWERED, GO_ON
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.proxy.rescue cimport Rescue
from fastmesh.core.route.flags cimport FLAG_FB, FLAG_UO
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.resilience cimport PriorityClass, Refusal, Resilience, RuleGuard
from fastmesh.core.route.rule cimport Destination, Fallback, mirrored
from fastmesh.core.wire.grpc cimport http_of_grpc

cdef enum:
    HOPS_MAX = 16             # backups of backups; a circle of them is refused when it is read

cdef object log = logging.getLogger("fastmesh.breaker")


cdef int guard(Replying t):
    cdef Resilience rule = t.cluster.resilience
    cdef int hops = 0
    while rule is not None and rule.breaks and not breaker_admit(rule.words, &rule.breaker, now_ms(), &t.probing):
        if rule.backup is None or hops >= HOPS_MAX or not _fail_over(t, rule.backup):
            return _refuse(t, rule.broken, "breaker_open", &rule.words[GU_ANSWERED])
        fm_add(&rule.words[GU_FAILED_OVER], 1)
        hops += 1
        rule = t.cluster.resilience       # the backup's own, which may be open as well
    if rule is not None and rule.limits:
        return _limit(t, rule, sum_rows(t.cluster.rows + CL_RQ_ACTIVE, CLUSTER_ROW, t.cluster.slots))
    return GO_ON


cdef int guard_rule(Replying t):
    cdef RuleGuard guard = t.rule.guard
    if guard.rows == NULL:
        guard.attach(t.engine.arena, t.engine.slot)
    if _limit(t, guard.resilience, sum_rows(guard.rows + RG_RQ_ACTIVE, RULE_GUARD_ROW, guard.slots)) != GO_ON:
        return ANSWERED
    fm_bump(&guard.row[RG_RQ_ACTIVE], 1)
    t.held = True
    return GO_ON


cdef void rule_left(Replying t):
    cdef RuleGuard guard = t.rule.guard
    fm_bump(&guard.row[RG_RQ_ACTIVE], <uint64_t>-1)
    _learn(t, guard.resilience)


cdef void _learn(Replying t, Resilience rule):
    """How long it took, where that decides how many may come at a time."""
    if rule.limits and rule.limit == 0 and t.answered_at:
        gradient_sample(rule.words, &rule.gradient, t.started // 1000, t.ended // 1000, rng_below(&t.engine.rng, 100))


cdef int _refuse(Replying t, Refusal refusal, const char* details, uint64_t* answered):
    """What the object says itself counts; else the rule may know another place to go. `answered` counts those that do not."""
    cdef Fallback fallback = None if refusal.written else t.fallback_for(FLAG_UO)
    cdef Rescue row
    if fallback is not None:
        row.status, row.flag, row.details, row.body = refusal.status, FLAG_UO, details, ""
        return t.fall_back(fallback, &row)
    fm_add(answered, 1)
    return t._reply(refusal.status, FLAG_UO, details, b"text/plain" if refusal.body else None,
                    PyBytes_AS_STRING(refusal.body), PyBytes_GET_SIZE(refusal.body), refusal.headers)


cdef bint _fail_over(Replying t, str name):
    """The backup's cluster with the headers of the request's destination."""
    cdef Destination to = Destination.__new__(Destination)
    to.cluster = t.snapshot.cluster(name)
    if to.cluster is None:
        return False
    to.cluster_name = to.cluster.name
    t.flags |= FLAG_FB
    t.destination = mirrored(t.destination, to)
    t.cluster = to.cluster
    t.bound = None                        # a session is with an endpoint of the other one
    if to.cluster.rows == NULL:
        to.cluster.attach(t.engine.arena, t.engine.slot)
    return True


cdef int _limit(Replying t, Resilience rule, uint64_t active):
    cdef PriorityClass priority
    cdef uint64_t limit = rule.limit
    if limit == 0:
        limit = gradient_limit(rule.words, &rule.gradient, now_ns() // 1000, rng_below(&t.engine.rng, 100))
    if active < limit:
        priority = rule.class_of(&t.request)
        if priority is None or active * 100 < limit * priority.share:
            return GO_ON                  # the likely case
        _let_go(t)
        return _refuse(t, rule.full, "shed_by_priority", &rule.words[GU_SHED])
    _let_go(t)
    return _refuse(t, rule.full, "reached_concurrency_limit", &rule.words[GU_LIMITED])


cdef void _let_go(Replying t):
    if t.probing:
        t.probing = False
        breaker_let_go(t.cluster.resilience.words)


cdef void guard_told(Replying t, Endpoint endpoint, bint good):
    cdef Resilience rule = t.cluster.resilience
    cdef uint64_t now = now_ms()
    chance_note(&endpoint.health[HC_WINDOW], good, now, rule.half_life)
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
    _learn(t, rule)
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
