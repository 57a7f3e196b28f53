"""See rule.pxd."""
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.rng cimport Rng, rng_below
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.cors cimport make_cors
from fastmesh.core.route.flags cimport (
    FLAG_NC, FLAG_NR, FLAG_OM, FLAG_RL, FLAG_UC, FLAG_UF, FLAG_UH, FLAG_UO, FLAG_UPE, FLAG_UR, FLAG_URX, FLAG_UT,
)
from fastmesh.core.route.hash_policy cimport make_hash_policy
from fastmesh.core.route.header_ops cimport make_ops
from fastmesh.core.route.match cimport MATCH_PREFIX, Clause, Request, first_match, make_clauses
from fastmesh.core.route.path_index cimport INDEXED_FROM, Walk, make_path_index, next_rule
from fastmesh.core.route.resilience cimport make_rule_guard
from fastmesh.core.route.session cimport make_session
from fastmesh.core.wire.message cimport (
    METHOD_DELETE, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_PATCH, METHOD_POST, METHOD_PUT, METHOD_TRACE,
)

cdef enum:
    MIRROR_TIMEOUT = 15000    # ms, of copies of requests that have no limit: nobody waits for them who would give up

cdef dict RETRY_ON = {
    "5xx": RETRY_5XX, "gateway-error": RETRY_GATEWAY_ERROR, "reset": RETRY_RESET,
    "reset-before-request": RETRY_RESET_BEFORE_REQUEST, "connect-failure": RETRY_CONNECT_FAILURE,
    "retriable-4xx": RETRY_RETRIABLE_4XX, "refused-stream": RETRY_REFUSED_STREAM,
    "retriable-status-codes": RETRY_STATUS_CODES, "retriable-headers": RETRY_HEADERS,
    "envoy-ratelimited": RETRY_RATELIMITED, "http3-post-connect-failure": 0, "cancelled": RETRY_GRPC_CANCELLED,
    "deadline-exceeded": RETRY_GRPC_DEADLINE, "resource-exhausted": RETRY_GRPC_EXHAUSTED,
    "internal": RETRY_GRPC_INTERNAL, "unavailable": RETRY_GRPC_UNAVAILABLE,
}

cdef dict FLAGS = {          # that a policy may name
    "NC": FLAG_NC, "NR": FLAG_NR, "OM": FLAG_OM, "RL": FLAG_RL, "UC": FLAG_UC, "UF": FLAG_UF, "UH": FLAG_UH,
    "UO": FLAG_UO, "UPE": FLAG_UPE, "UR": FLAG_UR, "URX": FLAG_URX, "UT": FLAG_UT,
}
cdef dict METHODS = {
    "GET": METHOD_GET, "HEAD": METHOD_HEAD, "POST": METHOD_POST, "PUT": METHOD_PUT, "DELETE": METHOD_DELETE,
    "OPTIONS": METHOD_OPTIONS, "PATCH": METHOD_PATCH, "TRACE": METHOD_TRACE,
}


cdef class Retry:
    pass


cdef class Redirect:
    pass


cdef class Direct:
    pass


cdef class Rewrite:
    pass


cdef class Fault:
    pass


cdef class Mirror:
    pass


cdef class Destination:
    cdef Cluster open(self):
        if self.cluster is None and self.late is not None:
            if self.late.outside:
                return self.late.open()   # for bytes; requests find the cluster of their own host
            self.cluster = self.late.open()
        return self.cluster


cdef class Fallback:
    pass


cdef class Refusal:
    pass


cdef class Policy:
    pass


cdef Destination choose_destination(list destinations, uint32_t weights, Rng* rng):
    return _drawn(destinations, rng_below(rng, weights) if weights else 0)


cdef Destination _drawn(list destinations, uint32_t draw):
    cdef Destination destination
    for destination in destinations:
        if draw < destination.weight:
            return destination
        draw -= destination.weight
    return destination


