"""One piece of memory that all workers share: what a user thinks of as the proxy's state.

An entry is a key and an array of 64-bit words. Entries are found by kind and key in an open-addressed directory, are never
moved or freed, and come to life by one compare-and-swap, so a worker that dies half-way leaves nothing broken.
Words come in two sorts: shared ones (atomics: token buckets, outlier state) and rows, one row per worker slot, written by that
worker alone and summed by readers (active counts, counters, histograms). A dead worker's gauges are zeroed with its slot.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum EntryKind:
    ENTRY_CLUSTER = 1        # rows of ClusterRow
    ENTRY_ENDPOINT = 2       # OutlierCell, then rows of EndpointRow
    ENTRY_BUCKET = 3         # token bucket
    ENTRY_BUCKET_SET = 4     # keyed token buckets
    ENTRY_SERIES = 5         # one metric series of one worker (see proxy/account)
    ENTRY_WORKER = 6         # rows of WorkerRow
    ENTRY_RING = 7           # shared round-robin position of a cluster
    ENTRY_LIMIT = 8          # rows of LimitRow
    ENTRY_TCP_SERIES = 9     # as ENTRY_SERIES, of connections
    ENTRY_LEASES = 10        # tokens of one limit that were taken ahead: see guard/lease
    ENTRY_LEASE_ASKS = 11    # what workers ask of the master
    ENTRY_ROUTE = 20         # rows of RouteRow
    ENTRY_HEALTH = 30        # HealthWord words of an endpoint
    ENTRY_DUTY = 31          # which worker does what only one should do: see guard/duty
    ENTRY_GUARD = 32         # GuardWord words of a cluster, and a histogram
    ENTRY_RETRIES = 33       # rows of RetryWord
    ENTRY_TRIAL = 34         # TrialWord words of an endpoint
    ENTRY_LATENCY = 35       # LatencyWord words of an endpoint, and a histogram
    ENTRY_LOAD = 36          # what an endpoint says of its load: see route/load_rule
    ENTRY_PRESSURE = 40      # rows of PressureRow
    ENTRY_RULE_GUARD = 41    # rows of RuleGuardRow

cdef struct Entry:
    uint64_t hash
    uint32_t kind
    uint32_t key_size
    uint32_t words
    uint32_t words_at        # offset of the words from the entry

cdef class Arena:
    cdef char* base
    cdef readonly size_t size
    cdef readonly int fd
    cdef readonly int slots
    # The words of an entry, made when missing and zeroed; a private scratch entry when the arena is full (counted in `full`).
    cdef uint64_t* words(self, uint32_t kind, const char* key, size_t key_size, uint32_t count) noexcept nogil
    cdef Entry* _find(self, uint64_t hash, uint32_t kind, const char* key, size_t key_size) noexcept nogil
    cdef uint64_t _allocate(self, uint64_t hash, uint32_t kind, const char* key, size_t key_size, uint32_t count) noexcept nogil
    cdef object _words_of(self, Entry* entry)

cdef inline uint64_t sum_rows(const uint64_t* first, int row_words, int slots) noexcept nogil:
    """The sum of one word over the rows of all slots; `first` is that word in row 0."""
    cdef uint64_t total = 0
    cdef int i
    for i in range(slots):
        total += first[i * row_words]
    return total
