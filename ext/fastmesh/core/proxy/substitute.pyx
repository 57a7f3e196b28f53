"""See substitute.pxd. The words are those of Envoy's access logs, "Command operators"; what is not known is an empty text."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport strlen
from libc.time cimport time_t
from fastmesh.core.base.clock cimport now_ns, wall_us
from fastmesh.core.base.scratch cimport Scratch, scratch_begin, scratch_end, scratch_put
from fastmesh.core.net.tls.peer cimport Peer, peer_of
from fastmesh.core.proxy.account cimport flags_text
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.header_ops cimport (
    WORD_BYTES_RECEIVED, WORD_CLIENT, WORD_CLIENT_ADDRESS, WORD_CLIENT_PORT, WORD_CLUSTER, WORD_CODE, WORD_DETAILS, WORD_DURATION,
    WORD_ENDPOINT, WORD_ENDPOINT_ADDRESS, WORD_ENDPOINT_PORT, WORD_FLAGS, WORD_LOCAL, WORD_LOCAL_ADDRESS, WORD_LOCAL_PORT,
    WORD_PEER_DNS, WORD_PEER_HASH, WORD_PEER_ISSUER, WORD_PEER_SERIAL, WORD_PEER_SUBJECT, WORD_PEER_URI, WORD_PROTOCOL, WORD_REQ,
    WORD_RESP, WORD_ROUTE, WORD_SNI, WORD_START, WORD_START_FRACTION, WORD_START_SECONDS, WORD_TEXT, WORD_TLS_CIPHER,
    WORD_TLS_VERSION, HeaderOps, Made, Segment,
)
from fastmesh.core.wire.h1_write cimport HeadOut, write_number
from fastmesh.core.wire.message cimport Field, Head, Span, span_ptr

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

cdef extern from "<time.h>" nogil:
    struct tm:
        int tm_year
    tm* gmtime_r(const time_t* t, tm* out)
    size_t strftime(char* to, size_t room, const char* format, const tm* parts)

cdef extern from * nogil:
    """
    #include <stddef.h>
    static inline char* fm_scratch_blank(char* text, size_t size) {
        for (size_t i = 0; i < size; i++)
            if ((unsigned char)text[i] < 0x20 ? text[i] != '\\t' : text[i] == 0x7f) text[i] = ' ';
        return text;
    }
    """
    char* fm_scratch_blank(char* text, size_t size)

cdef struct Text:
    const char* data
    size_t size


cdef void expand(Transit t, HeaderOps ops, const HeadOut* out):
    cdef Scratch* scratch = &t.engine.made
    cdef Made made
    cdef size_t size
    cdef const char* text
    cdef int i
    for made in ops.made:
        scratch_begin(scratch)
        for i in range(made.count):
            _add(t, &made.segments[i], out, scratch)
        text = scratch_end(scratch, &size)
        made.now.value, made.now.size = fm_scratch_blank(<char*>text, size), <uint32_t>size


cdef void _add(Transit t, const Segment* segment, const HeadOut* out, Scratch* scratch):
    cdef char[128] room
    cdef Text text
    text.data, text.size = "", 0
    if segment.word == WORD_REQ and segment.size == 5 and strncasecmp(segment.text, ":path", 5) == 0:
        _add_target(t, segment.limit, scratch)
        return
    if segment.word == WORD_TEXT:
        text.data, text.size = segment.text, segment.size
    elif segment.word == WORD_REQ or segment.word == WORD_RESP:
        text = _value(t, segment, out)
    elif segment.word == WORD_PEER_URI or segment.word == WORD_PEER_DNS:
        _add_names(t, segment.word == WORD_PEER_URI, scratch)
        return
    elif segment.word >= WORD_PEER_SUBJECT and segment.word <= WORD_PEER_HASH:
        text = _of_peer(t, segment.word)
    elif segment.word >= WORD_TLS_VERSION and segment.word <= WORD_TLS_CIPHER:
        if t.tls is not None:
            if segment.word == WORD_TLS_VERSION:
                scratch_put(scratch, "TLSv", 4)
            text.data = t.tls.version() if segment.word == WORD_TLS_VERSION else t.tls.cipher()
            text.size = strlen(text.data)
    elif segment.word >= WORD_START and segment.word <= WORD_START_SECONDS:
        text = _of_time(t, segment, room, sizeof(room))
    elif segment.word <= WORD_ENDPOINT_PORT:
        text = _of_connection(t, segment.word)
    else:
        text = _of_story(t, segment.word, out, room)
    if segment.limit and text.size > segment.limit:
        text.size = segment.limit
    scratch_put(scratch, text.data, text.size)


cdef inline Text _bytes(bytes value):
    cdef Text text
    text.data, text.size = "", 0
    if value is not None:
        text.data, text.size = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    return text


cdef Text _value(Transit t, const Segment* segment, const HeadOut* out):
    """A field of the message; a request that is answered is looked at as its client sent it."""
    cdef Text text
    if segment.word == WORD_RESP:
        text.data, text.size = "", 0
        if out.status and not _find(out, segment.text, segment.size, &text) and segment.other_size:
            _find(out, segment.other, segment.other_size, &text)
        return text
    if not _of_request(t, segment.text, segment.size, out, &text) and segment.other_size:
        _of_request(t, segment.other, segment.other_size, out, &text)
    return text


cdef bint _find(const HeadOut* out, const char* name, uint32_t size, Text* text) noexcept nogil:
    cdef int i
    for i in range(out.count):
        if out.fields[i].name_size == size and strncasecmp(out.fields[i].name, name, size) == 0:
            text.data, text.size = out.fields[i].value, out.fields[i].value_size
            return True
    return False


cdef bint _of_request(Transit t, const char* name, uint32_t size, const HeadOut* out, Text* text) noexcept:
    cdef const Head* head = &t.head
    cdef const Field* field
    cdef int i
    text.data, text.size = "", 0
    if size and name[0] == c':':
        return _pseudo(t, name, size, text)
    if out.status == 0:
        return _find(out, name, size, text)
    if size == 12 and strncasecmp(name, "x-request-id", 12) == 0:
        text.data, text.size = t.request_id_at, t.request_id_size
        return True
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.name.len == size and strncasecmp(head.base + field.name.off, name, size) == 0:
            text.data, text.size = head.base + field.value.off, field.value.len
            return True
    return False


cdef bint _pseudo(Transit t, const char* name, uint32_t size, Text* text) noexcept:
    """As the request came: what a rule rewrites is not seen here, as with Envoy."""
    cdef const Head* head = &t.head
    cdef Span span
    if strncasecmp(name, ":scheme", size) == 0:
        text.data = "https" if t.request.https else "http"
        text.size = 5 if t.request.https else 4
        return True
    span = head.authority if strncasecmp(name, ":authority", size) == 0 else head.method_name
    text.data, text.size = span_ptr(head, span), span.len
    return True


cdef Text _of_connection(Transit t, int word):
    if word == WORD_PROTOCOL:
        return _bytes(b"HTTP/2" if t.head.minor == 2 else b"HTTP/1.0" if t.head.minor == 0 else b"HTTP/1.1")
    if word == WORD_CLIENT_ADDRESS:
        return _bytes(t.peer)
    if word <= WORD_CLIENT_PORT:
        return _part(t.peer_text, word - WORD_CLIENT)
    if word <= WORD_LOCAL_PORT:
        return _part(t.local_text, word - WORD_LOCAL)
    if word == WORD_CLUSTER:
        return _bytes(t.destination.cluster_name if t.destination is not None else None)
    return _part(t.endpoint.text if t.endpoint is not None else None, word - WORD_ENDPOINT)


cdef Text _part(bytes written, int part):
    """0: `address:port` whole, 1: the address without brackets, 2: the port."""
    cdef Text text = _bytes(written)
    cdef size_t at = text.size
    if part == 0 or text.size == 0 or text.data[0] == c'u':      # unix:///path has no port
        if part == 2:
            text.size = 0
        return text
    while at > 0 and text.data[at - 1] != c':':
        at -= 1
    if at == 0:
        if part == 2:
            text.size = 0
        return text
    if part == 2:
        text.data, text.size = text.data + at, text.size - at
        return text
    text.size = at - 1
    if text.size > 1 and text.data[0] == c'[':
        text.data, text.size = text.data + 1, text.size - 2
    return text


cdef Text _of_story(Transit t, int word, const HeadOut* out, char* room):
    cdef Text text
    text.data, text.size = room, 0
    if word == WORD_ROUTE:
        return _bytes(t.rule.route_name if t.rule is not None else None)
    if word == WORD_SNI:
        return _bytes(t.requested_name)
    if word == WORD_FLAGS and t.flags:
        return _bytes(flags_text(t.flags))
    if word == WORD_DETAILS and t.details != NULL:
        text.data, text.size = t.details, strlen(t.details)
    elif word == WORD_CODE and out.status:
        text.size = write_number(room, out.status)
    elif word == WORD_DURATION:
        text.size = write_number(room, (now_ns() - t.started) // 1000000)
    elif word == WORD_BYTES_RECEIVED:
        text.size = write_number(room, t.bytes_received)
    return text


cdef Text _of_time(Transit t, const Segment* segment, char* room, size_t size):
    """When the request came. Fractions end with the microsecond, which is as far as the clock is read."""
    cdef uint64_t came = wall_us() - (now_ns() - t.started) // 1000
    cdef uint32_t digit, digits, part
    cdef time_t second = came // 1000000
    cdef tm parts
    cdef Text text
    text.data, text.size = room, 0
    if segment.word == WORD_START_SECONDS:
        text.size = write_number(room, came // 1000000)
        return text
    if segment.word == WORD_START:
        gmtime_r(&second, &parts)
        text.size = strftime(room, size, segment.text, &parts)
        return text
    digits = <uint32_t>(segment.text[0] - c'0')
    part = <uint32_t>(came % 1000000)
    for digit in range(digits):
        room[digit] = <char>(c'0' + part // 100000)
        part = part % 100000 * 10
    text.size = digits
    return text


cdef Text _of_peer(Transit t, int word):
    cdef Peer peer = peer_of(t.tls)
    if peer is None:
        return _bytes(None)
    if word == WORD_PEER_SUBJECT:
        return _bytes(peer.subject)
    if word == WORD_PEER_ISSUER:
        return _bytes(peer.issuer)
    if word == WORD_PEER_SERIAL:
        return _bytes(peer.serial)
    return _bytes(peer.hash)


cdef void _add_target(Transit t, uint32_t limit, Scratch* scratch) noexcept:
    """Path and query as the client sent them: with an absolute target they need not stand side by side."""
    cdef const Head* head = &t.head
    cdef size_t size = head.path.len, rest = head.query.len
    cdef size_t room = limit if limit else size + rest + 1
    scratch_put(scratch, span_ptr(head, head.path), size if size < room else room)
    if head.has_query and room > size:
        scratch_put(scratch, "?", 1)
        room -= size + 1
        scratch_put(scratch, span_ptr(head, head.query), rest if rest < room else room)


cdef void _add_names(Transit t, bint uris, Scratch* scratch):
    cdef Peer peer = peer_of(t.tls)
    cdef bytes name
    cdef bint more = False
    if peer is None:
        return
    for name in (peer.uris if uris else peer.dns):
        if more:
            scratch_put(scratch, ",", 1)
        more = True
        scratch_put(scratch, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