cdef class Rule:
    cdef Destination choose(self, Rng* rng):
        """A destination by weight; retries keep it."""
        if self.only is not None:
            return self.only
        return choose_destination(self.destinations, self.weights, rng)

    cdef Destination choose_by(self, uint64_t hash):
        # Mixed once more: a destination may be chosen by the same hash, and would get a part of the circle only
        cdef uint64_t mixed = (hash ^ hash >> 29) * <uint64_t>0x9E3779B97F4A7C15
        return _drawn(self.destinations, <uint32_t>((mixed >> 32) % self.weights) if self.weights else 0)


cdef class VirtualHost:
    cdef Rule find(self, const Request* request):
        cdef Rule rule = self.first
        if rule is None or (rule.root and request.path[0] == c'/'):
            return rule
        if self.index is not None:
            return self._find_among_many(request)
        for rule in self.rules:
            if not rule.clauses or first_match(rule.clauses, request) is not None:
                return rule
        return None

    cdef Rule _find_among_many(self, const Request* request):
        cdef Walk walk
        cdef Rule rule
        cdef Py_ssize_t number
        self.index.begin(request.path, request.path_size, &walk)
        number = next_rule(&walk)
        while number >= 0:
            rule = <Rule>PyList_GET_ITEM(self.rules, number)
            if not rule.clauses or first_match(rule.clauses, request) is not None:
                return rule
            number = next_rule(&walk)
        return None


cdef bytes _bytes(text):
    return None if text is None else text.encode()


cdef Retry _make_retry(plan, dict shared):
    if plan is None or plan["attempts"] == 0:
        return None
    key = repr(plan)
    if key in shared:
        return shared[key]
    cdef Retry retry = shared.setdefault(key, Retry.__new__(Retry))
    retry.attempts = plan["attempts"]
    for policy in plan["retry_on"]:
        retry.on |= <uint32_t>RETRY_ON[policy]
    retry.codes = plan["status_codes"]
    if retry.codes:
        retry.on |= RETRY_STATUS_CODES
    retry.per_try = plan["per_try_timeout"] or 0
    retry.backoff = plan["backoff"]
    retry.avoid_tried = plan["ignore_previous_hosts"]
    retry.leaves_hash = plan["leaves_hash"]
    retry.remote = plan["remote_localities"]
    retry.written = plan["written"] or plan["retry_on"] + [str(code) for code in plan["status_codes"]]
    return retry


cdef Destination make_destination(dict plan, dict clusters, dict shared):
    key = repr(plan)
    if key in shared:
        return shared[key]
    cdef Destination destination = shared.setdefault(key, Destination.__new__(Destination))
    destination.late = None if plan["missing"] else clusters.get(plan["cluster"])
    destination.cluster = destination.late.cluster if destination.late is not None else None
    destination.cluster_name = plan["cluster"].encode()
    destination.weight = plan["weight"]
    destination.missing_status = plan["missing_status"]
    destination.authority = _bytes(plan["authority"])
    destination.request_ops = make_ops(plan["request_headers"])
    destination.response_ops = make_ops(plan["response_headers"])
    destination.redirect = _make_redirect(plan["redirect"])
    destination.rewrite = _make_rewrite(plan["rewrite"])
    destination.mirrors = plan["mirrors"]
    return destination


cdef Redirect _make_redirect(plan):
    if plan is None:
        return None
    cdef Redirect redirect = Redirect.__new__(Redirect)
    redirect.code = plan["code"]
    redirect.scheme = _bytes(plan["scheme"])
    redirect.authority = _bytes(plan["authority"])
    redirect.port = plan["port"] or 0
    redirect.port_from = {"": 0, "protocol": 1, "request": 2}[plan["port_from"]]
    redirect.path = _bytes(plan["path"])
    redirect.prefix = _bytes(plan["prefix"])
    return redirect


