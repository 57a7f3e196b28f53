"""One rule of a virtual host, compiled: its clauses, its steps, and what it does with a request."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.late cimport Late
from fastmesh.core.route.cors cimport Cors
from fastmesh.core.route.hash_policy cimport HashPolicy
from fastmesh.core.route.match cimport Clause, Request
from fastmesh.core.route.path_index cimport PathIndex
from fastmesh.core.route.resilience cimport RuleGuard
from fastmesh.core.route.session cimport Session

cdef enum Step:               # steps of the story that a rule asks for; a step that nobody configured is not called
    STEP_LIMIT = 1
    STEP_FAULT = 2
    STEP_ANSWER = 4
    STEP_REWRITE = 8
    STEP_CORS = 16
    STEP_MIRROR = 32
    STEP_SESSION = 64
    STEP_FILTER = 128
    STEP_HEDGE = 256
    STEP_STICKY = 512
    STEP_BACKEND = 1024     # a destination has a redirect or a rewrite of its own
    STEP_GUARD = 4096       # a Resilience is for this rule: asked with the step `rewrite`
    STEP_COUNT = 2048      # no step of the story: what ended is counted by its match

cdef enum RetryOn:
    RETRY_5XX = 1
    RETRY_GATEWAY_ERROR = 2
    RETRY_RESET = 4
    RETRY_RESET_BEFORE_REQUEST = 8
    RETRY_CONNECT_FAILURE = 16
    RETRY_RETRIABLE_4XX = 32
    RETRY_REFUSED_STREAM = 64
    RETRY_STATUS_CODES = 128
    RETRY_HEADERS = 256
    RETRY_RATELIMITED = 512
    RETRY_GRPC_CANCELLED = 1024
    RETRY_GRPC_DEADLINE = 2048
    RETRY_GRPC_EXHAUSTED = 4096
    RETRY_GRPC_INTERNAL = 8192
    RETRY_GRPC_UNAVAILABLE = 16384

cdef class Retry:
    cdef uint16_t attempts
    cdef uint32_t on          # RetryOn bits
    cdef list codes
    cdef uint32_t per_try     # ms, 0 = none
    cdef uint32_t backoff     # ms
    cdef bint avoid_tried
    cdef bint leaves_hash     # also where a hash decides
    cdef bint remote          # after two tries, other priorities
    cdef readonly list written

cdef class Redirect
cdef class Rewrite

cdef class Destination:
    cdef Cluster cluster      # None: nobody has asked for it yet, see `open`
    cdef Late late            # None: it does not exist (503 NC)
    cdef bytes cluster_name
    cdef uint32_t weight
    cdef uint16_t missing_status      # what a missing cluster answers: 503, by Gateway API 500
    cdef bytes authority      # or None
    cdef list request_ops     # of HeaderOps, or None
    cdef list response_ops
    cdef Redirect redirect    # instead of the cluster; or None
    cdef Rewrite rewrite      # instead of the rule's; or None
    cdef list mirrors         # numbers of the rule's that copy the requests of this destination alone
    cdef Cluster open(self)   # the cluster, or None

cdef class Redirect:
    cdef uint16_t code
    cdef bytes scheme
    cdef bytes authority
    cdef int port             # 0 = not set
    cdef uint8_t port_from    # 0 none, 1 from protocol, 2 from request
    cdef bytes path
    cdef bytes prefix

cdef class Direct:
    cdef uint16_t status
    cdef bytes body
    cdef bytes content_type
    cdef list headers

cdef class Rewrite:
    cdef bint by_regex
    cdef bytes value
    cdef object regex

cdef class Fault:
    cdef uint32_t delay       # ms
    cdef uint32_t delay_share # of a million
    cdef uint16_t abort_status
    cdef int abort_grpc       # -1 = not gRPC
    cdef uint32_t abort_share

cdef class Mirror:            # a copy of each request, or of some, for another cluster
    cdef uint32_t share       # of a million
    cdef bint picky           # only for destinations that name it
    cdef Destination destination
    cdef Rule rule            # that the copy runs on

cdef class Fallback:          # where a request goes when its destination fails it: one of the two
    cdef uint32_t flags       # Flag bits
    cdef Destination destination
    cdef Direct direct

cdef class Refusal:           # the face of the proxy's own answers
    cdef uint32_t flags       # Flag bits
    cdef Direct direct        # its status may be 0: keep

cdef class Policy:            # what fastmesh's own kinds add
    cdef uint32_t resend      # methods of requests that may go out a second time: bits of 1 << Method
    cdef Fallback fallback    # or None
    cdef list refusals        # of Refusal, or None
    cdef uint32_t hedge       # ms until a second attempt starts; 0: none does
    cdef HashPolicy sticky    # chooses among several destinations; None: chance does

cdef class Rule:
    cdef bint root            # the only condition is a path prefix `/`: every path fits (but `*`)
    cdef uint32_t steps       # Step bits
    cdef Destination only     # the one destination, or None: choose by weight
    cdef Retry retry          # or None
    cdef uint32_t timeout     # ms, 0 = none
    cdef list clauses
    cdef list destinations
    cdef uint32_t weights     # their sum
    cdef readonly dict origin
    cdef bytes route_name
    cdef Redirect redirect
    cdef Direct direct
    cdef Rewrite rewrite
    cdef bytes authority      # or None
    cdef list response_ops    # of HeaderOps, or None
    cdef Session session      # or None
    cdef Fault fault          # or None
    cdef Cors cors            # or None
    cdef list mirrors         # of Mirror, or None
    cdef list limits          # of Limit
    cdef Policy policy        # or None
    cdef RuleGuard guard      # or None
    cdef list filters         # of filter.Filter, in the order of their request hooks; None when there are none
    cdef Destination choose(self, Rng* rng)
    cdef Destination choose_by(self, uint64_t hash)       # the same hash, the same destination while the weights stand

cdef class VirtualHost:
    cdef Rule first           # the first of `rules`: with thousands of hosts every step through memory counts
    cdef list limits          # asked also when no rule matches; None when there are none
    cdef list rules
    cdef PathIndex index      # of many rules; None: they are walked
    cdef readonly str name
    cdef readonly object origin
    cdef bytes name_bytes
    cdef bint redirects       # in a listener's https table: this host moves to https
    cdef object series        # proxy.account's table for requests that met no cluster
    cdef Rule _find_among_many(self, const Request* request)
    cdef Rule find(self, const Request* request)   # the first rule with a clause that fits, or None

# `shared` holds the destinations and retry policies made so far: equal ones are one object, which stays in the processor's cache.
cdef Rule make_rule(dict plan, dict clusters, list limits, dict shared)
cdef VirtualHost make_virtual_host(dict plan, dict clusters, list limits, dict shared)

cdef Destination make_destination(dict plan, dict clusters, dict shared)
cdef list make_refusals(list plans)       # None for an empty list
cdef Refusal refusal_for(list refusals, uint32_t flag)     # the first one that is for this flag, or None
# `chosen` with the cluster of `mirror`: a copy has the headers and the authority that its request goes on with
cdef Destination mirrored(Destination chosen, Destination mirror)
cdef Destination choose_destination(list destinations, uint32_t weights, Rng* rng)     # by weight; `weights` is their sum
