"""See connection.pxd. RFC 9113 is cited as 9113."""
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, strlen
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport WK_RX_BYTES
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.net.h2.budget cimport (
    PRIORITIES_PER_STREAM, WINDOWS_FREE, WINDOWS_PER_DATA, WINDOWS_PER_STREAM, bucket_over,
)
from fastmesh.core.net.h2.stream cimport (
    STREAM_ENDING, STREAM_OPEN, STREAM_PAUSED, STREAM_REMOTE_ENDED, STREAM_TOUCHED, ring_remove, stream_clear, table_find,
    table_free, table_put, table_remove,
)
from fastmesh.core.net.readiness cimport EAGAIN, EINTR, SCRATCH, Descriptor, errno
from fastmesh.core.wire.h2_frame cimport (
    FLAG_ACK, FLAG_END_HEADERS, FLAG_END_STREAM, FLAG_PADDED, FRAME_CONTINUATION, FRAME_DATA, FRAME_GOAWAY, FRAME_HEAD, FRAME_HEADERS, FRAME_PING,
    FRAME_PRIORITY, FRAME_PUSH_PROMISE, FRAME_RST_STREAM, FRAME_SETTINGS, FRAME_SIZE_LEAST, FRAME_WINDOW_UPDATE,
    H2_ENHANCE_YOUR_CALM, H2_FLOW_CONTROL_ERROR, H2_FRAME_SIZE_ERROR, H2_INTERNAL_ERROR, H2_NO_ERROR, H2_PROTOCOL_ERROR,
    H2_STREAM_CLOSED, STREAM_MAX, SETTING_ENABLE_CONNECT_PROTOCOL, SETTING_ENABLE_PUSH, SETTING_INITIAL_WINDOW_SIZE,
    SETTING_MAX_CONCURRENT_STREAMS, SETTING_MAX_HEADER_LIST_SIZE, SETTING_NO_RFC7540_PRIORITIES, WINDOW_INITIAL, WINDOW_MAX,
    SettingValue, check_frame, read_31, read_32, read_frame_head, read_settings, strip_padding, write_goaway, write_ping,
    write_settings, write_settings_ack, write_window_update,
)
from fastmesh.core.wire.hpack cimport HPACK_TABLE, HPACK_TEXT, decoder_free, decoder_start, encoder_resize

cdef char[HPACK_TEXT] _text

cdef enum:
    BY_US = 0x80000000        # of an id in `recent`


cdef char* header_text() noexcept:
    return _text


