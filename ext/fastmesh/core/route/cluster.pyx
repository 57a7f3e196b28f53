"""See cluster.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from fastmesh.core.base.arena cimport (
    ENTRY_CLUSTER, ENTRY_ENDPOINT, ENTRY_HEALTH, ENTRY_LATENCY, ENTRY_LOAD, ENTRY_RING, ENTRY_TRIAL, Arena, sum_rows,
)
from fastmesh.core.base.atomics cimport fm_add, fm_bump, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport (
    CL_EJECTIONS, CL_RETRY_ACTIVE, CL_RQ_ACTIVE, CL_RQ_TOTAL, CLUSTER_ROW, ENDPOINT_ROW, HC_WINDOW, HEALTH_ROW, LATENCY_ROW,
    OUTLIER_WORDS, OUT_BORN_AT, OUT_EJECTED_UNTIL, RING_BEGUN, RING_EJECTIONS, RING_LATELY, RING_LOOKED_AT, RING_TURN, RING_WORDS,
    TRIAL_ROW,
)
from fastmesh.core.base.rng cimport Rng, rng_below, rng_next
from fastmesh.core.guard.gradient cimport RTT_BUCKETS
from fastmesh.core.guard.health cimport chance_of, health_begin, health_failed, health_forget, health_pending
from fastmesh.core.guard.outlier cimport (
    OutlierRule, outlier_eject, outlier_is_ejected, outlier_is_error, outlier_is_out, outlier_may_eject, outlier_result,
)
from fastmesh.core.guard.trial cimport TRIAL_FAILED, TRIAL_MORE, trial_begin, trial_due, trial_forget, trial_time, trial_told
from fastmesh.core.route.endpoint cimport Endpoint, make_endpoint
from fastmesh.core.route.hash_policy cimport make_hash_policy
from fastmesh.core.route.hash_table cimport HashTable
from fastmesh.core.route.health_rule cimport make_health_rule
from fastmesh.core.route.least_request cimport less_loaded
from fastmesh.core.route.load_rule cimport LOAD_ROW, make_load_rule
from fastmesh.core.route.maglev cimport make_maglev
from fastmesh.core.route.random_pick cimport random_pick
from fastmesh.core.route.resilience cimport make_resilience
from fastmesh.core.route.ring_hash cimport make_ring
from fastmesh.core.route.round_robin cimport round_robin
from fastmesh.core.route.tier cimport WHOLE, Tier, choose_tier, make_tier, weigh_tiers
from fastmesh.core.route.warmup cimport warmth

cdef dict BALANCERS = {"ROUND_ROBIN": BALANCE_ROUND_ROBIN, "RANDOM": BALANCE_RANDOM,
                       "LEAST_REQUEST": BALANCE_LEAST_REQUEST, "PASSTHROUGH": BALANCE_RANDOM}
cdef dict KINDS = {"endpoints": CLUSTER_ENDPOINTS, "original_dst": CLUSTER_ORIGINAL_DST, "blackhole": CLUSTER_BLACKHOLE,
                   "passthrough": CLUSTER_PASSTHROUGH}
cdef int TURNS = 64           # that may pass before one is taken whatever its worth: with 5 % for all, one draw in 28
cdef int REPICKS = 5          # Envoy's host_selection_retry_max_attempts as Istio sets it
cdef dict HTTP = {"http1": HTTP_1, "http2": HTTP_2, "client": HTTP_AS_CLIENT}

cdef class Cluster:
    cdef void attach(self, Arena arena, int slot):
        """Find the shared state of the cluster and its endpoints; done when the first request comes."""
        cdef Endpoint endpoint
        cdef Tier tier, part
        cdef bytes key
        self.slots = arena.slots
        self.rows = arena.words(ENTRY_CLUSTER, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name),
                                CLUSTER_ROW * arena.slots)
        self.row = self.rows + slot * CLUSTER_ROW
        self.ring = arena.words(ENTRY_RING, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), RING_WORDS)
        for number, tier in enumerate(self.tiers):
            tier.turn = &self.ring[RING_TURN] if number == 0 else _turn(arena, self.name, number, "")
            for part in tier.parts or ():
                part.turn = _turn(arena, self.name, number, part.locality)
        for endpoint in self.endpoints:
            key = self.name + b"\0" + endpoint.text
            endpoint.cell = arena.words(ENTRY_ENDPOINT, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                        OUTLIER_WORDS + ENDPOINT_ROW * arena.slots)
            endpoint.rows = endpoint.cell + OUTLIER_WORDS
            endpoint.row = endpoint.rows + slot * ENDPOINT_ROW
            if self.health is not None or self.resilience is not None:
                endpoint.health = arena.words(ENTRY_HEALTH, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), HEALTH_ROW)
            if self.resilience is not None and self.resilience.times:
                endpoint.latency = arena.words(ENTRY_LATENCY, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), LATENCY_ROW + RTT_BUCKETS)
            if self.resilience is not None and self.resilience.half_open:
                endpoint.trial = arena.words(ENTRY_TRIAL, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), TRIAL_ROW)
            else:
                trial_forget(endpoint.cell)
            if self.load is not None:
                endpoint.load = arena.words(ENTRY_LOAD, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), LOAD_ROW)
            if self.health is None:
                health_forget(endpoint.cell)
            else:
                health_begin(endpoint.cell, endpoint.health)
        if self.resilience is not None:
            self.resilience.attach(arena, self.name)

    cdef bint usable(self, Endpoint endpoint, uint64_t now) noexcept:
        if not self.watched or not outlier_is_out(endpoint.cell, now):
            return True
        # New endpoints wait for their first check where others have passed one; where none has, they are all there is
        return self.health is not None and health_pending(endpoint.cell) and self._none_passed()

    cdef void health_changed(self) noexcept:
        fm_add(&self.ring[RING_EJECTIONS], 1)

    cdef bint _none_passed(self) noexcept:
        cdef Endpoint endpoint
        for endpoint in self.endpoints:
            if not health_pending(endpoint.cell) and not health_failed(endpoint.cell):
                return False
        return True

    cdef bint admits(self, Endpoint endpoint, uint64_t now):
        if self.usable(endpoint, now):
            return True
        self.look(now)
        return (<Tier>PyList_GET_ITEM(self.tiers, endpoint.priority)).panics

    cdef void greet(self, Cluster before, uint64_t now):
        cdef Endpoint endpoint
        cdef uint64_t youngest = 0
        known = {endpoint.text for endpoint in before.endpoints} if before is not None else None
        self.oldest = now
        for endpoint in self.endpoints:
            if known is not None and endpoint.text not in known:
                fm_store(&endpoint.cell[OUT_BORN_AT], now)
            else:
                fm_cas(&endpoint.cell[OUT_BORN_AT], 0, now)
            self.oldest = min(self.oldest, fm_load(&endpoint.cell[OUT_BORN_AT]))
            youngest = max(youngest, fm_load(&endpoint.cell[OUT_BORN_AT]))
        self.warm_at = youngest + self.warmup.duration

    cdef void look(self, uint64_t now):
        cdef Tier tier, part
        cdef uint64_t ejections
        if not self.watched:
            return
        ejections = fm_load(&self.ring[RING_EJECTIONS])
        if ejections == self.looked and now < self.look_again:
            return                        # the likely case
        self.looked, self.look_again = ejections, UINT64_MAX
        for tier in self.tiers:
            tier.healthy = self._healthy(tier.endpoints, now)
            if tier.parts is not None:
                for part in tier.parts:
                    part.healthy = self._healthy(part.endpoints, now)
                tier.weigh_parts()
        weigh_tiers(self.tiers, self.outlier.min_health_percent)
        if self.resilience is not None and self.resilience.half_open:
            self._find_returning(now)

    cdef uint32_t _healthy(self, list endpoints, uint64_t now):
        cdef Endpoint endpoint
        cdef uint64_t until
        cdef uint32_t count = 0
        for endpoint in endpoints:
            until = fm_load(&endpoint.cell[OUT_EJECTED_UNTIL])
            if until <= now:
                count += 1
            elif until < self.look_again:
                self.look_again = until
        return count

    cdef void _find_returning(self, uint64_t now):
        cdef Endpoint endpoint
        cdef uint64_t time
        self.returning = None
        for endpoint in self.endpoints:
            time = trial_time(endpoint.cell)
            if time > now:
                self.look_again = min(self.look_again, time)
            elif not self.resilience.by_checks and trial_due(endpoint.cell, now):
                if self.returning is None:
                    self.returning = []
                self.returning.append(endpoint)

    cdef Endpoint try_one(self, uint64_t now, const uint64_t* hash, uint64_t** place):
        cdef Endpoint endpoint
        self.look(now)
        if self.returning is None:
            return None                   # the likely case
        for endpoint in self.returning:
            if trial_due(endpoint.cell, now) and (self.hash is None or hash == NULL or self._owns(endpoint, hash[0])):
                place[0] = trial_begin(endpoint.trial, &self.resilience.trial, now)
                if place[0] != NULL:
                    return endpoint
        return None

    cdef bint _owns(self, Endpoint endpoint, uint64_t hash):
        """A trial of a consistent hash is one of those requests that will come to the endpoint when it is back."""
        cdef Tier tier = <Tier>PyList_GET_ITEM(self.tiers, endpoint.priority)
        if tier.table.count == 0:
            return False
        return <Endpoint>PyList_GET_ITEM(tier.endpoints, tier.table.owners[tier.table.place(hash)]) is endpoint

    cdef int tried(self, Endpoint endpoint, bint passed, uint64_t now):
        cdef const OutlierRule* rule = &self.outlier if self.judged else &self.resilience.ejection
        cdef int verdict = trial_told(endpoint.cell, endpoint.trial, &self.resilience.trial, passed, now)
        if verdict == TRIAL_FAILED and outlier_eject(endpoint.cell, rule, now, True):
            fm_bump(&self.row[CL_EJECTIONS], 1)
        if verdict != TRIAL_MORE:
            fm_add(&self.ring[RING_EJECTIONS], 1)
        return verdict

    cdef bint fails(self, int status) noexcept:
        return outlier_is_error(&self.outlier, status) if self.judged else status >= 500

    cdef bint build(self, uint64_t until) except -1:
        cdef Tier tier
        for tier in self.tiers:
            if tier.table is not None and not tier.table.build(until):
                return False
        return True

    cdef Endpoint _one(self, Tier tier, Rng* rng, uint64_t now):
        cdef list pool = tier.weighted
        cdef size_t count = PyList_GET_SIZE(pool)
        cdef Endpoint a, b
        if count == 0:
            return None
        if self.extras & (EXTRA_HEALTH | EXTRA_LOAD | EXTRA_WORTH):
            if self.load is not None:
                return self._by_load(tier, rng, now)
            if self.extras & EXTRA_HEALTH or now < self.warm_at:
                return self._by_worth(tier, rng, now)
        if self.balancer == BALANCE_ROUND_ROBIN:
            return <Endpoint>PyList_GET_ITEM(pool, round_robin(tier.turn, count))
        a = <Endpoint>PyList_GET_ITEM(pool, random_pick(rng, count))
        if self.balancer == BALANCE_RANDOM or count == 1:
            return a
        b = <Endpoint>PyList_GET_ITEM(pool, random_pick(rng, count))
        if not self.usable(b, now) or (self.usable(a, now) and less_loaded(a, b, self.slots)):
            return a
        return b

    cdef Endpoint _worthy(self, Tier tier, Rng* rng, uint64_t now):
        """The next one; who is worth a part of its weight passes on the other part of its turns, so that shares become weight * worth."""
        cdef list pool = tier.weighted
        cdef size_t count = PyList_GET_SIZE(pool)
        cdef Endpoint endpoint = None
        cdef int again
        for again in range(TURNS):
            endpoint = <Endpoint>PyList_GET_ITEM(
                pool, round_robin(tier.turn, count) if self.balancer == BALANCE_ROUND_ROBIN else random_pick(rng, count))
            if (tier.panics or self.usable(endpoint, now)) and self._takes_turn(endpoint, rng, now):
                break
        return endpoint

    cdef bint _takes_turn(self, Endpoint endpoint, Rng* rng, uint64_t now):
        """Worth is how warm it is, beside the oldest one, times the probability that it serves well."""
        cdef double worth = 1
        cdef uint32_t chance, observed = 0
        if self.extras & EXTRA_WORTH and now < self.warm_at:
            worth = warmth(&self.warmup, fm_load(&endpoint.cell[OUT_BORN_AT]), now) / warmth(&self.warmup, self.oldest, now)
        if self.extras & EXTRA_HEALTH:
            chance = chance_of(endpoint.health[HC_WINDOW], now, self.resilience.half_life, &observed)
            worth *= max(chance, self.resilience.floor) / 1e6
        return worth >= 1 or rng_below(rng, 1 << 30) < <uint32_t>(worth * (1 << 30))

    cdef Endpoint _by_worth(self, Tier tier, Rng* rng, uint64_t now):
        cdef Endpoint a = self._worthy(tier, rng, now), b
        if self.balancer != BALANCE_LEAST_REQUEST:
            return a
        b = self._worthy(tier, rng, now)
        return a if not self.usable(b, now) or (self.usable(a, now) and less_loaded(a, b, self.slots)) else b

    cdef Endpoint _by_load(self, Tier tier, Rng* rng, uint64_t now):
        """By chance, each with the share that its weight has; of that a part, where what went well counts too."""
        cdef Endpoint endpoint = None
        cdef int again
        if now >= tier.sums_until:
            tier.sum_loads(self.load, now)
        for again in range(TURNS):
            endpoint = _drawn(tier, rng)
            if (tier.panics or self.usable(endpoint, now)) and (
                    not self.extras & EXTRA_HEALTH or self._takes_turn(endpoint, rng, now)):
                break
        return endpoint

    cdef Endpoint pick(self, Rng* rng, uint64_t now, const uint64_t* hash, void** tried, int tried_count):
        cdef Endpoint endpoint
        if self.extras:
            return self._pick_extra(rng, now, hash, tried, tried_count)
        endpoint = self._one(self.first, rng, now)
        if endpoint is None or (tried_count == 0 and self.usable(endpoint, now)):
            return endpoint               # the likely case
        self.look(now)
        return self._draw(self.first, endpoint, rng, now, tried, tried_count)

    cdef Endpoint _pick_extra(self, Rng* rng, uint64_t now, const uint64_t* hash, void** tried, int tried_count):
        """First the priority, then the locality in it, then the endpoint. A hash decides all of it for its request."""
        cdef Endpoint endpoint
        cdef Tier tier = self.first
        cdef uint64_t drawn = hash[0] if hash != NULL else rng_next(rng)
        self.look(now)
        if self.extras & EXTRA_TIERS:
            tier = choose_tier(self.tiers, <uint32_t>(drawn % 100))
        if self.extras & EXTRA_HASH:
            return self._along(tier, drawn, now, tried, tried_count)
        if not tier.panics:
            tier = tier.part(rng)
        endpoint = self._one(tier, rng, now)
        return self._draw(tier, endpoint, rng, now, tried, tried_count)

    cdef Endpoint pick_elsewhere(self, Rng* rng, uint64_t now, void** tried, int tried_count):
        cdef Tier tier
        cdef Endpoint endpoint
        cdef uint64_t excluded = 0        # bits of priorities
        cdef int i, number = 0
        self.look(now)
        for i in range(tried_count):
            endpoint = <Endpoint>tried[i]
            excluded |= <uint64_t>1 << min(endpoint.priority, 63)
        for tier in self.tiers:
            if not excluded >> min(number, 63) & 1 and tier.healthy:
                tier = tier.part(rng)
                return self._draw(tier, self._one(tier, rng, now), rng, now, tried, tried_count)
            number += 1
        return None

    cdef bint retry_allowed(self, uint64_t now):
        cdef uint64_t retries, active, most = self.max_retries
        if most == 0 and not self.budgeted:
            return True
        retries = sum_rows(self.rows + CL_RETRY_ACTIVE, CLUSTER_ROW, self.slots)
        if self.budgeted:
            active = sum_rows(self.rows + CL_RQ_ACTIVE, CLUSTER_ROW, self.slots)
            if self.budget_interval:
                active = self._begun_lately(active, now)
            most = max(self.budget_least, <uint64_t>(self.budget_share * active))
        return retries <= most

    cdef uint64_t _begun_lately(self, uint64_t active, uint64_t now):
        """Requests that began within the interval, near enough: those of the last whole one fade out while the next one fills."""
        cdef uint64_t begun = active + sum_rows(self.rows + CL_RQ_TOTAL, CLUSTER_ROW, self.slots)
        cdef uint64_t at = fm_load(&self.ring[RING_LOOKED_AT])
        cdef uint64_t since = begun - fm_load(&self.ring[RING_BEGUN])
        cdef uint64_t passed = now - at
        if passed < self.budget_interval:
            since += fm_load(&self.ring[RING_LATELY]) * (self.budget_interval - passed) // self.budget_interval
        else:
            since = since * self.budget_interval // passed if at else active      # nobody has looked for longer: their mean
            if fm_cas(&self.ring[RING_LOOKED_AT], at, now):
                fm_store(&self.ring[RING_BEGUN], begun)
                fm_store(&self.ring[RING_LATELY], since)
        return max(since, active)

    cdef Endpoint _along(self, Tier tier, uint64_t hash, uint64_t now, void** tried, int tried_count):
        """The owner of the hash's place; while that is ejected or was tried, the owner of the next place."""
        cdef HashTable table = tier.table
        cdef uint64_t place, step
        cdef Endpoint endpoint, fallback = None
        if table.count == 0:
            return None
        place = table.place(hash)
        if tried_count >= PyList_GET_SIZE(tier.endpoints):
            tried_count = 0                           # nobody else is there
        for step in range(table.count if tier.healthy else 1):
            endpoint = <Endpoint>PyList_GET_ITEM(tier.endpoints, table.owners[place])
            if tier.panics or self.usable(endpoint, now):
                if not _among(endpoint, tried, tried_count):
                    return endpoint
                if fallback is None:
                    fallback = endpoint
            place = place + 1 if place + 1 < table.count else 0
        return fallback

    cdef Endpoint _draw(self, Tier tier, Endpoint endpoint, Rng* rng, uint64_t now, void** tried, int tried_count):
        """`endpoint` if it will do, else another one."""
        cdef Endpoint fallback = None
        cdef Py_ssize_t i, start, count
        cdef int again
        if endpoint is None:
            return None
        for again in range(REPICKS):
            if tier.panics or self.usable(endpoint, now):
                if not _among(endpoint, tried, tried_count):
                    return endpoint
                fallback = endpoint
            endpoint = self._one(tier, rng, now)
        # Chance did not find one: look at all, from a random start
        count = PyList_GET_SIZE(tier.endpoints)
        start = rng_below(rng, <unsigned int>count)
        for i in range(count):
            endpoint = <Endpoint>PyList_GET_ITEM(tier.endpoints, (start + i) % count)
            if tier.panics or self.usable(endpoint, now):
                if not _among(endpoint, tried, tried_count):
                    return endpoint
                fallback = endpoint
        return fallback

    cdef bint eject(self, Endpoint endpoint, const OutlierRule* rule, uint64_t now):
        cdef Endpoint other
        cdef unsigned int out = 0
        for other in self.endpoints:
            if outlier_is_ejected(other.cell, now):
                out += 1
        if not outlier_may_eject(rule, out, <unsigned int>PyList_GET_SIZE(self.endpoints)):
            return False
        if not outlier_eject(endpoint.cell, rule, now, endpoint.trial != NULL):
            return False
        fm_add(&self.ring[RING_EJECTIONS], 1)         # behind the ejection: who reads this counts it
        fm_bump(&self.row[CL_EJECTIONS], 1)
        return True

    cdef bint report(self, Endpoint endpoint, int outcome, int status, uint64_t now):
        if not self.judged:
            return False
        if outlier_is_out(endpoint.cell, now):
            return False                  # sent before it was ejected: not held against it when it returns
        if not outlier_result(endpoint.cell, &self.outlier, outcome, status):
            return False
        return self.eject(endpoint, &self.outlier, now)


