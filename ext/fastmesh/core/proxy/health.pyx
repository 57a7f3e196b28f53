"""See health.pxd."""
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from fastmesh.core.base.arena cimport ENTRY_DUTY
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport HC_WINDOW
from fastmesh.core.base.rng cimport rng_below
from fastmesh.core.guard.duty cimport DUTY_LOOK, DUTY_WORDS, duty_drop, duty_take
from fastmesh.core.guard.health cimport HEALTH_DOWN, HEALTH_SAME, chance_note, health_result
from fastmesh.core.net.failure cimport FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_TIMEOUT, FAIL_TLS
from fastmesh.core.net.h1.client cimport CLIENT_IDLE, ClientH1, connect_h1
from fastmesh.core.net.h2.client cimport ClientH2, connect_h2
from fastmesh.core.net.stream cimport ClientStream
from fastmesh.core.net.tls.client cimport ClientContext
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport TIMER_CONNECT, Upstream
from fastmesh.core.proxy.ejection cimport check_told
from fastmesh.core.route.cluster cimport Cluster, HTTP_2
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.health_rule cimport HEALTH_GRPC, HEALTH_HTTP, HEALTH_TCP, HealthRule
from fastmesh.core.route.snapshot cimport Snapshot
from fastmesh.core.wire.grpc cimport GRPC_OK, read_grpc_status
from fastmesh.core.wire.h1_write cimport HeadOut, out_clear, out_field
from fastmesh.core.wire.message cimport FRAMING_CHUNKED, FRAMING_NONE, HDR_GRPC_STATUS, Head

cdef enum:
    TIMER_NEXT = 1            # kinds of Check.timer
    TIMER_DEADLINE = 2

cdef object log = logging.getLogger("fastmesh.health")
cdef bytes AGENT = b"fastmesh-health-check"
cdef bytes SERVING = b"\0\0\0\0\x02\x08\x01"          # grpc.health.v1.HealthCheckResponse: status = SERVING


cdef class CheckOwner(ConnectionOwner):
    cdef void on_connected(self, Upstream connection):
        if self.check is not None:
            self.check.connected(connection)

    cdef void on_closed(self, Upstream connection, int failure):
        if self.check is not None:
            self.check.closed(connection, failure)


cdef class Knock(Upstream):
    cdef void on_writable(self):
        if not self.established:
            self.reached()

    cdef void on_established(self):
        self.owner.on_connected(self)

    cdef void on_unreachable(self, int failure):
        self.close(failure)

    cdef void on_hangup(self):
        self.close(FAIL_CONNECT)

    cdef void on_timer(self, int kind) noexcept:
        if kind == TIMER_CONNECT and not self.established:
            self.close(FAIL_CONNECT_TIMEOUT)

    cdef void close(self, int failure):
        if self.fd >= 0:
            self.reactor.wheel.cancel(&self.timer)
            self.close_descriptor()
            self.owner.on_closed(self, failure)


cdef void _close(Upstream connection):
    if isinstance(connection, ClientH1):
        (<ClientH1>connection).cancel()
    elif isinstance(connection, ClientH2):
        (<ClientH2>connection).close(FAIL_NONE)
    elif connection is not None:
        (<Knock>connection).close(FAIL_NONE)


