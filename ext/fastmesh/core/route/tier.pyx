"""See tier.pxd."""
from math import gcd

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from fastmesh.core.base.rng cimport Rng, rng_below
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.load_rule cimport LoadRule, trusted_weight

cdef uint64_t EXPANDED_MAX = 4096     # entries of `weighted`; finer weights are rounded


cdef class Tier:
    def __dealloc__(self):
        free(self.sums)

    cdef Tier part(self, Rng* rng):
        cdef Tier part
        cdef uint32_t drawn
        if self.parts is None or self.shares == 0:
            return self
        drawn = rng_below(rng, self.shares)
        for part in self.parts:
            if drawn < part.share:
                return part
            drawn -= part.share
        return self

    cdef void weigh_parts(self):
        """A locality gets less than its weight when too few of its endpoints are healthy."""
        cdef Tier part
        cdef uint64_t able
        self.shares = 0
        if self.zoned:
            self._weigh_zones()
            return
        for part in self.parts:
            able = OVERPROVISIONED * part.healthy // <uint64_t>len(part.endpoints)
            part.share = <uint32_t>(part.weight * min(able, <uint64_t>100))
            self.shares += part.share


    cdef void sum_loads(self, LoadRule rule, uint64_t now):
        """Who does not report, or not for long enough, weighs what the median of the others does."""
        cdef Endpoint endpoint
        cdef uint64_t total = 0
        cdef Py_ssize_t i
        weights = [trusted_weight(rule, endpoint.load, now) for endpoint in self.endpoints]
        known = sorted([weight for weight in weights if weight])
        usual = (known[(len(known) - 1) // 2] + known[len(known) // 2]) // 2 if known else 1
        if self.sums == NULL:
            self.sums = <uint64_t*>malloc(len(weights) * sizeof(uint64_t))
            if self.sums == NULL:
                return
        for i, weight in enumerate(weights):
            total += <uint64_t>(weight or usual)
            self.sums[i] = total
        self.sums_until = now + rule.update

    cdef void _weigh_zones(self):
        cdef Tier own = self.parts[0], part
        cdef uint64_t room = 0, rest
        cdef uint32_t healthy = 0, ours
        for part in self.parts:
            healthy += part.healthy
        if healthy == 0 or healthy < self.least:
            return                        # too small a cluster for zones to be even
        for part in self.parts:
            part.share = <uint32_t>(<uint64_t>WHOLE * part.healthy // healthy)
            room += part.share - part.callers if part is not own and part.share > part.callers else 0
        ours = WHOLE
        if own.share < own.callers or own.share == 0:
            ours = <uint32_t>(<uint64_t>WHOLE * own.share // max(own.callers, <uint32_t>1))
        rest = WHOLE - ours
        for part in self.parts:
            if part is own:
                part.share = ours
            elif room == 0:
                part.share = <uint32_t>rest if part.healthy else 0    # nobody has more endpoints than replicas: all alike
            else:
                part.share = <uint32_t>(rest * (part.share - part.callers) // room) if part.share > part.callers else 0
            self.shares += part.share


cdef Tier make_tier(list endpoints, list parts):
    cdef Tier tier = Tier.__new__(Tier)
    tier.endpoints = endpoints
    tier.weighted = _expand(endpoints)
    tier.parts = parts
    tier.healthy = <uint32_t>len(endpoints)
    if parts is not None:
        tier.weigh_parts()
    return tier


cdef void weigh_tiers(list tiers, uint32_t panic):
    cdef Tier tier
    cdef uint32_t able = 0, left = 100, count
    cdef bint all_panic = True
    if len(tiers) == 1:
        tier = tiers[0]
        count = <uint32_t>len(tier.endpoints)
        tier.load = 100
        tier.panics = count > 0 and OVERPROVISIONED * tier.healthy // count < 100 and tier.healthy * 100 < panic * count
        return
    for tier in tiers:
        count = <uint32_t>len(tier.endpoints)
        tier.load = min(<uint32_t>100, OVERPROVISIONED * tier.healthy // count) if count else 0
        able += tier.load
    able = min(able, <uint32_t>100)
    for tier in tiers:
        count = <uint32_t>len(tier.endpoints)
        tier.panics = able < 100 and tier.healthy * 100 < panic * count
        all_panic = all_panic and tier.panics
    if all_panic:
        _spread_by_size(tiers)
        return
    for tier in tiers:
        tier.load = min(left, tier.load * 100 // able) if able else 0
        left -= tier.load
    for tier in tiers:
        if tier.load or able == 0:
            tier.load += left             # what rounding left over; with nobody healthy it meets nobody
            return


cdef void _spread_by_size(list tiers):
    """Everything panics: tiers get requests by how many endpoints they have."""
    cdef Tier tier
    cdef uint32_t total = 0, left = 100
    for tier in tiers:
        total += <uint32_t>len(tier.endpoints)
    for tier in tiers:
        tier.load = <uint32_t>len(tier.endpoints) * 100 // total if total else 0
        left -= tier.load
    (<Tier>tiers[0]).load += left


cdef Tier choose_tier(list tiers, uint32_t percent):
    cdef Tier tier
    for tier in tiers:
        if percent < tier.load:
            return tier
        percent -= tier.load
    return tiers[0]


cdef list _expand(list endpoints):
    """Each endpoint as often as its weight asks for, spread evenly (smooth weighted round robin)."""
    cdef Py_ssize_t i, best, count = len(endpoints)
    cdef int64_t* current
    cdef int64_t* weights
    cdef int64_t total = 0, left
    cdef list result = []
    written = [(<Endpoint>endpoint).weight for endpoint in endpoints]
    if len(set(written)) <= 1:
        return endpoints
    divisor = gcd(*written)
    written = [weight // divisor for weight in written]
    while sum(written) > EXPANDED_MAX and max(written) > 1:
        written = [max(1, weight // 2) for weight in written]
    weights, current = <int64_t*>calloc(count, sizeof(int64_t)), <int64_t*>calloc(count, sizeof(int64_t))
    if weights == NULL or current == NULL:
        raise MemoryError()
    for i in range(count):
        weights[i] = written[i]
        total += weights[i]
    for left in range(total):
        best = 0
        for i in range(count):
            current[i] += weights[i]
            if current[i] > current[best]:
                best = i
        current[best] -= total
        result.append(endpoints[best])
    free(weights)
    free(current)
    return result