cdef Direct _make_direct(plan):
    if plan is None:
        return None
    cdef Direct direct = Direct.__new__(Direct)
    direct.status = plan["status"]
    direct.body = plan["body"]
    direct.content_type = plan["content_type"].encode()
    direct.headers = [(name.encode(), value.encode()) for name, value in plan["headers"]]
    return direct


cdef Rewrite _make_rewrite(plan):
    if plan is None:
        return None
    cdef Rewrite rewrite = Rewrite.__new__(Rewrite)
    rewrite.by_regex = plan["kind"] == "regex"
    rewrite.value = plan["value"].encode()
    if rewrite.by_regex:
        import re2
        rewrite.regex = re2.compile(plan["regex"].encode())
    return rewrite


cdef Fault _make_fault(plan):
    if plan is None:
        return None
    cdef Fault fault = Fault.__new__(Fault)
    fault.delay = plan["delay"]
    fault.delay_share = plan["delay_share"]
    fault.abort_status = plan["abort_status"]
    fault.abort_grpc = -1 if plan["abort_grpc"] is None else plan["abort_grpc"]
    fault.abort_share = plan["abort_share"]
    return fault


cdef Destination mirrored(Destination chosen, Destination mirror):
    cdef Destination copy = Destination.__new__(Destination)
    copy.cluster, copy.late = mirror.cluster, mirror.late
    copy.cluster_name, copy.weight = mirror.cluster_name, mirror.weight
    copy.missing_status = mirror.missing_status
    copy.authority = chosen.authority
    copy.request_ops, copy.response_ops = chosen.request_ops, chosen.response_ops
    copy.mirrors = chosen.mirrors         # where it goes on to a backup, it is still the request of that destination
    return copy


cdef Mirror _make_mirror(plan, Rule rule, dict clusters, dict shared):
    cdef Mirror mirror = Mirror.__new__(Mirror)
    mirror.share, mirror.picky = plan["share"], plan["picky"]
    mirror.destination = make_destination(plan["destination"], clusters, shared)
    mirror.rule = Rule.__new__(Rule)
    mirror.rule.origin, mirror.rule.route_name = rule.origin, rule.route_name
    mirror.rule.authority = rule.authority
    mirror.rule.timeout = rule.timeout or MIRROR_TIMEOUT
    return mirror


cdef uint32_t _flags(list names):
    cdef uint32_t bits = 0
    for name in names:
        bits |= <uint32_t>FLAGS[name]
    return bits


cdef list make_refusals(list plans):
    cdef Refusal refusal
    found = []
    for plan in plans:
        refusal = Refusal.__new__(Refusal)
        refusal.flags = _flags(plan["flags"] or list(FLAGS))
        refusal.direct = _make_direct(plan["direct"])
        found.append(refusal)
    return found or None


cdef Refusal refusal_for(list refusals, uint32_t flag):
    cdef Refusal refusal
    for refusal in refusals:
        if refusal.flags & flag:
            return refusal
    return None


cdef Fallback _make_fallback(plan, dict clusters, dict shared):
    if plan is None:
        return None
    cdef Fallback fallback = Fallback.__new__(Fallback)
    fallback.flags = _flags(plan["flags"])
    fallback.direct = _make_direct(plan["direct"])
    if plan["destination"] is not None:
        fallback.destination = make_destination(plan["destination"], clusters, shared)
    return fallback


cdef Policy _make_policy(plan, dict clusters, dict shared):
    if plan is None:
        return None
    key = ("policy", repr(plan))
    if key in shared:
        return shared[key]
    cdef Policy policy = shared.setdefault(key, Policy.__new__(Policy))
    for method in METHODS if plan["resend"] is None else plan["resend"]:
        policy.resend |= <uint32_t>1 << <uint32_t>METHODS[method]
    policy.resend |= plan["resend"] is None   # bit 0: methods that have no name here
    policy.fallback = _make_fallback(plan["fallback"], clusters, shared)
    policy.refusals = make_refusals(plan["refusals"])
    policy.hedge = plan["hedge"]
    policy.sticky = make_hash_policy(plan["sticky"]) if plan["sticky"] is not None else None
    return policy


