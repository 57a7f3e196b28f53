"""The state of one request on its way: what the steps of the exchange read and write. Behaviour is in exchange.pyx."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.stream cimport ClientStream, Downstream, ServerStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.filter_seat cimport FilterSeat
from fastmesh.core.route.cluster cimport TRIED_MAX, Cluster
from fastmesh.core.route.cors cimport Cors
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.flags cimport (
    FLAG_UH, FLAG_UF, FLAG_UO, FLAG_NR, FLAG_URX, FLAG_NC, FLAG_UT, FLAG_UC, FLAG_LR,
    FLAG_DC, FLAG_DI, FLAG_FI, FLAG_RL, FLAG_DPE, FLAG_UPE, FLAG_SI, FLAG_UR, FLAG_DT, FLAG_FB, FLAG_FE, FLAG_OM,
)
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.match cimport Clause, Request
from fastmesh.core.route.rule cimport Destination, Rule, VirtualHost
from fastmesh.core.route.snapshot cimport Listener, Snapshot
from fastmesh.core.wire.grpc cimport GrpcFrames
from fastmesh.core.wire.message cimport Head

cdef class KeptTrailers:
    cdef Head head
    cdef bytes text

cdef KeptTrailers keep_trailers(const Head* trailers)

ctypedef void* TriedOne
ctypedef TriedOne[16] Tried

cdef class Transit(StreamUser):
    cdef Engine engine
    cdef StreamUser next_spare        # of those that wait to be used again
    cdef Listener listener
    cdef Snapshot snapshot
    # the two sides
    cdef ServerStream client
    cdef ClientStream upstream        # of the attempt under way
    cdef Pool pool                    # where a connection is waited for
    cdef Tls tls                      # of the client's connection; None: plaintext, or passed on
    cdef bytes requested_name         # that it was begun for; None: plaintext
    cdef bytes peer                   # address of the client
    cdef bytes peer_text              # address:port
    cdef bytes local_text
    cdef void meet(self, Downstream client)   # what is known of the connection
    cdef Tls upstream_tls             # of the last attempt's
    cdef const char* transport_failure        # why TLS with an endpoint failed; static text, NULL = it did not
    # what the steps decided
    cdef VirtualHost vhost
    cdef Rule rule
    cdef Destination destination
    cdef Cluster cluster
    cdef Endpoint endpoint
    cdef Endpoint endpoint_tried      # keeps the last tried one alive while `tried` points to it
    cdef Request request              # head with normalised path
    cdef bytes path                   # normalised or rewritten path: owns what request.path points to
    cdef bytes original_path          # path and query as the client sent them, when rewritten
    cdef bytes rewritten              # the path as sent upstream, query included when the rewrite brought one
    cdef bytes client_cert            # x-forwarded-client-cert as sent upstream
    cdef uint64_t* trial              # the place that this request holds among the trials of its endpoint; NULL: it is none
    cdef uint64_t trial_began         # ms; set when `trial` is
    cdef bint hashed                  # `hash` is what the request is hashed to
    cdef uint64_t hash
    cdef list new_cookies             # set-cookie fields for the answer; None: there are none
    cdef Endpoint bound               # of the client's session
    cdef uint64_t session_began       # seconds since 1970
    cdef bytes session_token          # for the answer
    cdef Cors cors_policy             # the rule's, when the client's origin is one that it allows
    cdef const char* origin_at        # that origin; set when `cors_policy` is
    cdef uint16_t origin_size
    cdef Limit told_limit             # the tightest one of those that the answer tells of; None: of none
    cdef uint64_t told_left           # its tokens, and the seconds until there are more; set when `told_limit` is
    cdef uint64_t told_wait
    cdef char[36] made_id             # an x-request-id of our own
    cdef const char* request_id_at    # the one in force: the client's or ours
    cdef uint16_t request_id_size
    cdef FilterSeat filters           # those that run for this request, or None
    cdef Clause matched               # by which the rule was found, when filters may write into the head; else it can be asked for
    cdef bint path_written            # a filter has the last word about the path
    # the story
    cdef uint32_t steps               # rule.Step bits
    cdef uint32_t flags               # Flag bits
    cdef StreamUser rival             # the second attempt of a hedged request, see hedge; None: there is none
    cdef list copies                  # exchanges of mirrors that take the rest of this request; None: there are none
    cdef bint copied                  # this is such a copy
    cdef bint tcp                     # a connection, not a request: see passage
    cdef uint16_t status              # as sent to the client; 0 = none yet
    cdef bint grpc                    # a gRPC call
    cdef bint streamed                # the end of its answer is not known before: trailers can follow
    cdef bint unreported              # its outcome is still to be told to the cluster: it stands in the trailers
    cdef int32_t grpc_status          # -1 = none was said
    cdef uint16_t charged             # what the cluster's counters say when a call was told 200; 0 = `status`
    cdef const char* details          # response_code_details
    cdef bint request_done            # the client's message is complete
    cdef bint secure                  # the client came over TLS
    cdef bint response_begun          # a final head went to the client
    cdef bint accounted
    cdef bint probing                 # its outcome decides whether a half-open breaker closes
    cdef bint held                    # among the requests under way of its rule's Resilience
    cdef bint counted                 # in the cluster's and endpoint's active gauges
    cdef bint retrying                # in the cluster's retry gauge
    cdef uint16_t attempts            # tries so far
    cdef uint16_t retries_left
    cdef bint fell_back               # it goes to the rule's fallback
    cdef bint stale_retried           # the one safe retry was used
    cdef Tried tried
    cdef int tried_count
    # the request body, while it may be needed again or has nowhere to go
    cdef OutBuf body
    cdef bint replayable
    cdef KeptTrailers trailers        # of a request whose connection was not there yet, or that may be sent again
    cdef bint in_client_turn          # inside the turn that read the head: the client flushes for us
    cdef bint client_paused
    cdef bint upstream_paused
    # an upgrade
    cdef bint tunnel                  # the endpoint agreed: bodies are bytes of another protocol
    cdef uint8_t tunnel_ends          # TunnelEnd bits
    cdef bytes websocket_key          # made for an endpoint that wants one
    cdef uint64_t moved_at            # ms: the last byte in either direction
    # a call
    cdef uint64_t deadline            # ms: the client's own; 0 = none
    cdef GrpcFrames request_frames    # set when `grpc` is
    cdef GrpcFrames response_frames
    # time
    cdef Timer timer                  # delay, back-off, per-try
    cdef Timer route_timer
    cdef uint64_t started             # ns
    cdef uint64_t sent_at             # ns: the first attempt's request left
    cdef uint64_t asked_at            # ns: the attempt's request left, where somebody wants to know what it takes; 0 = it has not
    cdef uint64_t ended               # ns
    cdef uint64_t answered_at         # ns: the first byte of the final response
    # sums
    cdef uint64_t bytes_received      # body bytes from the client
    cdef uint64_t bytes_sent          # body bytes to the client
    # the head's bytes
    cdef char* text
    cdef size_t text_room
    cdef char[1536] inline_text
