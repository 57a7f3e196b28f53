"""The words of the arena's rows, by name. Gauges come first in a row, so that a dead worker's can be zeroed together."""

cdef enum:                # ClusterWord
    CL_RQ_ACTIVE = 0          # gauges
    CL_CX_ACTIVE
    CL_RQ_PENDING
    CL_RETRY_ACTIVE
    CLUSTER_GAUGES            # = 4
    CL_RQ_TOTAL = 4
    CL_RQ_2XX
    CL_RQ_3XX
    CL_RQ_4XX
    CL_RQ_5XX
    CL_CX_TOTAL
    CL_CX_CONNECT_FAIL
    CL_CX_CONNECT_TIMEOUT
    CL_CX_OVERFLOW
    CL_RQ_PENDING_OVERFLOW
    CL_RQ_RETRY
    CL_RQ_RETRY_SUCCESS
    CL_RQ_RETRY_OVERFLOW
    CL_RQ_RETRY_LIMIT
    CL_RQ_TIMEOUT
    CL_RQ_PER_TRY_TIMEOUT
    CL_RQ_RX_RESET
    CL_NONE_HEALTHY
    CL_EJECTIONS
    CL_RX_BYTES
    CL_TX_BYTES
    CL_EJECTIONS_LATENCY      # of the ejections: because of latency
    CLUSTER_ROW = 32          # words of a row

cdef enum:                # EndpointWord; rows, after the shared outlier words
    EP_RQ_ACTIVE = 0          # gauges
    EP_CX_ACTIVE
    ENDPOINT_GAUGES           # = 2
    EP_RQ_TOTAL = 2
    EP_RQ_SUCCESS
    EP_RQ_ERROR
    EP_CX_TOTAL
    EP_CX_CONNECT_FAIL
    EP_RQ_TIMEOUT
    ENDPOINT_ROW = 8

cdef enum:                # OutlierWord; shared words of an endpoint, before its rows
    OUT_CONSECUTIVE_5XX = 0
    OUT_CONSECUTIVE_GATEWAY
    OUT_CONSECUTIVE_LOCAL
    OUT_EJECTED_UNTIL         # monotonic ms; 0 = in. High bits: the verdict of active checks, and trials: see guard/health, guard/trial
    OUT_EJECTED_AT
    OUT_EJECT_COUNT           # multiplier of the base ejection time
    OUT_EJECTIONS             # ejections so far
    OUT_BORN_AT               # when this proxy saw it first; kept for clusters with a warm-up
    OUTLIER_WORDS = 8

cdef enum:                # RingWord; shared words of a cluster
    RING_TURN = 0             # position of round robin
    RING_EJECTIONS            # how often an endpoint was ejected: who has counted the healthy ones counts anew
    RING_LOOKED_AT            # when a retry budget with an interval looked last,
    RING_BEGUN                # how many requests had begun then,
    RING_LATELY               # and how many of those in the interval before
    RING_WORDS = 8

cdef enum:                # HealthWord; shared words of an endpoint, an ENTRY_HEALTH
    HC_BEGUN = 0              # 1: a check is meant for it, and PENDING was set once
    HC_PASSING             # passes in a row
    HC_FAILING
    HC_ATTEMPT
    HC_SUCCESS
    HC_FAILURE
    HC_NETWORK_FAILURE        # of those: no answer at all
    HC_CHECKED_AT             # ms
    HC_WINDOW                 # what was observed lately: see guard/health
    HEALTH_ROW = 16

cdef enum:                # TrialWord; shared words of an endpoint, an ENTRY_TRIAL
    TR_PASSED = 0             # in a row
    TR_PLACES = 8             # ms: when the trial that holds the place began; 0 = free
    TRIAL_ROW = 16

cdef enum:                # LatencyWord; shared words of an endpoint, an ENTRY_LATENCY, before a histogram of guard/gradient
    LT_SAMPLES = 0            # in the histogram
    LT_SLOW                   # windows in a row in which it was slow
    LT_TOOK                   # us: what the last window said; 0 = there was none yet, or it was ejected since
    LATENCY_ROW = 8

