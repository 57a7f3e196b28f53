"""See hedge.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.base.counters cimport (
    CL_RQ_RETRY, EP_RQ_ACTIVE, EP_RQ_ERROR, EP_RQ_TOTAL, WK_HEDGES, WK_HEDGES_WON,
)
from fastmesh.core.guard.outlier cimport OUTCOME_LOCAL, OUTCOME_STATUS
from fastmesh.core.net.failure cimport FAIL_NONE, FAIL_OVERFLOW
from fastmesh.core.net.stream cimport ClientStream
from fastmesh.core.proxy.attempt cimport idempotent
from fastmesh.core.proxy.ejection cimport attempt_lost, leave_trial, report
from fastmesh.core.proxy.overload cimport guard_told
from fastmesh.core.proxy.relay cimport RelayText, request_out
from fastmesh.core.proxy.retries cimport retry_begins, retry_ends
from fastmesh.core.route.cluster cimport Cluster, HTTP_2, HTTP_AS_CLIENT
from fastmesh.core.wire.message cimport FRAMING_LENGTH, FRAMING_NONE, Head, METHOD_HEAD


cdef class Rival(StreamUser):
    cdef void on_timer(self, int kind) noexcept:
        if self.exchange is not None and self.exchange.trying() and not self.exchange.response_begun:
            self._begin()

    cdef void _begin(self):
        """Another endpoint, within the limits of retries; without one the first attempt stays alone."""
        cdef Hedging x = self.exchange
        cdef Cluster cluster = x.cluster
        cdef void* tried = <void*>x.endpoint
        cdef uint64_t now = now_ms() if cluster.timed else 0
        cdef Endpoint endpoint = cluster.pick(&x.engine.rng, now, NULL, &tried, 1)
        cdef int failure = FAIL_NONE
        if endpoint is None or endpoint is x.endpoint or (cluster.watched and not cluster.admits(endpoint, now)):
            return
        if not retry_begins(x):
            return
        self.endpoint = endpoint
        fm_bump(&cluster.row[CL_RQ_RETRY], 1)
        fm_bump(&x.engine.row[WK_HEDGES], 1)
        fm_bump(&endpoint.row[EP_RQ_ACTIVE], 1)
        fm_bump(&endpoint.row[EP_RQ_TOTAL], 1)
        self.pool = x.engine.pool_of(cluster, endpoint, cluster.http == HTTP_2 or (
            cluster.http == HTTP_AS_CLIENT and x.head.minor == 2))
        cdef ClientStream upstream = self.pool.take(self, True, False, &failure)
        if upstream is not None:
            self.on_upstream(upstream)
        elif failure != FAIL_NONE:
            self.on_upstream_failed(failure)

    cdef bytes server_name(self):
        return self.exchange.server_name()

    cdef void on_upstream(self, ClientStream upstream):
        cdef Hedging x = self.exchange
        cdef RelayText text
        self.upstream = upstream
        self.pool = None
        upstream.read_size = x.client.piece
        request_out(x, &x.engine.out, &text)
        upstream.send_request(&x.engine.out, x.head.method == METHOD_HEAD)
        if x.cluster.resilience is not None and x.cluster.resilience.times:
            self.asked_at = now_ns()
        upstream.send_end(NULL)
        upstream.flush()

    cdef void on_interim(self, const Head* head):
        if self.won:
            self.exchange.on_interim(head)

    cdef void on_response(self, const Head* head):
        cdef Hedging x = self.exchange
        if head.status >= 500 and x.trying():
            self._report(OUTCOME_STATUS, head.status)         # the first attempt may do better
            self.leave()
            return
        self._win()
        fm_bump(&x.engine.row[WK_HEDGES_WON], 1)
        x.on_response(head)

    cdef void _win(self):
        """The exchange goes on with what was the rival's."""
        cdef Hedging x = self.exchange
        if x.trying():
            if x.cluster.resilience is not None and x.cluster.resilience.ejects:
                attempt_lost(x)
            x._leave_upstream()
            x._count_out()
        if x.trial != NULL:
            leave_trial(x)                # the place of the other attempt
        x.asked_at = self.asked_at
        self.won = True
        retry_ends(x)
        x.endpoint_tried, x.endpoint = x.endpoint, self.endpoint
        x.upstream = self.upstream
        if self.upstream is not None:
            x.upstream_tls = self.upstream.tls

    cdef void on_upstream_failed(self, int failure):
        cdef Hedging x = self.exchange
        self.upstream = None
        self.pool = None
        if self.won:
            x.on_upstream_failed(failure)
            return
        if x.trying():
            if failure != FAIL_OVERFLOW:
                self._report(OUTCOME_LOCAL, 503)
            self.leave()
            return
        self._win()
        x.leave_rival()
        x._failed(failure)

    cdef void _report(self, int outcome, int status):
        fm_bump(&self.endpoint.row[EP_RQ_ERROR], 1)
        if self.exchange.cluster.resilience is not None:
            guard_told(self.exchange, self.endpoint, False)
        if self.exchange.cluster.watched:
            report(self.exchange.cluster, self.endpoint, outcome, status)

    cdef void leave(self):
        cdef Hedging x = self.exchange
        cdef ClientStream upstream = self.upstream
        cdef Pool pool = self.pool
        self.exchange = None
        self.upstream = None
        self.pool = None
        x.engine.wheel.cancel(&self.timer)
        if self.won or self.endpoint is None:
            return
        retry_ends(x)
        fm_bump(&self.endpoint.row[EP_RQ_ACTIVE], <uint64_t>-1)
        if pool is not None:
            pool.forget(self)
        if upstream is not None:
            upstream.cancel()

    # --- the answer that counts -----------------------------------------------------------------------------------------

    cdef void on_response_body(self, const char* data, size_t size):
        self.exchange.on_response_body(data, size)

    cdef void on_response_spliced(self, size_t size):
        self.exchange.on_response_spliced(size)

    cdef void on_response_end(self, const Head* trailers):
        self.exchange.on_response_end(trailers)

    cdef void on_upstream_drained(self):
        if self.won:
            self.exchange.on_upstream_drained()

    cdef void on_upstream_turn(self):
        if self.won and self.exchange is not None:
            self.exchange.on_upstream_turn()


cdef class Hedging(Mirroring):
    cdef void hedge(self):
        cdef Rival rival
        if self.copied or self.head.upgrade or not idempotent(self.head.method) or not self._may_resend() or not (
                self.head.framing == FRAMING_NONE or (self.head.framing == FRAMING_LENGTH and self.head.length == 0)):
            return
        rival = Rival.__new__(Rival)
        rival.exchange = self
        rival.head = self.head
        self.rival = rival
        self.engine.wheel.start(&rival.timer, rival, 0, self.rule.policy.hedge)

    cdef bint trying(self):
        return self.upstream is not None or self.pool is not None

    cdef bint left_to_rival(self):
        """The exchange's own attempt has failed: is there another one to wait for?"""
        cdef Rival rival = <Rival>self.rival
        return not rival.won and rival.endpoint is not None and rival.exchange is not None

    cdef void leave_rival(self):
        cdef Rival rival = <Rival>self.rival
        self.rival = None
        if rival.exchange is not None:
            rival.leave()
