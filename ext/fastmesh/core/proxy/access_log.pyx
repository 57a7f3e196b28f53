"""See access_log.pxd."""
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from libc.time cimport time_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport wall_us
from fastmesh.core.base.counters cimport WK_LOG_DROPPED, WK_LOG_LINES
from fastmesh.core.base.outbuf cimport OutBuf, out_free, out_reserve, out_size
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.tls.peer cimport Peer, peer_of
from fastmesh.core.proxy.account cimport flags_text
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport write_number
from fastmesh.core.wire.message cimport HDR_USER_AGENT, HDR_X_FORWARDED_FOR, Field, Head, Span, span_ptr

cdef extern from "<time.h>" nogil:
    struct tm:
        int tm_year
        int tm_mon
        int tm_mday
        int tm_hour
        int tm_min
        int tm_sec
    tm* gmtime_r(const time_t* t, tm* out)

cdef extern from "<unistd.h>" nogil:
    ssize_t c_write "write"(int fd, const void* data, size_t size)

cdef enum:
    FLUSH_BYTES = 65536
    FLUSH_MS = 100
    FIXED = 2048              # bytes of a line that are not the request's own text


cdef LogFile open_log(Engine engine, path, str format):
    cdef LogFile log = LogFile.__new__(LogFile)
    log.engine = engine
    log.path = None if path == "-" else path
    log.format = {"json": LOG_JSON, "text": LOG_TEXT, "ecs": LOG_ECS}[format]
    log.fd = 1
    out_reserve(&log.lines, 2 * FLUSH_BYTES)
    log.reopen()
    log.flusher = LogFlush.__new__(LogFlush)
    log.flusher.log = log
    return log


cdef class LogFlush(Timed):
    cdef void on_timer(self, int kind) noexcept:
        self.log.flush()


cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>
    /* Inlined always, so that the length of a literal is known and its copy becomes a few moves. */
    static inline __attribute__((always_inline)) char* fm_put(char* at, const char* text) {
        size_t size = __builtin_strlen(text);
        memcpy(at, text, size);
        return at + size;
    }
    /* How many bytes from the start are plain: printable ASCII but for the quote and the backslash. Eight at a time. */
    static inline size_t fm_plain(const char* text, size_t size) {
        size_t i = 0;
        for (; i + 8 <= size; i += 8) {
            uint64_t x, quote, slash, high = 0x8080808080808080ull, one = 0x0101010101010101ull;
            memcpy(&x, text + i, 8);
            quote = x ^ (one * '"');
            slash = x ^ (one * 92);
            if ((((x - one * 0x20) | (x + one) | x | ((quote - one) & ~quote) | ((slash - one) & ~slash)) & high) != 0) break;
        }
        for (; i < size; i++) {
            unsigned char c = (unsigned char)text[i];
            if (c < 0x20 || c >= 0x7f || c == '"' || c == 92) break;
        }
        return i;
    }
    """
    char* fm_put(char* at, const char* text)
    size_t fm_plain(const char* text, size_t size)


cdef inline void _text(Writer* w, const char* text) noexcept nogil:
    """Text of our own; a literal."""
    w.at = fm_put(w.at, text)


cdef inline void _number(Writer* w, uint64_t value) noexcept nogil:
    w.at += write_number(w.at, value)


cdef inline void _bytes(Writer* w, bytes text) noexcept:
    memcpy(w.at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    w.at += PyBytes_GET_SIZE(text)


cdef void _escaped(Writer* w, const char* text, size_t size) noexcept nogil:
    """A value from outside: quotes, backslashes and whatever is not printable ASCII never reach the log as they are."""
    cdef const char* digits = "0123456789abcdef"
    cdef unsigned char c
    cdef size_t i
    cdef size_t plain = fm_plain(text, size)
    memcpy(w.at, text, plain)             # nearly always all of it
    w.at += plain
    for i in range(plain, size):
        c = <unsigned char>text[i]
        if c >= 0x20 and c < 0x7f and c != c'"' and c != c'\\':
            w.at[0] = <char>c
            w.at += 1
        elif c == c'"' or c == c'\\':
            w.at[0], w.at[1] = c'\\', <char>c
            w.at += 2
        else:
            w.at[0], w.at[1], w.at[2], w.at[3] = c'\\', c'u', c'0', c'0'
            w.at[4], w.at[5] = digits[c >> 4], digits[c & 15]
            w.at += 6


cdef inline void _quoted(Writer* w, const char* text, size_t size) noexcept nogil:
    w.at[0] = c'"'
    w.at += 1
    _escaped(w, text, size)
    w.at[0] = c'"'
    w.at += 1


cdef inline void _quoted_bytes(Writer* w, bytes text) noexcept:
    """A value of our own, of harmless characters, or null."""
    if text is None or PyBytes_GET_SIZE(text) == 0:
        _text(w, "null")
    else:
        w.at[0] = c'"'
        w.at += 1
        _bytes(w, text)
        w.at[0] = c'"'
        w.at += 1


cdef inline void _quoted_span(Writer* w, const Head* head, Span span) noexcept nogil:
    if span.len == 0:
        _text(w, "null")
    else:
        _quoted(w, span_ptr(head, span), span.len)


cdef Span _field(const Head* head, int id) noexcept nogil:
    cdef Span none
    cdef int i
    for i in range(head.field_count):
        if head.fields[i].id == id:
            return head.fields[i].value
    none.off = none.len = 0
    return none


cdef void _path(Writer* w, Transit t) noexcept:
    """Path and query as the client sent them."""
    cdef const Head* head = &t.head
    _escaped(w, span_ptr(head, head.path), head.path.len)
    if head.has_query:
        w.at[0] = c'?'
        w.at += 1
        _escaped(w, span_ptr(head, head.query), head.query.len)


cdef inline const char* _details(Transit t) noexcept:
    if t.details == NULL:
        return "-"
    return t.details


cdef inline bytes _protocol(Transit t):
    if t.head.minor == 2:
        return b"HTTP/2"
    return b"HTTP/1.0" if t.head.minor == 0 else b"HTTP/1.1"


cdef inline bytes _route(Transit t):
    if t.rule is None:
        return None
    return t.rule.route_name if PyBytes_GET_SIZE(t.rule.route_name) else b"default"


cdef size_t _names_size(Transit t) noexcept:
    """Room for the names of the configuration, which may be of any length."""
    cdef size_t size = 0
    if t.rule is not None:
        size += PyBytes_GET_SIZE(t.rule.route_name)
    if t.destination is not None:
        size += PyBytes_GET_SIZE(t.destination.cluster_name)
    if t.cluster is not None:
        size += PyBytes_GET_SIZE(t.cluster.service_text)
    if t.tls is not None:
        size += PyBytes_GET_SIZE(t.tls.sni) + (PyBytes_GET_SIZE((<Peer>t.tls.peer).subject) if peer_of(t.tls) is not None else 0)
    return size * 6


cdef void _reason(Writer* w, Transit t, const char* none) noexcept:
    """Why TLS with an endpoint failed: a quoted static text."""
    if t.transport_failure == NULL:
        _text(w, none)
    else:
        _text(w, '"TLS_error: ')
        _text(w, t.transport_failure)
        _text(w, '"')


cdef void _tls(Writer* w, Tls tls):
    """The fields of ECS for a connection of a client. The subject is a text of the client's."""
    cdef Peer peer = peer_of(tls)
    _text(w, ',"tls.established":true,"tls.version_protocol":"tls","tls.version":"')
    _text(w, tls.version())
    _text(w, '","tls.cipher":"')
    _text(w, tls.cipher())
    _text(w, '","tls.resumed":true,"tls.client.server_name":' if tls.resumed() else '","tls.resumed":false,"tls.client.server_name":')
    _quoted_bytes(w, tls.sni)
    if peer is not None:
        _text(w, ',"tls.client.subject":')
        _quoted(w, PyBytes_AS_STRING(peer.subject), PyBytes_GET_SIZE(peer.subject))
        _text(w, ',"tls.client.hash.sha256":"')
        _bytes(w, peer.hash)
        _text(w, '"')


cdef inline bytes _cluster(Transit t):
    return t.destination.cluster_name if t.destination is not None else None


cdef inline bytes _upstream(Transit t):
    return t.endpoint.text if t.endpoint is not None else None


