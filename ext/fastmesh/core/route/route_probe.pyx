"""Hash tables, tiers and whole clusters as Python sees them: for tests only. Time and chance are arguments."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.counters cimport CL_RETRY_ACTIVE, CL_RQ_ACTIVE, CL_RQ_TOTAL, EP_RQ_ACTIVE, HC_WINDOW
from fastmesh.core.base.rng cimport Rng, rng_seed
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.guard.health cimport chance_note
from fastmesh.core.guard.outlier cimport OUTCOME_STATUS
from fastmesh.core.guard.trial cimport trial_end
from fastmesh.core.route.cluster cimport Cluster, make_cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.hash_table cimport HashTable
from fastmesh.core.route.load_rule cimport learn_load
from fastmesh.core.route.match cimport Clause, make_clauses
from fastmesh.core.route.path_index cimport PathIndex, Walk, make_path_index, next_rule
from fastmesh.core.route.tier cimport Tier, weigh_tiers
from fastmesh.core.wire.h1_parse cimport parse_response
from fastmesh.core.wire.message cimport Head, Limits

ctypedef void* TriedOne
ctypedef TriedOne[16] Tried


def hash_of(bytes data, uint64_t seed=0):
    return xxh64(data, len(data), seed)


def loads(list tiers, uint32_t panic=0):
    """[(load in percent, panics)] of tiers that are given as (endpoints, healthy ones)."""
    cdef Tier tier
    cdef list made = []
    for total, healthy in tiers:
        tier = Tier.__new__(Tier)
        tier.endpoints = [None] * total
        tier.healthy = healthy
        made.append(tier)
    weigh_tiers(made, panic)
    return [(tier.load, bool(tier.panics)) for tier in made]


cdef class Picker:
    """A cluster of a plan (the dict that a snapshot gets) in a worker's slot of an arena."""
    cdef Cluster cluster
    cdef Arena arena
    cdef Rng rng
    cdef readonly int slices          # that the tables took

    def __init__(self, dict plan, Arena arena=None, int slot=0, uint64_t seed=1, uint64_t slice_ns=0):
        self.cluster = make_cluster(plan)
        self.arena = arena or Arena.create(1 << 20, 4)
        self.cluster.attach(self.arena, slot)
        rng_seed(&self.rng, seed)
        self.slices = 1
        while not self.cluster.build(slice_ns):
            self.slices += 1

    def pick(self, hash=None, uint64_t now=1000, tried=()):
        """The address of the endpoint, or None."""
        cdef uint64_t value = hash or 0
        cdef Tried pointers
        cdef Endpoint endpoint
        cdef int count = 0
        for endpoint in self.cluster.endpoints:
            if endpoint.text.decode() in tried:
                pointers[count] = <void*>endpoint
                count += 1
        endpoint = self.cluster.pick(&self.rng, now, &value if hash is not None else NULL, pointers, count)
        return None if endpoint is None else endpoint.text.decode()

    def report(self, str address, int status, uint64_t now=1000):
        """True: ejected by it."""
        cdef Endpoint endpoint
        for endpoint in self.cluster.endpoints:
            if endpoint.text.decode() == address:
                return bool(self.cluster.report(endpoint, OUTCOME_STATUS, status, now))
        raise KeyError(address)

    def try_one(self, uint64_t now, hash=None):
        """The address of an endpoint that gets this request as a trial, or None."""
        cdef uint64_t value = hash or 0
        cdef uint64_t* place = NULL
        cdef Endpoint endpoint = self.cluster.try_one(now, &value if hash is not None else NULL, &place)
        if endpoint is None:
            return None
        trial_end(place, now)
        return endpoint.text.decode()

    def tried(self, str address, bint passed, uint64_t now):
        """How a trial of it went: `back`, `failed`, or nothing is decided."""
        cdef Endpoint endpoint
        for endpoint in self.cluster.endpoints:
            if endpoint.text.decode() == address:
                return ("", "back", "failed")[self.cluster.tried(endpoint, passed, now)]
        raise KeyError(address)

    def healths(self, list chances, uint64_t now=1000):
        """What was observed of each endpoint: (good ones, bad ones)."""
        cdef Endpoint endpoint
        for endpoint, (good, bad) in zip(self.cluster.endpoints, chances):
            for passed in [True] * good + [False] * bad:
                chance_note(&endpoint.health[HC_WINDOW], passed, now, self.cluster.resilience.half_life)

    def greet(self, uint64_t now, Picker before=None):
        """The snapshot of this cluster begins to run, after that of another one."""
        self.cluster.greet(before.cluster if before is not None else None, now)

    def elsewhere(self, tried, uint64_t now=1000):
        cdef Tried pointers
        cdef Endpoint endpoint
        cdef int count = 0
        for endpoint in self.cluster.endpoints:
            if endpoint.text.decode() in tried:
                pointers[count] = <void*>endpoint
                count += 1
        endpoint = self.cluster.pick_elsewhere(&self.rng, now, pointers, count)
        return None if endpoint is None else endpoint.text.decode()

    def load(self, uint64_t active, uint64_t retries, uint64_t ended=0):
        """Requests and retries under way of this slot, and requests that have ended."""
        self.cluster.row[CL_RQ_ACTIVE], self.cluster.row[CL_RETRY_ACTIVE] = active, retries
        self.cluster.row[CL_RQ_TOTAL] = ended

    def retry_allowed(self, uint64_t now=1000):
        return bool(self.cluster.retry_allowed(now))

    def learn(self, str address, bytes value, uint64_t now=1000):
        """An answer of the endpoint had this load report."""
        cdef Endpoint endpoint
        cdef Limits limits
        cdef Head head
        cdef bytes raw = b"HTTP/1.1 200 OK\r\nendpoint-load-metrics: %s\r\n\r\n" % value
        limits.line, limits.head, limits.fields, limits.body, limits.chunk_extension = 16384, 61440, 100, 0, 4096
        parse_response(raw, len(raw), &limits, False, &head)
        for endpoint in self.cluster.endpoints:
            if endpoint.text.decode() == address:
                learn_load(self.cluster.load, &head, endpoint.load, now)

    def busy(self, str address, uint64_t requests):
        cdef Endpoint endpoint
        for endpoint in self.cluster.endpoints:
            if endpoint.text.decode() == address:
                endpoint.row[EP_RQ_ACTIVE] = requests

    def table(self, int tier=0):
        """The owner of each place."""
        cdef Tier found = self.cluster.tiers[tier]
        cdef HashTable table = found.table
        return [(<Endpoint>found.endpoints[table.owners[i]]).text.decode() for i in range(table.count)]


cdef class Paths:
    """Rules by number, each a list of clauses as a plan has them; only their paths are looked at."""
    cdef list rules
    cdef PathIndex index

    def __init__(self, list rules):
        self.rules = [make_clauses(plans) for plans in rules]
        self.index = make_path_index(self.rules)

    def fitting(self, bytes path):
        """The rules whose path fits, by walking all."""
        return [number for number in range(len(self.rules)) if self._fits(number, path)]

    def candidates(self, bytes path):
        cdef Walk walk
        cdef Py_ssize_t number
        if self.index is None:
            return None
        self.index.begin(path, len(path), &walk)
        found = []
        number = next_rule(&walk)
        while number >= 0:
            found.append(number)
            number = next_rule(&walk)
        return found

    cdef bint _fits(self, Py_ssize_t number, bytes path):
        cdef Clause clause
        if not self.rules[number]:
            return True
        for clause in self.rules[number]:
            if clause.path is None or clause.path.test(path, len(path)):
                return True
        return False
