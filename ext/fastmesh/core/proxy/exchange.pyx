"""See exchange.pxd. Over 600 lines: it is the story of one request, to be read from top to bottom.

The story: begin, find_rule, authenticate, authorize, limit, fault, cors, filter, answer, rewrite, choose_cluster, mirror, attempt; then events of the
two streams (take_response, relay_response) and, always and exactly once, account. A step that nobody configured is not called:
`steps` has a bit for each optional one.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_add, fm_bump
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_RQ_ACTIVE, CL_RQ_PENDING_OVERFLOW, CL_RQ_RETRY_SUCCESS, CL_RQ_TIMEOUT, GU_WAITED, WK_RQ_1XX,
    WK_RQ_ACTIVE,
)
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.guard.outlier cimport OUTCOME_LOCAL, OUTCOME_STATUS
from fastmesh.core.net.failure cimport (
    FAIL_NONE, FAIL_NO_CLUSTER, FAIL_NO_HEALTHY, FAIL_OVERFLOW, FAIL_PER_TRY_TIMEOUT, FAIL_PROTOCOL, FAIL_QUEUE, FAIL_TIMEOUT, FAIL_TLS,
)
from fastmesh.core.net.stream cimport ServerStream
from fastmesh.core.proxy.attempt cimport (
    STATUS_LIMITED, TIMER_BACKOFF, TIMER_DELAY, TIMER_OUTSIDE, TIMER_PER_TRY, TIMER_QUEUE, TIMER_ROUTE, says_limited,
)
from fastmesh.core.proxy.call cimport call_is_late, late_trailers, look_for_call, read_call_status
from fastmesh.core.proxy.cors cimport find_origin, is_preflight, preflight_fields
from fastmesh.core.proxy.ejection cimport leave_trial
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.filter cimport begin_filters
from fastmesh.core.proxy.find cimport ANSWERED, GO_ON, WAIT
from fastmesh.core.proxy.hedge cimport Hedging
from fastmesh.core.proxy.mirror cimport Mirroring
from fastmesh.core.proxy.outside cimport OUT_FOUND, OUT_REFUSED, OUT_WAIT, go_outside
from fastmesh.core.proxy.overload cimport guard, guard_failed, guard_left, guard_rule, rule_left
from fastmesh.core.proxy.pressure cimport is_shed, shed
from fastmesh.core.proxy.relay cimport RelayText, response_out
from fastmesh.core.proxy.retries cimport retry_ends
from fastmesh.core.proxy.sticky cimport resume_session, split_hash
from fastmesh.core.proxy.trace cimport fit_request_id, make_request_id
from fastmesh.core.proxy.tunnel cimport CLIENT_ENDED, ENDPOINT_ENDED, TIMER_TUNNEL
from fastmesh.core.proxy.wanted cimport go_wanted
from fastmesh.core.proxy.transit cimport (
    FLAG_DC, FLAG_DI, FLAG_DPE, FLAG_FI, FLAG_LR, FLAG_NC, FLAG_NR, FLAG_UC, FLAG_UH, FLAG_UT, keep_trailers,
)
from fastmesh.core.route.cluster cimport EXTRA_LOAD, Cluster
from fastmesh.core.route.cors cimport Cors
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.load_rule cimport learn_load
from fastmesh.core.route.rule cimport (
    Destination, Direct, Fault, Retry, STEP_ANSWER, STEP_BACKEND, STEP_CORS, STEP_FAULT, STEP_FILTER, STEP_GUARD, STEP_HEDGE,
    STEP_LIMIT, STEP_MIRROR, STEP_REWRITE, STEP_SESSION, STEP_STICKY,
)
from fastmesh.core.route.snapshot cimport Listener, UNKNOWN_404, UNKNOWN_PASSTHROUGH
from fastmesh.core.wire.grpc cimport GRPC_DEADLINE_EXCEEDED, GRPC_UNSAID, count_messages, http_of_grpc
from fastmesh.core.wire.h1_write cimport CONNECTION_UNSAID, HeadOut
from fastmesh.core.wire.message cimport (
    FRAMING_CHUNKED, FRAMING_NONE, FRAMING_TUNNEL, Field, HDR_X_REQUEST_ID, Head, METHOD_CONNECT, METHOD_HEAD, METHOD_POST,
)

cdef enum:
    BODY_WAIT = 65536         # request body bytes that wait for a connection before the client is paused
    LOW = 4                   # a source goes on when no more than this part of `high_water` waits


cdef Exchange take_exchange(Engine engine, Listener listener):
    cdef Exchange exchange
    # One that somebody on the stack still refers to (it ended a moment ago, further down) is left alone
    if engine.spares > 0 and (<PyObject*>engine.spare).ob_refcnt == 1:
        exchange = <Exchange>engine.spare
        engine.spare, exchange.next_spare = exchange.next_spare, None
        engine.spares -= 1
    else:
        exchange = Exchange.__new__(Exchange)
    exchange.engine = engine
    exchange.listener = listener
    exchange.accounted = False
    exchange.in_client_turn = True
    return exchange


cdef void refuse_exchange(Exchange exchange, ServerStream client, int status, const char* why):
    """Account for a message that was refused before it became a request."""
    memset(&exchange.head, 0, sizeof(Head))
    exchange.head.base = exchange.inline_text
    exchange.head.minor = client.minor if client.minor == 2 else 1
    exchange.client = client
    exchange.meet(client)
    exchange.snapshot = exchange.engine.snapshot
    exchange.engine.active += 1
    fm_bump(&exchange.engine.row[WK_RQ_ACTIVE], 1)
    exchange.started = now_ns()
    make_request_id(&exchange.engine.rng, exchange.made_id)
    exchange.request_id_at, exchange.request_id_size = exchange.made_id, 36
    exchange.status = status
    exchange.flags = FLAG_DPE
    exchange.details = why
    exchange._finish()


cdef class Exchange(Hedging):
    def __cinit__(self):
        self.grpc_status = -1

    # --- the story ----------------------------------------------------------------------------------------------------

    cdef void on_request(self, ServerStream client):
        self.client = client
        self.meet(client)
        self.secure = client.tls is not None
        self.started = now_ns()
        self.keep_head()
        self.snapshot = self.engine.snapshot
        self.engine.active += 1
        fm_bump(&self.engine.row[WK_RQ_ACTIVE], 1)
        self.proceed(BEGIN)

    cdef void proceed(self, int step):
        """The steps of a request in their order, from `step` on."""
        cdef int verdict = GO_ON
        while verdict == GO_ON and step < STORY_END:
            if step == BEGIN:
                verdict = self.begin()
            elif step == FIND_RULE:
                verdict = self.find_rule()
            elif step == LIMIT:
                if self.steps & STEP_LIMIT:
                    verdict = self.limit()
            elif step == FAULT:
                if self.steps & STEP_FAULT:
                    verdict = self.fault()
            elif step == CORS:
                if self.steps & STEP_CORS:
                    verdict = self.cors()
            elif step == FILTER:
                if self.steps & STEP_FILTER:
                    verdict = self.filter()
            elif step == ANSWER:
                if self.steps & STEP_ANSWER:
                    verdict = self.answer()
            elif step == REWRITE:
                if self.steps & (STEP_REWRITE | STEP_GUARD):
                    verdict = self.rewrite()
            elif step == CHOOSE_CLUSTER:
                verdict = self.choose_cluster()
            elif step == MIRROR:
                if self.steps & STEP_MIRROR and not self.fell_back:
                    verdict = self.mirror()
            elif step == ATTEMPT:
                verdict = self.attempt()
            step += 1

    cdef int begin(self):
        """What is refused whatever the rules say, and the id that this request carries from here on."""
        cdef Head* head = &self.head
        self._take_id()
        if head.upgrade:
            if self.begin_upgrade() != GO_ON:
                return ANSWERED
        elif head.method == METHOD_POST:
            look_for_call(self)
        elif head.method == METHOD_CONNECT:
            return self._refuse(405, 0, "connect_not_allowed", "", 0)
        if head.expect_other:
            return self._refuse(417, 0, "unknown_expectation", "", 0)
        if self.normalize() < 0:
            return self._refuse(400, 0, "path_normalization_failed", "", 0)
        return GO_ON

    cdef void _take_id(self):
        cdef const Head* head = &self.head
        cdef const Field* field
        cdef int i
        self.request_id_size = 0
        for i in range(head.field_count):
            field = &head.fields[i]
            if field.id == HDR_X_REQUEST_ID and fit_request_id(head.base + field.value.off, field.value.len):
                self.request_id_at, self.request_id_size = head.base + field.value.off, field.value.len
                break
        if self.request_id_size == 0:
            make_request_id(&self.engine.rng, self.made_id)
            self.request_id_at, self.request_id_size = self.made_id, 36

    cdef int find_rule(self):
        cdef int own_port = self.client.own_port
        if self.listener.chains is not None and self.misdirected():
            return self.reply(421, 0, "misdirected_request", "", 0)
        self.look_up(self.head.port, self.head.port != 0 and self.head.port != own_port)
        if self.engine.shedding and is_shed(self):
            return shed(self)
        if self.listener.https_redirect is not None and self.moves_to_https():
            return self._https_redirect()
        return GO_ON

    cdef int limit(self):
        cdef Limit limit = self.refusing_limit()
        return GO_ON if limit is None else self._limited(limit)

    cdef int fault(self):
        cdef Fault fault = self.rule.fault
        if fault.delay and not self.flags & FLAG_DI and rng_below(&self.engine.rng, 1000000) < fault.delay_share:
            self.flags |= FLAG_DI
            self.engine.wheel.start(&self.timer, self, TIMER_DELAY, fault.delay)
            return WAIT
        if fault.abort_share and rng_below(&self.engine.rng, 1000000) < fault.abort_share:
            if self.grpc:
                self.grpc_status = fault.abort_grpc
            return self.reply(200 if fault.abort_grpc >= 0 else fault.abort_status, FLAG_FI, "fault_filter_abort",
                              "fault filter abort", 18)
        return GO_ON

    cdef int cors(self):
        """Preflights are answered here; other requests go on whatever their origin, it is the browser that refuses."""
        cdef Cors cors = self.rule.cors
        if not find_origin(self):
            return GO_ON
        if not cors.allows(self.origin_at, self.origin_size):
            if cors.forward or not is_preflight(&self.head):
                return GO_ON
            return self.reply(200, 0, "cors_response", "", 0)
        if is_preflight(&self.head):
            return self._reply(200, 0, "cors_response", None, "", 0, preflight_fields(self))
        self.cors_policy = cors
        return GO_ON

    cdef int filter(self):
        """Python of the user: it may write into the request, answer itself, or be awaited."""
        return begin_filters(self)

    cdef void filtered(self):
        self.proceed(ANSWER)

    cdef int answer(self):
        """Replies that a rule, or the lack of one, asks the proxy to make."""
        cdef Direct direct
        if self.vhost is None and self.listener.unknown != UNKNOWN_404:
            return self.reply(502, FLAG_NR, "no_original_destination" if self.listener.unknown == UNKNOWN_PASSTHROUGH
                              else "blackhole", "", 0)
        if self.rule is None:
            return self.reply(404, FLAG_NR, "route_not_found", "", 0)
        if self.rule.redirect is not None:
            return self._redirect()
        direct = self.rule.direct
        return self._reply(direct.status, 0, "direct_response", direct.content_type if direct.body else None,
                           PyBytes_AS_STRING(direct.body), PyBytes_GET_SIZE(direct.body), direct.headers)

    cdef int rewrite(self):
        """The path that goes upstream; and whether this rule takes a request now, wherever it goes."""
        if self.steps & STEP_REWRITE:
            self.rewrite_path()
        return guard_rule(self) if self.steps & STEP_GUARD else GO_ON

    cdef int choose_cluster(self):
        """A destination by weight, and its place under the cluster's limits."""
        cdef Cluster cluster
        cdef uint64_t hash = 0
        if self.destination is None:      # else this is a copy for a mirror
            if self.steps & STEP_SESSION:
                resume_session(self)
            if self.destination is not None:
                pass                      # the session goes on
            elif self.steps & STEP_STICKY and split_hash(self, &hash):
                self.destination = self.rule.choose_by(hash)
            else:
                self.destination = self.rule.choose(&self.engine.rng)
            if self.steps & STEP_BACKEND:
                if self.destination.redirect is not None:
                    return self._redirect()
                if self.destination.rewrite is not None and not self.path_written:
                    self.rewrite_path()
        self.cluster = cluster = self.destination.cluster
        if cluster is None and self.destination.late is not None:
            if self.destination.late.outside:
                return self._go_outside()
            self.cluster = cluster = self.destination.open()
        if cluster is None:
            if self.destination.missing_status != 503:
                return self.reply(self.destination.missing_status, FLAG_NC, "cluster_not_found", "", 0)
            return self._give_up(FAIL_NO_CLUSTER)
        return self._enter(cluster)

    cdef int _go_outside(self):
        cdef int found
        if self.destination.late.wanted:
            return self._enter(self.cluster) if go_wanted(self) else self._give_up(FAIL_NO_HEALTHY)
        found = go_outside(self)
        if found == OUT_WAIT:
            return WAIT
        if found == OUT_FOUND:
            return self._enter(self.cluster)
        if found == OUT_REFUSED:
            return self.reply(502, FLAG_NR, "outside_address_refused", "", 0)
        return self.reply(503, FLAG_UH, "dns_resolution_failure", "no healthy upstream", 19)

    cdef int _enter(self, Cluster cluster):
        cdef Retry retry = self.rule.retry
        cdef uint64_t limit = 0
        if cluster.rows == NULL:
            cluster.attach(self.engine.arena, self.engine.slot)
        if cluster.resilience is not None:
            if guard(self) != GO_ON:
                return ANSWERED
            cluster = self.cluster
        self.retries_left = retry.attempts if retry is not None else 0
        self.replayable = True
        if self.request_done or self.client.request_done or self.head.upgrade:
            limit = self.rule.timeout
        if self.deadline:
            limit = self._within_deadline(limit)
        if limit:
            self.engine.wheel.start(&self.route_timer, self, TIMER_ROUTE, limit)
        fm_bump(&cluster.row[CL_RQ_ACTIVE], 1)
        self.counted = True
        if cluster.max_requests and sum_rows(cluster.rows + CL_RQ_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_requests:
            fm_bump(&cluster.row[CL_RQ_PENDING_OVERFLOW], 1)
            return self._give_up(FAIL_OVERFLOW)
        return GO_ON

    cdef void go_to(self, Destination destination):
        """The rule's destination has failed this request: on to another one, with times and retries of its own."""
        cdef Cluster failed = self.cluster
        if self.rival is not None:
            self.leave_rival()
        self.engine.wheel.cancel(&self.route_timer)
        if self.counted:
            fm_bump(&failed.row[CL_RQ_ACTIVE], <uint64_t>-1)
            if failed.resilience is not None:
                guard_failed(self)
        if self.retrying:
            retry_ends(self)
        self.counted = self.retrying = False
        if self.trial != NULL:
            leave_trial(self)
        self.endpoint = self.endpoint_tried = self.bound = None
        self.asked_at = 0
        self.tried_count = self.attempts = 0
        self.hashed = False
        self.destination = destination
        self.proceed(CHOOSE_CLUSTER)

    cdef uint64_t _within_deadline(self, uint64_t limit):
        """The rule's time, or what is left of the client's when that is less. 0 = no limit, as a limit of the rule."""
        cdef uint64_t now = now_ms()
        cdef uint64_t left = self.deadline - now if self.deadline > now else 1
        return left if limit == 0 or left < limit else limit

    cdef void leave_guard(self):
        guard_left(self)

    cdef void leave_rule(self):
        rule_left(self)

    cdef Mirroring another(self):
        return take_exchange(self.engine, self.listener)

    cdef void begin_copy(self):
        self.engine.active += 1
        self.proceed(CHOOSE_CLUSTER)

    cdef int attempt(self):
        """One try: pick an endpoint, get a connection, send. Failures come back through `_failed`."""
        if self.steps & STEP_HEDGE:
            self.hedge()
        return self._send(False)

    # --- events of the endpoint ---------------------------------------------------------------------------------------

    cdef void on_upstream_failed(self, int failure):
        if self.upstream is not None and self.upstream.tls is not None:
            self.transport_failure = self.upstream.tls.error
        elif failure == FAIL_TLS and self.pool is not None:
            self.transport_failure = self.pool.tls_error
        self.upstream = None
        self.pool = None
        if not self.response_begun:
            self._failed(failure)
            return
        # The response is cut: the client must see a broken message, never a short one that looks complete
        self.engine.wheel.cancel(&self.timer)
        self._report(OUTCOME_LOCAL, 503)
        self._count_out()
        self.flags |= FLAG_UC
        self.details = "upstream_reset_after_response_started{connection_termination}"
        self.client.abort_response()
        self._finish()

    cdef void on_interim(self, const Head* head):
        cdef RelayText text
        fm_bump(&self.engine.row[WK_RQ_1XX], 1)
        if head.status == 100 and not self.head.expect_continue:
            return
        response_out(self, head, &self.engine.out, &text)
        self.engine.out.framing = FRAMING_NONE
        self.engine.out.connection = CONNECTION_UNSAID
        self.client.send_interim(&self.engine.out)
        self.client.flush()

    cdef void on_response(self, const Head* head):
        """take_response: decide whether this answer is the one, then send its head on."""
        cdef RelayText text
        cdef HeadOut* out = &self.engine.out
        cdef Retry retry = self.rule.retry
        self.answered_at = now_ns()
        if head.framing == FRAMING_TUNNEL and not self.agreed(head):
            self._failed(FAIL_PROTOCOL)
            return
        if self.grpc:
            self._report_call(head)
        else:
            self._report(OUTCOME_STATUS, head.status)
        if self.cluster.extras & EXTRA_LOAD:
            learn_load(self.cluster.load, head, self.endpoint.load, now_ms())
        if self.rival is not None and head.status >= 500 and self.left_to_rival():
            self._leave_upstream()
            self._count_out()
            return
        if retry is not None and (head.status >= 400 or self.grpc_status > 0) \
                and self._may_retry(FAIL_NONE, STATUS_LIMITED if says_limited(head) else <int>head.status):
            self._leave_upstream()
            self._count_out()
            self._retry()
            return
        if self.attempts > 1 and head.status < 500:
            fm_bump(&self.cluster.row[CL_RQ_RETRY_SUCCESS], 1)
        self.engine.wheel.cancel(&self.timer)
        self.status = head.status
        self.details = "via_upstream"
        response_out(self, head, out, &text)
        if self.head.method == METHOD_HEAD:
            out.length_known_only = True
        if head.framing == FRAMING_TUNNEL:
            self.upgraded_out(head, out)
        self.response_begun = True
        self.streamed = out.framing == FRAMING_CHUNKED
        self.client.send_head(out)
        if head.framing == FRAMING_TUNNEL and self.upstream is not None:      # else a filter has answered, or nobody is left
            self.open_tunnel()
        out_free(&self.body)              # no other attempt can follow
        self.replayable = False

    cdef void _report_call(self, const Head* head):
        """How an endpoint served a call may stand in the head; else the trailers will say it."""
        self.grpc_status = GRPC_UNSAID
        read_call_status(self, head)
        self.unreported = self.grpc_status < 0 and head.status == 200
        if not self.unreported:
            self._report(OUTCOME_STATUS, http_of_grpc(self.grpc_status) if self.grpc_status >= 0 else head.status)

    cdef void on_response_body(self, const char* data, size_t size):
        self.bytes_sent += size
        if self.tunnel:
            self.moved_at = now_ms()
        elif self.grpc:
            count_messages(&self.response_frames, data, size)
        if self.client is not None:
            self.client.send_body(data, size)

    cdef void on_response_spliced(self, size_t size):
        self.bytes_sent += size
        self.upstream_paused = True       # a client that was full says so through on_client_drained

    cdef void on_upstream_turn(self):
        if self.client is None:
            return
        self.client.flush()
        if self.upstream is None or self.client is None:
            return
        if self.client.waiting() > self.client.high_water:
            self.upstream_paused = True
            self.upstream.pause_response()
        elif self.upstream_paused and self.client.waiting() <= self.client.high_water // LOW:
            self.on_client_drained()      # HTTP/2: this turn brought what was on its way at the pause, and all of it left
        elif self.head.method != METHOD_HEAD and not self.grpc:
            self.upstream.splice_to(self.client)

    cdef void on_response_end(self, const Head* trailers):
        cdef ServerStream client = self.client
        if self.tunnel:
            client.send_end(NULL)
            self.end_side(ENDPOINT_ENDED)
            client.flush()
            return
        self.upstream = None
        self._count_out()
        if trailers != NULL and self.cluster.extras & EXTRA_LOAD:
            learn_load(self.cluster.load, trailers, self.endpoint.load, now_ms())
        if self.grpc:
            if trailers != NULL:
                read_call_status(self, trailers)
            if self.unreported:
                self._report(OUTCOME_STATUS, http_of_grpc(self.grpc_status) if self.grpc_status >= 0 else self.status)
        if client is None:
            self._finish()
            return
        client.send_end(trailers)
        self._finish()
        client.flush()

    cdef void on_upstream_drained(self):
        if self.client_paused and self.client is not None and (self.filters is None or not self.filters.is_full()):
            self.client_paused = False
            self.client.resume_request()

    # --- events of the client -----------------------------------------------------------------------------------------

    cdef void on_request_body(self, const char* data, size_t size):
        self.bytes_received += size
        if self.accounted or self.response_begun and self.upstream is None:
            return                        # answered already: the rest of the body is read and dropped
        if self.filters is not None and self.filters.takes_piece(data, size):
            return
        if self.copies is not None:
            self.copy_body(data, size)
        if self.head.upgrade:
            if not self.tunnel:
                self.hold(data, size)
                return
            self.moved_at = now_ms()
        elif self.grpc:
            count_messages(&self.request_frames, data, size)
        if self.upstream is not None:
            self.upstream.send_body(data, size)
            if not self.replayable:
                return
            if out_size(&self.body) + size > self.engine.retry_body:
                self.replayable = False
                out_free(&self.body)
                return
        out_append(&self.body, data, size)
        if self.upstream is None and out_size(&self.body) > BODY_WAIT:
            self.replayable = self.replayable and out_size(&self.body) <= self.engine.retry_body
            self.client_paused = True
            self.client.pause_request()

    cdef void on_request_end(self, const Head* trailers):
        if self.filters is not None and self.filters.takes_end(trailers):
            return
        self.request_done = True
        if self.accounted:
            return
        if self.head.upgrade:
            if self.tunnel:
                self.upstream.send_end(NULL)
                self.upstream.flush()
            self.end_side(CLIENT_ENDED)
            return
        if trailers != NULL:
            self.trailers = keep_trailers(trailers)
        if self.copies is not None:
            self.copy_end(trailers)
        if self.upstream is not None:
            self.upstream.send_end(trailers)
        if self.asked_at:
            self.asked_at = now_ns()      # what the client takes to send it is not the endpoint's
        if self.rule is not None and self.rule.timeout and self.cluster is not None and not self.response_begun:
            self.engine.wheel.start(&self.route_timer, self, TIMER_ROUTE, self._within_deadline(self.rule.timeout)
                                    if self.deadline else self.rule.timeout)

    cdef void on_client_turn(self):
        self.in_client_turn = False
        if self.copies is not None:
            self.copy_turn()
        if self.upstream is None:
            return
        self.upstream.flush()
        if self.upstream_paused and self.client is not None and self.client.waiting() <= self.client.high_water // LOW:
            self.on_client_drained()      # this turn has sent what the client had not taken
        if self.upstream is None or self.client is None:
            return
        if self.client_paused:            # HTTP/2: it may send on as far as its window goes
            if self.upstream.waiting() == 0 and (self.tunnel or not self.head.upgrade):
                self.on_upstream_drained()        # all left in this turn: nobody will say that the endpoint is writable
        elif self.upstream.waiting() > self.client.high_water:
            self.client_paused = True
            self.client.pause_request()

    cdef void on_request_failed(self, int status, const char* why):
        """The client's message turned out bad after its head: the upstream sees an aborted request, never a short one."""
        if self.accounted:
            return
        self.flags |= FLAG_DPE
        self.details = why
        if not self.response_begun:
            self.status = status
        if self.filters is not None:
            self.filters.leave()          # the client's codec answers: there is nothing for hooks to see
        if self.cluster is not None and (self.upstream is not None or self.pool is not None):
            self._count_out()
        self._leave_upstream()
        self._finish()

    cdef void on_client_gone(self):
        self._abandon(FLAG_DC, "downstream_remote_disconnect")

    cdef void on_cut(self):
        self._abandon(FLAG_LR, "drain_time_over")

    cdef void _abandon(self, uint32_t flag, const char* details):
        """There is nobody left to answer."""
        if self.accounted:
            return
        self.flags |= flag
        self.details = details
        if self.cluster is not None and (self.upstream is not None or self.pool is not None):
            self._count_out()
        self.client = None
        self._leave_upstream()
        self._finish()

    cdef void on_client_drained(self):
        if self.upstream_paused and self.upstream is not None:
            self.upstream_paused = False
            self.upstream.resume_response()

    # --- time ---------------------------------------------------------------------------------------------------------

    cdef void on_timer(self, int kind) noexcept:
        if self.accounted:
            return
        if kind == TIMER_DELAY:
            self.proceed(FAULT)
        elif kind == TIMER_OUTSIDE:
            self.proceed(CHOOSE_CLUSTER)
        elif kind == TIMER_BACKOFF:
            self._send(False)
        elif kind == TIMER_QUEUE:
            fm_add(&self.cluster.resilience.words[GU_WAITED], 1)
            self._failed(FAIL_QUEUE)
        elif kind == TIMER_PER_TRY:
            self._failed(FAIL_PER_TRY_TIMEOUT)
        elif kind == TIMER_ROUTE:
            self._out_of_time()
        elif kind == TIMER_TUNNEL:
            self.look_idle()

    cdef void _out_of_time(self):
        """The route's time-out covers all attempts; it is never retried."""
        cdef ServerStream client = self.client
        cdef bint trying = self.upstream is not None or self.pool is not None
        fm_bump(&self.cluster.row[CL_RQ_TIMEOUT], 1)
        self._leave_upstream()
        if trying:
            self._report(OUTCOME_LOCAL, 504)
            self._count_out()
        if not self.response_begun:
            if call_is_late(self):
                self.grpc_status = GRPC_DEADLINE_EXCEEDED     # its client finds the same at this moment
            self._give_up(FAIL_TIMEOUT)
            return
        self.flags |= FLAG_UT
        self.details = "response_timeout"
        if self.grpc and self.streamed and call_is_late(self):
            self.grpc_status = GRPC_DEADLINE_EXCEEDED
            client.send_end(late_trailers())
            self._finish()
            client.flush()
            return
        client.abort_response()
        self._finish()
