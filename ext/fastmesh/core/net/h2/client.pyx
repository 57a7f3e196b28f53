"""See client.pxd."""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.net.failure cimport (
    FAIL_CLOSED, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_PROTOCOL, FAIL_REFUSED, FAIL_RESET, FAIL_STALE,
)
from fastmesh.core.net.h2.budget cimport bucket_over
from fastmesh.core.net.h2.connection cimport ENDED_BOTH, ENDED_BY_US, H2Connection, header_text
from fastmesh.core.net.h2.stream cimport (
    STREAM_LOCAL_ENDED, STREAM_OPEN, STREAM_REMOTE_ENDED, H2Stream,
)
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.stream cimport ClientStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport TIMER_CONNECT, ConnectionOwner
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.h2_frame cimport (
    H2_CANCEL, H2_COMPRESSION_ERROR, H2_ENHANCE_YOUR_CALM, H2_NO_ERROR, H2_PROTOCOL_ERROR, H2_REFUSED_STREAM, H2_STREAM_CLOSED,
    PREFACE, PREFACE_SIZE, STREAM_MAX,
)
from fastmesh.core.wire.hpack cimport (
    HPACK_ERROR, HPACK_FLOOD, HPACK_OK, decode_nothing, decode_response, decode_trailers,
)
from fastmesh.core.wire.message cimport FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, Head

cdef enum:
    TIMER_IDLE = 1            # of ClientH2
    TIMER_PING = 2            # of ClientFrames
    INTERIMS_MAX = 16         # as for HTTP/1
    SPARES = 256              # what one turn can end, so that the next one makes no objects
    MANY = 10000              # an endpoint may reset what we ask, and measure our line with pings (gRPC does): only floods end it


cdef ClientH2 connect_h2(Reactor reactor, ConnectionOwner owner, Endpoint endpoint, Cluster cluster, Tls tls, uint32_t places):
    cdef ClientH2 connection = ClientH2.__new__(ClientH2)
    connection.cluster = cluster
    connection.places = places
    return connection if connection.reach(reactor, owner, endpoint, cluster, tls) else None


cdef class ClientH2(Upstream):
    cdef void on_established(self):
        cdef ClientFrames frames = ClientFrames.__new__(ClientFrames)
        frames.connection = self
        frames.rests_since = self.born
        self.frames = frames
        if out_append(&frames.out, PREFACE, PREFACE_SIZE) < 0:
            self.close(FAIL_RESET)
            return
        frames.open_on(self, False)
        frames.own_limits = frames.limits[0]
        frames.own_limits.resets = frames.own_limits.resets_per_second = MANY
        frames.own_limits.chatter = frames.own_limits.chatter_per_second = MANY
        frames.limits = &frames.own_limits
        frames.watch_over()
        self.owner.on_connected(self)

    cdef void on_unreachable(self, int failure):
        self.close(failure)

    cdef void on_readable(self):
        self.frames.receive()
        if self.fd >= 0 and self.frames.unheard and self.quiet():
            self.close(FAIL_RESET)

    cdef void on_writable(self):
        if self.established:
            self.frames.flush()
        else:
            self.reached()

    cdef void on_turn_end(self):
        if self.fd >= 0:
            self.frames.end_turn()

    cdef void on_hangup(self):
        self.close(FAIL_RESET)

    cdef void rest(self, uint64_t limit):
        self.idle_limit = limit
        if limit and (self.timer.next == NULL or self.timer.deadline > now_ms() + limit + 1):
            self.reactor.wheel.start(&self.timer, self, TIMER_IDLE, limit)

    cdef void on_timer(self, int kind) noexcept:
        cdef uint64_t now = now_ms()
        if kind == TIMER_CONNECT:
            if not self.established:
                self.close(FAIL_CONNECT_TIMEOUT)
        elif self.fd >= 0 and self.idle_limit and self.frames.streams.count == 0:
            if now >= self.frames.rests_since + self.idle_limit:
                self.close(FAIL_NONE)
            else:
                self.reactor.wheel.start(&self.timer, self, TIMER_IDLE, self.frames.rests_since + self.idle_limit - now)

    cdef void close(self, int failure):
        cdef ClientFrames frames = self.frames
        if self.fd < 0:
            return
        if frames is not None:
            if failure == FAIL_NONE and not frames.ended:
                frames.go_away(0, H2_NO_ERROR, "")
            frames.leaving = frames.ended = True
            if not frames.unheard and not self.writing:
                frames._push()            # a GOAWAY, if the kernel takes it
            self.reactor.wheel.cancel(&frames.timer)
        self.reactor.wheel.cancel(&self.timer)
        self.close_descriptor()
        self.owner.on_closed(self, failure)
        if frames is not None:
            frames._lose_above(0, failure)
            frames.forget_all()
            frames.socket = None
            frames.connection = None
            frames.spare, frames.spares = None, 0


