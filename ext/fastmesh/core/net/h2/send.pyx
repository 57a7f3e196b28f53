"""See send.pxd.

Places are counted in bytes since the connection began, so that they stay true while `out` is sent and moved. A frame head that has
not left yet can still be changed: the last DATA frame grows, and END_STREAM is set on a frame that is there already.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport WK_H2_TX_RESET, WK_TX_BYTES
from fastmesh.core.base.outbuf cimport out_append, out_consume, out_free, out_reserve, out_size
from fastmesh.core.net.h2.stream cimport (
    STREAM_ENDING, STREAM_FULL, STREAM_LOCAL_ENDED, STREAM_OPEN, keep_end, ring_add, ring_remove, table_free, table_start,
)
from fastmesh.core.wire.h2_frame cimport (
    FLAG_END_STREAM, FRAME_DATA, FRAME_HEAD, WINDOW_INITIAL, begin_headers, end_headers, settings_start, write_frame_head,
    write_rst_stream,
)
from fastmesh.core.wire.hpack cimport (
    HPACK_TABLE, encode_request, encode_response, encode_trailers, encoder_free, encoder_start,
)
from fastmesh.core.wire.message cimport FIELD_HOP

cdef enum:
    ROUNDS = 8                # full buffers sent in one turn before others have theirs
    PROGRESS = 4096           # bytes that a slow peer has to take within its time


cdef class H2Sender(Timed):
    def __cinit__(self):
        table_start(&self.streams)
        settings_start(&self.peer)
        encoder_start(&self.encoder, HPACK_TABLE)
        self.send_window = WINDOW_INITIAL

    def __dealloc__(self):
        out_free(&self.out)
        encoder_free(&self.encoder)
        table_free(&self.streams)

    # --- a stream's messages ------------------------------------------------------------------------------------------

    cdef void send_head(self, H2Stream* stream, const HeadOut* out):
        cdef int64_t mark
        cdef int verdict
        if self.ended or not stream.state & STREAM_OPEN or stream.state & STREAM_ENDING:
            return
        mark = begin_headers(&self.out)
        if mark < 0:
            self.on_lost()
            return
        verdict = encode_response(&self.encoder, &self.out, out) if self.server else encode_request(&self.encoder, &self.out, out)
        if verdict < 0 or end_headers(&self.out, mark, stream.id, False, self.peer.max_frame) < 0:
            self.on_lost()                # the peer's table and ours are not the same any more
            return
        stream.frame = self.sent + mark + 1
        self.last_data = 0

    cdef void send_data(self, H2Stream* stream, const char* data, size_t size):
        cdef size_t room
        if self.ended or not stream.state & STREAM_OPEN or stream.state & STREAM_ENDING or size == 0:
            return
        if self.ring == NULL and out_size(&stream.out) == 0 and out_size(&self.out) < OUT_FULL:
            room = _least(size, stream.send_window, self.send_window)
            if room > 0:
                self._write_data(stream, data, room)
                data += room
                size -= room
        if size == 0:
            return
        if out_size(&stream.out) == 0:
            stream.since = now_ms()
            stream.moved = 0
        if out_append(&stream.out, data, size) < 0:
            self.on_lost()
            return
        if out_size(&stream.out) > STREAM_HIGH:
            stream.state |= STREAM_FULL
        if stream.send_window > 0:
            ring_add(&self.ring, stream)

    cdef void send_end(self, H2Stream* stream, const Head* trailers):
        if self.ended or not stream.state & STREAM_OPEN or stream.state & STREAM_ENDING:
            return
        stream.state |= STREAM_ENDING
        if trailers != NULL and not _worth_sending(trailers):
            trailers = NULL
        if out_size(&stream.out) == 0:
            self._write_end(stream, trailers)
        elif trailers != NULL and keep_end(stream, trailers) < 0:
            self.on_lost()

    cdef void send_reset(self, uint32_t id, uint32_t code):
        if self.ended:
            return
        self.last_data = 0
        if self.server:
            fm_bump(&self.reactor.row[WK_H2_TX_RESET], 1)
        if write_rst_stream(&self.out, id, code) < 0:
            self.on_lost()
        else:
            self.wrote_control()

    # --- frames -------------------------------------------------------------------------------------------------------

    cdef inline char* _at(self, uint64_t place) noexcept:
        return self.out.data + self.out.start + (place - self.sent)

    cdef inline bint _is_here(self, uint64_t frame) noexcept:
        """Whether that frame's head may still be changed: not when it has left, nor when TLS has encrypted it already and waits for
        the kernel, which counts as not sent."""
        cdef uint64_t gone = self.sent
        if self.socket is not None and self.socket.tls is not None:
            gone += self.socket.tls.owed
        return frame > gone

    cdef void _write_data(self, H2Stream* stream, const char* data, size_t size) noexcept:
        """All of `size` lies within the windows. A frame of this stream that is still at the end of `out` grows first."""
        cdef size_t done = 0, piece
        cdef char* at
        stream.send_window -= size
        self.send_window -= size
        if stream.frame == self.last_data and self._is_here(self.last_data):
            done = self._extend(data, size)
        while done < size:
            piece = size - done if size - done < FRAME_MOST else FRAME_MOST
            at = out_reserve(&self.out, piece + FRAME_HEAD)
            if at == NULL:
                self.broken = self.ended = True       # flush finds out
                return
            write_frame_head(at, <uint32_t>piece, FRAME_DATA, 0, stream.id)
            memcpy(at + FRAME_HEAD, data + done, piece)
            stream.frame = self.last_data = self.sent + out_size(&self.out) + 1
            self.out.end += piece + FRAME_HEAD
            self.data_frames += 1
            done += piece

    cdef size_t _extend(self, const char* data, size_t size) noexcept:
        cdef size_t before = out_size(&self.out) - (self.last_data - 1 - self.sent) - FRAME_HEAD
        cdef size_t piece = FRAME_MOST - before
        cdef uint8_t* head
        cdef char* to
        if piece > size:
            piece = size
        to = out_reserve(&self.out, piece)
        if to == NULL or piece == 0:
            return 0
        memcpy(to, data, piece)
        self.out.end += piece
        head = <uint8_t*>self._at(self.last_data - 1)
        before += piece
        head[0], head[1], head[2] = <uint8_t>(before >> 16), <uint8_t>(before >> 8), <uint8_t>before
        return piece

    cdef void _write_end(self, H2Stream* stream, const Head* trailers):
        cdef char* at
        if trailers != NULL:
            self._write_trailers(stream, trailers)
            if self.ended:
                return
        elif self._is_here(stream.frame):
            at = self._at(stream.frame - 1)
            at[4] = at[4] | FLAG_END_STREAM
        else:
            at = out_reserve(&self.out, FRAME_HEAD)
            if at == NULL:
                self.on_lost()
                return
            write_frame_head(at, 0, FRAME_DATA, FLAG_END_STREAM, stream.id)
            self.out.end += FRAME_HEAD
        self.last_data = 0
        stream.state |= STREAM_LOCAL_ENDED
        self.on_end_sent(stream)

    cdef void _write_trailers(self, H2Stream* stream, const Head* trailers):
        cdef int64_t mark = begin_headers(&self.out)
        if mark < 0 or encode_trailers(&self.encoder, &self.out, trailers) < 0 \
                or end_headers(&self.out, mark, stream.id, True, self.peer.max_frame) < 0:
            self.on_lost()

    # --- windows ------------------------------------------------------------------------------------------------------

    cdef void adjust_windows(self, int64_t delta):
        cdef H2Stream* stream
        cdef uint32_t i
        for i in range(self.streams.mask + 1):
            stream = self.streams.slots[i]
            if stream != NULL:
                stream.send_window += delta
                if delta > 0:
                    self.window_opened(stream)

    cdef void window_opened(self, H2Stream* stream):
        if stream.send_window > 0 and out_size(&stream.out) > 0:
            ring_add(&self.ring, stream)
            self.want_flush()

    # --- out ----------------------------------------------------------------------------------------------------------

    cdef void want_flush(self):
        if self.socket is not None:
            self.reactor.end_of_turn(self.socket)

    cdef void end_turn(self):
        if self.socket is None:
            return
        if self.socket.writing:
            self._choke()                 # the kernel is full: it will say when it is not
        else:
            self.flush()

    cdef void flush(self):
        cdef int verdict, rounds = 0
        while self.socket is not None:
            self._fill()
            if self.socket is None or (out_size(&self.out) == 0 and not self.broken):
                break
            if self.broken:
                self.on_lost()
                return
            verdict = self._push()
            if verdict < 0:
                self.on_lost()
                return
            if verdict == 0:
                self._choke()
                return
            rounds += 1
            if rounds == ROUNDS and self.ring != NULL and self.send_window > 0:
                self.socket.watch_write()
                return

    cdef int _push(self) noexcept:
        """As send_out: 1 all gone, 0 the kernel is full, -1 the peer is gone."""
        cdef size_t queued = out_size(&self.out)
        cdef int verdict = self.socket.send_out(&self.out)
        cdef size_t moved = queued - out_size(&self.out)
        self.sent += moved
        if self.server:
            fm_bump(&self.reactor.row[WK_TX_BYTES], moved)
        if verdict == 1:
            self.stuck_at = 0
            self.owed = 0
            if self.choked:
                self.choked = False
                self.socket.watch_read()
                self.reactor.again(self.socket)       # frames may have been read and not taken
        elif moved or self.stuck_at == 0:
            self.stuck_at = now_ms()
        return verdict

    cdef void _choke(self):
        if not self.choked and out_size(&self.out) > OUT_STOP:
            self.choked = True
            self.socket.unwatch_read()

    cdef void _fill(self):
        """Streams that wait put a frame each into `out`, one after the other."""
        cdef H2Stream* stream
        cdef size_t size
        cdef object owner
        while self.ring != NULL and self.send_window > 0 and out_size(&self.out) < OUT_FULL and not self.ended:
            stream = self.ring
            self.ring = stream.next       # its next turn comes after the others
            size = _least(out_size(&stream.out), stream.send_window, self.send_window)
            if size == 0:
                ring_remove(&self.ring, stream)
                continue
            if size > FRAME_MOST:
                size = FRAME_MOST
            owner = <object>stream.owner  # what is called below may end the stream
            self._write_data(stream, stream.out.data + stream.out.start, size)
            out_consume(&stream.out, size)
            stream.moved += size
            if stream.moved >= PROGRESS or out_size(&stream.out) == 0:
                stream.since = now_ms()
                stream.moved = 0
            if out_size(&stream.out) == 0:
                ring_remove(&self.ring, stream)
                if stream.state & STREAM_ENDING:
                    self._write_end(stream, stream.trailers)
                    continue
            if stream.state & STREAM_FULL and out_size(&stream.out) <= STREAM_LOW:
                stream.state &= ~<uint8_t>STREAM_FULL
                self.on_drained(stream)

    cdef void wrote_control(self):
        self.last_data = 0
        self.owed += 1
        if self.owed > self.limits.control:
            self.on_flood()
        elif self.owed * 2 == self.limits.control and self.socket is not None and not self.socket.writing:
            self._push()                  # whoever reads what it asked for owes nothing; an error is met again by flush

    cdef void on_end_sent(self, H2Stream* stream): pass
    cdef void on_drained(self, H2Stream* stream): pass
    cdef void on_lost(self): pass
    cdef void on_flood(self): pass


cdef inline size_t _least(size_t size, int64_t one, int64_t other) noexcept nogil:
    cdef int64_t window = one if one < other else other
    if window <= 0:
        return 0
    return size if size < <size_t>window else <size_t>window


cdef bint _worth_sending(const Head* trailers) noexcept nogil:
    cdef int i
    for i in range(trailers.field_count):
        if not trailers.fields[i].flags & FIELD_HOP:
            return True
    return False