cdef enum:                # GuardWord; shared words of a cluster with a Resilience, before the histogram of guard/gradient
    BR_OPEN_UNTIL = 0         # ms; 0 = the breaker is closed
    BR_PROBE_AT               # ms: when the probe under way was let through; 0 = none is
    BR_PASSED                 # probes in a row
    BR_LOOKED_AT              # ms: when the mean was computed last
    BR_OPENED                 # times
    BR_CLOSED
    BR_REFUSED                # requests that found it open
    BR_PROBES
    GU_FAILED_OVER            # of the refused: sent to the backup,
    GU_ANSWERED               # or answered
    GU_LIMITED                # requests above the limit,
    GU_SHED                   # or above the share of their priority
    GU_WAITED                 # requests that waited too long for a connection
    GR_LIMIT                  # requests at a time; 0 = not begun
    GR_MIN_RTT                # us; 0 = not measured yet
    GR_KEPT                   # the limit that comes back after min RTT was measured; 0 = it is not being measured
    GR_MEASURE_FROM           # us: requests that began before it do not count
    GR_MEASURE_AT             # us: when min RTT is measured next
    GR_UPDATE_AT              # us
    GR_SAMPLES                # in the histogram
    GR_AT_LEAST               # updates in a row that found the limit at its least
    GR_SAMPLE_RTT             # us: of the last interval
    GR_BUSY                   # us: since when somebody computes; 0 = nobody
    GU_JUDGED_AT              # ms: when latencies were compared last
    GU_PEERS                  # us: the median of what endpoints took then; 0 = unknown
    GU_TRIALS_PASSED          # of ejected endpoints
    GU_TRIALS_FAILED
    GUARD_ROW = 32

cdef enum:                # RuleGuardWord; rows: of rules with a Resilience
    RG_RQ_ACTIVE = 0          # gauge
    RULE_GUARD_ROW = 8