cdef Endpoint _drawn(Tier tier, Rng* rng):
    """Of a tier whose endpoints' weights were summed up."""
    cdef Py_ssize_t low = 0, high = PyList_GET_SIZE(tier.endpoints) - 1, middle
    cdef uint64_t drawn
    if tier.sums == NULL:
        return <Endpoint>PyList_GET_ITEM(tier.endpoints, random_pick(rng, high + 1))
    drawn = rng_next(rng) % tier.sums[high]
    while low < high:
        middle = (low + high) // 2
        if tier.sums[middle] > drawn:
            high = middle
        else:
            low = middle + 1
    return <Endpoint>PyList_GET_ITEM(tier.endpoints, low)


cdef bint _among(Endpoint endpoint, void** tried, int tried_count) noexcept:
    cdef int i
    for i in range(tried_count):
        if tried[i] == <void*>endpoint:
            return True
    return False


cdef uint64_t* _turn(Arena arena, bytes cluster, int number, str locality) except NULL:
    key = b"%s\0%d\0%s" % (cluster, number, locality.encode())
    return &arena.words(ENTRY_RING, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), RING_WORDS)[RING_TURN]


cdef _set_tiers(Cluster cluster, list localities, zones):
    """Endpoints by priority; `localities` are those that share a priority by weight: (priority, name, weight)."""
    cdef Endpoint endpoint
    cdef Tier part
    cdef list parts
    priorities = 1 + max([(<Endpoint>each).priority for each in cluster.endpoints] or [0])
    cluster.tiers = []
    for priority in range(priorities):
        endpoints = [endpoint for endpoint in cluster.endpoints if endpoint.priority == priority]
        parts = []
        for of, name, weight in localities:
            if of == priority:
                part = make_tier([endpoint for endpoint in endpoints if endpoint.locality == name], None)
                part.locality, part.weight = name, weight
                parts.append(part)
        cluster.tiers.append(make_tier(endpoints, parts or None))
    cluster.first = cluster.tiers[0]
    if zones is not None:
        _set_zones(cluster.first, zones)
    weigh_tiers(cluster.tiers, 0)
    if priorities > 1 or localities or cluster.first.zoned:
        cluster.extras |= EXTRA_TIERS


