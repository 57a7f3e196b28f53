"""See client.pxd.

A connection goes back to its pool only when request and response both ended exactly on their border with nothing left over. What
a cut connection means depends on how the body ends: with a length or chunks it is a failure, close-delimited it is the end.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.net.failure cimport (
    FAIL_CLOSED, FAIL_CONNECT_TIMEOUT, FAIL_NONE, FAIL_PROTOCOL, FAIL_RESET, FAIL_STALE,
)
from fastmesh.core.net.readiness cimport EAGAIN, EINTR, Reactor, errno
from fastmesh.core.net.splice cimport SPLICE_FROM, give_pipe, take_pipe
from fastmesh.core.net.stream cimport ServerStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport TIMER_CONNECT, ConnectionOwner
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.wire.h1_parse cimport (
    CHUNK_BAD, CHUNK_DATA, CHUNK_END, H1_BAD, H1_DONE, H1_MORE, chunk_free, chunk_next, chunk_start, chunk_trailers,
    head_worth_parsing, parse_response,
)
from fastmesh.core.wire.h1_write cimport HeadOut, write_chunk_size, write_last_chunk, write_request
from fastmesh.core.wire.message cimport (
    FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, Head,
)

cdef enum:
    TIMER_IDLE = 1
    INTERIMS_MAX = 16
    DIRECT = 16384


cdef ClientH1 connect_h1(Reactor reactor, ConnectionOwner owner, Endpoint endpoint, Cluster cluster, Tls tls):
    cdef ClientH1 connection = ClientH1.__new__(ClientH1)
    connection.minor = 1
    return connection if connection.reach(reactor, owner, endpoint, cluster, tls) else None


cdef class ClientH1(ClientStream):
    def __dealloc__(self):
        out_free(&self.held)
        out_free(&self.out)
        chunk_free(&self.chunks)

    cdef void assign(self, StreamUser user):
        """The connection is this user's until its response has ended."""
        self.user = user
        self.state = CLIENT_HEAD
        self.reused = self.served > 0
        self.answered = False
        self.request_done = False
        self.paused = False
        self.interims = 0
        self.ended = False
        self.seen = 0
        self.served += 1

    # --- out ----------------------------------------------------------------------------------------------------------

    cdef void send_request(self, const HeadOut* out, bint to_head):
        self.out_framing = out.framing
        self.to_head = to_head
        self.upgrading = out.protocol_size > 0
        self.request_done = self.upgrading
        if write_request(&self.out, out) < 0:
            self._fail(FAIL_RESET)

    cdef void send_body(self, const char* data, size_t size):
        cdef char[20] prefix
        cdef ssize_t sent = 0
        if self.fd < 0 or size == 0:
            return
        if self.out_framing == FRAMING_CHUNKED:
            out_append(&self.out, prefix, write_chunk_size(prefix, size))
            out_append(&self.out, data, size)
            out_append(&self.out, "\r\n", 2)
            return
        if size >= DIRECT and not self.writing and self.flush() == 1:
            sent = self.transmit(data, size)
            if sent < 0:
                sent = 0                  # flush meets the error again
        if <size_t>sent < size:
            out_append(&self.out, data + sent, size - sent)

    cdef void send_end(self, const Head* trailers):
        if self.out_framing == FRAMING_CHUNKED and self.fd >= 0:
            write_last_chunk(&self.out, trailers)
        self.request_done = True
        if self.out_framing == FRAMING_TUNNEL and out_size(&self.out) == 0:
            self._settle_tunnel()

    cdef int flush(self):
        """1 all gone, 0 some waits, -1 the upstream does not take it (its answer may still be there to read)."""
        cdef int verdict
        if self.fd < 0 or out_size(&self.out) == 0:
            return 1
        verdict = self.send_out(&self.out)
        if verdict < 0:
            # The upstream closed its side: whatever it answered first is still in the receive buffer
            out_free(&self.out)
            self.keep_alive = False
            self.request_done = False
            if self.ended:
                self._fail(FAIL_RESET)    # nothing is left to read
            else:
                self.watch_read()
        elif verdict == 1 and self.out_framing == FRAMING_TUNNEL and self.request_done:
            self._settle_tunnel()
        return verdict

    cdef size_t waiting(self) noexcept:
        return out_size(&self.out)

    cdef void on_writable(self):
        cdef StreamUser user = self.user
        if not self.established:
            self.reached()
        elif self.flush() == 1 and user is not None:
            user.on_upstream_drained()

    # --- in -----------------------------------------------------------------------------------------------------------

    cdef void on_readable(self):
        cdef char* scratch = self.reactor.scratch
        cdef ssize_t got
        if self.pipe is not None:
            self._splice()
            return
        got = self.receive(scratch, self.read_size)
        if got > 0:
            if self.state == CLIENT_IDLE:
                self.close()              # nobody asked: never mistaken for the next answer
                return
            self.answered = True
            self._process(scratch, got)
        elif got == 0:
            self._end_of_input()
        elif errno != EAGAIN and errno != EINTR:
            self._fail(FAIL_RESET if self.answered or not self.reused else FAIL_STALE)

    cdef void _process(self, const char* data, size_t size):
        cdef size_t used
        cdef bint holding = out_size(&self.held) > 0
        cdef StreamUser user = self.user
        if holding:
            out_append(&self.held, data, size)
            data, size = self.held.data + self.held.start, out_size(&self.held)
        while size > 0 and (self.state == CLIENT_HEAD or self.state == CLIENT_BODY):
            if self.state == CLIENT_HEAD:
                used = self._take_head(data, size)
            else:
                used = self._take_body(data, size)
            if used == 0:
                break
            data += used
            size -= used
            if holding and out_size(&self.held) > 0:
                self.held.start += used
        if self.fd < 0:
            out_free(&self.held)
        elif holding:
            if size == 0 or self.state == CLIENT_IDLE:
                out_free(&self.held)
        elif size > 0 and (self.state == CLIENT_HEAD or self.state == CLIENT_BODY):
            out_append(&self.held, data, size)
        if user is not None and user is self.user:
            user.on_upstream_turn()

    cdef size_t _take_head(self, const char* data, size_t size):
        cdef Head head
        cdef StreamUser user = self.user
        cdef int verdict
        if self.seen and not head_worth_parsing(data, self.seen, size):
            self.seen = size
            return 0
        verdict = parse_response(data, size, &self.reactor.response_limits, self.to_head, &head)
        if verdict == H1_MORE:
            self.seen = size
            return 0
        self.seen = 0
        if verdict == H1_BAD or (head.status == 101 and not self.upgrading):
            self._fail(FAIL_PROTOCOL)
            return 0
        if head.status == 101:
            head.framing = self.out_framing = FRAMING_TUNNEL
            head.keep_alive = self.request_done = False
        elif head.status < 200:
            self.interims += 1
            if self.interims > INTERIMS_MAX:
                self._fail(FAIL_PROTOCOL)
                return 0
            user.on_interim(&head)
            return head.size
        self.framing = head.framing
        self.keep_alive = head.keep_alive
        self.left = head.length
        self.state = CLIENT_BODY
        if head.framing == FRAMING_CHUNKED:
            chunk_start(&self.chunks)
        user.on_response(&head)
        if self.user is not user:
            return 0                      # the exchange has let go of this connection (it tries another one)
        if head.framing == FRAMING_NONE or (head.framing == FRAMING_LENGTH and head.length == 0):
            self._end_of_response(NULL, size - head.size)
        return head.size

    cdef size_t _take_body(self, const char* data, size_t size):
        cdef size_t all = size
        if self.paused:
            return 0
        if self.framing == FRAMING_CHUNKED:
            return self._take_chunks(data, size)
        if self.framing == FRAMING_CLOSE or self.framing == FRAMING_TUNNEL:
            self.user.on_response_body(data, size)
            return size
        if size > self.left:
            size = self.left
        self.left -= size
        self.user.on_response_body(data, size)
        if self.left == 0 and self.state == CLIENT_BODY:
            self._end_of_response(NULL, all - size)
        return size

    cdef size_t _take_chunks(self, const char* data, size_t size):
        cdef size_t used = 0, total = 0, piece_size = 0
        cdef const char* piece = NULL
        cdef int step
        cdef Head trailers
        while total < size and self.state == CLIENT_BODY and not self.paused:
            step = chunk_next(&self.chunks, data + total, size - total, &self.reactor.response_limits, &used, &piece, &piece_size)
            total += used
            if step == CHUNK_DATA:
                self.user.on_response_body(piece, piece_size)
            elif step == CHUNK_END:
                if chunk_trailers(&self.chunks, &self.reactor.response_limits, &trailers) != H1_DONE:
                    self._fail(FAIL_PROTOCOL)
                    return size
                self._end_of_response(&trailers if trailers.field_count else NULL, size - total)
                chunk_free(&self.chunks)
                return total
            elif step == CHUNK_BAD:
                self._fail(FAIL_PROTOCOL)
                return size
            elif used == 0:
                break
        return total

    cdef void splice_to(self, ServerStream client):
        if self.framing != FRAMING_LENGTH or self.left < SPLICE_FROM or self.paused or self.state != CLIENT_BODY \
                or self.tls is not None:
            return
        if out_size(&self.held) == 0 and client.takes_splice():
            self.pipe = take_pipe()
            self.target = client

    cdef void _splice(self):
        """Take in what has come, send on what the client takes."""
        cdef StreamUser user = self.user
        cdef ssize_t got = 0
        if self.left > 0 and self.pipe.inside == 0:
            got = self.pipe.fill(self.fd, self.left)
            if got == 0 or (got < 0 and errno != EAGAIN and errno != EINTR):
                self._fail(FAIL_CLOSED if got == 0 else FAIL_RESET)
                return
            if got < 0:
                return
            self.left -= got
            user.on_response_spliced(got)
        if not self.target.splice_from(self.pipe):
            if self.user is user:         # the client is full (if it had gone, we would not be its user's any more)
                self.pause_response()
            return
        if self.left == 0:
            self._drop_pipe()
            self._end_of_response(NULL, 0)

    cdef void _drop_pipe(self):
        if self.pipe is not None:
            give_pipe(self.pipe)
            self.pipe = None
            self.target = None

    cdef void _end_of_response(self, const Head* trailers, size_t rest):
        """The last byte of the response was read; `rest` bytes too many make the connection unfit."""
        cdef StreamUser user = self.user
        cdef bint fit = self.keep_alive and rest == 0 and self.request_done and out_size(&self.out) == 0
        self.user = None
        if fit:
            self.state = CLIENT_IDLE
            self.owner.on_free(self)
        else:
            self.close()
        user.on_response_end(trailers)

    cdef void _end_of_input(self):
        cdef StreamUser user = self.user
        if self.state == CLIENT_BODY and self.framing == FRAMING_TUNNEL:
            self.ended = True
            self.unwatch_read()
            if self.request_done:
                self._settle_tunnel()
            user.on_response_end(NULL)
        elif self.state == CLIENT_BODY and self.framing == FRAMING_CLOSE:
            self.keep_alive = False
            self._end_of_response(NULL, 0)
        elif self.state == CLIENT_HEAD and not self.answered:
            self._fail(FAIL_STALE if self.reused else FAIL_CLOSED)
        else:
            self._fail(FAIL_CLOSED)

    cdef void _settle_tunnel(self):
        """Our end of the tunnel was said: close this half, or all when the other end has come, too."""
        if self.ended:
            self.user = None
            if out_size(&self.out) == 0:
                self.close()
            elif self.reactor.timeouts.body:
                self.reactor.wheel.start(&self.timer, self, TIMER_IDLE, self.reactor.timeouts.body)
        elif out_size(&self.out) == 0:
            self.end_sending()

    # --- life ---------------------------------------------------------------------------------------------------------

    cdef void on_hangup(self):
        if self.ended:
            self._fail(FAIL_RESET)        # it sent its last, and would not hear ours
        else:
            self.mute()                   # what came before the reset is read first

    cdef void on_established(self):
        self.state = CLIENT_IDLE
        self.owner.on_connected(self)

    cdef void on_unreachable(self, int failure):
        self._fail(failure)

    cdef void pause_response(self):
        self.paused = True
        self.unwatch_read()

    cdef void resume_response(self):
        if self.paused:
            self.paused = False
            self.watch_read()
            if self.pipe is not None:
                self._splice()
            elif out_size(&self.held) > 0:
                self._process(NULL, 0)

    cdef void cancel(self):
        self.user = None
        self.close()

    cdef void _fail(self, int failure):
        cdef StreamUser user = self.user
        self.user = None
        self._close(failure)
        if user is not None:
            user.on_upstream_failed(failure)

    cdef void close(self):
        self._close(FAIL_NONE)

    cdef void _close(self, int failure):
        if self.state == CLIENT_CLOSED:
            return
        self.reactor.wheel.cancel(&self.timer)
        self.close_descriptor()
        self._drop_pipe()
        out_free(&self.out)
        self.owner.on_closed(self, failure)
        self.state = CLIENT_CLOSED

    cdef void on_timer(self, int kind) noexcept:
        cdef uint64_t now
        if kind == TIMER_CONNECT:
            if self.state == CLIENT_CONNECTING:
                self._fail(FAIL_CONNECT_TIMEOUT)
            return
        if self.user is None and self.state == CLIENT_BODY:
            self.close()                  # a tunnel whose last bytes were not taken
        if self.state != CLIENT_IDLE:
            return                        # busy: the timer starts again when it comes back
        now = now_ms()
        if now >= self.idle_since + self.idle_limit:
            self.close()
        else:
            self.reactor.wheel.start(&self.timer, self, TIMER_IDLE, self.idle_since + self.idle_limit - now)
