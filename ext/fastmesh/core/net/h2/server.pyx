"""See server.pxd.

When is the client's time up? While it sends nothing of a body that we wait for, while it does not take what we send, and between the
first and the last byte of a head. One timer per connection looks at all of them when the earliest can be due.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms, sooner
from fastmesh.core.base.counters cimport (
    WK_BODY_TIMEOUT, WK_CLIENT_ABORT, WK_H2_CX_ACTIVE, WK_H2_CX_TOTAL, WK_H2_MAX_AGE, WK_H2_MAX_REQUESTS, WK_H2_MESSAGING_ERROR,
    WK_H2_REFUSED, WK_H2_RX_RESET, WK_H2_STREAMS, WK_H2_UNPACKED, WK_HEADER_TIMEOUT, WK_IDLE_TIMEOUT,
)
from fastmesh.core.base.outbuf cimport out_size
from fastmesh.core.net.h2.budget cimport UNPACK_FAIR
from fastmesh.core.net.h2.connection cimport ENDED_BOTH, ENDED_BY_US, H2Connection, header_text
from fastmesh.core.net.h2.reason cimport word_of
from fastmesh.core.net.h2.send cimport STREAM_HIGH, STREAM_PIECE
from fastmesh.core.net.h2.stream cimport (
    STREAM_LOCAL_ENDED, STREAM_PAUSED, STREAM_REMOTE_ENDED, H2Stream,
)
from fastmesh.core.net.readiness cimport (
    EAGAIN, EINTR, SCRATCH, Timeouts, errno,
)
from fastmesh.core.net.stream cimport Downstream, ServerStream, StreamUser
from fastmesh.core.wire.h1_write cimport HeadOut, out_clear
from fastmesh.core.wire.h2_frame cimport (
    H2_CANCEL, H2_COMPRESSION_ERROR, H2_ENHANCE_YOUR_CALM, H2_INTERNAL_ERROR, H2_NO_ERROR, H2_PROTOCOL_ERROR, H2_REFUSED_STREAM,
    H2_STREAM_CLOSED, PREFACE, PREFACE_SIZE, STREAM_MAX,
)
from fastmesh.core.wire.hpack cimport (
    HPACK_ERROR, HPACK_FLOOD, HPACK_MALFORMED, HPACK_OK, decode_nothing, decode_request, decode_trailers,
)
from fastmesh.core.wire.message cimport FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, HDR_CONTENT_TYPE, METHOD_CONNECT, Head

cdef enum:
    SPARES = 32               # streams of one connection that are kept for reuse
    LINGER_BYTES = 1 << 20
    REST = 2000               # ms without a stream after which memory is given back


cdef ServerH2 make_server_h2():
    cdef ServerH2 connection = ServerH2.__new__(ServerH2)
    connection.frames = ServerFrames.__new__(ServerFrames)
    return connection


cdef class ServerH2(Downstream):
    cdef void start(self, const char* data, size_t size):
        cdef ServerFrames frames = self.frames
        frames.connection = self
        frames.born = frames.rests_since = now_ms()
        fm_bump(&self.reactor.row[WK_H2_CX_TOTAL], 1)
        fm_bump(&self.reactor.row[WK_H2_CX_ACTIVE], 1)
        frames.open_on(self, True)
        self.watch_read()
        frames._within(self.reactor.timeouts.header, frames.born)
        if self.reactor.parting:
            frames.wind_down()
        if size > 0 and self.fd >= 0:
            frames.take(data, size)

    cdef void on_readable(self):
        cdef ssize_t got
        if self.frames.leaving != LEAVING_LINGER:
            self.frames.receive()
            return
        got = self.receive(self.reactor.scratch, SCRATCH)
        if got > 0:
            self.thrown_away += <uint32_t>got
        if got == 0 or self.thrown_away > LINGER_BYTES or (got < 0 and errno != EAGAIN and errno != EINTR):
            self.close()

    cdef void on_writable(self):
        self.frames.flush()
        self.frames.check_end()

    cdef void on_turn_end(self):
        self.frames.end_turn()
        self.frames.check_end()

    cdef void on_hangup(self):
        self.frames.on_lost()

    cdef void announce_end(self):
        self.frames.wind_down()

    cdef void close_if_idle(self):
        """The grace of a drain is over."""
        if self.frames.leaving < LEAVING_LAST:
            self.frames.leave()

    cdef void wind_down(self):
        self.frames.wind_down()

    cdef void cut(self):
        self.frames.tell_all(True)
        self.close()

    cdef void end(self):
        """All is in `out`: after it the end of our side, and then for a moment what the client still sends."""
        cdef ServerFrames frames = self.frames
        if self.fd < 0 or frames.leaving == LEAVING_LINGER:
            return
        frames.leaving = LEAVING_LINGER
        frames.ended = True
        self.thrown_away = 0
        frames.leaves_at = now_ms() + self.reactor.timeouts.linger
        self.reactor.wheel.start(&frames.timer, frames, 0, self.reactor.timeouts.linger)
        frames.end_turn()
        if not self.writing:
            self.end_sending()
        self.watch_read()

    cdef void close(self):
        cdef ServerFrames frames = self.frames
        if self.fd < 0:
            return
        frames.ended = True
        frames.leaving = LEAVING_LINGER
        self.reactor.wheel.cancel(&frames.timer)
        self.close_descriptor()
        frames.tell_all(False)
        frames.forget_all()
        frames._drop_spares()
        frames.socket = None
        frames.connection = None
        fm_bump(&self.reactor.row[WK_H2_CX_ACTIVE], <uint64_t>-1)
        self.factory.connection_closed(self)


cdef class ServerFrames(H2Connection):

    # --- requests -----------------------------------------------------------------------------------------------------

    cdef bint on_preface(self, const char** data, size_t* size):
        cdef size_t piece = PREFACE_SIZE - self.preface
        if piece == 0:
            return True
        if piece > size[0]:
            piece = size[0]
        if memcmp(data[0], PREFACE + self.preface, piece) != 0:
            self.fail(H2_PROTOCOL_ERROR, "bad_preface")
            return False
        self.preface += piece
        data[0] += piece
        size[0] -= piece
        return True

    cdef void on_new_headers(self, uint32_t id, const char* block, size_t size, bint end):
        cdef int how
        if id & 1 == 0:
            self.fail(H2_PROTOCOL_ERROR, "even_stream")                         # RFC 9113 5.1.1
        elif id <= self.last_id:
            how = self.how_ended(id)
            if how != ENDED_BY_US and how != ENDED_BOTH:
                self.fail(H2_PROTOCOL_ERROR, "stream_went_back")
            elif how == ENDED_BOTH:
                self.fail(H2_STREAM_CLOSED, "headers_after_end")
            else:
                self._skip(block, size)
        elif self.leaving >= LEAVING_LAST:
            self.last_id = id             # the client will know that we have not seen it; what follows is skipped, too
            self._remember(id, ENDED_BY_US)
            self._skip(block, size)
        else:
            self.last_id = id
            if self.streams.count < self.limits.streams:
                self._open(id, block, size, end)
            elif self._skip(block, size):
                fm_bump(&self.reactor.row[WK_H2_REFUSED], 1)
                self.stream_error(id, H2_REFUSED_STREAM, "too_many_streams")

    cdef bint _skip(self, const char* block, size_t size):
        return self._decoded(decode_nothing(&self.decoder, block, size, &self.reactor.limits, header_text()))

    cdef bint _decoded(self, int verdict):
        if verdict == HPACK_ERROR:
            self.fail(H2_COMPRESSION_ERROR, "bad_header_block")
        elif verdict == HPACK_FLOOD:
            self.fail(H2_ENHANCE_YOUR_CALM, "header_block_too_large")
        else:
            return True
        return False

    cdef void _open(self, uint32_t id, const char* block, size_t size, bint end):
        cdef ServerH2Stream stream = self._new_stream()
        cdef StreamUser user = self.connection.factory.make_user(stream)
        cdef Head* head = &user.head
        cdef int verdict = decode_request(&self.decoder, block, size, end, &self.reactor.limits, header_text(), head)
        if not self._decoded(verdict):
            return
        if self.add_stream(&stream.h2, id, stream) < 0:
            self.on_lost()
            return
        fm_bump(&self.reactor.row[WK_H2_STREAMS], 1)
        if end:
            stream.h2.state |= STREAM_REMOTE_ENDED
        if self.opened == self.limits.requests and self.leaving == LEAVING_NOT:
            fm_bump(&self.reactor.row[WK_H2_MAX_REQUESTS], 1)
            self.wind_down()
        if verdict == HPACK_OK and self._holds(stream, size, head.size):
            self._begin(stream, user, end)
        elif verdict == HPACK_OK:
            self.connection.factory.refused(stream, 431, "heads_unpack_too_far")
            self.stream_error(id, H2_ENHANCE_YOUR_CALM, "heads_unpack_too_far")
        else:
            self.connection.factory.refused(stream, head.error_status, head.error)
            if verdict == HPACK_MALFORMED:
                self.stream_error(id, H2_PROTOCOL_ERROR, head.error)
            else:
                self._refuse(stream, head.error_status, head.error)

    cdef bint _holds(self, ServerH2Stream stream, size_t came, size_t size) noexcept:
        """Bytes of the dynamic table are cheap to repeat; the heads that they stand for are kept as long as their requests run."""
        cdef size_t beyond
        if size > came * UNPACK_FAIR:
            beyond = size - came * UNPACK_FAIR
            stream.unpacked += <uint32_t>beyond
            self.unpacked += beyond
            if self.unpacked > self.limits.unpacked:
                fm_bump(&self.reactor.row[WK_H2_UNPACKED], 1)
                return False
        return True

    cdef ServerH2Stream _new_stream(self):
        cdef ServerH2Stream stream
        # One that somebody on the stack still refers to is left alone
        if self.spares > 0 and (<PyObject*>self.spare).ob_refcnt == 1:
            stream = self.spare
            self.spare, stream.next_spare = stream.next_spare, None
            self.spares -= 1
            return stream
        stream = ServerH2Stream.__new__(ServerH2Stream)
        stream.take_after(self.connection)
        stream.frames = self
        stream.minor = 2
        stream.high_water = STREAM_HIGH
        stream.piece = STREAM_PIECE
        return stream

    cdef void _drop_spares(self):
        self.spare, self.spares = None, 0

    cdef void _begin(self, ServerH2Stream stream, StreamUser user, bint end):
        cdef const Head* head = &user.head
        stream.user = user
        stream.request_done = end
        stream.head_sent = stream.bodyless = stream.patient = stream.tunnel = False
        stream.received = 0
        stream.measured = head.framing == FRAMING_LENGTH
        stream.left = head.length
        if not end:
            stream.patient = head.method == METHOD_CONNECT or _is_grpc(head)
            stream.h2.since = now_ms()
            if not stream.patient:
                self._within(self.reactor.timeouts.body, stream.h2.since)
            self._touch(&stream.h2)
        user.on_request(stream)
        if end and stream.user is user:
            user.on_client_turn()

    cdef void on_headers(self, H2Stream* stream, const char* block, size_t size, bint end):
        if stream.state & STREAM_REMOTE_ENDED:
            self.fail(H2_STREAM_CLOSED, "headers_after_end")
        elif not end:
            if self._skip(block, size):
                self.stream_error(stream.id, H2_PROTOCOL_ERROR, "trailers_without_end")
        else:
            self._trailers(stream, block, size)

    cdef void _trailers(self, H2Stream* h2, const char* block, size_t size):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        cdef Head trailers
        cdef int verdict = decode_trailers(&self.decoder, block, size, &self.reactor.limits, header_text(), &trailers)
        if not self._decoded(verdict):
            return
        h2.state |= STREAM_REMOTE_ENDED
        if verdict == HPACK_MALFORMED:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, trailers.error)
        elif verdict != HPACK_OK:
            self._refuse(stream, 431, trailers.error)
        elif stream.measured and stream.left:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "content_length_mismatch")
        elif not self._holds(stream, size, trailers.size):
            self.stream_error(h2.id, H2_ENHANCE_YOUR_CALM, "heads_unpack_too_far")
        else:
            self._touch(h2)
            self._end_request(stream, &trailers if trailers.field_count else NULL)

    cdef void on_data(self, H2Stream* h2, const char* data, size_t size):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        stream.received += size
        if stream.measured:
            if size > stream.left:                                              # RFC 9113 8.1.1
                self.stream_error(h2.id, H2_PROTOCOL_ERROR, "content_length_mismatch")
                return
            stream.left -= size
        elif self.reactor.limits.body and stream.received > self.reactor.limits.body:
            self._refuse(stream, 413, "body_too_large")
            return
        if stream.user is not None:
            stream.user.on_request_body(data, size)

    cdef void on_end(self, H2Stream* h2):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        if stream.measured and stream.left:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "content_length_mismatch")
            return
        self._end_request(stream, NULL)

    cdef void _end_request(self, ServerH2Stream stream, const Head* trailers):
        cdef StreamUser user = stream.user
        stream.request_done = True
        if stream.h2.state & STREAM_LOCAL_ENDED:      # a tunnel whose other direction ended before
            stream.user = None
            self.drop_stream(&stream.h2, ENDED_BOTH)
        if user is not None:
            user.on_request_end(trailers)

    cdef void on_stream_turn(self, H2Stream* h2):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        if stream.user is not None:
            stream.user.on_client_turn()

    cdef void _refuse(self, ServerH2Stream stream, int status, const char* why):
        """The rest of this request is not wanted: an answer if none has begun, else a reset."""
        cdef StreamUser user = stream.user
        cdef HeadOut out
        stream.user = None
        if user is not None:
            user.on_request_failed(status, why)
        if stream.head_sent and user is not None:
            self.reset_stream(&stream.h2, H2_INTERNAL_ERROR)
            return
        out_clear(&out)
        out.status = status
        out.framing = FRAMING_LENGTH
        stream.head_sent = True
        self.send_head(&stream.h2, &out)
        self.send_end(&stream.h2, NULL)
        self.want_flush()

    # --- ends of streams ----------------------------------------------------------------------------------------------

    cdef void on_dropped(self, H2Stream* h2):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        fm_bump(&self.reactor.row[WK_H2_STREAMS], <uint64_t>-1)
        self.unpacked -= stream.unpacked
        stream.unpacked = 0
        if self.streams.count == 0:
            self.rests_since = now_ms()
            self._within(REST, self.rests_since)
        if self.spares < SPARES:
            stream.next_spare, self.spare = self.spare, stream
            self.spares += 1

    cdef void on_end_sent(self, H2Stream* h2):
        if h2.state & STREAM_REMOTE_ENDED:
            self.drop_stream(h2, ENDED_BOTH)
        elif not (<ServerH2Stream>h2.owner).tunnel:
            self.reset_stream(h2, H2_NO_ERROR)                                  # RFC 9113 8.1: the rest is not wanted

    cdef void on_reset(self, H2Stream* h2, uint32_t code):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        cdef StreamUser user = stream.user
        fm_bump(&self.reactor.row[WK_H2_RX_RESET], 1)
        stream.user = None
        if user is not None:
            fm_bump(&self.reactor.row[WK_CLIENT_ABORT], 1)
            user.on_client_gone()

    cdef void on_stream_error(self, H2Stream* h2, uint32_t code, const char* why):
        cdef ServerH2Stream stream
        cdef StreamUser user
        if code != H2_REFUSED_STREAM and code != H2_ENHANCE_YOUR_CALM:
            fm_bump(&self.reactor.row[WK_H2_MESSAGING_ERROR], 1)
        if h2 != NULL:
            stream = <ServerH2Stream>h2.owner
            user, stream.user = stream.user, None
            if user is not None:
                user.on_request_failed(400, why)

    cdef void on_drained(self, H2Stream* h2):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        if stream.user is not None:
            stream.user.on_client_drained()

    cdef void tell_all(self, bint cut):
        cdef H2Stream* h2
        cdef ServerH2Stream stream
        cdef StreamUser user
        cdef uint32_t at
        while self.streams.count:
            at = 0
            if not self.next_stream(&at, &h2):
                break
            stream = <ServerH2Stream>h2.owner
            user, stream.user = stream.user, None
            self.drop_stream(h2, ENDED_BOTH)
            if user is not None and cut:
                user.on_cut()
            elif user is not None:
                fm_bump(&self.reactor.row[WK_CLIENT_ABORT], 1)
                user.on_client_gone()

    # --- the end of the connection ------------------------------------------------------------------------------------

    cdef void on_end_of_input(self):
        self.connection.close()

    cdef void on_lost(self):
        if self.connection is not None:
            self.connection.close()

    cdef void on_failed(self, uint32_t code, const char* why):
        cdef ServerH2Stream stream = self._new_stream()
        fm_bump(&self.reactor.row[word_of(why)], 1)
        self.connection.factory.refused(stream, 400, why)
        self.tell_all(False)
        self.connection.end()

    cdef void wind_down(self):
        """The client is told that the connection ends; what it has sent by then, and a little later, is still served."""
        if self.leaving != LEAVING_NOT or self.failed:
            return
        self.leaving = LEAVING_SAID
        self.leaves_at = now_ms() + self.limits.grace
        self._within(self.limits.grace, self.leaves_at - self.limits.grace)
        self.go_away(STREAM_MAX, H2_NO_ERROR, "")

    cdef void leave(self):
        if self.leaving >= LEAVING_LAST or self.failed:
            return
        self.leaving = LEAVING_LAST
        self.go_away(self.last_id, H2_NO_ERROR, "")

    cdef void check_end(self):
        if self.connection is None:
            return
        if self.leaving == LEAVING_LAST and self.streams.count == 0:
            self.connection.end()
        elif self.leaving == LEAVING_LINGER and not self.socket.writing and out_size(&self.out) == 0:
            self.socket.end_sending()

    # --- time ---------------------------------------------------------------------------------------------------------

    cdef void _within(self, uint64_t limit, uint64_t now):
        """The timer looks again by now + limit (0 = never)."""
        if limit and (self.timer.next == NULL or self.timer.deadline > now + limit + 1):
            self.reactor.wheel.start(&self.timer, self, 0, limit)

    cdef void on_timer(self, int kind) noexcept:
        cdef uint64_t now = now_ms()
        cdef uint64_t next
        if self.connection is None:
            return
        if self.leaving == LEAVING_LINGER:
            self.connection.close()
            return
        next = self._next_look(now)
        if self.connection is not None and self.leaving != LEAVING_LINGER and next:
            self.reactor.wheel.start(&self.timer, self, 0, next - now if next > now else 0)

    cdef uint64_t _next_look(self, uint64_t now):
        """Ends what is due; ms of the next time that something can be, 0 = never."""
        cdef const Timeouts* timeouts = &self.reactor.timeouts
        cdef uint64_t next = 0, due
        if self.block_id or not self.settings_seen:
            due = (self.block_since if self.block_id else self.born) + timeouts.header
            if timeouts.header and now >= due:
                fm_bump(&self.reactor.row[WK_HEADER_TIMEOUT], 1)
                if self.block_id:
                    self.fail(H2_ENHANCE_YOUR_CALM, "request_header_timeout")
                else:
                    self.connection.close()
                return 0
            next = sooner(next, due, timeouts.header)
        if self.stuck_at:
            due = self.stuck_at + timeouts.body
            if timeouts.body and now >= due:
                fm_bump(&self.reactor.row[WK_BODY_TIMEOUT], 1)
                self.connection.close()
                return 0
            next = sooner(next, due, timeouts.body)
        if self.leaving == LEAVING_SAID:
            if now >= self.leaves_at:
                self.leave()
            else:
                next = sooner(next, self.leaves_at, True)
        elif self.limits.age and self.leaving == LEAVING_NOT:
            if now >= self.born + self.limits.age:
                fm_bump(&self.reactor.row[WK_H2_MAX_AGE], 1)
                self.wind_down()
                return now
            next = sooner(next, self.born + self.limits.age, True)
        if self.streams.count:
            return sooner(next, self._look_at_streams(now), True)
        return sooner(next, self._look_at_rest(now), True)

    cdef uint64_t _look_at_rest(self, uint64_t now):
        cdef uint64_t idle = self.reactor.timeouts.idle
        if now < self.rests_since + REST:
            return self.rests_since + REST
        self._drop_spares()
        self.trim()
        if idle == 0:
            return 0
        if now < self.rests_since + idle:
            return self.rests_since + idle
        if self.leaving < LEAVING_LAST:
            fm_bump(&self.reactor.row[WK_IDLE_TIMEOUT], 1)
            self.leave()
        return 0

    cdef uint64_t _look_at_streams(self, uint64_t now):
        cdef uint64_t limit = self.reactor.timeouts.body, next = 0
        cdef H2Stream* h2
        cdef ServerH2Stream stream
        cdef uint32_t at = 0
        if limit == 0:
            return 0
        while self.next_stream(&at, &h2):
            stream = <ServerH2Stream>h2.owner
            if out_size(&h2.out) == 0 and (h2.state & (STREAM_REMOTE_ENDED | STREAM_PAUSED) or stream.patient):
                continue
            if now < h2.since + limit:
                next = sooner(next, h2.since + limit, True)
                continue
            self._stream_timed_out(h2)
            at = 0                        # the table is another one now
        return next

    cdef void _stream_timed_out(self, H2Stream* h2):
        cdef ServerH2Stream stream = <ServerH2Stream>h2.owner
        cdef StreamUser user
        fm_bump(&self.reactor.row[WK_BODY_TIMEOUT], 1)
        if out_size(&h2.out) == 0 and not stream.head_sent:
            self._refuse(stream, 408, "request_body_timeout")
            return
        user, stream.user = stream.user, None
        self.reset_stream(h2, H2_CANCEL)
        if user is not None:
            user.on_client_gone()


cdef bint _is_grpc(const Head* head) noexcept nogil:
    cdef int i
    for i in range(head.field_count):
        if head.fields[i].id == HDR_CONTENT_TYPE:
            return head.fields[i].value.len >= 16 and memcmp(head.base + head.fields[i].value.off, "application/grpc", 16) == 0
    return False


cdef class ServerH2Stream(ServerStream):
    """Whatever is said after the end goes nowhere: the frames know."""

    cdef void send_interim(self, const HeadOut* out):
        if not self.head_sent:
            self.frames.send_head(&self.h2, out)

    cdef void send_head(self, HeadOut* out):
        self.head_sent = True
        self.bodyless = out.length_known_only or out.framing == FRAMING_NONE
        if out.framing == FRAMING_TUNNEL:
            self.tunnel = True
            out.status = 200              # RFC 8441 5
        self.frames.send_head(&self.h2, out)

    cdef void send_body(self, const char* data, size_t size):
        if not self.bodyless:
            self.frames.send_data(&self.h2, data, size)
            if out_size(&self.h2.out) > 0:
                self.frames._within(self.reactor.timeouts.body, self.h2.since)

    cdef void send_end(self, const Head* trailers):
        if not self.tunnel or self.request_done:
            self.user = None
        self.frames.send_end(&self.h2, trailers if not self.bodyless else NULL)

    cdef void abort_response(self):
        self.user = None
        self.frames.reset_stream(&self.h2, H2_INTERNAL_ERROR)

    cdef void flush(self):
        self.frames.want_flush()

    cdef size_t waiting(self) noexcept:
        return out_size(&self.h2.out)

    cdef void pause_request(self):
        self.frames.pause(&self.h2)

    cdef void resume_request(self):
        self.frames.resume(&self.h2)
        if not (self.request_done or self.patient):
            self.frames._within(self.reactor.timeouts.body, self.h2.since)        # nobody looked while it could not send
