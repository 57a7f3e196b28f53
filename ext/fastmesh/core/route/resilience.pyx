"""See resilience.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from fastmesh.core.base.arena cimport ENTRY_GUARD, ENTRY_RULE_GUARD, Arena
from fastmesh.core.base.counters cimport GUARD_ROW, RULE_GUARD_ROW
from fastmesh.core.guard.gradient cimport RTT_BUCKETS
from fastmesh.core.guard.trial cimport TRIALS_MAX
from fastmesh.core.route.match cimport Request, first_match, make_clauses

cdef enum:
    PROBE_PATIENCE = 60000    # ms


cdef class Refusal:
    pass


cdef class PriorityClass:
    pass


cdef class Resilience:
    cdef void attach(self, Arena arena, bytes cluster):
        self.words = arena.words(ENTRY_GUARD, PyBytes_AS_STRING(cluster), PyBytes_GET_SIZE(cluster), GUARD_ROW + RTT_BUCKETS)

    cdef PriorityClass class_of(self, const Request* request):
        cdef PriorityClass found = None
        if self.classes is None:
            return None
        for found in self.classes:
            if not found.clauses or first_match(found.clauses, request) is not None:
                return found
        return found                      # who fits none is of the last


cdef class RuleGuard:
    cdef void attach(self, Arena arena, int slot):
        self.resilience.attach(arena, self.key)
        self.rows = arena.words(ENTRY_RULE_GUARD, PyBytes_AS_STRING(self.key), PyBytes_GET_SIZE(self.key), RULE_GUARD_ROW * arena.slots)
        self.row = self.rows + slot * RULE_GUARD_ROW
        self.slots = arena.slots


cdef RuleGuard make_rule_guard(plan, dict shared):
    if plan is None:
        return None
    cdef RuleGuard made
    name = f"route|{plan['origin']['namespace']}/{plan['origin']['name']}"
    made = shared.get(("guard", name))
    if made is None:
        made = shared["guard", name] = RuleGuard.__new__(RuleGuard)
        made.key = name.encode()
        made.resilience = make_resilience(plan)
    return made


cdef Refusal _make_refusal(dict plan):
    cdef Refusal refusal = Refusal.__new__(Refusal)
    refusal.status = plan["status"]
    refusal.body = plan["body"]
    refusal.written = plan["written"]
    refusal.headers = [(name.encode(), value.encode()) for name, value in plan["headers"]]
    return refusal


cdef _set_breaker(Resilience made, dict plan):
    made.breaks = True
    made.breaker.threshold = plan["threshold"]
    made.breaker.half_life = made.half_life
    made.breaker.min_requests = plan["min_requests"]
    made.breaker.open_for = plan["open_for"]
    made.breaker.probes = plan["probes"]
    made.breaker.probe_patience = PROBE_PATIENCE
    made.backup = plan["backup"]
    made.broken = _make_refusal(plan["answer"])
    then = f"then {made.backup}" if made.backup is not None else f"then {made.broken.status}"
    made.told.append(f"breaker: opens for {plan['open_for']} ms at a mean error rate of {plan['threshold'] / 10000:g} %, {then}")


cdef _set_concurrency(Resilience made, dict plan):
    cdef PriorityClass priority
    made.limits = True
    made.limit = plan["limit"]
    adaptive = plan["adaptive"]
    if adaptive is not None:
        made.gradient.min_concurrency = adaptive["min_concurrency"]
        made.gradient.max_concurrency = adaptive["max_concurrency"]
        made.gradient.min_requests = adaptive["min_rtt_requests"]
        made.gradient.percentile = adaptive["percentile"]
        made.gradient.buffer_percent = adaptive["buffer_percent"]
        made.gradient.jitter_percent = adaptive["jitter_percent"]
        made.gradient.interval = adaptive["interval"] * 1000
        made.gradient.measure_interval = adaptive["min_rtt_interval"] * 1000
    made.full = _make_refusal(plan["answer"])
    classes, shares = [], []
    for item in plan["priorities"]:
        priority = PriorityClass.__new__(PriorityClass)
        priority.name, priority.share = item["name"], item["share"]
        priority.clauses = make_clauses(item["matches"])
        classes.append(priority)
        shares.append(f"{priority.name} {priority.share} %")
    made.classes = classes or None
    what = f"at most {made.limit} requests at a time" if made.limit else "as many requests at a time as latency allows"
    told = f" ({', '.join(shares)})" if shares else ""
    made.told.append(f"concurrency: {what}{told}, else {made.full.status}")


cdef _set_ejection(Resilience made, dict plan):
    latency = plan["latency"]
    made.ejection.base, made.ejection.max_percent = plan["base"], plan["max_percent"]
    if latency is not None:
        made.times = True
        made.ejection.interval = made.latency.interval = latency["interval"]
        made.latency.above, made.latency.times = latency["above"] * 1000, latency["times"]
        made.latency.least, made.latency.percentile = latency["least"] * 1000, latency["percentile"]
        made.latency.samples, made.latency.windows = latency["samples"], latency["windows"]
        bounds = [f"{latency['above']} ms"] if latency["above"] else []
        bounds += [f"{latency['times']:g} times what its peers take"] if latency["times"] else []
        made.told.append(f"ejection: for a p{latency['percentile']} above {' or '.join(bounds)}")
    made.half_open = plan["trials"] > 0
    if made.half_open:
        made.by_checks = plan["by_checks"]
        made.trial.at_a_time, made.trial.successes = min(plan["trials"], TRIALS_MAX), plan["successes"]
        how = "checks" if made.by_checks else "requests"
        made.told.append(f"half-open: {plan['successes']} good {how} in a row bring an ejected endpoint back")
    made.ejects = made.times or made.half_open


cdef Resilience make_resilience(plan):
    if plan is None:
        return None
    cdef Resilience made = Resilience.__new__(Resilience)
    made.name = f"{plan['origin']['namespace']}/{plan['origin']['name']}"
    made.told = []
    made.half_life = max(1, plan["half_life"])
    made.weighted = plan["weighted_floor"] is not None
    if made.weighted:
        made.floor = plan["weighted_floor"] * 10000
        made.told.append(f"healthWeighted: by passed / observed, {plan['weighted_floor']} % at least")
    if plan["breaker"] is not None:
        _set_breaker(made, plan["breaker"])
    if plan["concurrency"] is not None:
        _set_concurrency(made, plan["concurrency"])
    made.max_wait = plan["max_wait"]
    if made.max_wait:
        made.told.append(f"queue: waits for a connection for at most {made.max_wait} ms")
    if plan["ejection"] is not None:
        _set_ejection(made, plan["ejection"])
    return made