cdef class LogFile(AccessLog):
    def __dealloc__(self):
        out_free(&self.lines)

    cdef int _stamp(self, uint64_t wall, char* to) noexcept:
        """2026-11-23T20:00:00.123Z; the date part is made once a second."""
        cdef time_t second = wall // 1000000
        cdef int ms = <int>(wall // 1000 % 1000)
        cdef tm parts
        if <uint64_t>second != self.second:
            self.second = second
            gmtime_r(&second, &parts)
            _digits(self.stamp, parts.tm_year + 1900, 4)
            _digits(self.stamp + 5, parts.tm_mon + 1, 2)
            _digits(self.stamp + 8, parts.tm_mday, 2)
            _digits(self.stamp + 11, parts.tm_hour, 2)
            _digits(self.stamp + 14, parts.tm_min, 2)
            _digits(self.stamp + 17, parts.tm_sec, 2)
            self.stamp[4] = self.stamp[7] = c'-'
            self.stamp[10] = c'T'
            self.stamp[13] = self.stamp[16] = c':'
        memcpy(to, self.stamp, 19)
        to[19] = c'.'
        _digits(to + 20, ms, 3)
        to[23] = c'Z'
        return 24

    cdef void write(self, StreamUser exchange):
        cdef Transit t = <Transit>exchange
        cdef Writer w
        cdef char* start = out_reserve(&self.lines, FIXED + 6 * <size_t>t.head.size + _names_size(t))
        cdef uint64_t now, wall
        if start == NULL:
            fm_bump(&self.engine.row[WK_LOG_DROPPED], 1)
            return
        now, wall = t.ended, wall_us()
        w.at = start
        if self.format == LOG_JSON:
            self._json(&w, t, now, wall)
        elif self.format == LOG_TEXT:
            self._plain(&w, t, now, wall)
        else:
            self._ecs(&w, t, now, wall)
        w.at[0] = c'\n'
        self.lines.end += w.at + 1 - start
        fm_bump(&self.engine.row[WK_LOG_LINES], 1)
        if out_size(&self.lines) >= FLUSH_BYTES:
            self.flush()
        elif self.flusher.timer.next == NULL:
            self.engine.wheel.start(&self.flusher.timer, self.flusher, 0, FLUSH_MS)

    cdef void _json(self, Writer* w, Transit t, uint64_t now, uint64_t wall):
        cdef const Head* head = &t.head
        cdef uint64_t lasted = now - t.started
        cdef char* begun
        _text(w, '{"start_time":"')
        begun = w.at
        w.at += self._stamp(wall - lasted // 1000, w.at)
        _text(w, '","route_name":')
        _quoted_bytes(w, _route(t))
        _text(w, ',"method":')
        _quoted_span(w, head, head.method_name)
        if t.tcp:
            _text(w, ',"path":null,"protocol":null,"response_code":')
        else:
            _text(w, ',"path":"')
            _path(w, t)
            _text(w, '","protocol":"')
            _bytes(w, _protocol(t))
            _text(w, '","response_code":')
        _number(w, t.status)
        _text(w, ',"response_flags":"')
        _bytes(w, flags_text(t.flags))
        if t.tcp:
            _text(w, '","response_code_details":null')
        else:
            _text(w, '","response_code_details":"')
            _text(w, _details(t))
            _text(w, '"')
        _text(w, ',"connection_termination_details":null,"bytes_received":')
        _number(w, t.bytes_received)
        _text(w, ',"bytes_sent":')
        _number(w, t.bytes_sent)
        _text(w, ',"duration":')
        _number(w, lasted // 1000000)
        _text(w, ',"upstream_service_time":')
        if t.answered_at:
            _number(w, (t.answered_at - t.sent_at) // 1000000)
        else:
            _text(w, "null")
        _text(w, ',"x_forwarded_for":')
        _quoted_span(w, head, _field(head, HDR_X_FORWARDED_FOR))
        _text(w, ',"user_agent":')
        _quoted_span(w, head, _field(head, HDR_USER_AGENT))
        _text(w, ',"request_id":')
        if t.tcp:
            _text(w, "null")
        else:
            _quoted(w, t.request_id_at, t.request_id_size)
        _text(w, ',"authority":')
        _quoted_span(w, head, head.authority)
        _text(w, ',"upstream_host":')
        _quoted_bytes(w, _upstream(t))
        _text(w, ',"upstream_cluster":')
        _quoted_bytes(w, _cluster(t))
        _text(w, ',"upstream_local_address":null,"downstream_local_address":')
        _quoted_bytes(w, t.local_text)
        _text(w, ',"downstream_remote_address":')
        _quoted_bytes(w, t.peer_text)
        _text(w, ',"requested_server_name":')
        _quoted_bytes(w, t.requested_name)
        _text(w, ',"upstream_transport_failure_reason":')
        _reason(w, t, "null")
        self._article(w, t, lasted, begun, wall)
        w.at[0] = c'}'
        w.at += 1

    cdef void _article(self, Writer* w, Transit t, uint64_t lasted, const char* begun, uint64_t wall):
        """The five keys of the article that this project implements; `begun` is start_time as written."""
        _text(w, ',"serviceName":')
        if t.cluster is not None:
            _quoted_bytes(w, t.cluster.service_text)
        else:
            _text(w, "null")
        _text(w, ',"requestTime":"')
        memcpy(w.at, begun, 24)
        w.at += 24
        _text(w, '","responseTime":"')
        w.at += self._stamp(wall, w.at)
        _text(w, '","processingTime":')
        _milliseconds(w, lasted)
        _text(w, ',"responseStatus":')
        _number(w, t.status)
        if t.grpc and t.grpc_status >= 0:
            _text(w, ',"grpc_status":')
            _number(w, t.grpc_status)

    cdef void _plain(self, Writer* w, Transit t, uint64_t now, uint64_t wall):
        cdef const Head* head = &t.head
        cdef uint64_t lasted = now - t.started
        w.at[0] = c'['
        w.at += 1
        w.at += self._stamp(wall - lasted // 1000, w.at)
        if t.tcp:
            _text(w, '] "- - -" ')
        else:
            _text(w, '] "')
            _escaped(w, span_ptr(head, head.method_name), head.method_name.len)
            _text(w, " ")
            _path(w, t)
            _text(w, " ")
            _bytes(w, _protocol(t))
            _text(w, '" ')
        _number(w, t.status)
        _text(w, " ")
        _bytes(w, flags_text(t.flags))
        _text(w, " ")
        _text(w, _details(t))
        _text(w, " - ")
        _reason(w, t, '"-"')
        _text(w, " ")
        _number(w, t.bytes_received)
        _text(w, " ")
        _number(w, t.bytes_sent)
        _text(w, " ")
        _number(w, lasted // 1000000)
        _text(w, " ")
        if t.answered_at:
            _number(w, (t.answered_at - t.sent_at) // 1000000)
        else:
            _text(w, "-")
        _dashed(w, head, _field(head, HDR_X_FORWARDED_FOR))
        _dashed(w, head, _field(head, HDR_USER_AGENT))
        if t.tcp:
            _text(w, ' "-"')
        else:
            _text(w, ' "')
            _escaped(w, t.request_id_at, t.request_id_size)
            _text(w, '"')
        _dashed(w, head, head.authority)
        _text(w, ' "')
        _bytes(w, _upstream(t) or b"-")
        _text(w, '" ')
        _bytes(w, _cluster(t) or b"-")
        _text(w, " - ")
        _bytes(w, t.local_text or b"-")
        _text(w, " ")
        _bytes(w, t.peer_text or b"-")
        _text(w, " ")
        _bytes(w, t.requested_name or b"-")
        _text(w, " ")
        _bytes(w, _route(t) or b"-")

    cdef void _ecs(self, Writer* w, Transit t, uint64_t now, uint64_t wall):
        cdef const Head* head = &t.head
        cdef uint64_t lasted = now - t.started
        _text(w, '{"@timestamp":"')
        w.at += self._stamp(wall - lasted // 1000, w.at)
        if t.tcp:
            _text(w, '","log.level":"info","message":"connection","ecs.version":"8.11.0","event.dataset":"fastmesh.access",'
                     '"event.kind":"event","event.category":["network"],"event.type":["connection"],"event.outcome":"')
            _text(w, "success" if t.flags == 0 else "failure")
            _text(w, '","event.duration":')
            _number(w, lasted)
            _text(w, ',"source.bytes":')
            _number(w, t.bytes_received)
            _text(w, ',"destination.bytes":')
            _number(w, t.bytes_sent)
        else:
            self._ecs_request(w, t, lasted)
        _text(w, ',"source.ip":')
        _quoted_bytes(w, t.peer)
        _text(w, ',"client.ip":')
        _quoted_bytes(w, t.peer)
        _address(w, ',"server.address":', ',"server.port":', t.local_text)
        _address(w, ',"destination.address":', ',"destination.port":', _upstream(t))
        if t.tls is not None:
            _tls(w, t.tls)
        elif t.requested_name:
            _text(w, ',"tls.client.server_name":')
            _quoted_bytes(w, t.requested_name)
        _text(w, ',"network.transport":"tcp","service.name":' if t.tcp
              else ',"network.protocol":"http","network.transport":"tcp","service.name":')
        _quoted_bytes(w, t.cluster.service_text if t.cluster is not None else None)
        _text(w, ',"labels":{"route_name":')
        _quoted_bytes(w, _route(t))
        _text(w, ',"upstream_cluster":')
        _quoted_bytes(w, _cluster(t))
        _text(w, ',"response_flags":"')
        _bytes(w, flags_text(t.flags))
        _text(w, '","response_code_details":"')
        _text(w, _details(t))
        _text(w, '"}}')

    cdef void _ecs_request(self, Writer* w, Transit t, uint64_t lasted):
        cdef const Head* head = &t.head
        _text(w, '","log.level":"info","message":"')
        _escaped(w, span_ptr(head, head.method_name), head.method_name.len)
        _text(w, " ")
        _path(w, t)
        _text(w, '","ecs.version":"8.11.0","event.dataset":"fastmesh.access","event.kind":"event","event.category":["web"],'
                 '"event.type":["access"],"event.outcome":"')
        _text(w, "success" if 0 < t.status < 500 else "failure")
        _text(w, '","event.duration":')
        _number(w, lasted)
        _text(w, ',"http.request.method":')
        _quoted_span(w, head, head.method_name)
        _text(w, ',"http.request.id":')
        _quoted(w, t.request_id_at, t.request_id_size)
        _text(w, ',"http.request.body.bytes":')
        _number(w, t.bytes_received)
        _text(w, ',"http.response.status_code":')
        _number(w, t.status)
        _text(w, ',"http.response.body.bytes":')
        _number(w, t.bytes_sent)
        _text(w, ',"http.version":"')
        _text(w, "2" if head.minor == 2 else "1.0" if head.minor == 0 else "1.1")
        _text(w, '","url.original":"')
        _path(w, t)
        _text(w, '","url.path":')
        _quoted_span(w, head, head.path)
        _text(w, ',"url.query":')
        _quoted_span(w, head, head.query)
        _text(w, ',"url.domain":')
        _quoted_span(w, head, head.host)
        _text(w, ',"url.scheme":"https","user_agent.original":' if t.request.https else ',"url.scheme":"http","user_agent.original":')
        _quoted_span(w, head, _field(head, HDR_USER_AGENT))

    cdef void flush(self):
        """Hand the lines to the file. A part that it did not take is tried once more later, then dropped line by line."""
        cdef ssize_t written
        if out_size(&self.lines) == 0:
            return
        written = c_write(self.fd, self.lines.data + self.lines.start, out_size(&self.lines))
        if written > 0:
            self.lines.start += written
        if self.lines.start == self.lines.end:
            self.lines.start = self.lines.end = 0             # the room is kept: growing it anew costs more than a line
        if out_size(&self.lines) > 16 * FLUSH_BYTES:
            fm_bump(&self.engine.row[WK_LOG_DROPPED], _lines(&self.lines))
            out_free(&self.lines)
        elif out_size(&self.lines) > 0:
            self.engine.wheel.start(&self.flusher.timer, self.flusher, 0, FLUSH_MS)

    cdef void reopen(self):
        """Open the file again under its name (after it was rotated away)."""
        if self.path is None:
            return
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.flush()
        if self.fd > 2:
            os.close(self.fd)
        self.fd = fd


cdef void _address(Writer* w, const char* name, const char* port_name, bytes text) noexcept:
    """An address:port of our own under two keys."""
    cdef Py_ssize_t colon = text.rfind(b":") if text is not None else -1
    if colon < 0:
        return
    _text(w, name)
    _quoted(w, PyBytes_AS_STRING(text), colon)
    _text(w, port_name)
    memcpy(w.at, PyBytes_AS_STRING(text) + colon + 1, PyBytes_GET_SIZE(text) - colon - 1)
    w.at += PyBytes_GET_SIZE(text) - colon - 1


cdef uint64_t _lines(OutBuf* lines) noexcept nogil:
    cdef uint64_t count = 0
    cdef size_t i
    for i in range(lines.start, lines.end):
        if lines.data[i] == c'\n':
            count += 1
    return count


cdef void _digits(char* to, int value, int width) noexcept nogil:
    cdef int i
    for i in range(width):
        to[width - 1 - i] = <char>(c'0' + value % 10)
        value //= 10


cdef void _milliseconds(Writer* w, uint64_t ns) noexcept nogil:
    """With microseconds: 1.234"""
    _number(w, ns // 1000000)
    w.at[0] = c'.'
    _digits(w.at + 1, <int>(ns // 1000 % 1000), 3)
    w.at += 4


cdef void _dashed(Writer* w, const Head* head, Span span) noexcept nogil:
    _text(w, ' "')
    if span.len == 0:
        _text(w, "-")
    else:
        _escaped(w, span_ptr(head, span), span.len)
    _text(w, '"')
