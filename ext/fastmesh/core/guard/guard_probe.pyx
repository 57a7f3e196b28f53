"""Token buckets and outlier detection as Python sees them: for tests only. Time is an argument here, too."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from fastmesh.core.base.arena cimport ENTRY_BUCKET, Arena
from fastmesh.core.base.counters cimport OUTLIER_WORDS, OUT_CONSECUTIVE_5XX, OUT_EJECTED_UNTIL, OUT_EJECT_COUNT
from fastmesh.core.base.counters cimport BR_OPENED, GR_KEPT, GR_LIMIT, GR_MIN_RTT, GUARD_ROW, HEALTH_ROW, HC_WINDOW
from fastmesh.core.base.counters cimport LATENCY_ROW, TRIAL_ROW, TR_PLACES
from fastmesh.core.guard cimport breaker, duty, gradient, health, latency, lease, outlier, token_bucket, trial


cdef class Bucket:
    """One bucket, in memory of its own or, with an arena and a name, in shared memory."""
    cdef token_bucket.BucketRule rule
    cdef uint64_t[token_bucket.BUCKET_WORDS] own
    cdef token_bucket.Bucket* bucket
    cdef Arena arena

    def __init__(self, uint64_t requests, uint64_t period, burst=None, Arena arena=None, bytes name=b""):
        self.rule.requests = requests
        self.rule.period = period
        self.rule.burst = requests if burst is None else burst
        self.arena = arena
        if arena is None:
            self.bucket = <token_bucket.Bucket*>self.own
        else:
            self.bucket = <token_bucket.Bucket*>arena.words(ENTRY_BUCKET, <const char*>name, len(name), token_bucket.BUCKET_WORDS)

    def take(self, uint64_t now):
        return bool(token_bucket.bucket_take(self.bucket, &self.rule, now))

    def peek(self, uint64_t now):
        return token_bucket.bucket_peek(self.bucket, &self.rule, now)

    def take_many(self, uint64_t now, uint64_t count):
        """How many of `count` takes at one instant pass."""
        cdef uint64_t i, passed = 0
        with nogil:
            for i in range(count):
                passed += token_bucket.bucket_take(self.bucket, &self.rule, now)
        return passed


cdef class Table:
    """Buckets by key in a table of `sets`."""
    cdef token_bucket.BucketRule rule
    cdef uint64_t* words
    cdef uint64_t sets

    def __init__(self, uint64_t sets, uint64_t requests, uint64_t period, burst=None):
        self.rule.requests = requests
        self.rule.period = period
        self.rule.burst = requests if burst is None else burst
        self.sets = sets
        self.words = <uint64_t*>calloc(sets * token_bucket.SET_WAYS * 4, 8)
        if self.words == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.words)

    def take(self, uint64_t key, uint64_t now):
        """(a token was taken, a bucket in use gave way)."""
        cdef bint evicted = False
        cdef token_bucket.Bucket* bucket = token_bucket.bucket_of_key(self.words, self.sets, key, now, &evicted)
        return bool(token_bucket.bucket_take(bucket, &self.rule, now)), bool(evicted)


cdef class Host:
    """The shared words of one endpoint, under a rule."""
    cdef outlier.OutlierRule rule
    cdef uint64_t[OUTLIER_WORDS] cell

    def __init__(self, *, uint32_t consecutive_5xx=5, uint32_t consecutive_gateway=0, uint32_t consecutive_local=5,
                 bint split_local=False, uint64_t interval=10_000, uint64_t base=30_000, uint32_t max_percent=10, codes=()):
        self.rule.consecutive_5xx = consecutive_5xx
        self.rule.consecutive_gateway = consecutive_gateway
        self.rule.consecutive_local = consecutive_local
        self.rule.split_local = split_local
        self.rule.interval = interval
        self.rule.base = base
        self.rule.max_percent = max_percent
        self.rule.min_health_percent = 0
        self.rule.code_count = <uint16_t>len(codes)
        for i, code in enumerate(codes):
            self.rule.codes[i] = code

    def status(self, int status):
        """A response; True: eject now."""
        return bool(outlier.outlier_result(self.cell, &self.rule, outlier.OUTCOME_STATUS, status))

    def local(self):
        """A connect failure, time-out or reset; True: eject now."""
        return bool(outlier.outlier_result(self.cell, &self.rule, outlier.OUTCOME_LOCAL, 503))

    def eject(self, uint64_t now, bint tried=False):
        return bool(outlier.outlier_eject(self.cell, &self.rule, now, tried))

    # trials: `a place` is its number
    cdef uint64_t[TRIAL_ROW] trials

    def try_one(self, uint64_t now, uint32_t at_a_time=1):
        cdef trial.TrialRule rule
        cdef uint64_t* place
        rule.at_a_time = at_a_time
        place = trial.trial_begin(self.trials, &rule, now) if trial.trial_due(self.cell, now) else NULL
        return place - self.trials - TR_PLACES if place != NULL else None

    def end_trial(self, int place, uint64_t began):
        trial.trial_end(&self.trials[TR_PLACES + place], began)

    def tried(self, bint passed, uint64_t now, uint32_t successes=3):
        cdef trial.TrialRule rule
        rule.successes = successes
        return ("", "back", "failed")[trial.trial_told(self.cell, self.trials, &rule, passed, now)]

    def forget_trials(self):
        trial.trial_forget(self.cell)

    def is_ejected(self, uint64_t now):
        return bool(outlier.outlier_is_ejected(self.cell, now))

    def is_out(self, uint64_t now):
        return bool(outlier.outlier_is_out(self.cell, now))

    def may_eject(self, uint32_t out, uint32_t total):
        return bool(outlier.outlier_may_eject(&self.rule, out, total))

    @property
    def until(self):
        return self.cell[OUT_EJECTED_UNTIL]

    @property
    def ejections(self):
        """The multiplier of the base ejection time."""
        return self.cell[OUT_EJECT_COUNT]

    @property
    def errors(self):
        return self.cell[OUT_CONSECUTIVE_5XX]

    # active checks of the same endpoint
    cdef uint64_t[HEALTH_ROW] known
    cdef health.HealthThresholds thresholds

    def begin(self, uint32_t healthy=2, uint32_t unhealthy=3):
        self.thresholds.healthy, self.thresholds.unhealthy = healthy, unhealthy
        health.health_begin(self.cell, self.known)

    def forget(self):
        health.health_forget(self.cell)

    def check(self, bint passed, uint64_t now=0, bint network=False):
        """What changed: `up`, `down`, or nothing."""
        return ("", "up", "down")[health.health_result(self.cell, self.known, &self.thresholds, passed, network, now)]

    @property
    def verdict(self):
        return "failed" if health.health_failed(self.cell) else "pending" if health.health_pending(self.cell) else ""

    def note(self, bint passed, uint64_t now, uint32_t half_life):
        health.chance_note(&self.known[HC_WINDOW], passed, now, half_life)

    def chance(self, uint64_t now, uint32_t half_life):
        """(p, observations)"""
        cdef uint32_t observed = 0
        cdef uint32_t millionths = health.chance_of(self.known[HC_WINDOW], now, half_life, &observed)
        return millionths / 1000000, observed / 16


cdef class Slowness:
    """The latency words of one endpoint; times of answers in us."""
    cdef uint64_t[LATENCY_ROW + gradient.RTT_BUCKETS] words
    cdef latency.LatencyRule rule

    def __init__(self, *, uint64_t above=0, double times=0, uint64_t least=0, uint32_t percentile=50, uint32_t samples=10,
                 uint32_t windows=3):
        self.rule.above, self.rule.times, self.rule.least = above, times, least
        self.rule.percentile, self.rule.samples, self.rule.windows = percentile, samples, windows

    def window(self, *answers):
        """What a window with these answers says."""
        for us in answers:
            latency.latency_note(self.words, us)
        return latency.latency_take(self.words, &self.rule)

    def bound(self, uint64_t peers):
        return latency.latency_bound(&self.rule, peers)

    def judge(self, uint64_t took, uint64_t peers=0):
        return bool(latency.latency_judge(self.words, &self.rule, took, latency.latency_bound(&self.rule, peers)))


cdef class Duty:
    cdef uint64_t word

    def take(self, int slot, uint64_t now):
        return bool(duty.duty_take(&self.word, slot, now))

    def drop(self, int slot):
        duty.duty_drop(&self.word, slot)


cdef class LeaseHolder:
    """A worker that spends the leases of one limit."""
    cdef Arena arena
    cdef lease.LeaseTable* table
    cdef lease.LeaseAsks* asks
    cdef uint64_t credit

    def __init__(self, Arena arena, bytes key, bint keyed, uint64_t credit):
        self.arena = arena
        self.table = lease.lease_table(arena, key, keyed)
        self.asks = lease.lease_asks(arena)
        self.credit = credit

    def take(self, uint64_t key, uint64_t now):
        """The verdict on a request; the master is asked when that is due."""
        cdef bint evicted, ask
        cdef lease.Lease* found = lease.lease_of_key(self.table, key, now, &evicted)
        cdef int verdict = lease.lease_take(self.asks, self.table, found, self.credit, now, &ask)
        if ask:
            lease.lease_ask(self.asks, self.table, found, now)
        return verdict


cdef class Gradient:
    """The words of one service; times in us."""
    cdef uint64_t[GUARD_ROW + gradient.RTT_BUCKETS] words
    cdef gradient.GradientRule rule

    def __init__(self, *, uint32_t least=3, uint32_t most=1000, uint32_t requests=50, uint32_t percentile=50, uint32_t buffer=25,
                 uint32_t jitter=0, uint64_t interval=100_000, uint64_t measure=30_000_000):
        self.rule.min_concurrency, self.rule.max_concurrency = least, most
        self.rule.min_requests, self.rule.percentile = requests, percentile
        self.rule.buffer_percent, self.rule.jitter_percent = buffer, jitter
        self.rule.interval, self.rule.measure_interval = interval, measure

    def limit(self, uint64_t now, uint32_t chance=0):
        return gradient.gradient_limit(self.words, &self.rule, now, chance)

    def sample(self, uint64_t began, uint64_t now, uint32_t chance=0):
        gradient.gradient_sample(self.words, &self.rule, began, now, chance)

    @property
    def min_rtt(self):
        return self.words[GR_MIN_RTT]

    @property
    def measuring(self):
        return self.words[GR_KEPT] != 0


cdef class Breaker:
    """The words of one service; times in ms."""
    cdef uint64_t[GUARD_ROW] words
    cdef breaker.BreakerRule rule

    def __init__(self, *, uint32_t threshold=500_000, uint32_t min_requests=20, uint64_t open_for=30_000, uint32_t probes=3):
        self.rule.threshold, self.rule.min_requests = threshold, min_requests
        self.rule.half_life, self.rule.probe_patience = 10_000, 60_000
        self.rule.open_for, self.rule.probes = open_for, probes

    def admit(self, uint64_t now):
        """`pass`, `probe` or `no`."""
        cdef bint probe = False
        if not breaker.breaker_admit(self.words, &self.rule, now, &probe):
            return "no"
        return "probe" if probe else "pass"

    def judge(self, uint64_t mean, uint64_t observed, uint64_t now):
        return bool(breaker.breaker_judge(self.words, &self.rule, mean, observed, now))

    def probed(self, bint passed, uint64_t now):
        return breaker.breaker_probed(self.words, &self.rule, passed, now)

    def let_go(self):
        breaker.breaker_let_go(self.words)

    def state(self, uint64_t now):
        return ("closed", "half-open", "open")[breaker.breaker_state(self.words, now)]

    @property
    def opened(self):
        return self.words[BR_OPENED]