cdef _set_zones(Tier tier, plan):
    """The localities of the first priority, the own one first, each with its share of this proxy's replicas."""
    cdef Endpoint endpoint
    cdef Tier part
    callers = dict(plan["callers"])
    total = sum(callers.values())
    names = dict.fromkeys([plan["own"], *[endpoint.locality for endpoint in tier.endpoints]])
    if len(names) < 2:
        return
    tier.parts = []
    for name in names:
        part = make_tier([endpoint for endpoint in tier.endpoints if endpoint.locality == name], None)
        part.locality, part.callers = name, WHOLE * callers.get(name, 0) // total
        tier.parts.append(part)
    tier.zoned, tier.least = True, plan["least"]
    tier.weigh_parts()


cdef _set_hash(Cluster cluster, plan):
    cdef Tier tier
    cluster.hash = make_hash_policy(plan)
    cluster.extras |= EXTRA_HASH
    for tier in cluster.tiers:
        weights = _weights(tier)
        if cluster.hash.maglev:
            tier.table = make_maglev(tier.endpoints, weights, cluster.hash.size)
        else:
            tier.table = make_ring(tier.endpoints, weights, cluster.hash.size)


cdef list _weights(Tier tier):
    """Of a tier's endpoints; where localities share it, each locality's endpoints share the locality's weight."""
    cdef Endpoint endpoint
    cdef Tier part
    if tier.parts is None:
        return [endpoint.weight for endpoint in tier.endpoints]
    of = {part.locality: part.weight / sum([(<Endpoint>each).weight for each in part.endpoints]) for part in tier.parts}
    return [endpoint.weight * of[endpoint.locality] for endpoint in tier.endpoints]


