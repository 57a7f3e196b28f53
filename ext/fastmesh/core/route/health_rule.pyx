"""See health_rule.pxd."""

cdef dict KINDS = {"http": HEALTH_HTTP, "tcp": HEALTH_TCP, "grpc": HEALTH_GRPC}


cdef class HealthRule:
    cdef bint expects(self, int status) noexcept:
        cdef int i
        for i in range(self.ranges):
            if self.expected[i].first <= status <= self.expected[i].last:
                return True
        return False


cdef HealthRule make_health_rule(plan):
    if plan is None:
        return None
    cdef HealthRule rule = HealthRule.__new__(HealthRule)
    rule.kind = KINDS[plan["kind"]]
    rule.interval = max(1, plan["interval"])
    rule.jitter = plan["jitter"]
    rule.timeout = max(1, plan["timeout"])
    rule.thresholds.healthy = plan["healthy"]
    rule.thresholds.unhealthy = plan["unhealthy"]
    rule.authority = plan["authority"].encode()
    rule.path = plan["path"].encode()
    rule.method = plan["method"].encode()
    rule.headers = [(name.encode(), value.encode()) for name, value in plan["headers"]]
    rule.ranges = min(len(plan["statuses"]), STATUS_RANGES)
    for i, (first, last) in enumerate(plan["statuses"][:STATUS_RANGES]):
        rule.expected[i].first, rule.expected[i].last = first, last
    rule.service = plan["service"].encode()
    what = {"http": f"{plan['method']} {plan['path']}", "tcp": "a connection", "grpc": "grpc.health.v1"}[plan["kind"]]
    rule.told = f"{what} every {rule.interval} ms"
    return rule
