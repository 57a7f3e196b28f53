"""See tunnel.pxd. This runs once a tunnel, not once a message: Python's own digests will do."""
import base64
import hashlib
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.base.counters cimport WK_TUNNEL_IDLE, WK_UPGRADES_ACTIVE, WK_UPGRADES_TOTAL
from fastmesh.core.base.outbuf cimport out_append, out_free, out_size
from fastmesh.core.net.readiness cimport Timeouts
from fastmesh.core.proxy.attempt cimport Attempting
from fastmesh.core.proxy.find cimport GO_ON
from fastmesh.core.proxy.relay cimport said_again
from fastmesh.core.proxy.transit cimport FLAG_SI
from fastmesh.core.wire.h1_write cimport HeadOut, drop_field, out_field
from fastmesh.core.wire.message cimport (
    FRAMING_LENGTH, FRAMING_NONE, FRAMING_STREAM, FRAMING_TUNNEL, HDR_OTHER, Head, METHOD_CONNECT, METHOD_GET, Span, span_ptr,
)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

cdef enum:
    HELD_MAX = 65536          # bytes that a client sends too early
    BOTH_ENDED = 3
    LOOK_AGAIN = 100          # ms

cdef bytes GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
cdef char* KEY = "sec-websocket-key"
cdef char* ACCEPT = "sec-websocket-accept"


cdef bytes accept_of(bytes key):
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


cdef bytes _value(const Head* head, const char* name, size_t size):
    """The field of that name; None when there is none, or more than one."""
    cdef bytes found = None
    cdef int i
    for i in range(head.field_count):
        if head.fields[i].name.len == size and strncasecmp(span_ptr(head, head.fields[i].name), name, size) == 0:
            if found is not None:
                return None
            found = PyBytes_FromStringAndSize(span_ptr(head, head.fields[i].value), head.fields[i].value.len)
    return found


cdef inline bint _is_websocket(const Head* head, Span protocol) noexcept:
    return protocol.len == 9 and strncasecmp(span_ptr(head, protocol), "websocket", 9) == 0


cdef class Tunnelling(Attempting):
    cdef int begin_upgrade(self):
        """WebSocket goes on, as on every listener of Istio; another protocol is refused, as Envoy does it."""
        cdef Head* head = &self.head
        if not _is_websocket(head, head.protocol):
            return self._refuse(403, 0, "upgrade_failed", "", 0)
        if head.method == METHOD_CONNECT:
            head.method = METHOD_GET
            head.method_name.len = 3
            memcpy(self.text + head.method_name.off, "GET", 3)        # over "CONNECT"
            if head.framing == FRAMING_STREAM:
                head.framing = FRAMING_NONE           # what follows is no body
        if head.method != METHOD_GET or head.framing != FRAMING_NONE and (head.framing != FRAMING_LENGTH or head.length > 0):
            return self._refuse(400, 0, "bad_websocket_handshake", "", 0)     # RFC 6455 4.1
        return GO_ON

    cdef void upgrade_out(self, HeadOut* out):
        """What asks the endpoint for the upgrade. `upstream` is known, and with it the version."""
        out.protocol, out.protocol_size = "websocket", 9
        self.websocket_key = None
        if self.upstream.minor == 2:
            out.method, out.method_size = "CONNECT", 7
            drop_field(out, KEY, 17)
        elif not said_again(out, KEY, 17) and self.client.minor == 2:
            self.websocket_key = base64.b64encode(os.urandom(16))
            out_field(out, KEY, 17, PyBytes_AS_STRING(self.websocket_key), <uint32_t>PyBytes_GET_SIZE(self.websocket_key), HDR_OTHER)

    cdef bint agreed(self, const Head* head):
        if self.upstream.minor == 2:
            return True
        if not _is_websocket(head, head.protocol):
            return False
        return self.websocket_key is None or _value(head, ACCEPT, 20) == accept_of(self.websocket_key)

    cdef void upgraded_out(self, const Head* head, HeadOut* out):
        """The head that tells the client."""
        cdef bytes key
        self.status = 101                 # also between HTTP/2 peers, as Envoy counts and logs it
        out.status = 101
        out.framing = FRAMING_TUNNEL
        out.protocol, out.protocol_size = "websocket", 9
        if self.client.minor == 2:
            drop_field(out, ACCEPT, 20)
        elif self.upstream.minor == 2:
            key = _value(&self.head, KEY, 17)
            if key is not None:
                self.websocket_key = accept_of(key)       # kept alive until the head is written
                out_field(out, ACCEPT, 20, PyBytes_AS_STRING(self.websocket_key),
                          <uint32_t>PyBytes_GET_SIZE(self.websocket_key), HDR_OTHER)

    cdef void open_tunnel(self):
        cdef uint32_t limit = self.engine.timeouts.tunnel
        self.tunnel = True
        self.engine.wheel.cancel(&self.route_timer)
        fm_bump(&self.engine.row[WK_UPGRADES_TOTAL], 1)
        fm_bump(&self.engine.row[WK_UPGRADES_ACTIVE], 1)
        self.moved_at = now_ms()
        if limit:
            self.engine.wheel.start(&self.timer, self, TIMER_TUNNEL, limit)
        if out_size(&self.body) > 0:
            self.upstream.send_body(self.body.data + self.body.start, out_size(&self.body))
            out_free(&self.body)
        if self.tunnel_ends & CLIENT_ENDED:
            self.upstream.send_end(NULL)
        elif self.client_paused:
            self.client_paused = False
            self.client.resume_request()

    cdef void hold(self, const char* data, size_t size):
        out_append(&self.body, data, size)
        if out_size(&self.body) > HELD_MAX and not self.client_paused:
            self.client_paused = True
            self.client.pause_request()

    cdef void end_side(self, int end):
        """One direction has ended; after both the request is over."""
        self.tunnel_ends |= end
        if not self.tunnel:
            return
        self.moved_at = now_ms()
        if self.tunnel_ends == BOTH_ENDED and self.upstream.waiting() == 0:
            self.upstream = None
            self._count_out()
            self._finish()
        elif self.tunnel_ends == BOTH_ENDED:          # the last bytes are still on their way to the endpoint
            self.engine.wheel.start(&self.timer, self, TIMER_TUNNEL, LOOK_AGAIN)
        elif self.engine.timeouts.body:
            self.engine.wheel.start(&self.timer, self, TIMER_TUNNEL, self.engine.timeouts.body)

    cdef void look_idle(self):
        cdef Timeouts* timeouts = &self.engine.timeouts
        cdef uint64_t limit = timeouts.body if self.tunnel_ends and timeouts.body else timeouts.tunnel
        cdef uint64_t waited = now_ms() - self.moved_at
        if self.tunnel_ends == BOTH_ENDED and self.upstream.waiting() == 0:
            self.end_side(0)
            return
        if limit == 0 or waited < limit:
            self.engine.wheel.start(&self.timer, self, TIMER_TUNNEL,
                                    LOOK_AGAIN if self.tunnel_ends == BOTH_ENDED else limit - waited)
            return
        fm_bump(&self.engine.row[WK_TUNNEL_IDLE], 1)
        self.flags |= FLAG_SI
        self.details = "stream_idle_timeout"
        self._leave_upstream()
        self._count_out()
        self.client.abort_response()
        self._finish()
