"""See server.pxd. Over 600 lines: the states of one connection, which nearly every method reads; bytes are read and written in wire.

Reading stays armed while a response is awaited, so that a client that leaves is noticed at once; what it sends meanwhile is held,
up to the size of a head. A FIN while the response is awaited may be a half-close or a client that has gone: after PROBE_AFTER ms
the client is sent an interim 100 (which every HTTP/1.1 client skips, RFC 9110 15.2); the reset that a closed socket answers with
tells the two apart.

What comes behind a request for an upgrade is held like a pipelined one: it goes into the tunnel behind the 101, else it is the next.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport (
    WK_BODY_TIMEOUT, WK_CLIENT_ABORT, WK_CX_ACTIVE, WK_HEADER_TIMEOUT, WK_IDLE_TIMEOUT, WK_OVERLOAD_ENDED, WK_RX_BYTES,
    WK_TX_BYTES,
)
from fastmesh.core.base.outbuf cimport out_append, out_consume, out_free, out_reserve, out_size
from fastmesh.core.net.readiness cimport (
    EAGAIN, EINTR, HIGH_WATER, LOW_WATER, SCRATCH, SOL_SOCKET, SO_LINGER, errno, setsockopt,
)
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.stream cimport CODEC_H2
from fastmesh.core.wire.h1_parse cimport (
    CHUNK_BAD, CHUNK_DATA, CHUNK_END, CHUNK_MORE, H1_BAD, H1_DONE, H1_MORE, chunk_free, chunk_next, chunk_start,
    chunk_trailers, head_worth_parsing, parse_request,
)
from fastmesh.core.wire.h1_write cimport (
    CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE, CONNECTION_UNSAID, HeadOut, out_clear, write_chunk_size, write_last_chunk,
    write_response,
)
from fastmesh.core.wire.h2_frame cimport PREFACE, PREFACE_SIZE
from fastmesh.core.wire.message cimport (
    FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, Head,
)

cdef enum:
    TIMER_MAIN = 0
    TIMER_PROBE = 1
    PROBE_AFTER = 30          # ms
    DIRECT = 16384            # body pieces from this size on are sent from where they lie
    HELD_MAX = 65536          # bytes of pipelined requests that wait
    TURN_MAX = 32             # requests of one connection in one turn of the loop
    LINGER_BYTES = 1 << 20

cdef struct LingerOption:
    int on
    int seconds


cdef inline bint _begins_preface(const char* data, size_t size) noexcept nogil:
    return memcmp(data, PREFACE, size if size < PREFACE_SIZE else PREFACE_SIZE) == 0


cdef class ServerH1(ServerStream):
    def __dealloc__(self):
        out_free(&self.held)
        out_free(&self.out)
        chunk_free(&self.chunks)

    cdef void start(self, const char* data, size_t size):
        self.since = now_ms()
        self._within(self.reactor.timeouts.header)
        self.watch_read()
        if size > 0:
            self._process(data, size)

    # --- in -----------------------------------------------------------------------------------------------------------

    cdef void on_readable(self):
        cdef char* scratch = self.reactor.scratch
        cdef ssize_t got = self.receive(scratch, SCRATCH)
        if got > 0:
            fm_bump(&self.reactor.row[WK_RX_BYTES], got)
            self._process(scratch, got)
        elif got == 0:
            self._end_of_input()
        elif errno != EAGAIN and errno != EINTR:
            self._gone()

    cdef void _process(self, const char* data, size_t size):
        """Use up what has arrived: data[0:size], behind what is held."""
        cdef size_t used
        cdef int turns = 0
        cdef bint holding = out_size(&self.held) > 0
        if self.processing:
            return
        if holding:
            if size > 0 and out_append(&self.held, data, size) < 0:
                self._gone()
                return
            data, size = self.held.data + self.held.start, out_size(&self.held)
        self.processing = True
        while size > 0 and self.state != SERVER_CLOSED:
            used = self._take(data, size)
            if used == 0:
                break
            data += used
            size -= used
            if holding:
                self.held.start += used
            turns += 1
            if turns >= TURN_MAX and self.state == SERVER_HEAD and size > 0:
                self.reactor.loop.call_soon(self._continue)
                break
        self.processing = False
        if self.state == SERVER_CLOSED:
            out_free(&self.held)
            return
        if holding:
            if size == 0:
                out_free(&self.held)
        elif size > 0 and out_append(&self.held, data, size) < 0:
            self._gone()
            return
        if self.state == SERVER_WAIT and out_size(&self.held) > HELD_MAX:
            self.unwatch_read()
        if self.half_closed and self.state == SERVER_TUNNEL and size == 0 and not self.request_done and self.user is not None:
            self.request_done = True
            self.user.on_request_end(NULL)
        self.flush()
        if self.user is not None:
            self.user.on_client_turn()

    def _continue(self):
        if self.state != SERVER_CLOSED:
            self._process(NULL, 0)

    cdef size_t _take(self, const char* data, size_t size):
        """Bytes used of data[0:size]; 0 = wait for more."""
        if self.state == SERVER_HEAD:
            return self._take_head(data, size)
        if self.state == SERVER_BODY:
            return self._take_body(data, size)
        if self.state == SERVER_TUNNEL:
            if self.paused or self.user is None:
                return 0
            self.user.on_request_body(data, size)
            return size
        if self.state == SERVER_LINGER:
            self.received += size
            if self.received > LINGER_BYTES:
                self.close()
            return size
        return 0

    cdef size_t _take_head(self, const char* data, size_t size):
        cdef StreamUser user = self.user
        cdef int verdict
        cdef size_t used
        cdef Head* head
        if self.seen and not head_worth_parsing(data, self.seen, size):
            self.seen = size
            return 0
        if self.requests == 0 and data[0] == c'P' and _begins_preface(data, size):
            if size < PREFACE_SIZE:
                return self._more_head(size)
            self._hand_to_h2(data, size)
            return size
        if user is None:
            user = self.user = self.factory.make_user(self)
        head = &user.head
        verdict = parse_request(data, size, &self.reactor.limits, head)
        if verdict == H1_MORE:
            self.user = None              # a slow head costs its bytes, not an exchange
            return self._more_head(size)
        self.head_begun = False
        self.seen = 0
        if verdict == H1_BAD:
            self.factory.refused(self, head.error_status, head.error)
            self.refuse(head.error_status, head.error)
            return size
        self.requests += 1
        self.minor = head.minor
        self.keep_alive = head.keep_alive
        self.head_sent = self.response_done = self.request_done = self.bodyless = self.last = False
        self.received = 0
        self.framing = head.framing
        if head.framing == FRAMING_LENGTH and head.length > 0:
            self.left = head.length
            self.state = SERVER_BODY
        elif head.framing == FRAMING_CHUNKED:
            chunk_start(&self.chunks)
            self.state = SERVER_BODY
        else:
            self.request_done = True
            self.state = SERVER_WAIT
        if self.state == SERVER_BODY:
            self.since = now_ms()
            self._within(self.reactor.timeouts.body)
        used = head.size
        user.on_request(self)
        return used

    cdef size_t _more_head(self, size_t size):
        self.seen = size
        if not self.head_begun:
            self.head_begun = True
            self.since = now_ms()
            self._within(self.reactor.timeouts.header)
        return 0

    cdef void _hand_to_h2(self, const char* data, size_t size):
        """HTTP/2 with prior knowledge (RFC 9113 3.3)."""
        self.state = SERVER_CLOSED
        self.reactor.wheel.cancel(&self.timer)
        self.factory.codec_found(self, CODEC_H2, data, size)

    cdef size_t _take_body(self, const char* data, size_t size):
        if self.paused:
            return 0
        self.since = now_ms()
        if self.framing == FRAMING_CHUNKED:
            return self._take_chunks(data, size)
        if size > self.left:
            size = self.left
        self.left -= size
        self.received += size
        self.user.on_request_body(data, size)
        if self.left == 0 and self.state == SERVER_BODY:
            self._end_of_request(NULL)
        return size

    cdef size_t _take_chunks(self, const char* data, size_t size):
        cdef size_t used = 0, total = 0, piece_size = 0
        cdef const char* piece = NULL
        cdef int step
        cdef Head trailers
        while total < size and self.state == SERVER_BODY and not self.paused:
            step = chunk_next(&self.chunks, data + total, size - total, &self.reactor.limits, &used, &piece, &piece_size)
            total += used
            if step == CHUNK_DATA:
                self.received += piece_size
                self.user.on_request_body(piece, piece_size)
            elif step == CHUNK_END:
                if chunk_trailers(&self.chunks, &self.reactor.limits, &trailers) != H1_DONE:
                    self._bad_body(400, "bad_trailers")
                    return size
                self._end_of_request(&trailers if trailers.field_count else NULL)
                chunk_free(&self.chunks)
                return total
            elif step == CHUNK_BAD:
                self._bad_body(self.chunks.error_status, self.chunks.error)
                return size
            elif used == 0:
                break
        return total

    cdef void _bad_body(self, int status, const char* why):
        """The rest of this message cannot be read: the exchange is told, nothing after it is looked at."""
        cdef StreamUser user = self.user
        self.keep_alive = False
        if user is not None:
            user.on_request_failed(status, why)
        if self.state != SERVER_CLOSED and self.state != SERVER_LINGER:
            self.refuse(status, why)

    cdef void _end_of_request(self, const Head* trailers):
        self.request_done = True
        self.state = SERVER_WAIT
        self.user.on_request_end(trailers)

    cdef void _end_of_input(self):
        """FIN from the client."""
        self.half_closed = True
        self.keep_alive = False
        if self.state == SERVER_WAIT and self.user is not None:
            self.unwatch_read()
            self.since = now_ms()
            self.reactor.wheel.start(&self.probe, self, TIMER_PROBE, PROBE_AFTER)
        elif self.state == SERVER_TUNNEL:
            self.unwatch_read()
            self._process(NULL, 0)
        elif self.state == SERVER_HEAD and out_size(&self.out) > 0:
            self.unwatch_read()           # the last response is still on its way; then close
            self.state = SERVER_WAIT
        else:
            self._gone()

    # --- out ----------------------------------------------------------------------------------------------------------

    cdef void send_interim(self, const HeadOut* out):
        if self.minor >= 1 and not self.head_sent:
            write_response(&self.out, out)

    cdef void send_head(self, HeadOut* out):
        """The final head. Chooses keep-alive or close, and close-delimited framing for HTTP/1.0 clients."""
        if self.reactor.parting or self.last or not self.request_done:
            if self.keep_alive and self.reactor.parting and not self.reactor.draining:
                fm_bump(&self.reactor.row[WK_OVERLOAD_ENDED], 1)
            self.keep_alive = False       # an answer before the end of the request ends the connection
        self.head_sent = True
        if out.framing == FRAMING_TUNNEL:
            self._open_tunnel(out)
            return
        if out.framing == FRAMING_NONE and not out.length_known_only and out.status != 204 and out.status != 304:
            out.framing = FRAMING_LENGTH  # HTTP/1 has to say that nothing follows
            out.length = 0
        if out.framing == FRAMING_CHUNKED and self.minor == 0:
            out.framing = FRAMING_CLOSE
        if out.framing == FRAMING_CLOSE:
            self.keep_alive = False
        self.out_framing = out.framing
        self.bodyless = out.length_known_only
        if not self.keep_alive:
            out.connection = CONNECTION_CLOSE
        elif self.minor == 0:
            out.connection = CONNECTION_KEEP_ALIVE
        else:
            out.connection = CONNECTION_UNSAID
        if write_response(&self.out, out) < 0:
            self._gone()

    cdef void _open_tunnel(self, HeadOut* out):
        self.state = SERVER_TUNNEL
        self.out_framing = FRAMING_TUNNEL
        self.keep_alive = self.request_done = False      # the end of the client's bytes is still to come
        self.reactor.wheel.cancel(&self.timer)           # the exchange watches over tunnels
        self.reactor.wheel.cancel(&self.probe)
        if write_response(&self.out, out) < 0:
            self._gone()
        elif not self.half_closed:
            self.watch_read()

    cdef void send_body(self, const char* data, size_t size):
        cdef char[20] prefix
        cdef int prefix_size
        if self.bodyless or size == 0 or self.fd < 0:
            return
        if self.out_framing == FRAMING_CHUNKED:
            prefix_size = write_chunk_size(prefix, size)
            out_append(&self.out, prefix, prefix_size)
            out_append(&self.out, data, size)
            out_append(&self.out, "\r\n", 2)
        elif size >= DIRECT:
            self._send_direct(data, size)
        else:
            out_append(&self.out, data, size)

    cdef void _send_direct(self, const char* data, size_t size):
        """A large piece: what waits and the piece leave together, only the rest is copied."""
        cdef size_t queued = out_size(&self.out)
        cdef ssize_t sent
        if self.writing:
            out_append(&self.out, data, size)
            return
        sent = self.transmit_two(self.out.data + self.out.start, queued, data, size)
        if sent < 0:
            sent = 0                      # flush meets the error again, and deals with it
        else:
            fm_bump(&self.reactor.row[WK_TX_BYTES], sent)
        if <size_t>sent >= queued:
            if queued:
                out_consume(&self.out, queued)
            sent -= queued
            if <size_t>sent < size:
                out_append(&self.out, data + sent, size - sent)
        else:
            out_consume(&self.out, sent)
            out_append(&self.out, data, size)

    cdef void send_end(self, const Head* trailers):
        if self.out_framing == FRAMING_CHUNKED and not self.bodyless:
            write_last_chunk(&self.out, trailers)
        self.response_done = True

    cdef bint takes_splice(self) noexcept:
        return self.fd >= 0 and self.tls is None and self.out_framing == FRAMING_LENGTH and not self.bodyless \
            and out_size(&self.out) == 0

    cdef bint splice_from(self, Pipe pipe):
        cdef ssize_t moved = 0
        while self.fd >= 0 and pipe.inside > 0:
            moved = pipe.empty(self.fd)
            if moved <= 0:
                break
            fm_bump(&self.reactor.row[WK_TX_BYTES], moved)
        if pipe.inside == 0:
            if self.half_closed:
                self.since = now_ms()
            self.unwatch_write()
            return True
        if self.fd >= 0:
            if errno == EAGAIN:
                self.since = now_ms()
                self._within(self.reactor.timeouts.body)
                self.watch_write()
            else:
                self._gone()
        return False

    cdef void flush(self):
        cdef size_t queued = out_size(&self.out)
        cdef int verdict
        if self.fd < 0:
            return
        if queued:
            verdict = self.send_out(&self.out)
            fm_bump(&self.reactor.row[WK_TX_BYTES], queued - out_size(&self.out))
            if verdict < 0:
                self._gone()
                return
            if verdict == 0 or self.half_closed:
                self.since = now_ms()
                self._within(self.reactor.timeouts.body)
        if self.state == SERVER_TUNNEL:
            self._settle_tunnel()
        elif self.response_done:
            self._after_response()
        elif self.state == SERVER_WAIT and self.user is None and self.half_closed and out_size(&self.out) == 0:
            self.close()

    cdef void _after_response(self):
        """The response is out (or queued): on to the next request, or close."""
        if out_size(&self.out) > HIGH_WATER:
            return                        # a client that does not read gets no next answer yet
        if self.keep_alive and self.request_done:
            self.response_done = self.head_sent = False
            self.user = None
            self.state = SERVER_HEAD
            self.since = now_ms()
            if self.timer.next == NULL:
                self._within(self.reactor.timeouts.idle)
            if out_size(&self.held) > 0 and not self.processing:
                self.watch_read()
                self._process(NULL, 0)
            return
        if out_size(&self.out) > 0:
            return
        if self.half_closed or (self.request_done and out_size(&self.held) == 0 and not self.processing):
            self.close()                  # all was read and all was sent
        else:
            self._linger()

    cdef void _settle_tunnel(self):
        """After a flush: take in what was held, pass on the end of the endpoint's bytes, close when both have ended."""
        if self.user is not None and not (self.paused or self.processing or self.request_done) and (out_size(&self.held) or self.half_closed):
            self._process(NULL, 0)
        elif self.response_done and out_size(&self.out) == 0:
            if self.request_done:
                self.close()
            else:
                self.end_sending()

    cdef void refuse(self, int status, const char* why):
        """Answer a request that could not be read, throw the rest away, and close."""
        cdef HeadOut out
        self.keep_alive = False
        self.user = None
        if self.head_sent and not self.response_done:
            self.abort_response()
            return
        out_clear(&out)
        out.status = status
        out.framing = FRAMING_LENGTH
        out.connection = CONNECTION_CLOSE
        write_response(&self.out, &out)
        self.head_sent = True
        self.response_done = True
        self.request_done = False
        self.state = SERVER_LINGER
        self.flush()

    cdef void on_writable(self):
        cdef StreamUser user = self.user
        self.flush()
        if self.fd >= 0 and user is not None and out_size(&self.out) <= LOW_WATER and self.user is user:
            user.on_client_drained()

    cdef void on_hangup(self):
        if self.state == SERVER_TUNNEL and self.shut:
            self.mute()                   # both sides have said their last; what the client said is read when there is room
        else:
            self._gone()

    cdef size_t waiting(self) noexcept:
        return out_size(&self.out)

    # --- life ---------------------------------------------------------------------------------------------------------

    cdef void pause_request(self):
        self.paused = True
        self.unwatch_read()

    cdef void resume_request(self):
        if self.paused:
            self.paused = False
            self.watch_read()
            if out_size(&self.held) > 0 and not self.processing:
                self._process(NULL, 0)

    cdef void _linger(self):
        """Stop writing, read on for a moment: closing with unread bytes would reset the answer away."""
        if self.fd < 0:
            return
        self.end_sending()
        self.state = SERVER_LINGER
        self.user = None
        self.response_done = False
        self.received = 0
        if not self.processing:
            out_free(&self.held)
        self.paused = False
        self.since = now_ms()
        self.reactor.wheel.start(&self.timer, self, TIMER_MAIN, self.reactor.timeouts.linger)
        self.watch_read()

    cdef void abort_response(self):
        """End in the middle: a reset, so that nobody takes what was sent for a complete message."""
        cdef LingerOption hard
        if self.fd >= 0:
            if self.tls is not None:
                self.tls.silent = True
            if self.out_framing == FRAMING_CLOSE:
                hard.on, hard.seconds = 1, 0
                setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))
            else:
                self.send_out(&self.out)
        self.user = None
        self.close()

    cdef void _gone(self):
        """The client has left, or never finished its request."""
        cdef StreamUser user = self.user
        self.user = None
        self.close()
        if user is not None:
            fm_bump(&self.reactor.row[WK_CLIENT_ABORT], 1)
            user.on_client_gone()

    cdef void close(self):
        if self.state == SERVER_CLOSED:
            return
        self.state = SERVER_CLOSED
        self.reactor.wheel.cancel(&self.timer)
        self.reactor.wheel.cancel(&self.probe)
        self.close_descriptor()
        out_free(&self.out)
        if not self.processing:
            out_free(&self.held)
        self.user = None
        self.factory.connection_closed(self)

    cdef void wind_down(self):
        self.keep_alive = False
        self.close_if_idle()

    cdef void cut(self):
        cdef StreamUser user = self.user
        self.abort_response()
        if user is not None:
            user.on_cut()

    cdef void close_if_idle(self):
        if self.state == SERVER_HEAD and out_size(&self.held) == 0 and out_size(&self.out) == 0:
            self.close()

    cdef void close_if_quiet(self, uint64_t since):
        if self.state == SERVER_HEAD and self.requests and not self.head_begun and self.since <= since \
                and out_size(&self.held) == 0 and out_size(&self.out) == 0:
            fm_bump(&self.reactor.row[WK_OVERLOAD_ENDED], 1)
            self.close()

    cdef void on_timer(self, int kind) noexcept:
        cdef uint64_t now = now_ms()
        cdef uint64_t limit, waited
        if self.state == SERVER_CLOSED:
            return
        if kind == TIMER_PROBE:
            self._probe_client()
            return
        if self.state == SERVER_LINGER:
            self.close()
            return
        waited = now - self.since if now > self.since else 0
        if self.state == SERVER_TUNNEL and not self.response_done:
            return                        # the exchange watches over it
        if self.state == SERVER_HEAD:
            limit = self.reactor.timeouts.idle
            if self.head_begun or self.requests == 0:
                limit = self.reactor.timeouts.header
        elif self.state == SERVER_BODY and not self.paused or self.writing:
            limit = self.reactor.timeouts.body
        else:
            limit, waited = self.reactor.timeouts.idle, 0     # a response is awaited: the route's time-out watches that
        if waited < limit:
            self.reactor.wheel.start(&self.timer, self, TIMER_MAIN, limit - waited)
        elif limit:
            self._timed_out()

    cdef void _within(self, uint64_t limit):
        """What began at `since` may take `limit` from there on (0 = for ever): the timer looks again by then."""
        if limit and (self.timer.next == NULL or self.timer.deadline > self.since + limit + 1):
            self.reactor.wheel.start(&self.timer, self, TIMER_MAIN, limit)

    cdef void _timed_out(self):
        if self.state == SERVER_HEAD and out_size(&self.out) == 0:
            if self.head_begun:
                fm_bump(&self.reactor.row[WK_HEADER_TIMEOUT], 1)
                self.factory.refused(self, 408, "request_header_timeout")
                self.refuse(408, "request_header_timeout")
            else:
                fm_bump(&self.reactor.row[WK_HEADER_TIMEOUT if self.requests == 0 else WK_IDLE_TIMEOUT], 1)
                self.close()
        elif self.state == SERVER_BODY and not self.head_sent:
            fm_bump(&self.reactor.row[WK_BODY_TIMEOUT], 1)
            self._bad_body(408, "request_body_timeout")
        else:
            fm_bump(&self.reactor.row[WK_BODY_TIMEOUT], 1)
            self._gone()

    cdef void _probe_client(self):
        """A closed socket answers the probe with a reset, which arrives as a hang-up; a half-closed one does not."""
        cdef uint64_t waited, limit = self.reactor.timeouts.body
        if self.user is None or self.state != SERVER_WAIT:
            return
        if self.minor == 0 or self.head_sent:
            # HTTP/1.0 knows no interim responses, and none may follow the head: it may stand still as long as a body may
            waited = now_ms() - self.since
            if waited < limit:
                self.reactor.wheel.start(&self.probe, self, TIMER_PROBE, limit - waited)
            elif limit:
                self._gone()
            return
        # Through `out`: what the kernel does not take whole must not be lost, nor what TLS has encrypted of it
        if out_size(&self.out) == 0 and (out_append(&self.out, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0 or self.send_out(&self.out) < 0):
            self._gone()
            return
        if self.probes < 8:
            self.probes += 1
        self.reactor.wheel.start(&self.probe, self, TIMER_PROBE, PROBE_AFTER << self.probes)
