"""One destination (service, port, subset): its endpoints, how one is picked, and what it may carry."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.guard.outlier cimport OutlierRule
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.hash_policy cimport HashPolicy
from fastmesh.core.route.tier cimport Tier
from fastmesh.core.route.health_rule cimport HealthRule
from fastmesh.core.route.load_rule cimport LoadRule
from fastmesh.core.route.resilience cimport Resilience
from fastmesh.core.route.warmup cimport WarmupRule

cdef enum ClusterKind:
    CLUSTER_ENDPOINTS = 0
    CLUSTER_ORIGINAL_DST = 1
    CLUSTER_BLACKHOLE = 2
    CLUSTER_PASSTHROUGH = 3   # its endpoints are known, and the client says which

cdef enum Balancer:
    BALANCE_ROUND_ROBIN = 0
    BALANCE_RANDOM = 1
    BALANCE_LEAST_REQUEST = 2

cdef enum ClusterHTTP:        # the version that is spoken with endpoints
    HTTP_1 = 0
    HTTP_2
    HTTP_AS_CLIENT            # that of the request

cdef enum Extra:              # how a cluster is picked from otherwise than by its balancer alone; none is the likely case
    EXTRA_HASH = 1
    EXTRA_HEALTH = 4          # in proportion to what went well
    EXTRA_TIERS = 2           # priorities, or shares of localities
    EXTRA_LOAD = 16           # in proportion to what they report of their load
    EXTRA_WORTH = 8           # some endpoints are worth less than their weight just now: they are warming up

cdef enum:
    TRIED_MAX = 16            # hosts that a retry remembers

cdef class Cluster:
    cdef bytes name           # outbound|80|v1|reviews.default.svc.cluster.local
    cdef readonly str host
    cdef bytes host_text
    cdef readonly int port
    cdef readonly str subset
    cdef bytes service_text   # service_name, for the log
    cdef readonly str service_name
    cdef readonly str service_namespace
    cdef uint8_t kind         # ClusterKind
    cdef uint8_t balancer     # Balancer
    cdef uint8_t extras       # Extra bits
    cdef list endpoints
    cdef list addresses       # texts, of the service itself; where clients choose
    cdef list tiers           # of Tier, the first priority first
    cdef Tier first           # the only tier of most clusters
    cdef HashPolicy hash      # consistentHash; None: there is none
    cdef int slots
    cdef uint64_t* ring       # RingWord words, shared
    cdef uint64_t looked      # RING_EJECTIONS when endpoints were counted last,
    cdef uint64_t look_again  # and when to count them anew at the latest: an ejection ends
    cdef list returning       # endpoints that have to pass trials now, when somebody looked last; None: there are none
    cdef uint64_t* rows       # row 0 of ClusterWord, made at the first request
    cdef uint64_t* row        # this worker's row
    cdef uint64_t max_connections     # 0 = no limit, here and below
    cdef uint64_t max_pending
    cdef uint64_t max_requests
    cdef uint64_t max_retries
    cdef bint budgeted                # retryBudget, instead of `max_retries`:
    cdef double budget_share          # retries may be this share of requests under way,
    cdef uint64_t budget_least        # or this many,
    cdef uint64_t budget_interval     # and with an interval (ms) of those that began in it
    cdef uint32_t max_requests_per_connection
    cdef uint32_t connect_timeout     # ms
    cdef int64_t idle_timeout         # ms; -1 = the proxy's default, 0 = never
    cdef uint32_t max_connection_duration
    cdef int64_t tcp_idle             # ms, of a connection of a tcp chain; as idle_timeout
    cdef uint8_t proxy_protocol       # version of the PROXY header that connections begin with; 0 = none
    cdef bytes tunnel                 # HTTP/1.1 request that has to be answered before bytes of a tcp chain; None: none
    cdef bint tunnel_posts            # it is a POST: those bytes are its body
    cdef bint keepalive
    cdef int keepalive_probes
    cdef int keepalive_time
    cdef int keepalive_interval
    cdef readonly object tls  # what `make_tls` of the snapshot made: connections are encrypted. None: plaintext
    cdef bint tls_auto        # only those to endpoints with `mesh_tls`
    cdef uint8_t http         # ClusterHTTP
    cdef uint32_t max_streams # of one HTTP/2 connection, besides what the endpoint says; 0 = no limit of ours
    cdef uint32_t ping_interval       # ms between keep-alive pings of HTTP/2; 0 = none
    cdef uint32_t ping_timeout
    cdef bint timed           # a pick needs the time
    cdef bint watched         # what is known of endpoints counts: outlierDetection, or checks
    cdef bint judged          # outlierDetection is configured
    cdef HealthRule health    # active checks; None: there are none
    cdef Resilience resilience        # None: the step `guard` is not called
    cdef LoadRule load        # backendUtilization; None: there is none
    cdef OutlierRule outlier
    cdef WarmupRule warmup
    cdef uint64_t warm_at             # when everybody is
    cdef uint64_t oldest              # when the oldest endpoint was born: what the others' worth is compared with
    cdef readonly object origin
    cdef object series        # proxy.account's table for requests that met no endpoint

    cdef void attach(self, Arena arena, int slot)
    # Endpoints that `before`, the same cluster of the last snapshot, does not have are born now. None: only those never seen.
    cdef void greet(self, Cluster before, uint64_t now)
    # The endpoint for one attempt, or None: no healthy one. `hash` is what the request is hashed to, NULL: nothing. `tried` are those
    # that failed this request already.
    cdef Endpoint pick(self, Rng* rng, uint64_t now, const uint64_t* hash, void** tried, int tried_count)
    cdef Endpoint _pick_extra(self, Rng* rng, uint64_t now, const uint64_t* hash, void** tried, int tried_count)
    cdef Endpoint _draw(self, Tier tier, Endpoint endpoint, Rng* rng, uint64_t now, void** tried, int tried_count)
    # An ejected endpoint that gets this request as a trial, and the place that the trial holds; None: there is none
    cdef Endpoint try_one(self, uint64_t now, const uint64_t* hash, uint64_t** place)
    cdef bint _owns(self, Endpoint endpoint, uint64_t hash)
    cdef void _find_returning(self, uint64_t now)
    cdef int tried(self, Endpoint endpoint, bint passed, uint64_t now)        # how a trial went: a TrialVerdict, already acted on
    cdef bint fails(self, int status) noexcept        # whether an endpoint that answers so is not well
    # The endpoint for another attempt, of a priority that none of `tried` has (retryRemoteLocalities); None: there is none.
    cdef Endpoint pick_elsewhere(self, Rng* rng, uint64_t now, void** tried, int tried_count)
    cdef Endpoint _one(self, Tier tier, Rng* rng, uint64_t now)
    cdef Endpoint _by_worth(self, Tier tier, Rng* rng, uint64_t now)
    cdef Endpoint _by_load(self, Tier tier, Rng* rng, uint64_t now)
    cdef Endpoint _worthy(self, Tier tier, Rng* rng, uint64_t now)
    cdef bint _takes_turn(self, Endpoint endpoint, Rng* rng, uint64_t now)
    cdef Endpoint _along(self, Tier tier, uint64_t hash, uint64_t now, void** tried, int tried_count)
    cdef bint usable(self, Endpoint endpoint, uint64_t now) noexcept
    cdef bint admits(self, Endpoint endpoint, uint64_t now)   # it is usable, or its tier panics
    cdef void look(self, uint64_t now)                        # count healthy endpoints, when that may have changed
    cdef uint32_t _healthy(self, list endpoints, uint64_t now)
    cdef bint retry_allowed(self, uint64_t now)               # the one that asks is counted already
    cdef uint64_t _begun_lately(self, uint64_t active, uint64_t now)
    cdef bint build(self, uint64_t until) except -1           # the hash tables, until that time; True: complete
    cdef void health_changed(self) noexcept  # of one of its endpoints, by checks
    cdef bint _none_passed(self) noexcept     # checks: of all endpoints
    # One outcome of an attempt for outlier detection; True when the endpoint was ejected by it.
    cdef bint report(self, Endpoint endpoint, int outcome, int status, uint64_t now)
    cdef bint eject(self, Endpoint endpoint, const OutlierRule* rule, uint64_t now)     # False: too many are out, or it is already

cdef Cluster make_cluster(dict plan)