cdef bint _is_root(list clauses):
    cdef Clause clause
    if len(clauses) != 1:
        return False
    clause = clauses[0]
    return (clause.path is not None and clause.path.kind == MATCH_PREFIX and clause.path.value == b"/"
            and clause.scheme is None and clause.method is None and clause.authority is None
            and not clause.headers and not clause.query)


cdef Rule make_rule(dict plan, dict clusters, list limits, dict shared):
    cdef Rule rule = Rule.__new__(Rule)
    cdef Destination destination
    cdef Clause clause
    rule.origin = plan["origin"]
    rule.route_name = rule.origin["route"].encode()
    rule.clauses = make_clauses(plan["matches"])
    rule.root = _is_root(rule.clauses)
    rule.destinations = [make_destination(item, clusters, shared) for item in plan["destinations"]]
    rule.only = rule.destinations[0] if len(rule.destinations) == 1 else None
    for destination in rule.destinations:
        rule.weights += destination.weight
        if destination.redirect is not None or destination.rewrite is not None:
            rule.steps |= STEP_BACKEND
    rule.redirect = _make_redirect(plan["redirect"])
    rule.direct = _make_direct(plan["direct"])
    if rule.weights == 0 and rule.redirect is None and rule.direct is None:
        raise ValueError(f"rule {rule.origin['namespace']}/{rule.origin['name']} has nothing to answer with")
    rule.rewrite = _make_rewrite(plan["rewrite"])
    rule.authority = _bytes(plan["authority"])
    rule.response_ops = make_ops(plan["response_headers"])
    rule.timeout = plan["timeout"] or 0
    rule.retry = _make_retry(plan["retry"], shared)
    rule.fault = _make_fault(plan["fault"])
    rule.cors = make_cors(plan["cors"])
    rule.session = make_session(plan["session"])
    rule.mirrors = [_make_mirror(item, rule, clusters, shared) for item in plan["mirrors"]] or None
    rule.policy = _make_policy(plan["policy"], clusters, shared)
    rule.guard = make_rule_guard(plan["guard"], shared)
    if rule.guard is not None:
        rule.steps |= STEP_GUARD
    rule.limits = [limits[index] for index in plan["limits"]] or None
    if rule.limits is not None:
        rule.steps |= STEP_LIMIT
    if rule.fault is not None:
        rule.steps |= STEP_FAULT
    if rule.cors is not None:
        rule.steps |= STEP_CORS
    if rule.redirect is not None or rule.direct is not None:
        rule.steps |= STEP_ANSWER
    if rule.rewrite is not None:
        rule.steps |= STEP_REWRITE
    if rule.session is not None:
        rule.steps |= STEP_SESSION
    if rule.mirrors is not None:
        rule.steps |= STEP_MIRROR
    if rule.policy is not None and rule.policy.hedge:
        rule.steps |= STEP_HEDGE
    if rule.policy is not None and rule.policy.sticky is not None and rule.only is None:
        rule.steps |= STEP_STICKY
    for clause in rule.clauses:
        if clause.stat_prefix is not None:
            rule.steps |= STEP_COUNT
    return rule


cdef VirtualHost make_virtual_host(dict plan, dict clusters, list limits, dict shared):
    cdef VirtualHost host = VirtualHost.__new__(VirtualHost)
    host.name = plan["name"]
    host.name_bytes = host.name.encode()
    host.origin = plan["origin"]
    host.rules = [make_rule(rule, clusters, limits, shared) for rule in plan["rules"]]
    host.first = host.rules[0] if host.rules else None
    if len(host.rules) >= INDEXED_FROM:
        host.index = make_path_index([(<Rule>rule).clauses for rule in host.rules])
    host.limits = [limits[index] for index in plan["limits"]] or None
    return host
