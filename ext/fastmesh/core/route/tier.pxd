"""Priorities of endpoints: the nearer ones serve while enough of them are healthy, then the next ones take a share.

A tier is the endpoints of one priority. It may have parts: localities that share its requests by weight. A cluster without locality
settings has one tier without parts. The sums are Envoy's: a tier can serve 1.4 times what its healthy share says.

A tier may be zoned instead: the parts are zones, and the own one (the first part) takes as much as it would get if all replicas of this
proxy did the same: all, where it has no smaller share of the endpoints than of the replicas; else that part, and the rest goes to zones
that have more endpoints than replicas. https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/zone_aware
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.route.hash_table cimport HashTable
from fastmesh.core.route.load_rule cimport LoadRule

cdef enum:
    OVERPROVISIONED = 140     # percent
    WHOLE = 10000             # of which shares of zones are parts

cdef class Tier:
    cdef list endpoints
    cdef list weighted        # endpoints, each as often as its share asks for; = endpoints when all weigh the same
    cdef uint64_t* turn       # shared position of round robin
    cdef HashTable table      # or None
    cdef str locality         # of a part
    cdef uint32_t weight      # of a part: its share when all are healthy
    cdef uint32_t share       # and as it is
    cdef uint32_t callers     # of a zone: its share of this proxy's replicas, of WHOLE
    cdef list parts           # of Tier, or None
    cdef uint32_t shares      # their sum; 0: the parts mean nothing
    cdef bint zoned
    cdef uint32_t least       # healthy endpoints; with fewer, zones mean nothing
    cdef uint32_t healthy     # endpoints, when somebody looked last
    cdef uint32_t load        # percent of the cluster's requests
    cdef uint64_t* sums       # of the endpoints' weights by load, up to each; NULL: nobody has asked for them
    cdef uint64_t sums_until  # ms: then they are made anew
    cdef bint panics          # too few are healthy: health is ignored here
    cdef Tier part(self, Rng* rng)    # one of the parts by its share, or the tier itself
    cdef void weigh_parts(self)
    cdef void sum_loads(self, LoadRule rule, uint64_t now)
    cdef void _weigh_zones(self)

cdef Tier make_tier(list endpoints, list parts)
# Loads of all tiers from their healthy endpoints. Below `panic` percent of healthy ones a tier panics (Envoy's panic threshold).
cdef void weigh_tiers(list tiers, uint32_t panic)
cdef Tier choose_tier(list tiers, uint32_t percent)       # `percent` is 0 to 99: chance, or a hash
