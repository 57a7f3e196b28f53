"""See cluster.pxd."""
from math import gcd

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport (
    ENTRY_CLUSTER, ENTRY_ENDPOINT, ENTRY_RING, Arena,
)
from fastmesh.core.base.counters cimport CL_EJECTIONS, CLUSTER_ROW, ENDPOINT_ROW, OUTLIER_WORDS, OUT_EJECTED_UNTIL
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.rng cimport Rng, rng_below
from fastmesh.core.guard.outlier cimport outlier_eject, outlier_is_out, outlier_may_eject, outlier_result
from fastmesh.core.route.endpoint cimport Endpoint, make_endpoint
from fastmesh.core.route.least_request cimport less_loaded
from fastmesh.core.route.random_pick cimport random_pick
from fastmesh.core.route.round_robin cimport round_robin

cdef dict BALANCERS = {"ROUND_ROBIN": BALANCE_ROUND_ROBIN, "RANDOM": BALANCE_RANDOM,
                       "LEAST_REQUEST": BALANCE_LEAST_REQUEST, "PASSTHROUGH": BALANCE_RANDOM}
cdef dict KINDS = {"endpoints": CLUSTER_ENDPOINTS, "original_dst": CLUSTER_ORIGINAL_DST, "blackhole": CLUSTER_BLACKHOLE}
cdef int REPICKS = 5          # Envoy's host_selection_retry_max_attempts as Istio sets it
cdef int EXPANDED_MAX = 4096  # a longer expansion of weights is drawn by chance instead

cdef dict HTTP = {"http1": HTTP_1, "http2": HTTP_2, "client": HTTP_AS_CLIENT}

cdef class Cluster:
    cdef void attach(self, Arena arena, int slot):
        """Find the shared state of the cluster and its endpoints; done when the first request comes."""
        cdef Endpoint endpoint
        cdef bytes key
        self.slots = arena.slots
        self.rows = arena.words(ENTRY_CLUSTER, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name),
                                CLUSTER_ROW * arena.slots)
        self.row = self.rows + slot * CLUSTER_ROW
        self.ring = arena.words(ENTRY_RING, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), 8)
        for endpoint in self.endpoints:
            key = self.name + b"\0" + endpoint.text
            endpoint.cell = arena.words(ENTRY_ENDPOINT, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                        OUTLIER_WORDS + ENDPOINT_ROW * arena.slots)
            endpoint.rows = endpoint.cell + OUTLIER_WORDS
            endpoint.row = endpoint.rows + slot * ENDPOINT_ROW

    cdef bint usable(self, Endpoint endpoint, uint64_t now) noexcept:
        return not self.watched or not outlier_is_out(endpoint.cell, now)

    cdef bint panicking(self, uint64_t now) noexcept:
        """Fewer healthy endpoints than minHealthPercent: health is ignored (Envoy's panic threshold)."""
        cdef Endpoint endpoint
        cdef uint64_t healthy = 0
        if not self.watched or self.outlier.min_health_percent == 0:
            return False
        for endpoint in self.endpoints:
            if not outlier_is_out(endpoint.cell, now):
                healthy += 1
        return healthy * 100 < self.outlier.min_health_percent * <uint64_t>PyList_GET_SIZE(self.endpoints)

    cdef Endpoint _one(self, Rng* rng, uint64_t now):
        cdef list pool = self.weighted
        cdef size_t count = PyList_GET_SIZE(pool)
        cdef Endpoint a, b
        if count == 0:
            return None
        if self.balancer == BALANCE_ROUND_ROBIN:
            return <Endpoint>PyList_GET_ITEM(pool, round_robin(self.ring, count))
        a = <Endpoint>PyList_GET_ITEM(pool, random_pick(rng, count))
        if self.balancer == BALANCE_RANDOM or count == 1:
            return a
        b = <Endpoint>PyList_GET_ITEM(pool, random_pick(rng, count))
        if not self.usable(b, now) or (self.usable(a, now) and less_loaded(a, b, self.slots)):
            return a
        return b

    cdef Endpoint pick(self, Rng* rng, uint64_t now, void** tried, int tried_count):
        cdef Endpoint endpoint = self._one(rng, now)
        cdef Endpoint fallback = None
        cdef Py_ssize_t i, start, count
        cdef int again
        if endpoint is None or (tried_count == 0 and self.usable(endpoint, now)):
            return endpoint
        if self.panicking(now):
            return endpoint
        for again in range(REPICKS):
            if self.usable(endpoint, now):
                if not _among(endpoint, tried, tried_count):
                    return endpoint
                fallback = endpoint
            endpoint = self._one(rng, now)
        # Chance did not find one: look at all, from a random start
        count = PyList_GET_SIZE(self.endpoints)
        start = rng_below(rng, <unsigned int>count)
        for i in range(count):
            endpoint = <Endpoint>PyList_GET_ITEM(self.endpoints, (start + i) % count)
            if self.usable(endpoint, now):
                if not _among(endpoint, tried, tried_count):
                    return endpoint
                fallback = endpoint
        return fallback

    cdef bint report(self, Endpoint endpoint, int outcome, int status, uint64_t now):
        cdef Endpoint other
        cdef unsigned int out = 0
        if outlier_is_out(endpoint.cell, now):
            return False                  # sent before it was ejected: not held against it when it returns
        if not outlier_result(endpoint.cell, &self.outlier, outcome, status):
            return False
        for other in self.endpoints:
            if outlier_is_out(other.cell, now):
                out += 1
        if not outlier_may_eject(&self.outlier, out, <unsigned int>PyList_GET_SIZE(self.endpoints)):
            return False
        if not outlier_eject(endpoint.cell, &self.outlier, now):
            return False
        fm_bump(&self.row[CL_EJECTIONS], 1)
        return True