cdef class ClientFrames(H2Connection):
    # --- streams ------------------------------------------------------------------------------------------------------

    cdef uint32_t room(self) noexcept:
        cdef uint32_t most
        cdef Cluster cluster
        if self.leaving or self.ended:
            return 0
        cluster = self.connection.cluster
        most = self.peer.max_streams if self.settings_seen else self.connection.places
        if cluster.max_streams and cluster.max_streams < most:
            most = cluster.max_streams
        most = most - self.streams.count if most > self.streams.count else 0
        if cluster.max_requests_per_connection and cluster.max_requests_per_connection < self.opened + most:
            most = cluster.max_requests_per_connection - <uint32_t>self.opened \
                if cluster.max_requests_per_connection > self.opened else 0
        return most

    cdef ClientStream assign(self, StreamUser user):
        cdef ClientH2Stream stream
        # One that somebody on the stack still refers to is left alone
        if self.spares > 0 and (<PyObject*>self.spare).ob_refcnt == 1:
            stream = self.spare
            self.spare, stream.next_spare = stream.next_spare, None
            self.spares -= 1
        else:
            stream = ClientH2Stream.__new__(ClientH2Stream)
            stream.reactor = self.reactor
            stream.endpoint = self.connection.endpoint
            stream.tls = self.connection.tls
            stream.frames = self
            stream.minor = 2
        stream.user = user
        stream.reused = self.opened > 0
        stream.answered = stream.measured = stream.bodyless = stream.tunnel = False
        stream.interims = 0
        return stream

    cdef void leave(self):
        self.leaving = True

    cdef void take(self, const char* data, size_t size):
        self.heard += 1
        H2Connection.take(self, data, size)

    cdef bint _decoded(self, int verdict):
        if verdict == HPACK_ERROR:
            self.fail(H2_COMPRESSION_ERROR, "bad_header_block")
        elif verdict == HPACK_FLOOD:
            self.fail(H2_ENHANCE_YOUR_CALM, "header_block_too_large")
        else:
            return True
        return False

    cdef void on_new_headers(self, uint32_t id, const char* block, size_t size, bint end):
        cdef int how
        if not self._decoded(decode_nothing(&self.decoder, block, size, &self.reactor.response_limits, header_text())):
            return
        if self._idle(id):
            self.fail(H2_PROTOCOL_ERROR, "headers_on_idle_stream")
            return
        how = self.how_ended(id)
        if how == ENDED_BOTH:
            self.fail(H2_STREAM_CLOSED, "headers_after_end")
        elif bucket_over(&self.chatter, self.limits.chatter, self.limits.chatter_per_second, now_ms()):
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_headers")      # of requests that we have cancelled

    cdef void on_headers(self, H2Stream* h2, const char* block, size_t size, bint end):
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        cdef Head head
        cdef bint first = not stream.answered or stream.interims > 0
        cdef int verdict
        if h2.state & STREAM_REMOTE_ENDED:
            if self._decoded(decode_nothing(&self.decoder, block, size, &self.reactor.response_limits, header_text())):
                self.stream_error(h2.id, H2_STREAM_CLOSED, "headers_after_end")
            return
        if first:
            verdict = decode_response(&self.decoder, block, size, end, stream.to_head, &self.reactor.response_limits,
                                      header_text(), &head)
        else:
            verdict = decode_trailers(&self.decoder, block, size, &self.reactor.response_limits, header_text(), &head)
        if not self._decoded(verdict):
            return
        stream.answered = True
        if end:
            h2.state |= STREAM_REMOTE_ENDED
        if verdict != HPACK_OK:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, head.error)
        elif not first and not end:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "trailers_without_end")
        else:
            self._touch(h2)
            if stream.upgrading and first and 200 <= head.status < 300:
                head.framing = FRAMING_TUNNEL
                stream.tunnel = True
            if not first:
                self._end(h2, &head if head.field_count else NULL)
            elif head.status < 200:
                self._interim(stream, &head)
            else:
                self._response(stream, &head, end)

    cdef void _interim(self, ClientH2Stream stream, const Head* head):
        stream.interims += 1
        if stream.interims > INTERIMS_MAX:
            self.stream_error(stream.h2.id, H2_PROTOCOL_ERROR, "too_many_interim_responses")
        else:
            stream.user.on_interim(head)

    cdef void _response(self, ClientH2Stream stream, const Head* head, bint end):
        cdef StreamUser user = stream.user
        stream.interims = 0
        stream.bodyless = head.framing == FRAMING_NONE
        stream.measured = head.framing == FRAMING_LENGTH
        stream.left = head.length
        user.on_response(head)
        if end and stream.user is user:   # the exchange may have let go of this stream (it tries another one)
            self._end(&stream.h2, NULL)

    cdef void on_data(self, H2Stream* h2, const char* data, size_t size):
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        if not stream.answered or stream.interims:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "data_before_headers")
            return
        if stream.bodyless or (stream.measured and size > stream.left):             # RFC 9113 8.1.1
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "content_length_mismatch")
            return
        stream.left -= size
        stream.user.on_response_body(data, size)

    cdef void on_end(self, H2Stream* h2):
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        if not stream.answered or stream.interims:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "data_before_headers")
            return
        self._end(h2, NULL)

    cdef void _end(self, H2Stream* h2, const Head* trailers):
        """The response is complete."""
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        cdef StreamUser user
        if stream.measured and stream.left:
            self.stream_error(h2.id, H2_PROTOCOL_ERROR, "content_length_mismatch")
            return
        if stream.tunnel and not h2.state & STREAM_LOCAL_ENDED:
            stream.user.on_response_end(NULL)         # our direction goes on; `on_end_sent` is the end
            return
        user, stream.user = stream.user, None
        if h2.state & STREAM_LOCAL_ENDED:
            self.drop_stream(h2, ENDED_BOTH)
        else:
            self.reset_stream(h2, H2_CANCEL)          # answered before it was asked in full: the rest is not sent
        self._let_go(stream)
        user.on_response_end(trailers)

    cdef void on_stream_turn(self, H2Stream* h2):
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        if stream.user is not None:
            stream.user.on_upstream_turn()

    cdef void on_drained(self, H2Stream* h2):
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        if stream.user is not None:
            stream.user.on_upstream_drained()

    cdef void on_end_sent(self, H2Stream* h2):
        if h2.state & STREAM_REMOTE_ENDED:
            (<ClientH2Stream>h2.owner).user = None
            self.drop_stream(h2, ENDED_BOTH)
            self._let_go(<ClientH2Stream>h2.owner)

    # --- ends of streams ----------------------------------------------------------------------------------------------

    cdef void _let_go(self, ClientH2Stream stream):
        if self.connection is None:
            return
        if self.streams.count == 0:
            self.rests_since = now_ms()
            self.trim()
        if self.spares < SPARES:
            stream.next_spare, self.spare = self.spare, stream
            self.spares += 1
        self.connection.owner.on_free(self.connection)

    cdef void _lose(self, ClientH2Stream stream, int failure):
        cdef StreamUser user
        if (failure == FAIL_CLOSED or failure == FAIL_RESET) and not stream.answered and stream.reused and stream.heard == self.heard:
            failure = FAIL_STALE
        user, stream.user = stream.user, None
        if user is not None:
            user.on_upstream_failed(failure)

    cdef void _lose_above(self, uint32_t last_id, int failure):
        cdef ClientH2Stream stream
        cdef list lost = []
        cdef H2Stream* h2
        cdef uint32_t at = 0
        while self.next_stream(&at, &h2):
            if h2.id > last_id:
                lost.append(<ClientH2Stream>h2.owner)
        for stream in lost:               # out of the table first: whoever is told may begin another one
            self.drop_stream(&stream.h2, ENDED_BY_US)
        for stream in lost:
            self._lose(stream, failure)

    cdef void on_reset(self, H2Stream* h2, uint32_t code):
        cdef ClientH2Stream stream = <ClientH2Stream>h2.owner
        self._let_go(stream)
        # What was refused unprocessed may be sent again (RFC 9113 8.7); an answer that has begun says otherwise
        self._lose(stream, FAIL_REFUSED if code == H2_REFUSED_STREAM and not stream.answered else FAIL_RESET)

    cdef void on_stream_error(self, H2Stream* h2, uint32_t code, const char* why):
        cdef ClientH2Stream stream
        if h2 != NULL:
            stream = <ClientH2Stream>h2.owner
            self._let_go(stream)
            self._lose(stream, FAIL_PROTOCOL)

    # --- the connection -----------------------------------------------------------------------------------------------

    cdef void on_settings(self):
        if self.connection is not None:
            self.connection.owner.on_free(self.connection)    # there may be more room now

    cdef void on_goaway(self, uint32_t last_id, uint32_t code):
        self.leaving = True
        self._lose_above(last_id, FAIL_REFUSED)
        if self.connection is not None:
            self.connection.owner.on_free(self.connection)

    cdef void on_failed(self, uint32_t code, const char* why):
        self.connection.close(FAIL_PROTOCOL)

    cdef void on_end_of_input(self):
        self.connection.close(FAIL_CLOSED)

    cdef void on_lost(self):
        """Reading met an error, or writing: then a GOAWAY, or answers, may still be there to read."""
        if self.connection is None:
            return
        if self.unheard or self.broken:
            self.connection.close(FAIL_RESET)
            return
        self.unheard = self.ended = True
        out_free(&self.out)
        self.reactor.again(self.connection)
        self.connection.watch_read()

    cdef void watch_over(self):
        cdef uint32_t interval = self.connection.cluster.ping_interval
        if interval and self.timer.next == NULL:
            self.ping_due = now_ms() + interval
            self.reactor.wheel.start(&self.timer, self, TIMER_PING, interval)

    cdef void on_timer(self, int kind) noexcept:
        cdef Cluster cluster
        cdef uint64_t now = now_ms(), patience, next
        if self.connection is None:
            return
        cluster = self.connection.cluster
        if cluster.ping_interval == 0:
            return                        # no longer wanted
        patience = cluster.ping_timeout if cluster.ping_timeout else cluster.ping_interval
        if self.ping_sent and now >= self.ping_sent + patience:
            self.connection.close(FAIL_RESET)
            return
        if self.ping_sent == 0 and now >= self.ping_due:
            self.send_ping()
            self.ping_due = now + cluster.ping_interval
        if self.connection is None:
            return
        next = self.ping_sent + patience if self.ping_sent else self.ping_due
        self.reactor.wheel.start(&self.timer, self, TIMER_PING, next - now if next > now else 1)