cdef class Check(StreamUser):
    cdef void begin(self):
        self.asking = True
        self.status, self.grpc_status, self.failure, self.answer_size = 0, -1, FAIL_NONE, 0
        self.engine.wheel.start(&self.timer, self, TIMER_DEADLINE, self.cluster.health.timeout)
        if self._usable():
            self._ask()
        else:
            self._drop()
            self._open()

    cdef bint _http2(self) noexcept:
        return self.cluster.health.kind == HEALTH_GRPC or self.cluster.http == HTTP_2

    cdef bint _usable(self) noexcept:
        """Whether the last check's connection is good for this one."""
        cdef Upstream connection = self.connection
        cdef Cluster cluster = self.cluster
        cdef object context = cluster.tls if not cluster.tls_auto or self.endpoint.mesh_tls else None
        if connection is None or not connection.established or connection.fd < 0:
            return False
        if (connection.tls.context if connection.tls is not None else None) is not context:
            return False                  # the TLS policy has changed
        if isinstance(connection, ClientH2):
            return self._http2() and (<ClientH2>connection).frames.room() > 0
        return not self._http2() and (<ClientH1>connection).state == CLIENT_IDLE and connection.quiet()

    cdef void _open(self):
        cdef Cluster cluster = self.cluster
        cdef ClientContext context
        cdef Tls tls = None
        cdef Knock knock
        cdef Upstream opened = None
        cdef bint http2 = self._http2()
        if cluster.tls is not None and (not cluster.tls_auto or self.endpoint.mesh_tls):
            context = <ClientContext>cluster.tls
            tls = context.open(self.endpoint.text, context.name or cluster.host_text, http2)
            if tls is None:
                self.failure = FAIL_TLS
                self._finish(False, True)
                return
        if cluster.health.kind == HEALTH_TCP:
            knock = Knock.__new__(Knock)
            opened = knock if knock.reach(self.engine, self.owner, self.endpoint, cluster, tls) else None
        elif http2:
            opened = connect_h2(self.engine, self.owner, self.endpoint, cluster, tls, 1)
        else:
            opened = connect_h1(self.engine, self.owner, self.endpoint, cluster, tls)
        self.connection = opened
        if opened is None:
            self.failure = FAIL_CONNECT
            self._finish(False, True)

    cdef void connected(self, Upstream connection):
        if self.cluster.health.kind == HEALTH_TCP:
            self._finish(True, False)
            self._drop()
        elif self.asking:
            self._ask()

    cdef void closed(self, Upstream connection, int failure):
        if connection is not self.connection:
            return
        self.connection = None
        if self.asking and self.stream is None:
            self.failure = failure
            self._finish(False, True)

    cdef void _ask(self):
        cdef HealthRule rule = self.cluster.health
        cdef HeadOut* out = &self.engine.out
        cdef ClientStream stream
        cdef bytes name, value, message
        if isinstance(self.connection, ClientH2):
            stream = (<ClientH2>self.connection).frames.assign(self)
        else:
            (<ClientH1>self.connection).assign(self)
            stream = <ClientStream>self.connection
        self.stream = stream
        out_clear(out)
        out.method, out.method_size = PyBytes_AS_STRING(rule.method), <uint32_t>PyBytes_GET_SIZE(rule.method)
        out.path, out.path_size = PyBytes_AS_STRING(rule.path), <uint32_t>PyBytes_GET_SIZE(rule.path)
        out.authority, out.authority_size = PyBytes_AS_STRING(rule.authority), <uint32_t>PyBytes_GET_SIZE(rule.authority)
        out.scheme = 2 if self.connection.tls is not None else 1
        out.framing = FRAMING_NONE
        out_field(out, "user-agent", 10, PyBytes_AS_STRING(AGENT), <uint32_t>PyBytes_GET_SIZE(AGENT), 0)
        for name, value in rule.headers:
            out_field(out, PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value),
                      <uint32_t>PyBytes_GET_SIZE(value), 0)
        if rule.kind == HEALTH_GRPC:
            out.method, out.method_size = "POST", 4
            out.path, out.path_size = "/grpc.health.v1.Health/Check", 28
            out.framing = FRAMING_CHUNKED
            out.te_trailers = True
            out_field(out, "content-type", 12, "application/grpc", 16, 0)
        stream.send_request(out, rule.method == b"HEAD")
        if rule.kind == HEALTH_GRPC and self.stream is not None:
            message = b"\x0a%c%s" % (len(rule.service), rule.service) if rule.service else b""
            message = b"\0\0\0\0%c" % len(message) + message
            stream.send_body(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        if self.stream is not None:
            stream.send_end(NULL)
        if self.stream is not None:
            stream.flush()

    # --- the answer ---------------------------------------------------------------------------------------------------

    cdef void _read_status(self, const Head* head) noexcept:
        cdef int i
        for i in range(head.field_count):
            if head.fields[i].id == HDR_GRPC_STATUS:
                self.grpc_status = read_grpc_status(head.base + head.fields[i].value.off, head.fields[i].value.len)

    cdef void on_response(self, const Head* head):
        self.status = head.status
        self._read_status(head)

    cdef void on_response_body(self, const char* data, size_t size):
        if size > ANSWER_KEPT - self.answer_size:
            size = ANSWER_KEPT - self.answer_size
        memcpy(self.answer + self.answer_size, data, size)
        self.answer_size += size

    cdef void on_response_end(self, const Head* trailers):
        self.stream = None
        if trailers != NULL:
            self._read_status(trailers)
        self._finish(self._passed(), False)

    cdef void on_upstream_failed(self, int failure):
        self.stream = None
        self.failure = failure
        self._finish(False, True)

    cdef bint _passed(self) noexcept:
        cdef HealthRule rule = self.cluster.health
        if rule.kind == HEALTH_HTTP:
            return rule.expects(self.status)
        return self.status == 200 and self.grpc_status == GRPC_OK and self.answer[:self.answer_size] == SERVING

    cdef void _finish(self, bint passed, bint network):
        cdef HealthRule rule = self.cluster.health
        cdef int change
        if not self.asking:
            return
        self.asking = False
        self.engine.wheel.start(&self.timer, self, TIMER_NEXT, rule.interval + rng_below(&self.engine.rng, rule.jitter + 1))
        change = health_result(self.endpoint.cell, self.endpoint.health, &rule.thresholds, passed, network, now_ms())
        if self.cluster.resilience is not None:
            chance_note(&self.endpoint.health[HC_WINDOW], passed, now_ms(), self.cluster.resilience.half_life)
            if self.cluster.resilience.by_checks:
                check_told(self.cluster, self.endpoint, passed)
        if change != HEALTH_SAME:
            self.cluster.health_changed()
            self._tell(change == HEALTH_DOWN)

    def _tell(self, bint down):
        where = f"{self.endpoint.text.decode()} of {self.cluster.name.decode()}"
        if not down:
            log.info("%s passes its checks", where)
        elif self.failure == FAIL_TIMEOUT:
            log.warning("%s fails its checks: no answer within %d ms", where, self.cluster.health.timeout)
        elif self.status == 0:
            log.warning("%s fails its checks: no connection, or broken off", where)
        elif self.cluster.health.kind == HEALTH_GRPC:
            log.warning("%s fails its checks: HTTP status %d, gRPC status %d, not SERVING", where, self.status, self.grpc_status)
        else:
            log.warning("%s fails its checks: status %d", where, self.status)

    # --- time and the end ---------------------------------------------------------------------------------------------

    cdef void on_timer(self, int kind) noexcept:
        if kind == TIMER_NEXT:
            self.begin()
        elif self.asking:
            self.failure = FAIL_TIMEOUT
            self.status = 0
            self._finish(False, True)
            self._drop()

    cdef void _drop(self):
        """Close what is open; nobody hears of it any more."""
        cdef Upstream connection = self.connection
        cdef ClientStream stream = self.stream
        self.connection = self.stream = None
        if stream is not None:
            stream.cancel()
        if connection is not None and connection is not stream:
            _close(connection)

    cdef void stop(self):
        self.asking = False
        self.engine.wheel.cancel(&self.timer)
        self._drop()
        self.owner.check = None


cdef Checker make_checker(Engine engine):
    cdef Checker checker = Checker.__new__(Checker)
    checker.engine = engine
    checker.wanted, checker.checks = [], {}
    return checker


cdef class Checker(Timed):
    cdef void apply(self, Snapshot snapshot):
        self.wanted = snapshot.checked
        if self.wanted and self.duty == NULL:
            self.duty = self.engine.arena.words(ENTRY_DUTY, "health", 6, DUTY_WORDS)
        if self.duty != NULL and not self.stopped:
            self.look()
            if self.leading:
                self._sync()

    cdef void look(self):
        cdef bint before = self.leading
        self.engine.wheel.cancel(&self.timer)
        if not self.wanted:
            self._drop_all()
            return
        self.leading = duty_take(self.duty, self.engine.slot, now_ms())
        if self.leading and not before:
            self._sync()
        elif before and not self.leading:
            self._drop_all()              # it was taken from us: we did not turn for long
        self.engine.wheel.start(&self.timer, self, 0, DUTY_LOOK)

    cdef void on_timer(self, int kind) noexcept:
        self.look()

    cdef void _sync(self):
        """A check for each endpoint; those that were there before go on in their rhythm."""
        cdef Cluster cluster
        cdef Endpoint endpoint
        cdef Check check
        cdef dict before = self.checks
        cdef uint32_t spread = 0
        for cluster in self.wanted:
            spread += <uint32_t>len(cluster.endpoints)
        self.checks = {}
        for cluster in self.wanted:
            if cluster.rows == NULL:
                cluster.attach(self.engine.arena, self.engine.slot)
            for endpoint in cluster.endpoints:
                key = cluster.name + b"\0" + endpoint.text
                check = before.pop(key, None)
                if check is None:
                    check = Check.__new__(Check)
                    check.engine = self.engine
                    check.owner = CheckOwner.__new__(CheckOwner)
                    check.owner.check = check
                    self.engine.wheel.start(&check.timer, check, TIMER_NEXT, rng_below(&self.engine.rng, min(
                        spread, cluster.health.interval)))
                check.cluster, check.endpoint = cluster, endpoint
                self.checks[key] = check
        for check in before.values():
            check.stop()

    cdef void _drop_all(self):
        cdef Check check
        self.leading = False
        for check in self.checks.values():
            check.stop()
        self.checks = {}
        if self.duty != NULL:
            duty_drop(self.duty, self.engine.slot)

    cdef void stop(self):
        self.stopped = True
        self.engine.wheel.cancel(&self.timer)
        self._drop_all()