cdef _set_outlier(Cluster cluster, plan):
    cluster.watched = cluster.judged = plan is not None
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
    cluster.addresses = plan["addresses"]
    cluster.endpoints = [make_endpoint(endpoint) for endpoint in plan["endpoints"]]
    _set_tiers(cluster, plan["localities"], plan["zones"])
    if plan["hash"] is not None:
        _set_hash(cluster, plan["hash"])
    cluster.max_connections = plan["max_connections"]
    cluster.max_pending = plan["max_pending"]
    cluster.max_requests = plan["max_requests"]
    cluster.max_retries = plan["max_retries"]
    cluster.max_requests_per_connection = plan["max_requests_per_connection"]
    cluster.connect_timeout = plan["connect_timeout"]
    cluster.idle_timeout = -1 if plan["idle_timeout"] is None else plan["idle_timeout"]
    cluster.max_connection_duration = plan["max_connection_duration"] or 0
    cluster.tcp_idle = -1 if plan["tcp_idle"] is None else plan["tcp_idle"]
    cluster.proxy_protocol = plan["proxy_protocol"]
    cluster.tunnel = plan["tunnel"].encode() or None
    cluster.tunnel_posts = plan["tunnel"].startswith("POST ")
    cluster.tls_auto = plan["tls"] is not None and plan["tls"]["auto"]
    cluster.http = HTTP[plan["http"]]
    cluster.max_streams = plan["max_streams"]
    cluster.ping_interval, cluster.ping_timeout = plan["h2_ping"] or (0, 0)
    cluster.keepalive = plan["keepalive"] is not None
    if cluster.keepalive:
        cluster.keepalive_probes, cluster.keepalive_time, cluster.keepalive_interval = plan["keepalive"]
    cluster.origin = plan["origin"]
    _set_outlier(cluster, plan["outlier"])
    cluster.resilience = make_resilience(plan["resilience"])
    if cluster.resilience is not None and cluster.resilience.weighted and cluster.hash is None:
        cluster.extras |= EXTRA_HEALTH
        cluster.watched = True            # picks want the time
    if cluster.resilience is not None and cluster.resilience.ejects:
        cluster.watched = True
    cluster.health = make_health_rule(plan["health"])
    if cluster.health is not None:
        cluster.watched = True
        cluster.outlier.min_health_percent = plan["health"]["min_health_percent"]
    if cluster.kind != CLUSTER_ENDPOINTS:
        cluster.watched = False           # its endpoints are the clients' choice
    if plan["warmup"] is not None:
        duration, least, aggression = plan["warmup"]
        cluster.warmup.duration, cluster.warmup.least, cluster.warmup.bend = duration, least, 1 / aggression
        cluster.extras |= EXTRA_WORTH
    cluster.load = make_load_rule(plan["utilization"])
    if cluster.load is not None:
        cluster.extras |= EXTRA_LOAD
    cluster.timed = cluster.watched or cluster.extras & (EXTRA_WORTH | EXTRA_LOAD)
    if plan["retry_budget"] is not None:
        cluster.budgeted = True
        cluster.budget_share, cluster.budget_least, cluster.budget_interval = plan["retry_budget"]
    return cluster
