"""Which rule decides a request, and what would happen: asked of the compiled snapshot by the very steps that requests take.

Nothing is sent, no token is taken, no die is cast: where chance decides, the shares are told.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.proxy.cors cimport find_origin, is_preflight, preflight_fields
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.exchange cimport Exchange, take_exchange
from fastmesh.core.proxy.pressure cimport class_of
from fastmesh.core.proxy.relay cimport RelayText, apply_ops, request_out
from fastmesh.core.proxy.sticky cimport resume_session, split_hash, take_hash
from fastmesh.core.proxy.wanted cimport named_address
from fastmesh.core.route.cluster cimport CLUSTER_PASSTHROUGH, EXTRA_TIERS, Cluster
from fastmesh.core.route.cors cimport Cors
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.hash_policy cimport HASH_SOURCE_IP, HashPolicy
from fastmesh.core.route.filter cimport Filter
from fastmesh.core.route.limit cimport ALL, Limit
from fastmesh.core.route.resilience cimport PriorityClass
from fastmesh.core.route.rule cimport Destination, Fallback, Fault, Mirror, Policy, Retry, Rule, STEP_STICKY
from fastmesh.core.route.snapshot cimport UNKNOWN_404, UNKNOWN_PASSTHROUGH, Listener, Snapshot
from fastmesh.core.route.tier cimport Tier
from fastmesh.core.wire.h1_parse cimport H1_DONE, parse_request
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Limits

cdef dict OWN_KEYS = {"action": "none", "status": None, "rule": None, "cluster": None, "weights": {}, "endpoints": [],
                      "authority": None, "path": None, "request_headers": {}, "location": None, "timeout_ms": None,
                      "retries": None, "flags": []}


cdef class Story:
    """One answer in the making."""
    cdef dict result
    cdef list steps

    def __cinit__(self):
        self.result = {key: (value.copy() if isinstance(value, (dict, list)) else value) for key, value in OWN_KEYS.items()}
        self.steps = []

    cdef void tell(self, str step, str decision, str why):
        self.steps.append({"step": step, "decision": decision, "why": why})

    cdef dict end(self):
        self.result["steps"] = self.steps
        return self.result

    cdef dict answered(self, str action, int status, flags=()):
        self.result["action"] = action
        self.result["status"] = status
        self.result["flags"] = list(flags)
        return self.end()


def explain(items, str listener, str method, str scheme, str authority, str target, list headers, port, bint strict_port) -> dict:
    """The fate of one request on the listener named `listener` of a plan (the items of `config.plan.iterate`).

    `port` is the port that the client connected to; `strict_port` says that it was given, so that only routes of that port count.
    The keys of the result are those of `fastmesh explain -o json`. A request that the parser refuses has the action `none`.
    """
    cdef Snapshot snapshot = Snapshot(items)
    cdef Engine engine = Engine.__new__(Engine)
    cdef Exchange exchange
    cdef Story story = Story.__new__(Story)
    cdef Limits limits
    cdef bytes raw = _request_bytes(method, authority, target, headers)
    snapshot.step(0)
    engine.snapshot = snapshot
    engine.arena = Arena.create(64 << 20, 1)
    limits.line, limits.head, limits.fields, limits.body, limits.chunk_extension = 16384, 61440, 100, 0, 4096
    exchange = take_exchange(engine, snapshot.listeners[listener])
    exchange.snapshot = snapshot
    if parse_request(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), &limits, &exchange.head) != H1_DONE:
        reason = exchange.head.error.decode() if exchange.head.error != NULL else "incomplete"
        story.tell("begin", "refused", f"the message is not valid HTTP/1.1: {reason}")
        return story.answered("none", exchange.head.error_status or 400, ["DPE"])
    exchange.keep_head()
    exchange.head.port = port if strict_port and port else 0
    exchange.secure = scheme == "https"
    return _tell(story, exchange, port or 80, strict_port)


cdef bytes _request_bytes(str method, str authority, str target, list headers):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() != "host"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


cdef dict _tell(Story story, Exchange x, int port, bint strict):
    cdef Listener listener = x.listener
    if x.normalize() < 0:
        story.tell("begin", "refused", "the path cannot be normalised")
        return story.answered("none", 400)
    x.request_id_at, x.request_id_size = "00000000-0000-4000-8000-000000000000", 36
    story.tell("begin", "go on", "the message is valid")
    x.look_up(port, strict)
    if listener.https_redirect is not None and x.moves_to_https():
        story.result["location"] = "https://" + _text(x.head.base + x.head.host.off, x.head.host.len) + _path_and_query(x)
        story.tell("find_rule", "redirect to https", "the Gateway server sets tls.httpsRedirect for this host")
        return story.answered("redirect", 301)
    if x.vhost is None:
        return _unknown_host(story, x)
    if x.rule is None:
        story.tell("find_rule", "no rule", f"{x.vhost.name} is known, but none of its rules matches")
        story.result["rule"] = None
        _tell_limit(story, x)
        _tell_filters(story, x)
        story.tell("answer", "404", "a host with rules has no other way")
        return story.answered("none", 404, ["NR"])
    return _tell_rule(story, x)


cdef dict _unknown_host(Story story, Exchange x):
    cdef Listener listener = x.listener
    story.tell("find_rule", "unknown host", f"listener {listener.name} has no virtual host for this name and port")
    _tell_filters(story, x)
    if listener.unknown == UNKNOWN_404:
        story.tell("answer", "404", "a gateway serves only the hosts of its rules")
        return story.answered("none", 404, ["NR"])
    if listener.unknown == UNKNOWN_PASSTHROUGH:
        story.result["cluster"] = "PassthroughCluster"
        story.tell("answer", "502", "a request does not say where its connection was meant to go; "
                                    "outboundTrafficPolicy: {mode: ALLOW_ANY} would ask DNS for its host")
        return story.answered("none", 502, ["NR"])
    story.result["cluster"] = "BlackHoleCluster"
    story.tell("choose_cluster", "BlackHoleCluster", "unknown hosts are refused (REGISTRY_ONLY)")
    return story.answered("none", 502, ["NR"])


cdef void _tell_overload(Story story, Exchange x):
    """What becomes of it while the proxy itself has too much to do."""
    cdef PriorityClass priority = class_of(x)
    if priority is not None:
        why = f"a proxy under pressure refuses it {priority.share} % of the way from --overload-shed to --overload-stop"
        story.tell("overload", f"class {priority.name}", why)


cdef void _tell_limit(Story story, Exchange x):
    cdef Limit limit
    names = []
    for level in (x.snapshot.mesh_limits, x.vhost.limits, x.rule.limits if x.rule is not None else None):
        for limit in level or ():
            if limit.applies(&x.request, b"", b""):
                names.append(_limit_text(limit))
    if names:
        story.tell("limit", "draws a token", "; ".join(names))


cdef str _limit_text(Limit limit):
    text = f"{limit.name}: {limit.rule.requests} per {limit.rule.period // 1000000} ms"
    text += f", global as {limit.domain}" if limit.is_global else f", burst {limit.rule.burst}"
    if limit.keys:
        text += ", by key"
    if limit.enabled < ALL:
        text += f", for {limit.enabled / 10000:g} % of requests"
    if limit.enforced < ALL:
        text += f", enforced for {limit.enforced / 10000:g} %"
    return text


cdef dict _tell_rule(Story story, Exchange x):
    cdef Rule rule = x.rule
    cdef Fault fault = rule.fault
    story.result["rule"] = {key: rule.origin[key] for key in ("kind", "namespace", "name", "route", "file", "line")}
    where = f"{rule.origin['kind']} {rule.origin['namespace']}/{rule.origin['name']}"
    story.tell("find_rule", rule.origin["route"] or where, f"the first matching rule of {x.vhost.name} is of {where}")
    _tell_overload(story, x)
    _tell_limit(story, x)
    if fault is not None and fault.delay_share:
        story.tell("fault", f"delay of {fault.delay} ms", f"for {fault.delay_share / 10000:g} % of requests")
    if fault is not None and fault.abort_share:
        status = 200 if fault.abort_grpc >= 0 else fault.abort_status
        story.tell("fault", f"abort with {status}", f"for {fault.abort_share / 10000:g} % of requests")
        if fault.abort_share >= 1000000:
            return story.answered("abort", status, ["DI", "FI"] if fault.delay_share >= 1000000 else ["FI"])
    if rule.cors is not None and _tell_cors(story, x):
        return story.answered("direct", 200)
    _tell_filters(story, x)
    if rule.redirect is not None:
        story.result["location"] = x.location().decode("latin-1")
        story.tell("answer", f"redirect {rule.redirect.code}", story.result["location"])
        return story.answered("redirect", rule.redirect.code)
    if rule.direct is not None:
        story.tell("answer", f"direct response {rule.direct.status}", f"{len(rule.direct.body)} bytes")
        return story.answered("direct", rule.direct.status)
    if rule.rewrite is not None:
        x.rewrite_path()
        story.tell("rewrite", x.rewritten.decode("latin-1"), f"was {x.original_path.decode('latin-1')}")
    if rule.guard is not None:
        story.tell("guard", f"Resilience {rule.guard.resilience.name}", "of this rule: " + "; ".join(rule.guard.resilience.told))
    return _tell_destination(story, x)


cdef bint _tell_cors(Story story, Exchange x):
    """True: the request is a preflight, and this is its end."""
    cdef Cors cors = x.rule.cors
    cdef bint preflight = is_preflight(&x.head)
    if not find_origin(x):
        return False
    origin = _text(x.origin_at, x.origin_size)
    if cors.allows(x.origin_at, x.origin_size):
        if preflight:
            told = "; ".join(f"{name.decode()}: {value.decode('latin-1')}" for name, value in preflight_fields(x))
            story.tell("cors", "answers the preflight with 200", told)
            return True
        story.tell("cors", "adds headers to the answer", f"{origin} is allowed")
    elif preflight and not cors.forward:
        story.tell("cors", "answers the preflight with 200", f"{origin} is not allowed: no access-control headers")
        return True
    else:
        story.tell("cors", "go on", f"{origin} is not allowed: the answer says nothing of it")
    return False


cdef void _tell_filters(Story story, Exchange x):
    cdef Filter filter
    for filter in (x.rule.filters if x.rule is not None else x.listener.filters) or ():
        if filter.wants(&x.request):
            story.tell("filter", filter.name, f"runs {filter.function}, {filter.timeout} ms a call; fails {filter.failure_mode}")


cdef void _tell_mirrors(Story story, Rule rule, Destination chosen):
    cdef Mirror mirror
    for number, mirror in enumerate(rule.mirrors or ()):
        if mirror.picky and number not in chosen.mirrors:
            continue
        name = mirror.destination.cluster_name.decode()
        if mirror.destination.late is None:
            story.tell("mirror", "nothing", f"{name} does not exist")
        else:
            story.tell("mirror", name, f"gets a copy of {mirror.share / 10000:g} % of requests; its answers go nowhere")


cdef dict _tell_destination(Story story, Exchange x):
    cdef Destination chosen, destination
    cdef Rule rule = x.rule
    cdef Retry retry = rule.retry
    cdef Endpoint endpoint
    cdef uint64_t hash = 0
    chosen = max(rule.destinations, key=_weight)
    how = "the only destination" if len(rule.destinations) == 1 else "by weight"
    if rule.steps & STEP_STICKY:
        x.peer, x.local_text, x.peer_text = b"127.0.0.1", b"", b""
        if split_hash(x, &hash) and x.new_cookies is None:
            chosen = rule.choose_by(hash)
            how = "by what the policy hashes: the same for every request with it"
        x.new_cookies = None
    if len(rule.destinations) > 1:
        total = sum([_weight(destination) for destination in rule.destinations])
        shares = {}
        for destination in rule.destinations:
            name = destination.cluster_name.decode()
            shares[name] = shares.get(name, 0) + destination.weight / total
        story.result["weights"] = shares
    if rule.session is not None:
        chosen = _tell_session(story, x, chosen)
    x.destination = chosen
    x.cluster = chosen.cluster = chosen.open()
    if chosen.redirect is not None:
        story.result["location"] = x.location().decode("latin-1")
        story.tell("choose_cluster", f"redirect {chosen.redirect.code}", "the backend's own filter: " + story.result["location"])
        return story.answered("redirect", chosen.redirect.code)
    if chosen.rewrite is not None:
        x.rewrite_path()
        story.tell("rewrite", x.rewritten.decode("latin-1"), "the backend's own filter")
    x.attempts = 1
    story.result["action"] = "route"
    story.result["cluster"] = chosen.cluster_name.decode()
    story.result["timeout_ms"] = rule.timeout or None
    if retry is not None:
        story.result["retries"] = {"attempts": retry.attempts, "retry_on": list(retry.written),
                                   "per_try_timeout_ms": retry.per_try or None}
    _tell_request(story, x)
    story.tell("choose_cluster", story.result["cluster"], how)
    _tell_mirrors(story, rule, chosen)
    if rule.policy is not None:
        _tell_policy(story, rule.policy)
    if chosen.cluster is not None and (retry is not None and retry.attempts or rule.policy is not None and rule.policy.hedge):
        _tell_budgets(story, x.snapshot, chosen.cluster)
    if chosen.cluster is None:
        story.tell("attempt", str(chosen.missing_status), "the cluster does not exist: no such service, port or subset")
        return story.answered("route", chosen.missing_status, ["NC"])
    if chosen.cluster.resilience is not None:
        story.tell("guard", f"Resilience {chosen.cluster.resilience.name}", "; ".join(chosen.cluster.resilience.told))
    if chosen.cluster.kind == CLUSTER_PASSTHROUGH:
        return _tell_wanted(story, x)
    endpoints = [endpoint.text.decode() for endpoint in chosen.cluster.endpoints]
    story.result["endpoints"] = endpoints
    if not endpoints and chosen.cluster.kind == 0:
        story.tell("attempt", "503", "no endpoint is known: no workload with an address (WorkloadEntry, Pod, EndpointSlice) is selected")
        return story.answered("route", 503, ["UH"])
    if chosen.cluster.extras & EXTRA_TIERS:
        _tell_localities(story, chosen.cluster)
    if chosen.cluster.hash is not None and endpoints:
        return _tell_hash(story, x)
    why = ("round robin", "random", "least request")[chosen.cluster.balancer]
    if chosen.cluster.load is not None:
        why = chosen.cluster.load.told
    if chosen.cluster.health is not None:
        why += f", of those that pass their checks ({chosen.cluster.health.told})"
    story.tell("attempt", "one of " + ", ".join(endpoints) if endpoints else "an address of the request's host, asked of DNS", why)
    return story.end()


cdef dict _tell_wanted(Story story, Exchange x):
    """The client chooses. Of its connection nothing is known here, but Host may name an address of the service."""
    address, port = named_address(x)
    if address:
        story.result["endpoints"] = [f"[{address}]:{port}" if ":" in address else f"{address}:{port}"]
        story.tell("attempt", story.result["endpoints"][0], "PASSTHROUGH: Host names this address of the service")
        return story.end()
    story.tell("attempt", "the address that the client's connection was meant for", "PASSTHROUGH: known where the kernel redirects "
               "connections or a PROXY header comes first; else there is no endpoint (503, UH)")
    return story.end()


cdef void _tell_policy(Story story, Policy policy):
    """What comes only if the first attempt is slow, or fails."""
    cdef Fallback fallback = policy.fallback
    if policy.hedge:
        story.tell("hedge", f"a second attempt after {policy.hedge} ms", "if the first has not answered, and the request may run twice")
    if fallback is not None and fallback.destination is not None:
        story.tell("fallback", fallback.destination.cluster_name.decode(), "if the destination fails it for a reason of the policy's")
    elif fallback is not None:
        story.tell("fallback", "a fixed answer", "if the destination fails it for a reason of the policy's")


cdef void _tell_budgets(Story story, Snapshot snapshot, Cluster cluster):
    """How many requests may be retried at a time."""
    if cluster.budgeted:
        what = "the requests that began lately" if cluster.budget_interval else "its requests under way"
        story.tell("retry budget", f"{cluster.budget_share * 100:g} % of {what}, or {cluster.budget_least}", "of the destination")
    if snapshot.retry_budgeted:
        what = f"{snapshot.retry_share * 100:g} % of all requests under way, or {snapshot.retry_least}"
        story.tell("retry budget", what, "of this proxy, over all destinations")


cdef Destination _tell_session(Story story, Exchange x, Destination chosen):
    """Where a session goes on, or that one begins."""
    cdef str what = f"{'header' if x.rule.session.by_header else 'cookie'} {x.rule.session.name.decode()}"
    resume_session(x)
    if x.bound is None:
        story.tell("session", "begins", f"the request has no {what} of a session that stands: the answer sets it")
        return chosen
    story.tell("session", x.bound.text.decode(), f"goes on, by {what}")
    return x.destination


cdef void _tell_localities(Story story, Cluster cluster):
    """Who serves while all are healthy, and who comes next."""
    cdef Tier tier, part
    cdef Endpoint endpoint
    for number, tier in enumerate(cluster.tiers):
        texts = [f"{endpoint.text.decode()} ({endpoint.locality or 'no locality'})" for endpoint in tier.endpoints]
        if tier.parts is not None and tier.shares:
            texts = [f"{part.locality or 'no locality'} {100 * part.share / tier.shares:.3g} %" for part in tier.parts]
        why = "while enough of them are healthy" if number == 0 else f"when too few of priority {number - 1} are healthy"
        story.tell("locality", f"priority {number}: " + ", ".join(texts), why)


cdef dict _tell_hash(Story story, Exchange x):
    """The endpoint that this very request meets while nobody is ejected."""
    cdef Cluster cluster = x.cluster
    cdef HashPolicy policy = cluster.hash
    cdef Endpoint endpoint
    table = "Maglev" if policy.maglev else "ring hash"
    what = ("nothing", "header ", "cookie ", "the client's address", "query parameter ")[policy.source] + policy.name.decode()
    cluster.attach(x.engine.arena, 0)
    x.peer = b"127.0.0.1"
    x.local_text = x.peer_text = b""
    take_hash(x)
    if not x.hashed or x.new_cookies is not None or policy.source == HASH_SOURCE_IP:
        why = "known when it comes" if policy.source == HASH_SOURCE_IP else "not in this request"
        if x.new_cookies is not None:
            why += f", so the answer sets it: {policy.name.decode()}=\"...\"{policy.made.decode()}"
        story.tell("hash", what, why)
        story.tell("attempt", "one of " + ", ".join(story.result["endpoints"]), f"{table}, one for each hash")
        return story.end()
    endpoint = cluster.pick(&x.engine.rng, 0, &x.hash, NULL, 0)
    story.tell("hash", f"{x.hash:016x}", what)
    story.tell("attempt", endpoint.text.decode(), f"{table} of {what}")
    return story.end()


def _weight(Destination destination):
    return destination.weight


cdef void _tell_request(Story story, Exchange x):
    """Authority, path and headers as they would go upstream."""
    cdef HeadOut out
    cdef RelayText text
    cdef int i
    request_out(x, &out, &text)
    story.result["authority"] = _text(out.authority, out.authority_size)
    story.result["path"] = _text(out.path, out.path_size) + ("?" + _text(out.query, out.query_size) if out.has_query else "")
    headers = {}
    for i in range(out.count):
        if out.fields[i].name_size:
            name = _text(out.fields[i].name, out.fields[i].name_size).lower()
            value = _text(out.fields[i].value, out.fields[i].value_size)
            headers[name] = headers[name] + "," + value if name in headers else value
    story.result["request_headers"] = headers


cdef str _text(const char* data, size_t size):
    return PyBytes_FromStringAndSize(data, size).decode("latin-1")


cdef str _path_and_query(Exchange x):
    path = _text(x.request.path, x.request.path_size)
    return path + "?" + _text(x.request.query, x.request.query_size) if x.request.has_query else path