cdef bint _among(Endpoint endpoint, void** tried, int tried_count) noexcept:
    cdef int i
    for i in range(tried_count):
        if tried[i] == <void*>endpoint:
            return True
    return False


cdef list _expand(list endpoints):
    """Each endpoint as often as its weight asks for, spread evenly (smooth weighted round robin)."""
    weights = [endpoint.weight for endpoint in endpoints]
    if len(set(weights)) <= 1:
        return endpoints
    divisor = gcd(*weights)
    weights = [weight // divisor for weight in weights]
    while sum(weights) > EXPANDED_MAX:
        weights = [max(1, weight // 2) for weight in weights]
    current = [0] * len(weights)
    total = sum(weights)
    result = []
    for _ in range(total):
        for i, weight in enumerate(weights):
            current[i] += weight
        best = max(range(len(weights)), key=current.__getitem__)
        current[best] -= total
        result.append(endpoints[best])
    return result


cdef _set_outlier(Cluster cluster, plan):
    cluster.watched = plan is not None
    if plan is None:
        return
    cluster.outlier.consecutive_5xx = plan["consecutive_5xx"]
    cluster.outlier.consecutive_gateway = plan["consecutive_gateway"]
    cluster.outlier.split_local = plan["split_local"]
    cluster.outlier.consecutive_local = plan["consecutive_local"]
    cluster.outlier.interval = plan["interval"]
    cluster.outlier.base = plan["base"]
    cluster.outlier.max_percent = plan["max_percent"]
    cluster.outlier.min_health_percent = plan["min_health_percent"]
    codes = plan["codes"][:16]
    cluster.outlier.code_count = len(codes)
    for i, code in enumerate(codes):
        cluster.outlier.codes[i] = code


cdef Cluster make_cluster(dict plan):
    cdef Cluster cluster = Cluster.__new__(Cluster)
    cluster.name = plan["name"].encode()
    cluster.host = plan["host"]
    cluster.host_text = cluster.host.encode()
    cluster.port = plan["port"]
    cluster.subset = plan["subset"]
    cluster.service_name = plan["service_name"]
    cluster.service_text = cluster.service_name.encode()
    cluster.service_namespace = plan["service_namespace"]
    cluster.kind = KINDS[plan["kind"]]
    cluster.balancer = BALANCERS[plan["balancer"]]
    cluster.endpoints = [make_endpoint(endpoint) for endpoint in plan["endpoints"]]
    cluster.weighted = _expand(cluster.endpoints) if cluster.balancer != BALANCE_LEAST_REQUEST else cluster.endpoints
    cluster.max_connections = plan["max_connections"]
    cluster.max_pending = plan["max_pending"]
    cluster.max_requests = plan["max_requests"]
    cluster.max_retries = plan["max_retries"]
    cluster.max_requests_per_connection = plan["max_requests_per_connection"]
    cluster.connect_timeout = plan["connect_timeout"]
    cluster.idle_timeout = -1 if plan["idle_timeout"] is None else plan["idle_timeout"]
    cluster.max_connection_duration = plan["max_connection_duration"] or 0
    cluster.tls_auto = plan["tls"] is not None and plan["tls"]["auto"]
    cluster.http = HTTP[plan["http"]]
    cluster.max_streams = plan["max_streams"]
    cluster.ping_interval, cluster.ping_timeout = plan["h2_ping"] or (0, 0)
    cluster.keepalive = plan["keepalive"] is not None
    if cluster.keepalive:
        cluster.keepalive_probes, cluster.keepalive_time, cluster.keepalive_interval = plan["keepalive"]
    cluster.origin = plan["origin"]
    _set_outlier(cluster, plan["outlier"])
    return cluster
