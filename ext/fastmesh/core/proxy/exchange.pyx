"""See exchange.pxd.

The story: begin, find_rule, authenticate, authorize, limit, fault, cors, answer, rewrite, choose_cluster, attempt; then events of the
two streams (take_response, relay_response) and, always and exactly once, account. A step that nobody configured is not called:
`steps` has a bit for each optional one.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CLUSTER_ROW, CL_NONE_HEALTHY, CL_RETRY_ACTIVE, CL_RQ_ACTIVE, CL_RQ_PENDING_OVERFLOW, CL_RQ_PER_TRY_TIMEOUT,
    CL_RQ_RETRY, CL_RQ_RETRY_LIMIT, CL_RQ_RETRY_OVERFLOW, CL_RQ_RETRY_SUCCESS, CL_RQ_RX_RESET, CL_RQ_TIMEOUT,
    EP_RQ_ACTIVE, EP_RQ_ERROR, EP_RQ_SUCCESS, EP_RQ_TIMEOUT, EP_RQ_TOTAL, WK_RQ_1XX, WK_RQ_ACTIVE, WK_UPSTREAM_REFUSED,
)
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.guard.outlier cimport OUTCOME_LOCAL, OUTCOME_STATUS
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.readiness cimport HIGH_WATER, LOW_WATER
from fastmesh.core.net.stream cimport (
    FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_LOCAL, FAIL_NONE, FAIL_NO_CLUSTER, FAIL_NO_HEALTHY, FAIL_OVERFLOW,
    FAIL_PER_TRY_TIMEOUT, FAIL_PROTOCOL, FAIL_STALE, FAIL_TIMEOUT, ClientStream, ServerStream,
)
from fastmesh.core.proxy.account cimport account
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.relay cimport RelayText, apply_ops, request_out, response_out
from fastmesh.core.proxy.rescue cimport Rescue, rescue
from fastmesh.core.proxy.trace cimport fit_request_id, make_request_id
from fastmesh.core.proxy.transit cimport (
    FLAG_DC, FLAG_DI, FLAG_DPE, FLAG_FI, FLAG_NC, FLAG_NR, FLAG_RL, FLAG_UC, FLAG_UO, FLAG_URX, FLAG_UT, Transit,
    keep_trailers,
)
from fastmesh.core.route.cluster cimport CLUSTER_BLACKHOLE, CLUSTER_ENDPOINTS, TRIED_MAX, Cluster
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.match cimport MATCH_EXACT, MATCH_PREFIX, MATCH_REGEX, Clause, first_match
from fastmesh.core.route.rule cimport (
    RETRY_5XX, RETRY_CONNECT_FAILURE, RETRY_GATEWAY_ERROR, RETRY_GRPC_CANCELLED, RETRY_GRPC_DEADLINE,
    RETRY_GRPC_EXHAUSTED, RETRY_GRPC_INTERNAL, RETRY_GRPC_UNAVAILABLE, RETRY_RATELIMITED, RETRY_RESET,
    RETRY_RESET_BEFORE_REQUEST, RETRY_RETRIABLE_4XX, RETRY_STATUS_CODES, STEP_ANSWER, STEP_FAULT, STEP_LIMIT,
    STEP_REWRITE, Direct, Fault, Redirect, Retry, Rewrite, VirtualHost,
)
from fastmesh.core.route.snapshot cimport UNKNOWN_404, UNKNOWN_PASSTHROUGH, Listener
from fastmesh.core.wire.h1_write cimport CONNECTION_UNSAID, HeadOut, out_clear, out_field, reason_phrase, write_number
from fastmesh.core.wire.message cimport (
    FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE, HDR_GRPC_STATUS, HDR_X_FORWARDED_PROTO, HDR_X_REQUEST_ID,
    METHOD_CONNECT, METHOD_DELETE, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_PUT, METHOD_TRACE, Field, Head, Span,
    span_ptr,
)
from fastmesh.core.wire.path cimport normalize_path, path_needs_work

cdef enum:
    TIMER_DELAY = 0           # an injected delay
    TIMER_ROUTE = 1
    TIMER_PER_TRY = 2
    TIMER_BACKOFF = 3
    SPARES = 256
    BODY_WAIT = 65536         # request body bytes that wait for a connection before the client is paused


cdef Exchange take_exchange(Engine engine, Listener listener):
    cdef Exchange exchange
    cdef list spare = engine.spare
    cdef Py_ssize_t count = PyList_GET_SIZE(spare)
    # One that somebody on the stack still refers to (it ended a moment ago, further down) is left alone
    if count > 0 and Py_REFCNT(<object>PyList_GET_ITEM(spare, count - 1)) == 1:
        exchange = <Exchange>spare.pop()
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
    exchange.head.minor = 1
    exchange.client = client
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


cdef class Exchange(Transit):
    def __cinit__(self):
        self.grpc_status = -1

    # --- the story ----------------------------------------------------------------------------------------------------

    cdef void on_request(self, ServerStream client):
        self.client = client
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
            elif step == ANSWER:
                if self.steps & STEP_ANSWER:
                    verdict = self.answer()
            elif step == REWRITE:
                if self.steps & STEP_REWRITE:
                    verdict = self.rewrite()
            elif step == CHOOSE_CLUSTER:
                verdict = self.choose_cluster()
            elif step == ATTEMPT:
                verdict = self.attempt()
            step += 1

    cdef int begin(self):
        """What is refused whatever the rules say, and the id that this request carries from here on."""
        cdef Head* head = &self.head
        cdef const Field* field
        cdef int i
        if head.method == METHOD_CONNECT:
            return self._refuse(405, 0, "connect_not_allowed", "", 0)
        if head.upgrade:
            return self._refuse(501, 0, "upgrade_not_supported", "protocol upgrades are not supported yet", 39)
        if head.expect_other:
            return self._refuse(417, 0, "unknown_expectation", "", 0)
        if self.normalize() < 0:
            return self._refuse(400, 0, "path_normalization_failed", "", 0)
        self.request_id_size = 0
        for i in range(head.field_count):
            field = &head.fields[i]
            if field.id == HDR_X_REQUEST_ID and fit_request_id(head.base + field.value.off, field.value.len):
                self.request_id_at, self.request_id_size = head.base + field.value.off, field.value.len
                break
        if self.request_id_size == 0:
            make_request_id(&self.engine.rng, self.made_id)
            self.request_id_at, self.request_id_size = self.made_id, 36
        return GO_ON

    cdef int find_rule(self):
        cdef int own_port = self.client.own_port
        self.look_up(self.head.port, self.head.port != 0 and self.head.port != own_port)
        if self.listener.https_redirect is not None and self.moves_to_https():
            return self._https_redirect()
        return GO_ON

    cdef int limit(self):
        cdef Limit limit = self.refusing_limit(True)
        return GO_ON if limit is None else self._limited(limit)

    cdef int fault(self):
        cdef Fault fault = self.rule.fault
        if fault.delay and not self.flags & FLAG_DI and rng_below(&self.engine.rng, 1000000) < fault.delay_share:
            self.flags |= FLAG_DI
            self.engine.wheel.start(&self.timer, self, TIMER_DELAY, fault.delay)
            return WAIT
        if fault.abort_share and rng_below(&self.engine.rng, 1000000) < fault.abort_share:
            if fault.abort_grpc >= 0:
                self.grpc_status = fault.abort_grpc
                return self._reply(200, FLAG_FI, "fault_filter_abort", b"application/grpc", "", 0,
                                   [(b"grpc-status", b"%d" % fault.abort_grpc), (b"grpc-message", b"fault filter abort")])
            return self.reply(fault.abort_status, FLAG_FI, "fault_filter_abort", "fault filter abort", 18)
        return GO_ON

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
        self.rewrite_path()
        return GO_ON

    cdef int choose_cluster(self):
        """A destination by weight, and its place under the cluster's limits."""
        cdef Cluster cluster
        cdef Retry retry = self.rule.retry
        self.destination = self.rule.choose(&self.engine.rng)
        self.cluster = cluster = self.destination.cluster
        if cluster is None:
            if self.destination.missing_status != 503:
                return self.reply(self.destination.missing_status, FLAG_NC, "cluster_not_found", "", 0)
            return self._give_up(FAIL_NO_CLUSTER)
        if cluster.rows == NULL:
            cluster.attach(self.engine.arena, self.engine.slot)
        self.retries_left = retry.attempts if retry is not None else 0
        self.replayable = True
        if self.rule.timeout and (self.request_done or self.client.request_done):
            self.engine.wheel.start(&self.route_timer, self, TIMER_ROUTE, self.rule.timeout)
        fm_bump(&cluster.row[CL_RQ_ACTIVE], 1)
        self.counted = True
        if cluster.max_requests and sum_rows(cluster.rows + CL_RQ_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_requests:
            fm_bump(&cluster.row[CL_RQ_PENDING_OVERFLOW], 1)
            return self._give_up(FAIL_OVERFLOW)
        return GO_ON

    cdef int attempt(self):
        """One try: pick an endpoint, get a connection, send. Failures come back through `_failed`."""
        return self._send(False)

    # --- an attempt ---------------------------------------------------------------------------------------------------

    cdef int _send(self, bint fresh):
        cdef Cluster cluster = self.cluster
        cdef Retry retry = self.rule.retry
        cdef ClientStream upstream
        cdef int failure = FAIL_NONE
        cdef bint avoid = retry is not None and retry.avoid_tried
        if not fresh or self.endpoint is None:
            self.endpoint = cluster.pick(&self.engine.rng, now_ms() if cluster.watched else 0, self.tried,
                                         self.tried_count if avoid else 0)
        if self.endpoint is None:
            fm_bump(&cluster.row[CL_NONE_HEALTHY], 1)
            return self._give_up(FAIL_NO_HEALTHY)
        if cluster.watched and not cluster.usable(self.endpoint, now_ms()) and not cluster.panicking(now_ms()):
            self.endpoint = None
            fm_bump(&cluster.row[CL_NONE_HEALTHY], 1)
            return self._give_up(FAIL_NO_HEALTHY)
        self.attempts += 1
        self._count_in()
        if retry is not None and retry.per_try:
            self.engine.wheel.start(&self.timer, self, TIMER_PER_TRY, retry.per_try)
        self.pool = self.engine.pool_of(cluster, self.endpoint)
        upstream = self.pool.take(self, _idempotent(self.head.method), fresh, &failure)
        if upstream is not None:
            self.on_upstream(upstream)
            return WAIT
        if failure != FAIL_NONE:
            return self._failed(failure)
        return WAIT

    cdef void on_upstream(self, ClientStream upstream):
        """A connection is ours: write the request, and as much of its body as there is."""
        self.upstream = upstream
        self.pool = None
        self._send_request()
        if self.client_paused and self.upstream is not None and upstream.waiting() <= LOW_WATER:
            self.client_paused = False
            self.client.resume_request()

    cdef void _send_request(self):
        cdef RelayText text
        cdef ClientStream upstream = self.upstream
        request_out(self, &self.engine.out, &text)
        upstream.send_request(&self.engine.out, self.head.method == METHOD_HEAD)
        if self.sent_at == 0:
            self.sent_at = now_ns() if self.attempts > 1 else self.started
        if out_size(&self.body) > 0:
            upstream.send_body(self.body.data + self.body.start, out_size(&self.body))
            if not self.replayable:
                out_free(&self.body)
        if self.head.framing == FRAMING_NONE or (self.head.framing == FRAMING_LENGTH and self.head.length == 0):
            upstream.send_end(NULL)
        elif self.request_done:
            upstream.send_end(&self.trailers.head if self.trailers is not None else NULL)
        elif not self.in_client_turn:
            upstream.flush()
            return
        else:
            return                        # the rest of the body comes in this very turn
        upstream.flush()

    cdef void _count_in(self):
        fm_bump(&self.endpoint.row[EP_RQ_ACTIVE], 1)
        fm_bump(&self.endpoint.row[EP_RQ_TOTAL], 1)

    cdef void _leave_upstream(self):
        """The attempt is over, whatever its end: give back what it held."""
        self.engine.wheel.cancel(&self.timer)
        if self.pool is not None:
            self.pool.forget(self)
            self.pool = None
        if self.upstream is not None:
            self.upstream.cancel()
            self.upstream = None

    cdef void _count_out(self):
        if self.endpoint is not None and self.endpoint.row != NULL:
            fm_bump(&self.endpoint.row[EP_RQ_ACTIVE], <uint64_t>-1)

    cdef void _report(self, int outcome, int status):
        cdef bint good = outcome == OUTCOME_STATUS and status < 500
        fm_bump(&self.endpoint.row[EP_RQ_SUCCESS if good else EP_RQ_ERROR], 1)
        if self.cluster.watched:
            self.cluster.report(self.endpoint, outcome, status, now_ms())

    cdef int _failed(self, int failure):
        """An attempt failed before a response was begun: try again where that is allowed, else answer."""
        cdef bint safe
        self._leave_upstream()
        self._count_out()
        if failure == FAIL_STALE and not self.stale_retried and self.replayable and _idempotent(self.head.method):
            # The application closed an idle connection just as it was used: the request goes out once more, on a new one
            self.stale_retried = True
            self.attempts -= 1
            return self._send(True)
        if failure != FAIL_OVERFLOW:
            self._report(OUTCOME_LOCAL, 503)
        if failure == FAIL_PER_TRY_TIMEOUT:
            fm_bump(&self.cluster.row[CL_RQ_PER_TRY_TIMEOUT], 1)
            fm_bump(&self.endpoint.row[EP_RQ_TIMEOUT], 1)
        elif failure == FAIL_PROTOCOL:
            fm_bump(&self.engine.row[WK_UPSTREAM_REFUSED], 1)
        elif failure > FAIL_CONNECT_TIMEOUT:
            fm_bump(&self.cluster.row[CL_RQ_RX_RESET], 1)
        if self._may_retry(failure, 0):
            self._retry()
            return WAIT
        return self._give_up(failure)

    cdef int _give_up(self, int failure):
        cdef Rescue row = rescue(failure)
        cdef list headers = [(b"x-envoy-overloaded", b"true")] if failure == FAIL_OVERFLOW else None
        cdef size_t size = strlen(row.body)
        return self._reply(row.status, row.flag, row.details, b"text/plain" if size else None, row.body, size, headers)

    cdef bint _may_retry(self, int failure, int status):
        """Whether the rule wants, and the limits allow, another attempt after this failure or status."""
        cdef Retry retry = self.rule.retry
        cdef Cluster cluster = self.cluster
        if retry is None or self.response_begun or not self.replayable or self.client is None:
            return False
        if not self._wanted(retry.on, failure, status):
            return False
        if self.retries_left == 0:
            self.flags |= FLAG_URX
            fm_bump(&cluster.row[CL_RQ_RETRY_LIMIT], 1)
            return False
        if not self.retrying:
            fm_bump(&cluster.row[CL_RETRY_ACTIVE], 1)
            self.retrying = True
            if cluster.max_retries and sum_rows(cluster.rows + CL_RETRY_ACTIVE, CLUSTER_ROW, cluster.slots) > cluster.max_retries:
                fm_bump(&cluster.row[CL_RETRY_ACTIVE], <uint64_t>-1)
                fm_bump(&cluster.row[CL_RQ_RETRY_OVERFLOW], 1)
                self.retrying = False
                self.flags |= FLAG_URX
                return False
        return True

    cdef bint _wanted(self, uint32_t on, int failure, int status):
        cdef uint32_t any_failure = RETRY_5XX | RETRY_GATEWAY_ERROR | RETRY_RESET
        if failure == FAIL_CONNECT or failure == FAIL_CONNECT_TIMEOUT:
            return on & (any_failure | RETRY_CONNECT_FAILURE | RETRY_RESET_BEFORE_REQUEST) != 0
        if failure == FAIL_OVERFLOW:
            return False                  # this proxy's own answer
        if failure != FAIL_NONE:
            return on & any_failure != 0
        if status >= 500 and on & RETRY_5XX:
            return True
        if (status == 502 or status == 503 or status == 504) and on & RETRY_GATEWAY_ERROR:
            return True
        if status == 409 and on & RETRY_RETRIABLE_4XX:
            return True
        if on & RETRY_STATUS_CODES and self.rule.retry.codes and status in self.rule.retry.codes:
            return True
        if self.grpc_status > 0:
            return _grpc_wanted(on, self.grpc_status)
        return False

    cdef void _retry(self):
        """Wait for the back-off (fully jittered, 10 intervals at most), then attempt again."""
        cdef Retry retry = self.rule.retry
        cdef uint64_t span = <uint64_t>retry.backoff
        cdef int tries = retry.attempts - self.retries_left + 1
        span = span * (((<uint64_t>1 << tries) - 1) if tries < 5 else 10)
        if span > <uint64_t>retry.backoff * 10:
            span = <uint64_t>retry.backoff * 10
        self.retries_left -= 1
        fm_bump(&self.cluster.row[CL_RQ_RETRY], 1)
        if self.tried_count < TRIED_MAX:
            self.tried[self.tried_count] = <void*>self.endpoint
            self.tried_count += 1
        self.endpoint_tried = self.endpoint
        self.endpoint = None
        self.grpc_status = -1
        self.engine.wheel.start(&self.timer, self, TIMER_BACKOFF, rng_below(&self.engine.rng, <uint32_t>span + 1))

    # --- events of the endpoint ---------------------------------------------------------------------------------------

    cdef void on_upstream_failed(self, int failure):
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
        cdef int i
        self.answered_at = now_ns()
        for i in range(head.field_count):
            if head.fields[i].id == HDR_GRPC_STATUS:
                self.grpc_status = _small_number(head.base + head.fields[i].value.off, head.fields[i].value.len)
        self._report(OUTCOME_STATUS, head.status)
        if retry is not None and (head.status >= 400 or self.grpc_status > 0) and self._may_retry(FAIL_NONE, head.status):
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
        self.response_begun = True
        self.client.send_head(out)
        out_free(&self.body)              # no other attempt can follow
        self.replayable = False

    cdef void on_response_body(self, const char* data, size_t size):
        self.bytes_sent += size
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
        if self.client.waiting() > HIGH_WATER:
            self.upstream_paused = True
            self.upstream.pause_response()
        elif self.head.method != METHOD_HEAD:
            self.upstream.splice_to(self.client)

    cdef void on_response_end(self, const Head* trailers):
        cdef int i
        cdef ServerStream client = self.client
        self.upstream = None
        self._count_out()
        if trailers != NULL:
            for i in range(trailers.field_count):
                if trailers.fields[i].id == HDR_GRPC_STATUS:
                    self.grpc_status = _small_number(trailers.base + trailers.fields[i].value.off, trailers.fields[i].value.len)
        if client is None:
            self._finish()
            return
        client.send_end(trailers)
        self._finish()
        client.flush()

    cdef void on_upstream_drained(self):
        if self.client_paused and self.client is not None:
            self.client_paused = False
            self.client.resume_request()

    # --- events of the client -----------------------------------------------------------------------------------------

    cdef void on_request_body(self, const char* data, size_t size):
        self.bytes_received += size
        if self.accounted or self.response_begun and self.upstream is None:
            return                        # answered already: the rest of the body is read and dropped
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
        self.request_done = True
        if self.accounted:
            return
        if trailers != NULL:
            self.trailers = keep_trailers(trailers)
        if self.upstream is not None:
            self.upstream.send_end(trailers)
        if self.rule is not None and self.rule.timeout and self.cluster is not None and not self.response_begun:
            self.engine.wheel.start(&self.route_timer, self, TIMER_ROUTE, self.rule.timeout)

    cdef void on_client_turn(self):
        self.in_client_turn = False
        if self.upstream is None:
            return
        self.upstream.flush()
        if self.upstream is not None and self.upstream.waiting() > HIGH_WATER and not self.client_paused:
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
        if self.cluster is not None and (self.upstream is not None or self.pool is not None):
            self._count_out()
        self._leave_upstream()
        self._finish()

    cdef void on_client_gone(self):
        if self.accounted:
            return
        self.flags |= FLAG_DC
        self.details = "downstream_remote_disconnect"
        if self.cluster is not None and (self.upstream is not None or self.pool is not None):
            self._count_out()
        self.client = None
        self._leave_upstream()
        self._finish()

    cdef void on_client_drained(self):
        if self.upstream_paused and self.upstream is not None:
            self.upstream.resume_response()

    # --- time ---------------------------------------------------------------------------------------------------------

    cdef void on_timer(self, int kind) noexcept:
        if self.accounted:
            return
        if kind == TIMER_DELAY:
            self.proceed(FAULT)
        elif kind == TIMER_BACKOFF:
            self._send(False)
        elif kind == TIMER_PER_TRY:
            self._failed(FAIL_PER_TRY_TIMEOUT)
        elif kind == TIMER_ROUTE:
            self._out_of_time()

    cdef void _out_of_time(self):
        """The route's time-out covers all attempts; it is never retried."""
        cdef bint trying = self.upstream is not None or self.pool is not None
        fm_bump(&self.cluster.row[CL_RQ_TIMEOUT], 1)
        self._leave_upstream()
        if trying:
            self._report(OUTCOME_LOCAL, 504)
            self._count_out()
        if not self.response_begun:
            self._give_up(FAIL_TIMEOUT)
            return
        self.flags |= FLAG_UT
        self.details = "response_timeout"
        self.client.abort_response()
        self._finish()

    # --- answers of the proxy itself ----------------------------------------------------------------------------------

    cdef int _refuse(self, int status, uint32_t flag, const char* details, const char* body, size_t body_size):
        """A reply after which the connection is not used again."""
        self.client.last = True
        return self.reply(status, flag, details, body, body_size)

    cdef int reply(self, int status, uint32_t flag, const char* details, const char* body, size_t body_size):
        return self._reply(status, flag, details, b"text/plain" if body_size else None, body, body_size, None)

    cdef int _reply(self, int status, uint32_t flag, const char* details, bytes content_type, const char* body,
                    size_t body_size, list headers):
        cdef HeadOut* out = &self.engine.out
        cdef ServerStream client = self.client
        cdef bytes name, value, date = self.engine.http_date()
        cdef bint to_head = self.head.method == METHOD_HEAD
        self.status = status
        self.flags |= flag
        self.details = details
        out_clear(out)
        out.status = status
        if content_type is not None:
            out_field(out, "content-type", 12, PyBytes_AS_STRING(content_type), PyBytes_GET_SIZE(content_type), 0)
        if headers is not None:
            for name, value in headers:
                out_field(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
        out_field(out, "date", 4, PyBytes_AS_STRING(date), PyBytes_GET_SIZE(date), 0)
        out_field(out, "server", 6, PyBytes_AS_STRING(self.snapshot.server_name), PyBytes_GET_SIZE(self.snapshot.server_name), 0)
        if self.rule is not None and self.rule.response_ops is not None:
            apply_ops(self.rule.response_ops, out)
        out.framing = FRAMING_NONE if status == 204 or status == 304 else FRAMING_LENGTH
        out.length = body_size
        out.length_known_only = to_head
        self.response_begun = True
        if self.client_paused:
            self.client_paused = False
            client.resume_request()
        client.send_head(out)
        if body_size and out.framing == FRAMING_LENGTH and not to_head:
            client.send_body(body, body_size)
            self.bytes_sent += body_size
        client.send_end(NULL)
        self._finish()
        client.flush()
        return ANSWERED

    cdef int _limited(self, Limit limit):
        return self._reply(limit.status, FLAG_RL, "request_rate_limited", b"text/plain" if limit.body else None,
                           PyBytes_AS_STRING(limit.body), PyBytes_GET_SIZE(limit.body), limit.headers)

    cdef int _redirect(self):
        return self._reply(self.rule.redirect.code, 0, "direct_response", None, "", 0, [(b"location", self.location())])

    cdef int _https_redirect(self):
        cdef const Head* head = &self.head
        cdef bytes target = b"https://" + PyBytes_FromStringAndSize(span_ptr(head, head.host), head.host.len)
        target += PyBytes_FromStringAndSize(self.request.path, self.request.path_size)
        if self.request.has_query:
            target += b"?" + PyBytes_FromStringAndSize(self.request.query, self.request.query_size)
        return self._reply(301, 0, "direct_response", None, "", 0, [(b"location", target)])

    # --- the request's path and rule, shared with explain -------------------------------------------------------------

    cdef int normalize(self):
        """Point `request` at the head, with one form of the path for routing, policy, log and upstream. -1: refuse."""
        cdef const Head* head = &self.head
        cdef const char* raw = span_ptr(head, head.path)
        cdef size_t size = head.path.len
        cdef int normal
        self.request.head = head
        self.request.path, self.request.path_size = raw, <uint32_t>size
        self.request.query, self.request.query_size = span_ptr(head, head.query), head.query.len
        self.request.has_query = head.has_query
        self.request.https = self.secure  # what an absolute target says of its scheme proves nothing
        if not path_needs_work(raw, size, self.snapshot.normalization):
            return 0
        self.path = PyBytes_FromStringAndSize(NULL, size)
        normal = normalize_path(raw, size, self.snapshot.normalization, PyBytes_AS_STRING(self.path))
        if normal < 0:
            return -1
        self.request.path, self.request.path_size = PyBytes_AS_STRING(self.path), normal
        return 0

    cdef void look_up(self, uint32_t port, bint strict):
        """The virtual host and the rule, and which optional steps they ask for. `strict`: only routes of that port count."""
        cdef const Head* head = &self.head
        cdef char[256] name
        cdef size_t size = head.host.len, i
        cdef const char* host = span_ptr(head, head.host)
        cdef char c
        self.steps = STEP_LIMIT if self.snapshot.mesh_limits is not None else 0
        if size <= sizeof(name):
            for i in range(size):
                c = host[i]
                name[i] = <char>(c + 32) if c'A' <= c <= c'Z' else c
            self.vhost = self.listener.find(name, size, port, strict)
        if self.vhost is not None:
            if self.vhost.limits is not None:
                self.steps |= STEP_LIMIT
            self.rule = self.vhost.find(&self.request)
        if self.rule is None:
            self.steps |= STEP_ANSWER
        else:
            self.steps |= self.rule.steps

    cdef bint moves_to_https(self):
        cdef const Head* head = &self.head
        cdef const Field* field
        cdef VirtualHost found
        cdef char[256] name
        cdef size_t i, size = head.host.len
        cdef char c
        if self.request.https or size > sizeof(name):
            return False
        for i in range(head.field_count):
            field = &head.fields[i]
            if field.id == HDR_X_FORWARDED_PROTO and field.value.len == 5:
                return False              # it was https on its way to us
        for i in range(size):
            c = head.base[head.host.off + i]
            name[i] = <char>(c + 32) if c'A' <= c <= c'Z' else c
        found = self.listener.https_redirect.find(name, size, 0)
        return found is not None and found.redirects

    cdef Limit refusing_limit(self, bint take):
        """The first limit that has no token for this request; `take` = False only looks."""
        cdef Limit limit
        cdef uint64_t now = now_ns()
        cdef bytes client = self.client.peer if self.client is not None else b""
        cdef list level
        for level in (self.snapshot.mesh_limits, self.vhost.limits if self.vhost is not None else None,
                      self.rule.limits if self.rule is not None else None):
            if level is None:
                continue
            for limit in level:
                if limit.words == NULL:
                    limit.attach(self.engine.arena, self.engine.slot)
                if take:
                    if not limit.admit(&self.request, client, now):
                        return limit
                elif limit.applies(&self.request) and limit.peek(&self.request, client, now) == 0:
                    return limit
        return None

    cdef void rewrite_path(self):
        """The path as sent upstream. What a matched rewrite replaces depends on the clause that matched."""
        cdef Rewrite rewrite = self.rule.rewrite
        cdef Clause clause = first_match(self.rule.clauses, &self.request)
        cdef bytes path = PyBytes_FromStringAndSize(self.request.path, self.request.path_size)
        cdef size_t cut = 1
        self.original_path = path
        if self.request.has_query:
            self.original_path += b"?" + PyBytes_FromStringAndSize(self.request.query, self.request.query_size)
        if rewrite.by_regex:
            self.rewritten = rewrite.regex.sub(rewrite.value, path)
        elif clause.path is not None and clause.path.kind != MATCH_PREFIX:
            self.rewritten = rewrite.value
        else:
            if clause.path is not None:
                cut = clause.path.size
            self.rewritten = _replace_prefix(path, cut, rewrite.value, clause.path is not None and clause.path.segments)
        if not self.rewritten.startswith(b"/"):
            self.rewritten = b"/" + self.rewritten

    cdef bytes location(self):
        """The Location of the rule's redirect: parts that it does not set come from the request."""
        cdef Redirect redirect = self.rule.redirect
        cdef const Head* head = &self.head
        cdef Clause clause
        cdef bytes scheme = redirect.scheme if redirect.scheme is not None else (b"https" if self.request.https else b"http")
        cdef bytes host = PyBytes_FromStringAndSize(span_ptr(head, head.host), head.host.len)
        cdef bytes path = PyBytes_FromStringAndSize(self.request.path, self.request.path_size)
        cdef int port = head.port
        cdef int usual = 443 if scheme == b"https" else 80
        if redirect.authority is not None:
            host, port = redirect.authority, 0
        elif redirect.scheme is not None and port == (443 if self.request.https else 80):
            port = 0                      # the port that the old scheme implied means nothing to the new one
        if redirect.port or redirect.port_from:
            port = redirect.port
            if redirect.port_from == 2:
                port = self.listener.port or head.port
            if port == usual:
                port = 0
        if redirect.path is not None:
            path = redirect.path if redirect.path.startswith(b"/") else b"/" + redirect.path
        elif redirect.prefix is not None:
            clause = first_match(self.rule.clauses, &self.request)
            path = _replace_prefix(path, clause.path.size if clause.path is not None else 1, redirect.prefix,
                                   clause.path is not None and clause.path.segments)
        if self.request.has_query and b"?" not in path:
            path += b"?" + PyBytes_FromStringAndSize(self.request.query, self.request.query_size)
        return b"%s://%s%s%s" % (scheme, host, b":%d" % port if port else b"", path)

    # --- the end ------------------------------------------------------------------------------------------------------

    cdef void _finish(self):
        """account: always, exactly once."""
        cdef uint64_t now
        if self.accounted:
            return
        self.accounted = True
        self.engine.wheel.cancel(&self.timer)
        self.engine.wheel.cancel(&self.route_timer)
        now = now_ns()
        if self.counted:
            fm_bump(&self.cluster.row[CL_RQ_ACTIVE], <uint64_t>-1)
        if self.retrying:
            fm_bump(&self.cluster.row[CL_RETRY_ACTIVE], <uint64_t>-1)
        fm_bump(&self.engine.row[WK_RQ_ACTIVE], <uint64_t>-1)
        self.engine.active -= 1
        account(self, now)
        if self.engine.log is not None:
            self.engine.log.write(self)
        self._recycle()

    cdef void _recycle(self):
        """Let go of everything; the object may serve another request once nobody in this call refers to it."""
        if self.client is not None and not self.client.request_done:
            self.engine.closed.append(self)   # body bytes may still arrive here: this one is not used again
        elif PyList_GET_SIZE(self.engine.spare) < SPARES:
            self.reset()
            self.engine.spare.append(self)
        else:
            self.engine.closed.append(self)

    cdef void keep_head(self):
        """Copy the head out of the scratch buffer: it is needed until the response has come."""
        cdef size_t size = self.head.size
        if size <= sizeof(self.inline_text):
            self.text = self.inline_text
        else:
            if self.text_room:
                free(self.text)
            self.text = <char*>malloc(size)
            self.text_room = size
        memcpy(self.text, self.head.base, size)
        self.head.base = self.text

    cdef void reset(self):
        self.client = None
        self.upstream = None
        self.pool = None
        self.snapshot = None
        self.vhost = None
        self.rule = None
        self.destination = None
        self.cluster = None
        self.endpoint = None
        self.endpoint_tried = None
        self.path = None
        self.original_path = None
        self.rewritten = None
        self.trailers = None
        self.flags = 0
        self.steps = 0
        self.status = 0
        self.grpc_status = -1
        self.details = NULL
        self.request_done = self.response_begun = self.counted = self.retrying = False
        self.stale_retried = self.replayable = self.client_paused = self.upstream_paused = False
        self.attempts = self.retries_left = 0
        self.tried_count = 0
        self.started = self.sent_at = self.answered_at = 0
        self.bytes_received = self.bytes_sent = 0
        out_free(&self.body)
        if self.text_room:
            free(self.text)
            self.text = NULL
            self.text_room = 0


cdef inline bint _idempotent(int method) noexcept nogil:
    return (method == METHOD_GET or method == METHOD_HEAD or method == METHOD_PUT or method == METHOD_DELETE
            or method == METHOD_OPTIONS or method == METHOD_TRACE)


cdef inline int _small_number(const char* text, size_t size) noexcept nogil:
    cdef int value = 0
    cdef size_t i
    for i in range(size if size < 4 else 4):
        if not c'0' <= text[i] <= c'9':
            return 2                      # UNKNOWN, as gRPC clients read it
        value = value * 10 + text[i] - c'0'
    return value


cdef bint _grpc_wanted(uint32_t on, int status) noexcept nogil:
    if status == 1:
        return on & RETRY_GRPC_CANCELLED != 0
    if status == 4:
        return on & RETRY_GRPC_DEADLINE != 0
    if status == 8:
        return on & RETRY_GRPC_EXHAUSTED != 0
    if status == 13:
        return on & RETRY_GRPC_INTERNAL != 0
    if status == 14:
        return on & RETRY_GRPC_UNAVAILABLE != 0
    return False


cdef bytes _replace_prefix(bytes path, size_t cut, bytes value, bint segments):
    """Istio concatenates as written; by segments (Gateway API) there is exactly one slash at the seam."""
    cdef bytes rest
    if not segments:
        return value + path[cut:]
    rest = path[cut:].lstrip(b"/") if path[cut:].startswith(b"/") or cut and path[cut - 1:cut] == b"/" else path[cut:]
    if not rest:
        return (value.rstrip(b"/") or b"/") if not path[cut:] else (value.rstrip(b"/") + b"/")
    return value.rstrip(b"/") + b"/" + rest