cdef class H2Connection(H2Sender):
    def __cinit__(self):
        decoder_start(&self.decoder, HPACK_TABLE)
        self.said_last = STREAM_MAX

    def __dealloc__(self):
        out_free(&self.held)
        out_free(&self.block)
        decoder_free(&self.decoder)

    # --- life ---------------------------------------------------------------------------------------------------------

    cdef void open_on(self, Descriptor socket, bint server):
        cdef SettingValue[5] values
        cdef int count = 3
        self.socket = socket
        self.reactor = socket.reactor
        self.limits = &self.reactor.h2
        self.server = server
        self.receive_window = self.limits.connection_window
        values[0] = SettingValue(SETTING_INITIAL_WINDOW_SIZE, self.limits.window)
        values[1] = SettingValue(SETTING_MAX_HEADER_LIST_SIZE, self.reactor.limits.head)
        values[2] = SettingValue(SETTING_NO_RFC7540_PRIORITIES, 1)
        if server:
            values[3] = SettingValue(SETTING_MAX_CONCURRENT_STREAMS, self.limits.streams)
            values[4] = SettingValue(SETTING_ENABLE_CONNECT_PROTOCOL, 1)
            count = 5
        else:
            values[3] = SettingValue(SETTING_ENABLE_PUSH, 0)
            count = 4
        if write_settings(&self.out, values, count) < 0 or (self.receive_window > WINDOW_INITIAL and write_window_update(
                &self.out, 0, <uint32_t>(self.receive_window - WINDOW_INITIAL)) < 0):
            self.on_lost()
        self.want_flush()

    cdef void receive(self):
        cdef char* scratch = self.reactor.scratch
        cdef size_t before = out_size(&self.held)
        cdef ssize_t got
        if before:                        # the beginning of a frame, or what the last turn had no time for
            memcpy(scratch, self.held.data + self.held.start, before)
            out_free(&self.held)
        got = self.socket.receive(scratch + before, SCRATCH - before)
        self.turn_blocks = 0
        if got > 0:
            if self.server:
                fm_bump(&self.reactor.row[WK_RX_BYTES], got)
            self.take(scratch, before + got)
        elif got < 0 and (errno == EAGAIN or errno == EINTR):
            if before:
                self.take(scratch, before)
        else:
            if before:
                self.take(scratch, before)
            if self.socket is not None:
                if got == 0:
                    self.on_end_of_input()
                else:
                    self.on_lost()

    cdef void take(self, const char* data, size_t size):
        self._take_all(&data, &size)
        self._hand_on()
        self._end_of_taking()
        if self.socket is None or self.failed:
            return
        if size and out_append(&self.held, data, size) < 0:
            self.on_lost()
            return
        if self.out.data != NULL or self.ring != NULL:
            self.want_flush()

    cdef void _take_all(self, const char** data, size_t* size):
        """Whole frames, as far as they go."""
        cdef FrameHead head
        cdef bint stream_only
        cdef int fault
        if not self.on_preface(data, size):
            return
        while size[0] >= FRAME_HEAD:
            head = read_frame_head(data[0])
            fault = check_frame(&head, FRAME_SIZE_LEAST, &stream_only)
            if fault:                     # the one that may end a stream only, a PRIORITY of a wrong size, ends the connection, too
                self.fail(fault, "bad_frame")
                return
            if size[0] < FRAME_HEAD + head.size:
                if size[0] > FRAME_HEAD and head.flags & FLAG_PADDED and head.type <= FRAME_HEADERS \
                        and <uint8_t>data[0][FRAME_HEAD] >= head.size:
                    self.fail(H2_PROTOCOL_ERROR, "bad_padding")
                return
            if self.turn_blocks >= TURN_MAX and head.type == FRAME_HEADERS:
                self.reactor.again(self.socket)
                return
            self._frame(&head, data[0] + FRAME_HEAD)
            if self.failed or self.socket is None:
                return
            data[0] += FRAME_HEAD + head.size
            size[0] -= FRAME_HEAD + head.size

    cdef void _end_of_taking(self):
        """Streams that got something: what was gathered is sent on, and room is made for more."""
        cdef H2Stream* stream
        cdef object owner
        while self.touched != NULL:
            stream = self.touched
            self.touched = stream.next_touched
            stream.next_touched = NULL
            stream.state &= ~<uint8_t>STREAM_TOUCHED
            owner = <object>stream.owner
            Py_DECREF(owner)              # of _touch; ours is in `owner` now
            if stream.state & STREAM_OPEN:
                self.on_stream_turn(stream)
            if stream.state & STREAM_OPEN and not stream.state & STREAM_PAUSED:
                self._give_window(stream)
        if self.receive_window <= self.limits.connection_window >> 1 and not self.ended:
            if write_window_update(&self.out, 0, <uint32_t>(self.limits.connection_window - self.receive_window)) < 0:
                self.on_lost()
                return
            self.receive_window = self.limits.connection_window
            self.wrote_control()

    cdef void _give_window(self, H2Stream* stream):
        if stream.receive_window <= self.limits.window >> 1 and not stream.state & STREAM_REMOTE_ENDED and not self.ended:
            if write_window_update(&self.out, stream.id, <uint32_t>(self.limits.window - stream.receive_window)) < 0:
                self.on_lost()
                return
            stream.receive_window = self.limits.window
            self.wrote_control()

    cdef void _touch(self, H2Stream* stream) noexcept:
        if not stream.state & STREAM_TOUCHED:
            stream.state |= STREAM_TOUCHED
            Py_INCREF(<object>stream.owner)
            stream.next_touched = self.touched
            self.touched = stream

    cdef void pause(self, H2Stream* stream) noexcept:
        stream.state |= STREAM_PAUSED

    cdef void resume(self, H2Stream* stream):
        if stream.state & STREAM_PAUSED:
            stream.state &= ~<uint8_t>STREAM_PAUSED
            if stream.state & STREAM_OPEN:
                stream.since = now_ms()
                self._give_window(stream)
                self.want_flush()

    # --- streams ------------------------------------------------------------------------------------------------------

    cdef int add_stream(self, H2Stream* stream, uint32_t id, object owner):
        stream.id = id
        stream.state = STREAM_OPEN
        stream.send_window = self.peer.window
        stream.receive_window = self.limits.window
        stream.frame = 0
        stream.moved = 0
        stream.owner = <void*>owner
        if table_put(&self.streams, stream) < 0:
            stream.state = 0
            return -1
        Py_INCREF(owner)
        self.opened += 1
        return 0

    cdef void drop_stream(self, H2Stream* stream, int ended):
        if not stream.state & STREAM_OPEN:
            return
        table_remove(&self.streams, stream.id)
        ring_remove(&self.ring, stream)
        self._remember(stream.id, ended)
        stream.state &= STREAM_TOUCHED
        stream_clear(stream)
        self.on_dropped(stream)
        Py_DECREF(<object>stream.owner)

    cdef void _remember(self, uint32_t id, int ended) noexcept:
        self.recent[self.recent_at] = id | (BY_US if ended == ENDED_BY_US else 0)
        self.recent_at = (self.recent_at + 1) & (RECENT - 1)

    cdef int how_ended(self, uint32_t id) noexcept:
        cdef int i
        for i in range(1, RECENT + 1):    # the newest first
            if self.recent[(self.recent_at - i) & (RECENT - 1)] & ~<uint32_t>BY_US == id:
                return ENDED_BY_US if self.recent[(self.recent_at - i) & (RECENT - 1)] & BY_US else ENDED_BOTH
        return ENDED_UNKNOWN

    cdef bint next_stream(self, uint32_t* at, H2Stream** stream) noexcept:
        while at[0] <= self.streams.mask:
            stream[0] = self.streams.slots[at[0]]
            at[0] += 1
            if stream[0] != NULL:
                return True
        return False

    cdef void forget_all(self):
        cdef H2Stream* stream
        cdef uint32_t at = 0
        while self.streams.count:
            at = 0
            if not self.next_stream(&at, &stream):
                break
            self.drop_stream(stream, ENDED_BOTH)
        self.trim()
        decoder_free(&self.decoder)
        out_free(&self.block)
        out_free(&self.held)

    cdef void trim(self) noexcept:
        if self.streams.count == 0:
            table_free(&self.streams)

    cdef void reset_stream(self, H2Stream* stream, uint32_t code):
        cdef uint32_t id = stream.id
        if not stream.state & STREAM_OPEN:
            return
        self.drop_stream(stream, ENDED_BOTH if stream.state & STREAM_REMOTE_ENDED else ENDED_BY_US)
        self.send_reset(id, code)
        self.want_flush()

    cdef void stream_error(self, uint32_t id, uint32_t code, const char* why):
        cdef H2Stream* stream = table_find(&self.streams, id)
        cdef object owner = <object>stream.owner if stream != NULL else None
        if stream != NULL:
            self.reset_stream(stream, code)
        else:
            self._remember(id, ENDED_BY_US)
            self.send_reset(id, code)
            self.want_flush()
        self.on_stream_error(stream, code, why)
        if bucket_over(&self.resets, self.limits.resets, self.limits.resets_per_second, now_ms()):
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_resets")

    # --- the end ------------------------------------------------------------------------------------------------------

    cdef void go_away(self, uint32_t last_id, uint32_t code, const char* why):
        self.last_data = 0
        if last_id > self.said_last:      # 9113 6.8: never more than before
            last_id = self.said_last
        self.said_last = last_id
        if not self.ended and write_goaway(&self.out, last_id, code, why, <uint32_t>strlen(why)) < 0:
            self.on_lost()
        self.want_flush()

    cdef void fail(self, uint32_t code, const char* why):
        if self.failed or self.socket is None:
            return
        self.failed = True
        self.go_away(self.last_id if self.server else 0, code, why)
        self.ended = True
        if self.socket is not None:
            self.on_failed(code, why)

    cdef void on_flood(self):
        self.fail(H2_ENHANCE_YOUR_CALM, "too_many_control_frames")

    # --- frames -------------------------------------------------------------------------------------------------------

    cdef void _frame(self, const FrameHead* head, const char* payload):
        if head.type != FRAME_DATA:
            self._hand_on()
        if self.block_id and (head.type != FRAME_CONTINUATION or head.stream != self.block_id):
            self.fail(H2_PROTOCOL_ERROR, "header_block_interrupted")            # 9113 6.10
        elif head.type == FRAME_DATA and self.settings_seen:
            self._data(head, payload)
        elif head.type == FRAME_HEADERS and self.settings_seen:
            self._headers(head, payload)
        elif head.type == FRAME_WINDOW_UPDATE and self.settings_seen:
            self._window_update(head, payload)
        elif head.type == FRAME_SETTINGS:
            self._settings(head, payload)
        elif not self.settings_seen:
            self.fail(H2_PROTOCOL_ERROR, "no_settings_first")                   # 9113 3.4
        elif head.type == FRAME_CONTINUATION:
            self._continuation(head, payload)
        elif head.type == FRAME_RST_STREAM:
            self._reset(head, payload)
        elif head.type == FRAME_PING:
            self._ping(head, payload)
        elif head.type == FRAME_PRIORITY:
            self._priority(head, payload)
        elif head.type == FRAME_GOAWAY:
            self.on_goaway(read_31(payload), read_32(payload + 4))
        elif head.type == FRAME_PUSH_PROMISE:
            self.fail(H2_PROTOCOL_ERROR, "push_promise")                        # 9113 8.4: we never allow it
        else:
            self._calm(head)                                                    # 9113 4.1: unknown types are skipped

    cdef bint _calm(self, const FrameHead* head):
        if bucket_over(&self.chatter, self.limits.chatter, self.limits.chatter_per_second, now_ms()):
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_settings" if head.type == FRAME_SETTINGS else "too_many_pings")
            return False
        return True

    cdef bint _idle(self, uint32_t id) noexcept:
        """Whether the stream has never been opened."""
        return id > self.last_id or (id & 1) != 1

    cdef void _data(self, const FrameHead* head, const char* payload):
        cdef H2Stream* stream = table_find(&self.streams, head.stream)
        cdef size_t size = head.size
        cdef uint32_t unused
        cdef int fault
        self.receive_window -= head.size
        if self.receive_window < 0:
            self.fail(H2_FLOW_CONTROL_ERROR, "connection_window_overrun")
            return
        fault = strip_padding(head, &payload, &size, &unused)
        if fault:
            self.fail(fault, "bad_padding")
            return
        if size == 0 and not head.flags & FLAG_END_STREAM:
            self.empty += 1
            if self.empty > self.limits.empty:
                self.fail(H2_ENHANCE_YOUR_CALM, "too_many_empty_frames")
                return
        else:
            self.empty = 0
        if stream != NULL and not stream.state & STREAM_REMOTE_ENDED:
            self._data_on(stream, head, payload, size)                          # the likely case
        elif self._idle(head.stream):
            self.fail(H2_PROTOCOL_ERROR, "data_on_idle_stream")                 # 9113 5.1
        elif stream != NULL or self.how_ended(head.stream) == ENDED_BOTH:
            self.fail(H2_STREAM_CLOSED, "data_after_end")

    cdef void _data_on(self, H2Stream* stream, const FrameHead* head, const char* payload, size_t size):
        cdef object owner = <object>stream.owner
        stream.receive_window -= head.size
        if stream.receive_window < 0:
            self.stream_error(stream.id, H2_FLOW_CONTROL_ERROR, "stream_window_overrun")
            return
        self._touch(stream)
        stream.since = now_ms()
        if size and self.joined_of == stream:
            memmove(self.joined + self.joined_size, payload, size)              # over the frame head between them
            self.joined_size += size
        elif size:
            self._hand_on()
            self.joined_of, self.joined, self.joined_size = stream, <char*>payload, size
        if head.flags & FLAG_END_STREAM:
            self._hand_on()
            if stream.state & STREAM_OPEN:
                stream.state |= STREAM_REMOTE_ENDED
                self.on_end(stream)

    cdef void _hand_on(self):
        """Bytes of DATA frames that followed each other, as one piece: small frames cost the endpoint no small writes."""
        cdef H2Stream* stream = self.joined_of
        if stream != NULL:
            self.joined_of = NULL
            if stream.state & STREAM_OPEN:        # alive at least: it is among the touched ones
                self.on_data(stream, self.joined, self.joined_size)

    cdef void _headers(self, const FrameHead* head, const char* payload):
        cdef size_t size = head.size
        cdef uint32_t depends_on
        cdef int fault = strip_padding(head, &payload, &size, &depends_on)
        if fault:
            self.fail(fault, "bad_padding")
            return
        if depends_on == head.stream:
            self.fail(H2_PROTOCOL_ERROR, "depends_on_itself")                   # RFC 7540 5.3.1
            return
        if head.flags & FLAG_END_HEADERS:                                       # the likely case
            self.empty = 0
            self._block(head.stream, payload, size, head.flags & FLAG_END_STREAM != 0)
            return
        self.block_id = head.stream
        self.block_flags = head.flags
        self.block_since = now_ms()
        self.continuations = 0
        if out_append(&self.block, payload, size) < 0:
            self.on_lost()

    cdef void _continuation(self, const FrameHead* head, const char* payload):
        cdef OutBuf block
        if self.block_id == 0:
            self.fail(H2_PROTOCOL_ERROR, "continuation_of_nothing")
            return
        self.continuations += 1
        if self.continuations > self.limits.continuations:                      # nothing of it is decoded
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_continuations")
            return
        if head.size == 0 and not head.flags & FLAG_END_HEADERS:
            self.empty += 1
            if self.empty > self.limits.empty:
                self.fail(H2_ENHANCE_YOUR_CALM, "too_many_empty_frames")
                return
        if out_size(&self.block) + head.size > 2 * <size_t>self.reactor.limits.head:
            self.fail(H2_ENHANCE_YOUR_CALM, "header_block_too_large")
            return
        if out_append(&self.block, payload, head.size) < 0:
            self.on_lost()
            return
        if head.flags & FLAG_END_HEADERS:
            block, self.block = self.block, OutBuf(NULL, 0, 0, 0)
            self.block_id = 0
            self.empty = 0
            self._block(head.stream, block.data + block.start, out_size(&block), self.block_flags & FLAG_END_STREAM != 0)
            out_free(&block)

    cdef void _block(self, uint32_t id, const char* block, size_t size, bint end):
        """A complete header block. The hooks decode it, wanted or not, to keep the table right."""
        cdef H2Stream* stream = table_find(&self.streams, id)
        self.turn_blocks += 1
        if stream != NULL:
            self.on_headers(stream, block, size, end)
        else:
            self.on_new_headers(id, block, size, end)

    cdef void _settings(self, const FrameHead* head, const char* payload):
        cdef int64_t window = self.peer.window
        cdef uint32_t table = self.peer.header_table
        cdef int fault
        if head.flags & FLAG_ACK:
            if not self.settings_seen:
                self.fail(H2_PROTOCOL_ERROR, "no_settings_first")
            else:
                self._calm(head)
            return
        if self.settings_seen and not self._calm(head):
            return
        self.settings_seen = True
        self.peer.header_table_low = table
        fault = read_settings(payload, head.size, self.limits.settings, not self.server, &self.peer)
        if fault:
            self.fail(fault, "too_many_settings_entries" if fault == H2_ENHANCE_YOUR_CALM else "bad_settings")
            return
        if self.peer.header_table != table or self.peer.header_table_low != table:
            encoder_resize(&self.encoder, self.peer.header_table_low)
            encoder_resize(&self.encoder, self.peer.header_table)
        if self.peer.window != window and not self._new_window(self.peer.window - window):
            return
        if not self.ended and write_settings_ack(&self.out) < 0:
            self.on_lost()
            return
        self.wrote_control()
        self.on_settings()

    cdef bint _new_window(self, int64_t delta):
        cdef H2Stream* stream
        cdef uint32_t at = 0
        while self.next_stream(&at, &stream):
            if stream.send_window + delta > WINDOW_MAX:                         # 9113 6.9.2
                self.fail(H2_FLOW_CONTROL_ERROR, "window_overflow")
                return False
        self.adjust_windows(delta)
        return True

    cdef void _ping(self, const FrameHead* head, const char* payload):
        if not self._calm(head):
            return
        if head.flags & FLAG_ACK:
            self.ping_sent = 0
        elif not self.ended:
            if write_ping(&self.out, payload, True) < 0:
                self.on_lost()
                return
            self.wrote_control()

    cdef void send_ping(self):
        if self.ended or self.socket is None:
            return
        self.ping_sent = now_ms()
        self.last_data = 0
        if write_ping(&self.out, "fastmesh", False) < 0:
            self.on_lost()
            return
        self.want_flush()

    cdef void _priority(self, const FrameHead* head, const char* payload):
        """Ignored (RFC 9113 5.3.2), and counted."""
        self.priorities += 1
        if self.priorities > PRIORITIES_PER_STREAM * (1 + self.opened):
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_priorities")
        elif read_31(payload) == head.stream:
            self.fail(H2_PROTOCOL_ERROR, "depends_on_itself")

    cdef void _reset(self, const FrameHead* head, const char* payload):
        cdef H2Stream* stream = table_find(&self.streams, head.stream)
        cdef object owner
        if stream != NULL:
            owner = <object>stream.owner
            self.drop_stream(stream, ENDED_BOTH)
            self.on_reset(stream, read_32(payload))
        elif self._idle(head.stream):
            self.fail(H2_PROTOCOL_ERROR, "reset_of_idle_stream")                # 9113 6.4
            return
        if bucket_over(&self.resets, self.limits.resets, self.limits.resets_per_second, now_ms()):
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_resets")

    cdef void _window_update(self, const FrameHead* head, const char* payload):
        cdef uint32_t increment = read_31(payload)
        cdef H2Stream* stream
        self.windows += 1
        if self.windows > WINDOWS_FREE + WINDOWS_PER_STREAM * self.opened + WINDOWS_PER_DATA * self.data_frames:
            self.fail(H2_ENHANCE_YOUR_CALM, "too_many_window_updates")
        elif increment == 0:
            self.fail(H2_PROTOCOL_ERROR, "window_update_of_nothing")            # 9113 6.9; a stream error would do for a stream
        elif head.stream == 0:
            if self.send_window + increment > WINDOW_MAX:
                self.fail(H2_FLOW_CONTROL_ERROR, "window_overflow")
            else:
                self.send_window += increment
        else:
            stream = table_find(&self.streams, head.stream)
            if stream == NULL:
                if self._idle(head.stream):
                    self.fail(H2_PROTOCOL_ERROR, "window_update_of_idle_stream")
            elif stream.send_window + increment > WINDOW_MAX:
                self.stream_error(head.stream, H2_FLOW_CONTROL_ERROR, "window_overflow")
            else:
                stream.send_window += increment
                self.window_opened(stream)

    # --- hooks --------------------------------------------------------------------------------------------------------

    cdef bint on_preface(self, const char** data, size_t* size): return True
    cdef void on_headers(self, H2Stream* stream, const char* block, size_t size, bint end): pass
    cdef void on_new_headers(self, uint32_t id, const char* block, size_t size, bint end): pass
    cdef void on_data(self, H2Stream* stream, const char* data, size_t size): pass
    cdef void on_end(self, H2Stream* stream): pass
    cdef void on_stream_turn(self, H2Stream* stream): pass
    cdef void on_reset(self, H2Stream* stream, uint32_t code): pass
    cdef void on_stream_error(self, H2Stream* stream, uint32_t code, const char* why): pass
    cdef void on_dropped(self, H2Stream* stream): pass
    cdef void on_settings(self): pass
    cdef void on_goaway(self, uint32_t last_id, uint32_t code): pass
    cdef void on_failed(self, uint32_t code, const char* why): pass
    cdef void on_end_of_input(self): pass