cdef class ClientH2Stream(ClientStream):
    cdef bint takes_upgrade(self) noexcept:
        return self.frames.settings_seen and self.frames.peer.connect_protocol

    cdef void send_request(self, const HeadOut* out, bint to_head):
        cdef ClientFrames frames = self.frames
        cdef uint32_t id = frames.last_id + 2 if frames.last_id else 1
        self.to_head = to_head
        self.upgrading = out.protocol_size > 0
        self.heard = frames.heard
        if frames.ended or frames.add_stream(&self.h2, id, self) < 0:
            frames._lose(self, FAIL_RESET)
            return
        frames.last_id = id
        if id >= STREAM_MAX - 2:
            frames.leaving = True
        frames.send_head(&self.h2, out)

    cdef void send_body(self, const char* data, size_t size):
        self.frames.send_data(&self.h2, data, size)

    cdef void send_end(self, const Head* trailers):
        self.frames.send_end(&self.h2, trailers)

    cdef int flush(self):
        self.frames.want_flush()
        return 1

    cdef size_t waiting(self) noexcept:
        return out_size(&self.h2.out)

    cdef void cancel(self):
        cdef ClientFrames frames = self.frames
        self.user = None
        if not self.h2.state & STREAM_OPEN:
            return
        if self.h2.state & STREAM_REMOTE_ENDED and self.h2.state & STREAM_LOCAL_ENDED:
            frames.drop_stream(&self.h2, ENDED_BOTH)
        else:
            frames.reset_stream(&self.h2, H2_CANCEL)
        frames._let_go(self)

    cdef void pause_response(self):
        self.frames.pause(&self.h2)

    cdef void resume_response(self):
        self.frames.resume(&self.h2)
