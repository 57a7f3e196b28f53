"""See filter_request.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.counters cimport WK_FILTER_ANSWERED
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.net.readiness cimport LOW_WATER
from fastmesh.core.proxy.cors cimport find_origin
from fastmesh.core.proxy.filter_lane cimport Lane, LANE_CLOSED, LANE_GATHER, LANE_HEAD, LANE_OPEN, LANE_STREAM, LANE_WHOLE
from fastmesh.core.proxy.filter_message cimport Answer
from fastmesh.core.proxy.find cimport ANSWERED, GO_ON, WAIT
from fastmesh.core.route.flags cimport FLAG_FE
from fastmesh.core.route.filter cimport Filter
from fastmesh.core.wire.h1_write cimport HeadOut, out_clear
from fastmesh.core.wire.message cimport (
    FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE, HDR_X_REQUEST_ID, Head, span_ptr,
)

cdef enum:
    BODY_WAIT = 65536         # request body bytes that wait for a hook before the client is paused


cdef class RequestLane(Lane):
    cdef int begin(self):
        """The filters have been chosen. What came before goes through the hooks like the rest."""
        self.outermost = self.filters[0]
        if self._has_body() and (self.wants_whole() or self.wants_pieces()):
            self.bodied = True
            if out_size(&self.x.body) > 0:
                self.queue.append(PyBytes_FromStringAndSize(self.x.body.data + self.x.body.start, out_size(&self.x.body)))
                self.queued = out_size(&self.x.body)
                out_free(&self.x.body)
            self.ended, self.x.request_done = self.x.request_done, False
            self.trailers, self.x.trailers = self.x.trailers, None
        self.in_step = True
        self.go()
        self.in_step = False
        if self.stage == LANE_CLOSED:
            return ANSWERED
        return GO_ON if self.ready else WAIT

    cdef bint _has_body(self):
        cdef const Head* head = &self.x.head
        return not head.upgrade and head.framing != FRAMING_NONE and (head.framing != FRAMING_LENGTH or head.length > 0)

    cdef object whole_hook(self, Filter filter): return filter.request_whole
    cdef object piece_hook(self, Filter filter): return filter.request_piece
    cdef object head_hook(self, Filter filter): return filter.request_head

    cdef str hook_name(self):
        return "request_" + Lane.hook_name(self)

    cdef object invoke(self, Filter filter):
        if self.stage == LANE_HEAD:
            return filter.request_head(self.request) if filter.request_head is not None else None
        if filter.request_piece is not None:
            return filter.request_piece(self.request, self.piece, self.last)
        if self.stage == LANE_WHOLE and filter.request_whole is not None:
            return filter.request_whole(self.request, self.piece)
        return None

    cdef void head_done(self):
        if self.bodied and self.wants_whole():
            self.stage = LANE_GATHER
            self._expect()
            self.look_too_large()
            return
        if not self._apply():
            return
        if self.bodied and self.wants_pieces():
            self.stage = LANE_STREAM
            if self.x.head.framing == FRAMING_LENGTH:
                self.x.head.framing = FRAMING_CHUNKED     # a hook may make it longer
            self._go_on()
        else:
            self._go_on()
            if self.stage == LANE_HEAD:
                self._open()

    cdef void _expect(self):
        """The client waits to be told to send its body, and the endpoint is not asked before the body is here."""
        cdef HeadOut* out = &self.x.engine.out
        if self.x.head.expect_continue and not self.ended and not self.queue:
            self.x.head.expect_continue = False           # the endpoint's own 100 tells the client nothing new
            out_clear(out)
            out.status = 100
            self.x.client.send_interim(out)
            self.x.client.flush()

    cdef bint _apply(self):
        """What hooks wrote into the head becomes the head. False: the request was refused."""
        cdef Head head
        cdef bytes text
        cdef bint own_id = self.x.request_id_at == self.x.made_id
        cdef int i
        if not self.request.changed():
            self.request.freeze()
            return True
        head = self.x.head
        text = self.request.head_bytes(&head)
        if text is None:
            self.refuse(self.outermost, 500, self.outermost.oversized_head)
            return False
        self.x.head = head
        self.x.keep_head()
        if self.request.new_path is not None:
            self.x.rewritten = None
            self.x.path_written = True
            self.x.path = None
        if self.x.normalize() < 0:
            self.refuse(self.outermost, 500, self.outermost.raised)
            return False
        for i in range(head.field_count):
            if not own_id and self.x.head.fields[i].id == HDR_X_REQUEST_ID:
                self.x.request_id_at = span_ptr(&self.x.head, self.x.head.fields[i].value)
                break
        if self.x.cors_policy is not None and not find_origin(self.x):
            self.x.cors_policy = None
        self.request.freeze()
        return True

    cdef void _go_on(self):
        self.ready = True
        if not self.in_step:
            self.x.filtered()

    cdef void emit(self, bytes piece, bint last):
        if self.stage == LANE_WHOLE:
            self._emit_whole(piece)
            return
        self._pass_on(piece)
        if last and self.stage != LANE_CLOSED:
            self._end()

    cdef void _emit_whole(self, bytes piece):
        """The body stands ready before an endpoint is asked, as if it had come with the head."""
        cdef uint64_t size = PyBytes_GET_SIZE(piece)
        if not self._apply():
            return
        self.stage = LANE_OPEN
        self.x.request_done = True
        self.x.trailers = self.trailers
        if self.trailers is None:
            self.x.head.framing, self.x.head.length = FRAMING_LENGTH, size
        out_append(&self.x.body, PyBytes_AS_STRING(piece), size)
        self._go_on()

    cdef void _open(self):
        cdef bytes piece
        self.stage = LANE_OPEN
        if self.queue:
            piece = b"".join(self.queue)
            self.queue, self.queued = [], 0
            self._pass_on(piece)
        if self.bodied and self.ended and self.stage == LANE_OPEN:
            self._end()

    cdef void _pass_on(self, bytes piece):
        if PyBytes_GET_SIZE(piece) == 0:
            return
        self.passing = True
        self.x.bytes_received -= PyBytes_GET_SIZE(piece)  # they were counted when they came
        self.x.on_request_body(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        self.passing = False

    cdef void _end(self):
        self.stage = LANE_OPEN
        self.passing = True
        self.x.on_request_end(&self.trailers.head if self.trailers is not None else NULL)
        self.passing = False

    cdef void push(self, const char* data, size_t size):
        Lane.push(self, data, size)
        if self.is_full() and not self.x.client_paused:
            self.x.client_paused = True
            self.x.client.pause_request()

    cdef void answer(self, Filter filter, Answer answer):
        fm_bump(&self.x.engine.row[WK_FILTER_ANSWERED], 1)
        self._reply(answer.status, 0, filter.answered, answer.content_type, answer.body, answer.fields)

    cdef void refuse(self, Filter filter, int status, bytes details):
        self._reply(status or 413, FLAG_FE, details, None, b"", None)

    cdef void _reply(self, int status, uint32_t flag, bytes details, bytes content_type, bytes body, list fields):
        """Only the filters before this one see the answer, as the onion of a middleware has it."""
        self.stage = LANE_CLOSED
        self.queue, self.queued, self.piece = [], 0, None
        self.request.freeze()
        if self.x.upstream is not None or self.x.pool is not None:
            self.x._count_out()
            self.x._leave_upstream()
        if self.x.response_begun:
            self.x.flags |= flag
            self.x.details = PyBytes_AS_STRING(details)
            self.x.client.abort_response()
            self.x._finish()
            return
        if self.other is not None:
            self.other.at = self.other.first = len(self.filters) - self.at
        self.x._reply(status, flag, PyBytes_AS_STRING(details), content_type if body else None, PyBytes_AS_STRING(body),
                      PyBytes_GET_SIZE(body), fields)

    cdef void flush(self):
        if self.x.accounted or self.x.client is None:
            return
        self.x.on_client_turn()
        if not self.x.accounted and not self.is_full():
            self._resume_client()

    cdef bint is_full(self) noexcept:
        return self.queued > BODY_WAIT and self.stage != LANE_GATHER and self.stage < LANE_OPEN

    cdef void _resume_client(self):
        """The client was paused for a hook; it may be the endpoint's turn to hold it back."""
        if not self.x.client_paused or self.x.client is None or self.x.head.upgrade:
            return
        if self.x.upstream is None and out_size(&self.x.body) > BODY_WAIT:
            return
        if self.x.upstream is not None and self.x.upstream.waiting() > LOW_WATER:
            return
        self.x.client_paused = False
        self.x.client.resume_request()
