"""See attempt.pxd."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CL_NONE_HEALTHY, CL_RQ_PER_TRY_TIMEOUT, CL_RQ_RETRY, CL_RQ_RETRY_LIMIT, CL_RQ_RX_RESET, EP_RQ_ACTIVE, EP_RQ_ERROR,
    EP_RQ_SUCCESS, EP_RQ_TIMEOUT, EP_RQ_TOTAL,
    WK_UPSTREAM_REFUSED,
)
from fastmesh.core.base.outbuf cimport out_free, out_size
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.guard.outlier cimport OUTCOME_LOCAL, OUTCOME_STATUS
from fastmesh.core.net.failure cimport (
    FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_NO_HEALTHY, FAIL_OVERFLOW, FAIL_PER_TRY_TIMEOUT, FAIL_PROTOCOL,
    FAIL_QUEUE,
    FAIL_REFUSED, FAIL_STALE, FAIL_TLS, FAIL_UPGRADE,
)
from fastmesh.core.net.readiness cimport LOW_WATER
from fastmesh.core.net.stream cimport ClientStream
from fastmesh.core.proxy.call cimport call_out
from fastmesh.core.proxy.ejection cimport attempt_told, leave_trial, report, try_endpoint
from fastmesh.core.proxy.find cimport WAIT
from fastmesh.core.proxy.overload cimport guard_told
from fastmesh.core.proxy.relay cimport RelayText, request_out
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.proxy.retries cimport retry_begins
from fastmesh.core.proxy.sticky cimport take_hash
from fastmesh.core.proxy.transit cimport FLAG_URX
from fastmesh.core.route.cluster cimport EXTRA_TIERS, Cluster, HTTP_2, HTTP_AS_CLIENT, TRIED_MAX
from fastmesh.core.route.rule cimport (
    RETRY_5XX, RETRY_CONNECT_FAILURE, RETRY_GATEWAY_ERROR, RETRY_GRPC_CANCELLED, RETRY_GRPC_DEADLINE,
    RETRY_GRPC_EXHAUSTED, RETRY_GRPC_INTERNAL, RETRY_GRPC_UNAVAILABLE, RETRY_RATELIMITED, RETRY_REFUSED_STREAM, RETRY_RESET,
    RETRY_RESET_BEFORE_REQUEST, RETRY_RETRIABLE_4XX, RETRY_STATUS_CODES, Retry,
)
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.headers cimport same_text
from fastmesh.core.wire.message cimport FRAMING_LENGTH, FRAMING_NONE, HDR_X_ENVOY, METHOD_HEAD, Head, span_ptr


cdef class Attempting(Replying):
    cdef int _send(self, bint fresh):
        cdef Cluster cluster = self.cluster
        cdef Retry retry = self.rule.retry
        cdef ClientStream upstream
        cdef int failure = FAIL_NONE
        cdef bint avoid = retry is not None and retry.avoid_tried and (cluster.hash is None or retry.leaves_hash)
        if not fresh or self.endpoint is None:
            if self.trial != NULL:
                leave_trial(self)
            if cluster.hash is not None and not self.hashed and self.attempts == 0:
                take_hash(self)
            self.endpoint = None
            if self.bound is not None and self.tried_count == 0 and cluster.admits(self.bound, now_ms()):
                self.endpoint = self.bound
            elif retry is not None and retry.remote and self.tried_count >= 2 and cluster.extras & EXTRA_TIERS:
                self.endpoint = cluster.pick_elsewhere(&self.engine.rng, now_ms() if cluster.timed else 0, self.tried, self.tried_count)
            if self.endpoint is None and self.attempts == 0 and cluster.resilience is not None and cluster.resilience.half_open:
                try_endpoint(self)
            if self.endpoint is None:
                self.endpoint = cluster.pick(&self.engine.rng, now_ms() if cluster.timed else 0,
                                             &self.hash if self.hashed else NULL, self.tried, self.tried_count if avoid else 0)
        if self.endpoint is None:
            fm_bump(&cluster.row[CL_NONE_HEALTHY], 1)
            return self._give_up(FAIL_NO_HEALTHY)
        if cluster.watched and self.trial == NULL and not cluster.admits(self.endpoint, now_ms()):
            self.endpoint = None
            fm_bump(&cluster.row[CL_NONE_HEALTHY], 1)
            return self._give_up(FAIL_NO_HEALTHY)
        self.attempts += 1
        self._count_in()
        if retry is not None and retry.per_try:
            self.engine.wheel.start(&self.timer, self, TIMER_PER_TRY, retry.per_try)
        self.pool = self.engine.pool_of(cluster, self.endpoint, cluster.http == HTTP_2 or (
            cluster.http == HTTP_AS_CLIENT and self.head.minor == 2))
        upstream = self.pool.take(self, idempotent(self.head.method), fresh, &failure)
        if upstream is not None:
            self.on_upstream(upstream)
            return WAIT
        if failure != FAIL_NONE:
            return self._failed(failure)
        if cluster.resilience is not None and cluster.resilience.max_wait:
            self._queue()
        return WAIT

    cdef void _queue(self):
        """It waits for a connection: not longer than its destination allows, nor than the attempt has."""
        cdef uint32_t longest = self.cluster.resilience.max_wait
        if self.rule.retry is None or self.rule.retry.per_try == 0 or longest < self.rule.retry.per_try:
            self.engine.wheel.start(&self.timer, self, TIMER_QUEUE, longest)

    cdef void _dequeue(self):
        """There is a connection: from here on the attempt's own time runs."""
        if self.timer.next == NULL or self.timer.kind != TIMER_QUEUE:
            return
        self.engine.wheel.cancel(&self.timer)
        if self.rule.retry is not None and self.rule.retry.per_try:
            self.engine.wheel.start(&self.timer, self, TIMER_PER_TRY, self.rule.retry.per_try)

    cdef void on_upstream(self, ClientStream upstream):
        """A connection is ours: write the request, and as much of its body as there is."""
        self.upstream = upstream
        self.upstream_tls = upstream.tls
        self.pool = None
        if self.cluster.resilience is not None and self.cluster.resilience.max_wait:
            self._dequeue()
        upstream.read_size = self.client.piece
        if self.head.upgrade and not upstream.takes_upgrade():
            self._failed(FAIL_UPGRADE)
            return
        self._send_request()
        if self.client_paused and not self.head.upgrade and self.upstream is not None and upstream.waiting() <= LOW_WATER:
            self.client_paused = False
            self.client.resume_request()

    cdef void _send_request(self):
        cdef RelayText text
        cdef ClientStream upstream = self.upstream
        request_out(self, &self.engine.out, &text)
        if self.head.upgrade:
            self.upgrade_out(&self.engine.out)
        elif self.grpc:
            call_out(self, &self.engine.out, &text)
        upstream.send_request(&self.engine.out, self.head.method == METHOD_HEAD)
        if self.cluster.resilience is not None and self.cluster.resilience.times:
            self.asked_at = now_ns()
        if self.sent_at == 0:
            self.sent_at = now_ns() if self.attempts > 1 else self.started
        if self.head.upgrade:
            upstream.flush()              # what follows waits until the endpoint has agreed
            return
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

    cdef bytes server_name(self):
        """The host that goes upstream, without its port."""
        cdef bytes authority = self.destination.authority if self.destination.authority is not None else self.rule.authority
        if authority is None:
            authority = PyBytes_FromStringAndSize(span_ptr(&self.head, self.head.host), self.head.host.len) or self.cluster.host_text
        elif authority.startswith(b"["):
            authority = authority.partition(b"]")[0] + b"]"
        else:
            authority = authority.partition(b":")[0]
        return authority.strip(b"[]").lower()

    cdef void upgrade_out(self, HeadOut* out):
        pass                              # see tunnel

    cdef void _count_in(self):
        fm_bump(&self.endpoint.row[EP_RQ_ACTIVE], 1)
        fm_bump(&self.endpoint.row[EP_RQ_TOTAL], 1)

    cdef void _count_out(self):
        if self.endpoint is not None and self.endpoint.row != NULL:
            fm_bump(&self.endpoint.row[EP_RQ_ACTIVE], <uint64_t>-1)

    cdef void _leave_upstream(self):
        """The attempt is over, whatever its end: give back what it held."""
        self.engine.wheel.cancel(&self.timer)
        if self.pool is not None:
            self.pool.forget(self)
            self.pool = None
        if self.upstream is not None:
            self.upstream.cancel()
            self.upstream = None

    cdef void _report(self, int outcome, int status):
        cdef bint good = outcome == OUTCOME_STATUS and status < 500
        fm_bump(&self.endpoint.row[EP_RQ_SUCCESS if good else EP_RQ_ERROR], 1)
        if self.cluster.resilience is not None:
            guard_told(self, self.endpoint, good)
            if self.cluster.resilience.ejects:
                attempt_told(self, outcome, status)
        if self.cluster.watched:
            report(self.cluster, self.endpoint, outcome, status)

    cdef int _failed(self, int failure):
        """An attempt failed before a response was begun: try again where that is allowed, else answer."""
        cdef bint safe
        self._leave_upstream()
        self._count_out()
        if not self.stale_retried and self.replayable and self.client is not None and self._may_resend() and (
                failure == FAIL_REFUSED or (failure == FAIL_STALE and idempotent(self.head.method))):
            # The application closed a connection just as it was used: the request goes out once more, on a new one. What was
            # refused was not processed, so that may run again whatever its method
            self.stale_retried = True
            self.attempts -= 1
            return self._send(True)
        if failure == FAIL_REFUSED and not self.stale_retried and self.replayable and self._may_resend():
            # Never processed, the endpoint says (RFC 9113 8.7): that is safe for every method, here or elsewhere
            self.stale_retried = True
            self.attempts -= 1
            return self._send(False)
        if failure != FAIL_OVERFLOW and failure != FAIL_UPGRADE and failure != FAIL_QUEUE:
            self._report(OUTCOME_LOCAL, 504 if failure == FAIL_PER_TRY_TIMEOUT else 503)
        if failure == FAIL_PER_TRY_TIMEOUT:
            fm_bump(&self.cluster.row[CL_RQ_PER_TRY_TIMEOUT], 1)
            fm_bump(&self.endpoint.row[EP_RQ_TIMEOUT], 1)
        elif failure == FAIL_PROTOCOL:
            fm_bump(&self.engine.row[WK_UPSTREAM_REFUSED], 1)
        elif failure > FAIL_CONNECT_TIMEOUT and failure != FAIL_QUEUE:
            fm_bump(&self.cluster.row[CL_RQ_RX_RESET], 1)
        if self.rival is not None and self.left_to_rival():
            return WAIT
        if self._may_retry(failure, 0):
            self._retry()
            return WAIT
        return self._give_up(failure)

    cdef bint left_to_rival(self):
        return False

    cdef bint _may_resend(self) noexcept:
        """A policy may say which methods never go out twice, not even when the endpoint surely did nothing."""
        return self.rule.policy is None or self.rule.policy.resend >> self.head.method & 1

    cdef bint _may_retry(self, int failure, int status):
        """Whether the rule wants, and the limits allow, another attempt after this failure or status."""
        cdef Retry retry = self.rule.retry
        cdef Cluster cluster = self.cluster
        if retry is None or self.response_begun or not self.replayable or self.client is None or not self._may_resend():
            return False
        if not self._wanted(retry.on, failure, status):
            return False
        if self.retries_left == 0:
            self.flags |= FLAG_URX
            fm_bump(&cluster.row[CL_RQ_RETRY_LIMIT], 1)
            return False
        if not self.retrying:
            if not retry_begins(self):
                self.flags |= FLAG_URX
                return False
            self.retrying = True
        return True

    cdef bint _wanted(self, uint32_t on, int failure, int status):
        cdef uint32_t any_failure = RETRY_5XX | RETRY_GATEWAY_ERROR | RETRY_RESET
        if failure == FAIL_CONNECT or failure == FAIL_CONNECT_TIMEOUT or failure == FAIL_TLS:
            return on & (any_failure | RETRY_CONNECT_FAILURE | RETRY_RESET_BEFORE_REQUEST) != 0
        if failure == FAIL_OVERFLOW or failure == FAIL_UPGRADE or failure == FAIL_QUEUE:
            return False                  # this proxy's own answer; the next endpoint is of the same kind
        if failure == FAIL_REFUSED and on & RETRY_REFUSED_STREAM:
            return True
        if failure != FAIL_NONE:
            return on & any_failure != 0
        if status == STATUS_LIMITED:
            return on & RETRY_RATELIMITED != 0
        if status >= 500 and on & RETRY_5XX:
            return True
        if (status == 502 or status == 503 or status == 504) and on & RETRY_GATEWAY_ERROR:
            return True
        if status == 409 and on & RETRY_RETRIABLE_4XX:
            return True
        if on & RETRY_STATUS_CODES and self.rule.retry.codes and status in self.rule.retry.codes:
            return True
        if self.grpc and self.grpc_status > 0:
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
        self.asked_at = 0
        self.grpc_status = -1
        self.engine.wheel.start(&self.timer, self, TIMER_BACKOFF, rng_below(&self.engine.rng, <uint32_t>span + 1))


cdef bint says_limited(const Head* head) noexcept nogil:
    cdef int i
    for i in range(head.field_count):
        if head.fields[i].id == HDR_X_ENVOY and head.fields[i].name.len == 19 \
                and same_text(<const uint8_t*>span_ptr(head, head.fields[i].name), <const uint8_t*>b"x-envoy-ratelimited", 19):
            return True
    return False


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
