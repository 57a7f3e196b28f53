"""See filter_response.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport WK_FILTER_ANSWERED
from fastmesh.core.guard.outlier cimport OUTCOME_STATUS
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.stream cimport ServerStream
from fastmesh.core.proxy.filter_lane cimport Lane, LANE_CLOSED, LANE_GATHER, LANE_HEAD, LANE_OPEN, LANE_STREAM, LANE_WHOLE
from fastmesh.core.proxy.filter_message cimport Answer, Response, make_response, response_of
from fastmesh.core.route.flags cimport FLAG_FE
from fastmesh.core.route.filter cimport Filter
from fastmesh.core.wire.grpc cimport GRPC_MESSAGE_MAX
from fastmesh.core.wire.h1_write cimport HeadOut, out_clear
from fastmesh.core.wire.message cimport FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE, Head, METHOD_HEAD

cdef enum:
    LOW = 4                   # as in exchange: a source goes on when no more than this part of `high_water` waits


cdef class ResponseLane(Lane):
    cdef object whole_hook(self, Filter filter): return filter.response_whole
    cdef object piece_hook(self, Filter filter): return filter.response_piece
    cdef object head_hook(self, Filter filter): return filter.response_head

    cdef str hook_name(self):
        return "response_" + Lane.hook_name(self)

    cdef object invoke(self, Filter filter):
        if self.stage == LANE_HEAD:
            return filter.response_head(self.request, self.response) if filter.response_head is not None else None
        if filter.response_piece is not None:
            return filter.response_piece(self.request, self.response, self.piece, self.last)
        if self.stage == LANE_WHOLE and filter.response_whole is not None:
            return filter.response_whole(self.request, self.response, self.piece)
        return None

    cdef void take_head(self, HeadOut* out):
        self.response = make_response(out, self.x.upstream is None)
        self.bodyless = out.length_known_only
        self.go()
        if not self.sent:
            self.response.settle()        # `out` is written over before this response goes on
        self.response.out = NULL

    cdef bint _has_body(self):
        cdef int status = self.response.status
        if self.bodyless or self.response.kept.tunnel or status == 204 or status == 304:
            return False
        return self.response.kept.framing != FRAMING_NONE

    cdef void head_done(self):
        cdef bint whole = self.wants_whole(), pieces = self.wants_pieces()
        if whole and self._has_body():
            self.stage = LANE_GATHER
            self.look_too_large()
            return
        if pieces and self._has_body():
            self.response.settle()
            self.response.kept.framing = FRAMING_CHUNKED
            self.response._headers.changed = True
            self._send()
            self.stage = LANE_STREAM
            return
        if (whole or pieces) and self.bodyless and self.response.kept.framing == FRAMING_LENGTH:
            self.response.settle()
            self.response.kept.framing = FRAMING_NONE     # the length of a GET's answer is not known
            self.response._headers.changed = True
        self._send()
        self._open()

    cdef void _send(self):
        cdef HeadOut* out = &self.x.engine.out
        self.sent = True
        if self.response.changed() or self.response.out == NULL:
            self.response.settle()
            if self.response.status == 204 or self.response.status == 304:
                self.response.kept.framing = FRAMING_NONE
                self.bodyless = True
            self.response.write(out)
            self.x.status = self.response._status
        self.response.frozen = True
        if self.response._headers is not None:
            self.response._headers.frozen = True
        self.client.send_head(out)

    cdef void emit(self, bytes piece, bint last):
        cdef size_t size = PyBytes_GET_SIZE(piece)
        if self.stage == LANE_WHOLE:
            self.response.settle()
            self.response.kept.framing, self.response.kept.length = FRAMING_LENGTH, size
            if self.trailers is not None or self.x.grpc:
                self.response.kept.framing = FRAMING_CHUNKED
            self.response._headers.changed = True
            self._send()
        if size and not self.bodyless:
            self.client.send_body(PyBytes_AS_STRING(piece), size)
            self.x.bytes_sent += size
        if last:
            self._end()

    cdef void _open(self):
        """Nothing is left to see: what waits goes on."""
        cdef bytes piece
        self.stage = LANE_OPEN
        for piece in self.queue:
            if not self.bodyless:
                self.client.send_body(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
                self.x.bytes_sent += PyBytes_GET_SIZE(piece)
        self.queue, self.queued = [], 0
        if self.ended:
            self._end()

    cdef void _end(self):
        self.stage = LANE_OPEN
        self.done = True
        self.client.send_end(&self.trailers.head if self.trailers is not None else NULL)
        if self.finishing:
            self.x._finish()
            self.client.flush()

    cdef void push(self, const char* data, size_t size):
        self.x.bytes_sent -= size         # the exchange counts them as sent
        if not self.replaced:
            Lane.push(self, data, size)

    cdef void keep_end(self, const Head* trailers):
        if not self.replaced:
            Lane.keep_end(self, trailers)

    cdef void answer(self, Filter filter, Answer answer):
        fm_bump(&self.x.engine.row[WK_FILTER_ANSWERED], 1)
        if self.x.grpc:
            self._replace(self._call_answer(answer.status, answer.body), b"", 0, filter.answered)
        else:
            self._replace(response_of(answer), answer.body, 0, filter.answered)

    cdef void refuse(self, Filter filter, int status, bytes details):
        status = status or 500
        if self.x.grpc:
            self._replace(self._call_answer(status, b""), b"", FLAG_FE, details)
        else:
            self._replace(response_of(Answer(status)), b"", FLAG_FE, details)

    cdef Response _call_answer(self, int status, bytes body):
        cdef HeadOut* out = &self.x.engine.out
        cdef char[3 * GRPC_MESSAGE_MAX] message
        cdef Response made
        out_clear(out)
        self.x.status = status
        self.x.grpc_status = -1
        self.x._grpc_fields(out, message, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        out.status = self.x.status
        made = make_response(out, True)
        made.settle()
        made.out = NULL
        made.kept.framing = FRAMING_NONE
        return made

    cdef void _replace(self, Response response, bytes body, uint32_t flag, bytes details):
        """The client gets this answer; the filters before this one see it."""
        self.x.flags |= flag
        self.x.details = PyBytes_AS_STRING(details)
        if self.x.upstream is not None or self.x.pool is not None:
            if self.x.unreported:
                self.x._report(OUTCOME_STATUS, self.x.status)
            self.x._count_out()
            self.x._leave_upstream()
            self.finishing = True
        if self.sent:
            self.stop()
            self.client.abort_response()
            self.x._finish()
            return
        response._headers.fields.append((b"date", self.x.engine.http_date()))
        response._headers.fields.append((b"server", self.x.snapshot.server_name))
        response._headers.changed = True
        response.kept.length_known_only = self.bodyless = self.x.head.method == METHOD_HEAD
        self.response = response
        self.x.status = response._status
        self.replaced = self.ended = True
        self.trailers, self.piece = None, None
        self.queue, self.queued = [body] if body else [], PyBytes_GET_SIZE(body)
        self.at = self.first = self.at + 1 if self.stage == LANE_HEAD else len(self.filters)
        self.stage = LANE_HEAD

    cdef void flush(self):
        self.client.flush()
        if self.x.upstream_paused and self.x.upstream is not None \
                and self.client.waiting() + self.queued <= self.client.high_water // LOW:
            self.x.on_client_drained()


cdef FilterStream make_stream(ResponseLane lane):
    cdef FilterStream made = FilterStream.__new__(FilterStream)
    made.lane = lane
    made.inner = lane.client
    made.take_after(lane.client)
    made.minor, made.request_done, made.last = made.inner.minor, made.inner.request_done, made.inner.last
    made.high_water, made.piece = made.inner.high_water, made.inner.piece
    return made


cdef class FilterStream(ServerStream):
    cdef void send_interim(self, const HeadOut* out):
        if not self.lane.sent:
            self.inner.send_interim(out)

    cdef void send_head(self, HeadOut* out):
        cdef FilterStream kept = self     # an answer that is complete ends the exchange, and with it this object
        self.inner.last = self.inner.last or self.last
        self.lane.take_head(out)

    cdef void send_body(self, const char* data, size_t size):
        cdef FilterStream kept = self
        if self.lane.stage == LANE_OPEN and not self.lane.replaced:
            self.inner.send_body(data, size)
        else:
            self.lane.push(data, size)

    cdef void send_end(self, const Head* trailers):
        cdef FilterStream kept = self
        if self.lane.stage == LANE_OPEN and not self.lane.replaced:
            self.lane.done = True
            self.inner.send_end(trailers)
        else:
            self.lane.keep_end(trailers)

    cdef bint takes_splice(self) noexcept:
        return self.lane.stage == LANE_OPEN and not self.lane.replaced and self.inner.takes_splice()

    cdef bint splice_from(self, Pipe pipe):
        cdef FilterStream kept = self
        return self.inner.splice_from(pipe)

    cdef void abort_response(self):
        cdef FilterStream kept = self
        self.lane.stop()
        self.inner.abort_response()

    cdef void flush(self):
        cdef FilterStream kept = self
        self.inner.flush()

    cdef size_t waiting(self) noexcept:
        return self.inner.waiting() + self.lane.queued

    cdef void pause_request(self):
        cdef FilterStream kept = self
        self.inner.pause_request()

    cdef void resume_request(self):
        cdef FilterStream kept = self
        self.inner.resume_request()
