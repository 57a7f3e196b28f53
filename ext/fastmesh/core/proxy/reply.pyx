"""See reply.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.base.counters cimport CL_RQ_ACTIVE, WK_FALLBACKS, WK_RQ_ACTIVE, WK_UPGRADES_ACTIVE
from fastmesh.core.base.outbuf cimport out_free
from fastmesh.core.net.failure cimport FAIL_OVERFLOW, FAIL_QUEUE
from fastmesh.core.net.stream cimport ServerStream
from fastmesh.core.proxy.account cimport account
from fastmesh.core.proxy.cors cimport cors_out
from fastmesh.core.proxy.ejection cimport leave_trial
from fastmesh.core.proxy.find cimport ANSWERED, Finding
from fastmesh.core.proxy.relay cimport apply_ops, limit_out
from fastmesh.core.proxy.rescue cimport Rescue, rescue
from fastmesh.core.proxy.retries cimport retry_ends
from fastmesh.core.proxy.transit cimport FLAG_RL
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.rule cimport Destination, Direct, Fallback, Redirect, Refusal, refusal_for
from fastmesh.core.wire.grpc cimport GRPC_MESSAGE_MAX, grpc_of_http, write_grpc_message
from fastmesh.core.wire.h1_write cimport HeadOut, out_clear, out_field, write_number
from fastmesh.core.wire.message cimport FRAMING_LENGTH, FRAMING_NONE, Head, METHOD_HEAD, span_ptr

cdef list OVERLOADED = [(b"x-envoy-overloaded", b"true")]
cdef list WAITED = [(b"x-envoy-overloaded", b"true"), (b"retry-after", b"1")]

cdef enum:
    SPARES = 256              # ended exchanges kept for reuse


cdef class Replying(Finding):
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
        cdef Refusal refusal = self._refusal(flag) if flag else None
        cdef bint to_head = self.head.method == METHOD_HEAD
        cdef char[3 * GRPC_MESSAGE_MAX] message
        cdef char[64] numbers
        self.status = status
        self.flags |= flag
        self.details = details
        out_clear(out)
        if self.grpc:
            self._grpc_fields(out, message, body, body_size)
            body_size = 0
        elif refusal is not None:
            self._dress(out, refusal, &body, &body_size)
        elif content_type is not None:
            out_field(out, "content-type", 12, PyBytes_AS_STRING(content_type), PyBytes_GET_SIZE(content_type), 0)
        out.status = self.status
        if headers is not None:
            for name, value in headers:
                out_field(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
        out_field(out, "date", 4, PyBytes_AS_STRING(date), PyBytes_GET_SIZE(date), 0)
        out_field(out, "server", 6, PyBytes_AS_STRING(self.snapshot.server_name), PyBytes_GET_SIZE(self.snapshot.server_name), 0)
        if self.rule is not None and self.rule.response_ops is not None:
            apply_ops(self, self.rule.response_ops, out)
        if self.cors_policy is not None:
            cors_out(self, out)
        if self.told_limit is not None:
            limit_out(self, out, numbers)
        out.framing = FRAMING_NONE if self.grpc or self.status == 204 or self.status == 304 else FRAMING_LENGTH
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

    cdef Refusal _refusal(self, uint32_t flag):
        """How the user wants an answer with this flag to look; None: as it is."""
        cdef list refusals
        if self.rule is None:
            refusals = self.snapshot.refusals
        else:
            refusals = self.rule.policy.refusals if self.rule.policy is not None else None
        return refusal_for(refusals, flag) if refusals is not None else None

    cdef void _dress(self, HeadOut* out, Refusal refusal, const char** body, size_t* body_size):
        cdef Direct direct = refusal.direct
        cdef bytes name, value
        if direct.status:
            self.status = direct.status
        body[0], body_size[0] = PyBytes_AS_STRING(direct.body), PyBytes_GET_SIZE(direct.body)
        if direct.body:
            out_field(out, "content-type", 12, PyBytes_AS_STRING(direct.content_type), PyBytes_GET_SIZE(direct.content_type), 0)
        for name, value in direct.headers:
            out_field(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)

    cdef void _grpc_fields(self, HeadOut* out, char* message, const char* body, size_t body_size):
        """An answer of ours as a gRPC client reads it: HTTP 200, the status in a field, the body as its message, nothing behind."""
        if self.grpc_status < 0:
            self.grpc_status = grpc_of_http(self.status)
        self.charged = self.status
        self.status = 200
        out_field(out, "content-type", 12, "application/grpc", 16, 0)
        out_field(out, "grpc-status", 11, message, <uint32_t>write_number(message, self.grpc_status), 0)
        if body_size:
            message += 4
            out_field(out, "grpc-message", 12, message, <uint32_t>write_grpc_message(
                message, body, body_size if body_size < GRPC_MESSAGE_MAX - 4 else GRPC_MESSAGE_MAX - 4), 0)

    cdef int _give_up(self, int failure):
        cdef Rescue row = rescue(failure)
        cdef list headers = None
        if failure == FAIL_OVERFLOW or failure == FAIL_QUEUE:
            headers = OVERLOADED if failure == FAIL_OVERFLOW else WAITED
        cdef size_t size = strlen(row.body)
        cdef Fallback fallback = self.fallback_for(row.flag)
        if fallback is not None:
            return self.fall_back(fallback, &row)
        return self._reply(row.status, row.flag, row.details, b"text/plain" if size else None, row.body, size, headers)

    cdef Fallback fallback_for(self, uint32_t flag):
        cdef Fallback fallback = self.rule.policy.fallback if self.rule.policy is not None else None
        if fallback is None or not fallback.flags & flag or self.fell_back or self.copied:
            return None
        if fallback.destination is None or self.replayable or self.attempts == 0:
            return fallback
        return None

    cdef int fall_back(self, Fallback fallback, const Rescue* row):
        """The rule's destination failed the request: to the other one, or the answer that was written for this."""
        cdef Direct direct = fallback.direct
        self.fell_back = True
        fm_bump(&self.engine.row[WK_FALLBACKS], 1)
        if fallback.destination is not None:
            self.go_to(fallback.destination)
            return ANSWERED
        return self._reply(direct.status or row.status, row.flag, row.details, direct.content_type if direct.body else None,
                           PyBytes_AS_STRING(direct.body), PyBytes_GET_SIZE(direct.body), direct.headers)

    cdef void go_to(self, Destination destination):
        pass

    cdef int _limited(self, Limit limit):
        cdef list headers = limit.headers
        if limit.retry_after:
            headers = [*headers, (b"retry-after", b"%d" % max(1, self.told_wait))]
        if not limit.told:
            self.told_limit = None
        if self.grpc:
            self.grpc_status = limit.grpc
        return self._reply(limit.status, FLAG_RL, PyBytes_AS_STRING(limit.details), b"text/plain" if limit.body else None,
                           PyBytes_AS_STRING(limit.body), PyBytes_GET_SIZE(limit.body), headers)

    cdef int _redirect(self):
        cdef Redirect redirect = self.rule.redirect if self.rule.redirect is not None else self.destination.redirect
        return self._reply(redirect.code, 0, "direct_response", None, "", 0, [(b"location", self.location())])

    cdef int _https_redirect(self):
        cdef const Head* head = &self.head
        cdef bytes target = b"https://" + PyBytes_FromStringAndSize(span_ptr(head, head.host), head.host.len)
        target += PyBytes_FromStringAndSize(self.request.path, self.request.path_size)
        if self.request.has_query:
            target += b"?" + PyBytes_FromStringAndSize(self.request.query, self.request.query_size)
        return self._reply(301, 0, "direct_response", None, "", 0, [(b"location", target)])

    cdef void _finish(self):
        """account: always, exactly once."""
        cdef uint64_t now
        if self.accounted:
            return
        if self.filters is not None:
            if self.filters.holds_end():
                return
            self.filters.leave()
        self.accounted = True
        self.engine.wheel.cancel(&self.timer)
        self.engine.wheel.cancel(&self.route_timer)
        now = self.ended = now_ns()
        if self.grpc and self.grpc_status < 0 and self.status:
            self.grpc_status = grpc_of_http(self.status)      # nobody said one
        if self.counted:
            fm_bump(&self.cluster.row[CL_RQ_ACTIVE], <uint64_t>-1)
            if self.cluster.resilience is not None:
                self.leave_guard()
        if self.trial != NULL:
            leave_trial(self)
        if self.held:
            self.leave_rule()
        if self.retrying:
            retry_ends(self)
        if self.tunnel:
            fm_bump(&self.engine.row[WK_UPGRADES_ACTIVE], <uint64_t>-1)
        self.engine.active -= 1
        account(self, now)
        if not self.copied:
            fm_bump(&self.engine.row[WK_RQ_ACTIVE], <uint64_t>-1)
            if self.engine.log is not None:
                self.engine.log.write(self)
        if self.copies is not None:
            self.leave_copies()
        if self.rival is not None:
            self.leave_rival()
        self._recycle()

    cdef void leave_guard(self):
        pass                              # see exchange

    cdef void leave_rule(self):
        pass                              # see exchange

    cdef void leave_copies(self):
        pass                              # see mirror

    cdef void leave_rival(self):
        pass                              # see hedge

    cdef void filtered(self):
        pass                              # see exchange

    cdef void _recycle(self):
        """Let go of everything; the object may serve another request once nobody in this call refers to it."""
        if self.client is not None and not self.client.request_done:
            self.engine.closed.append(self)   # body bytes may still arrive here: this one is not used again
        elif self.engine.spares < SPARES:
            self.reset()
            self.next_spare, self.engine.spare = self.engine.spare, self
            self.engine.spares += 1
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
        self.tls = self.upstream_tls = None
        self.requested_name = None
        self.transport_failure = NULL
        self.client_cert = None
        self.cors_policy = None
        self.new_cookies = None
        self.told_limit = None
        self.bound = None
        self.filters = None
        self.matched = None
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
        self.websocket_key = None
        self.flags = 0
        self.steps = 0
        self.status = 0
        self.grpc_status = -1
        self.details = NULL
        self.request_done = self.response_begun = self.counted = self.retrying = False
        self.fell_back = self.stale_retried = self.replayable = self.client_paused = self.upstream_paused = self.tunnel = False
        self.grpc = self.unreported = self.copied = self.hashed = self.probing = self.held = False
        self.path_written = False
        self.tunnel_ends = self.charged = 0
        self.deadline = 0
        self.attempts = self.retries_left = 0
        self.tried_count = 0
        self.started = self.sent_at = self.asked_at = self.answered_at = 0
        self.bytes_received = self.bytes_sent = 0
        out_free(&self.body)
        if self.text_room:
            free(self.text)
            self.text = NULL
            self.text_room = 0