cdef enum:                # WorkerWord
    WK_CX_ACTIVE = 0          # gauges: downstream connections
    WK_RQ_ACTIVE
    WK_OPEN_FDS               # sockets of both sides
    WK_H2_CX_ACTIVE           # HTTP/2 connections of clients
    WK_H2_STREAMS
    WK_UPGRADES_ACTIVE        # tunnels
    WORKER_GAUGES             # = 6
    WK_CX_TOTAL = 6
    WK_RQ_TOTAL
    WK_RQ_1XX
    WK_RQ_2XX
    WK_RQ_3XX
    WK_RQ_4XX
    WK_RQ_5XX
    WK_REFUSED_400            # messages that the parser refused, by status
    WK_REFUSED_413
    WK_REFUSED_414
    WK_REFUSED_431
    WK_REFUSED_501
    WK_REFUSED_505
    WK_HANDSHAKE_TIMEOUT
    WK_HEADER_TIMEOUT
    WK_IDLE_TIMEOUT
    WK_BODY_TIMEOUT
    WK_TUNNEL_IDLE            # tunnels broken off because nothing moved
    WK_UPGRADES_TOTAL
    WK_CLIENT_ABORT
    WK_ACCEPT_FULL            # accepts that met a full descriptor table
    WK_RX_BYTES
    WK_TX_BYTES
    WK_LOG_LINES
    WK_LOG_DROPPED
    WK_RATE_LIMITED
    WK_NO_ROUTE
    WK_UPSTREAM_REFUSED       # responses that broke the protocol
    WK_H2_CX_TOTAL            # HTTP/2 of clients
    WK_H2_RX_RESET            # RST_STREAM of clients
    WK_H2_TX_RESET            # and ours, for whatever reason
    WK_H2_REFUSED             # streams above the limit
    WK_H2_UNPACKED            # streams reset because heads unpack to far more than came
    WK_H2_MESSAGING_ERROR     # streams reset because of what the client sent
    WK_H2_PROTOCOL_ERROR      # connections ended because of what the client sent, attacks below apart
    WK_H2_HEADER_OVERFLOW     # connections ended because of a header block that was much too large
    WK_H2_CONTINUATIONS
    WK_H2_SETTINGS            # too many entries
    WK_H2_EMPTY_FRAMES
    WK_H2_PRIORITIES
    WK_H2_WINDOWS
    WK_H2_CONTROL             # what we owed was not taken
    WK_H2_CHATTER             # PING, SETTINGS, unknown
    WK_H2_RESETS
    WK_H2_MAX_REQUESTS        # connections wound down after their last request,
    WK_H2_MAX_AGE             # or because of their age
    WK_TLS_HANDSHAKE          # with clients, complete
    WK_TLS_RESUMED            # of those, with a ticket
    WK_TLS_NO_CERTIFICATE     # of those, without a certificate of the client
    WK_TLS_ERROR              # failed, for another reason than those below
    WK_TLS_FAIL_NO_CERTIFICATE
    WK_TLS_FAIL_CERTIFICATE
    WK_TLS_FAIL_NAME
    WK_TLS_FAIL_PIN
    WK_TLS_NOT_READY          # no key material
    WK_NO_CHAIN               # connections that fit no filter chain
    WK_PROXY_BAD              # connections that did not begin with a PROXY header where one is required
    WK_TCP_AGED               # connections of tcp chains that were older than they may be
    WK_TLS_OUTDATED           # connections to endpoints given up for their certificate or policy, which had changed
    WK_MIRROR_GIVEN_UP        # copies of requests
    WK_FALLBACKS              # requests that went to their rule's fallback
    WK_HEDGES                 # second attempts that were begun
    WK_HEDGES_WON             # of those, the ones whose answer counted
    WK_OUTSIDE_FAILED         # questions to DNS for hosts of requests that had no answer
    WK_OUTSIDE_REFUSED        # requests for hosts whose addresses nobody may reach through the proxy
    WK_OUTSIDE_FULL           # requests refused because too many hosts were being asked for
    WK_FILTER_ANSWERED        # requests that hooks of filters answered
    WK_FILTER_ERROR           # hooks that raised
    WK_FILTER_TIMEOUT         # that were awaited for too long
    WK_FILTER_BLOCKED         # that kept the worker from everything else for longer than they may take
    WK_FILTER_TOO_LARGE       # bodies that a hook could not be given
    WK_RETRY_OVERFLOW         # retries that the budget of the whole proxy did not allow
    WK_OVERLOAD_ENDED         # connections that were kept for another request no longer, under pressure
    WK_OVERLOAD_SHED          # requests refused under pressure
    WK_OVERLOAD_WAITED        # times that connections were left waiting: under pressure, or at the limit
    WORKER_ROW = 128

cdef enum:                # RetryWord; retries of all destinations, counted where there is a budget for the whole proxy
    RETRY_ACTIVE = 0          # gauge
    RETRY_GAUGES              # = 1
    RETRY_ROW = 8

cdef enum:                # PressureWord; a row of each worker, gauges all of them. Pressures are thousandths of what may be
    PR_MEMORY = 0
    PR_CONNECTIONS
    PR_LAG
    PR_LEVEL                  # PressureLevel
    PRESSURE_ROW = 8

cdef enum PressureLevel:
    PRESSED_NOT = 0
    PRESSED_CLOSE             # answers end their connections
    PRESSED_SHED              # and requests of low priority are refused
    PRESSED_STOP              # and so is every other one, and connections wait

cdef enum:                # LimitWord
    LM_PASSED = 0
    LM_LIMITED
    LM_OPEN                   # passed because Redis is gone
    LM_CLOSED                 # refused because Redis is gone
    LM_SHADOW                 # would have been refused; the limit is not enforced
    LM_CREDIT                 # passed before a token was granted (global)
    LM_EVICTED
    LIMIT_ROW = 8

cdef enum:                # RouteWord: matches with a statPrefix
    RT_RQ_TOTAL = 0
    RT_RQ_2XX
    RT_RQ_3XX
    RT_RQ_4XX
    RT_RQ_5XX
    RT_RQ_TIMEOUT
    RT_RQ_RETRY
    RT_RQ_MS                  # how long they took, in all
    ROUTE_ROW = 8
