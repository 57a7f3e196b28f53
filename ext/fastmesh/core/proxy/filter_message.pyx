"""See filter_message.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset
from fastmesh.core.net.tls.peer cimport Peer, peer_of
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.authority cimport split_authority
from fastmesh.core.wire.h1_write cimport HeadOut, out_clear, out_field
from fastmesh.core.wire.headers cimport CHAR_CLASS, CHAR_METHOD, CHAR_TARGET, CHAR_TOKEN, find_control, header_id, method_id
from fastmesh.core.wire.message cimport (
    FIELD_HOP, FIELDS_MAX, FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, HDR_X_REQUEST_ID, METHOD_CONNECT, METHOD_HEAD, TARGET_ORIGIN,
    Field, Head, Span, span_ptr,
)

cdef enum:
    HEAD_MAX = 65535

# Where a message ends, whom it is for, and what others rely on: the proxy writes these itself
cdef frozenset KEPT = frozenset((b"content-length", b"transfer-encoding", b"connection", b"host", b"keep-alive", b"upgrade", b"te",
                                 b"trailer", b"proxy-connection", b"http2-settings", b"expect"))
cdef frozenset KEPT_OF_REQUEST = frozenset((b"x-request-id", b"x-forwarded-client-cert"))


cdef bytes _bytes(value, str what):
    if isinstance(value, bytes):
        return <bytes>value
    if isinstance(value, str):
        try:
            return (<str>value).encode("latin-1")
        except UnicodeEncodeError:
            return (<str>value).encode()
    raise TypeError(f"{what} is a str, not {type(value).__name__}")


cdef bint _all_of(bytes text, int wanted):
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(text)
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(text)):
        if not CHAR_CLASS[at[i]] & wanted:
            return False
    return True


cdef bytes _name(name):
    return _bytes(name, "the name of a header").lower()


cdef bytes _new_name(name, bint of_request):
    cdef bytes text = _name(name)
    if not text or not _all_of(text, CHAR_TOKEN):
        raise ValueError(f"{name!r} is not the name of a header")
    if text in KEPT or of_request and (text in KEPT_OF_REQUEST or text.startswith(b"x-envoy-")):
        raise ValueError(f"{text.decode()} belongs to the proxy" + (", write request.authority" if text == b"host" else ""))
    return text


cdef bytes _new_value(value):
    cdef bytes text = _bytes(value, "the value of a header").strip(b" \t")
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(text)
    cdef const uint8_t* end = at + PyBytes_GET_SIZE(text)
    while True:
        at = find_control(at, end)
        if at == end:
            return text
        if at[0] != c'\t':
            raise ValueError(f"{value!r} has a control character, which no header may have")
        at += 1


cdef bytes _lower(const char* text, size_t size):
    cdef bytes made = PyBytes_FromStringAndSize(text, size)
    cdef char* at = PyBytes_AS_STRING(made)
    cdef size_t i
    for i in range(size):
        if c'A' <= at[i] <= c'Z':
            at[i] += 32
    return made


cdef class Answer:
    """Answers instead of the endpoint, or instead of its answer: `return Answer(401, "who are you?")`."""

    def __init__(self, int status=200, body=b"", headers=None):
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not a status to answer with, write 200 to 599")
        self.status = <uint16_t>status
        self.body = (<str>body).encode() if isinstance(body, str) else bytes(body)
        self.fields = []
        self.content_type = b"text/plain"
        for name, value in (headers.items() if hasattr(headers, "items") else headers or ()):
            self.fields.append((_new_name(name, False), _new_value(value)))
            if self.fields[-1][0] == b"content-type":
                self.content_type = None

    @property
    def headers(self):
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.fields]


cdef class Headers:
    """Names are lower case; a name may be there several times. Values are text, a byte each (latin-1)."""

    def __init__(self, headers=()):
        self.fields = []
        for name, value in (headers.items() if hasattr(headers, "items") else headers):
            self.fields.append((_new_name(name, False), _new_value(value)))

    cdef _writing(self):
        if self.frozen:
            raise RuntimeError("this head is on its way: write it in the hook for the head")
        self.changed = True

    cdef bytes _find(self, bytes wanted):
        cdef bytes found = None
        cdef bytes name, value
        for name, value in self.fields:
            if name == wanted:
                found = value if found is None else found + (b"; " if name == b"cookie" else b", ") + value
        return found

    def get(self, name, default=None):
        """The value; several are joined as RFC 9110 5.3 has it."""
        cdef bytes found = self._find(_name(name))
        return default if found is None else found.decode("latin-1")

    def get_all(self, name):
        cdef bytes wanted = _name(name)
        return [value.decode("latin-1") for each, value in self.fields if each == wanted]

    def __getitem__(self, name):
        cdef bytes found = self._find(_name(name))
        if found is None:
            raise KeyError(name)
        return found.decode("latin-1")

    def __contains__(self, name):
        return self._find(_name(name)) is not None

    def __setitem__(self, name, value):
        """Instead of all of that name."""
        cdef bytes wanted = _new_name(name, self.of_request), text = _new_value(value)
        self._writing()
        if self._find(wanted) is not None:
            self.fields = [pair for pair in self.fields if pair[0] != wanted]
        self.fields.append((wanted, text))

    def add(self, name, value):
        """Beside those of that name."""
        cdef bytes wanted = _new_name(name, self.of_request), text = _new_value(value)
        self._writing()
        self.fields.append((wanted, text))

    def remove(self, name):
        """All of that name; it may not be there."""
        cdef bytes wanted = _new_name(name, self.of_request)
        self._writing()
        self.fields = [pair for pair in self.fields if pair[0] != wanted]

    def __delitem__(self, name):
        if name not in self:
            raise KeyError(name)
        self.remove(name)

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())

    def keys(self):
        return list(dict.fromkeys([name.decode() for name, _ in self.fields]))

    def items(self):
        """Every field, in order."""
        return [(name.decode(), value.decode("latin-1")) for name, value in self.fields]

    def __repr__(self):
        return f"Headers({self.items()})"


cdef Headers _headers_of(list fields, bint of_request, bint frozen):
    cdef Headers made = Headers.__new__(Headers)
    made.fields, made.of_request, made.frozen = fields, of_request, frozen
    return made


cdef Request make_request(Transit transit):
    cdef Request made = Request.__new__(Request)
    made.transit = transit
    return made


cdef class Request:
    """See `fastmesh.filters`."""

    def __init__(self, str method="GET", str path="/", headers=(), str query="", str authority="localhost", **facts):
        self._facts = {"scheme": "http", "version": "1.1", "id": "", "peer": "127.0.0.1", "principal": "", "route": "", "rule": "",
                       "grpc": False, "websocket": False, "content_length": None, "method": method, "path": path, "query": query,
                       "authority": authority}
        unknown = facts.keys() - self._facts.keys()
        if unknown:
            raise TypeError(f"a request has no {', '.join(sorted(unknown))}")
        self._facts.update(facts)
        self._headers = Headers(headers)
        self._headers.of_request = True

    # --- written by hooks ---------------------------------------------------------------------------------------------

    cdef _writing(self):
        if self.frozen:
            raise RuntimeError("this request is on its way: write it in request_head")

    @property
    def method(self):
        if self.new_method is not None:
            return self.new_method.decode()
        return _span(&self.transit.head, self.transit.head.method_name) if self.transit is not None else self._facts["method"]

    @method.setter
    def method(self, value):
        cdef bytes text = _bytes(value, "a method")
        cdef int now
        self._writing()
        if not text or not _all_of(text, CHAR_METHOD):
            raise ValueError(f"{value!r} is not a method")
        now = method_id(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        for one, what in ((METHOD_HEAD, "HEAD"), (METHOD_CONNECT, "CONNECT")):
            if (now == one) != (self.method == what):
                raise ValueError(f"{self.method} cannot become {value}: the client waits for another kind of answer")
        if self.grpc or self.websocket:
            raise ValueError("the method of a gRPC call or a WebSocket handshake is fixed")
        self.new_method = text

    @property
    def path(self):
        if self.new_path is not None:
            return self.new_path.decode("latin-1")
        if self.transit is None:
            return self._facts["path"]
        return PyBytes_FromStringAndSize(self.transit.request.path, self.transit.request.path_size).decode("latin-1")

    @path.setter
    def path(self, value):
        cdef bytes text = _bytes(value, "a path")
        self._writing()
        if not text.startswith(b"/") or not _all_of(text, CHAR_TARGET):
            raise ValueError(f"{value!r} is not a path: write /..., with %XX for other bytes, and the query in request.query")
        self.new_path = text

    @property
    def query(self):
        if self.new_query is not None:
            return self.new_query.decode("latin-1")
        if self.transit is None:
            return self._facts["query"]
        return PyBytes_FromStringAndSize(self.transit.request.query, self.transit.request.query_size).decode("latin-1")

    @query.setter
    def query(self, value):
        cdef bytes text = _bytes(value, "a query")
        self._writing()
        if not _all_of(text.replace(b"?", b""), CHAR_TARGET):
            raise ValueError(f"{value!r} is not a query: write %XX for other bytes")
        self.new_query = text

    @property
    def authority(self):
        if self.new_authority is not None:
            return self.new_authority.decode()
        return _span(&self.transit.head, self.transit.head.authority) if self.transit is not None else self._facts["authority"]

    @authority.setter
    def authority(self, value):
        cdef bytes text = _bytes(value, "an authority")
        cdef uint16_t host_size, port
        self._writing()
        if not split_authority(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &host_size, &port):
            raise ValueError(f"{value!r} is not HOST or HOST:PORT")
        self.new_authority = text

    @property
    def headers(self):
        if self._headers is None:
            self._headers = _headers_of(self._fields(), True, self.frozen)
        return self._headers

    @property
    def state(self):
        if self._state is None:
            self._state = {}
        return self._state

    # --- facts --------------------------------------------------------------------------------------------------------

    @property
    def scheme(self):
        if self.transit is None:
            return self._facts["scheme"]
        return "https" if self.transit.request.https else "http"

    @property
    def version(self):
        if self.transit is None:
            return self._facts["version"]
        return "2" if self.transit.head.minor == 2 else f"1.{self.transit.head.minor}"

    @property
    def id(self):
        if self.transit is None:
            return self._facts["id"]
        return PyBytes_FromStringAndSize(self.transit.request_id_at, self.transit.request_id_size).decode("latin-1")

    @property
    def peer(self):
        if self.transit is None:
            return self._facts["peer"]
        return self.transit.peer.decode() if self.transit.peer is not None else ""

    @property
    def principal(self):
        cdef Peer peer
        if self.transit is None:
            return self._facts["principal"]
        peer = peer_of(self.transit.tls)
        return peer.principal.decode() if peer is not None else ""

    @property
    def route(self):
        if self.transit is None:
            return self._facts["route"]
        return self.transit.rule.route_name.decode() if self.transit.rule is not None else ""

    @property
    def rule(self):
        if self.transit is None:
            return self._facts["rule"]
        if self.transit.rule is None:
            return ""
        origin = self.transit.rule.origin
        return f"{origin['kind']} {origin['namespace']}/{origin['name']}"

    @property
    def grpc(self):
        return self._facts["grpc"] if self.transit is None else bool(self.transit.grpc)

    @property
    def websocket(self):
        return self._facts["websocket"] if self.transit is None else bool(self.transit.head.upgrade)

    @property
    def content_length(self):
        if self.transit is None:
            return self._facts["content_length"]
        if self.transit.head.framing == FRAMING_LENGTH:
            return self.transit.head.length
        return 0 if self.transit.head.framing == FRAMING_NONE else None

    # --- for the proxy ------------------------------------------------------------------------------------------------

    cdef list _fields(self):
        cdef const Head* head = &self.transit.head
        cdef const Field* field
        cdef list fields = []
        cdef int i
        for i in range(head.field_count):
            field = &head.fields[i]
            if not field.flags & FIELD_HOP:
                fields.append((_lower(head.base + field.name.off, field.name.len),
                               PyBytes_FromStringAndSize(head.base + field.value.off, field.value.len)))
        return fields

    cdef bint changed(self):
        return (self.new_path is not None or self.new_query is not None or self.new_method is not None
                or self.new_authority is not None or self._headers is not None and self._headers.changed)

    cdef bytes head_bytes(self, Head* head):
        cdef bytes method = self.new_method, path = self.new_path, query = self.new_query, authority = self.new_authority
        cdef bytes name, value, text
        cdef list fields = self._headers.fields if self._headers is not None else self._fields()
        cdef list parts
        cdef uint16_t host_size = 0, port = 0
        cdef size_t at = 0
        method = method if method is not None else _span_bytes(head, head.method_name)
        path = path if path is not None else _span_bytes(head, head.path)
        if query is not None:
            head.has_query = len(query) > 0
        query = query if query is not None else _span_bytes(head, head.query)
        authority = authority if authority is not None else _span_bytes(head, head.authority)
        parts = [method, path, query, authority]
        for name, value in fields:
            parts.append(name)
            parts.append(value)
        text = b"".join(parts)
        if len(text) > HEAD_MAX or len(fields) > FIELDS_MAX:
            return None
        head.base, head.size = PyBytes_AS_STRING(text), <uint32_t>PyBytes_GET_SIZE(text)
        _put(&head.method_name, method, &at)
        _put(&head.path, path, &at)
        _put(&head.query, query, &at)
        _put(&head.authority, authority, &at)
        head.method = method_id(<const uint8_t*>PyBytes_AS_STRING(method), PyBytes_GET_SIZE(method))
        if self.new_path is not None:
            head.target = TARGET_ORIGIN
        head.host, head.port = head.authority, 0
        if split_authority(<const uint8_t*>PyBytes_AS_STRING(authority), PyBytes_GET_SIZE(authority), &host_size, &port):
            head.host.len, head.port = host_size, port
        head.protocol.len = 0             # `upgrade` says what is left to say
        _put_fields(head, fields, &at)
        return text

    cdef void freeze(self):
        self.frozen = True
        if self._headers is not None:
            self._headers.frozen = True

    cdef void detach(self):
        if self._headers is None:
            self._headers = _headers_of(self._fields(), True, True)
        self.freeze()
        names = ("method", "path", "query", "authority", "scheme", "version", "id", "peer", "principal", "route", "rule", "grpc",
                 "websocket", "content_length")
        self._facts = {name: getattr(self, name) for name in names}
        self.transit = None


cdef void _put_fields(Head* head, list fields, size_t* at):
    cdef bytes name, value
    cdef Field* field
    cdef int i = 0
    for name, value in fields:
        field = &head.fields[i]
        memset(field, 0, sizeof(Field))
        _put(&field.name, name, at)
        _put(&field.value, value, at)
        field.id = <uint8_t>header_id(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        i += 1
    head.field_count = <uint16_t>i


cdef inline void _put(Span* span, bytes text, size_t* at):
    span.off, span.len = <uint16_t>at[0], <uint16_t>PyBytes_GET_SIZE(text)
    at[0] += PyBytes_GET_SIZE(text)


cdef inline bytes _span_bytes(const Head* head, Span span):
    return PyBytes_FromStringAndSize(span_ptr(head, span), span.len)


cdef inline str _span(const Head* head, Span span):
    return _span_bytes(head, span).decode("latin-1")


cdef Response make_response(const HeadOut* out, bint local):
    cdef Response made = Response.__new__(Response)
    made.out, made.local, made._status = out, local, out.status
    made.kept.length, made.kept.framing = out.length, out.framing
    made.kept.length_known_only, made.kept.tunnel = out.length_known_only, out.framing == FRAMING_TUNNEL
    return made


cdef Response response_of(Answer answer):
    cdef Response made = Response.__new__(Response)
    cdef list fields = list(answer.fields)
    if answer.content_type is not None and answer.body:
        fields.append((b"content-type", answer.content_type))
    made._headers = _headers_of(fields, False, False)
    made._headers.changed = True
    made.local, made._status = True, answer.status
    made.kept.length, made.kept.framing = PyBytes_GET_SIZE(answer.body), FRAMING_LENGTH
    return made


cdef class Response:
    """See `fastmesh.filters`."""

    def __init__(self, int status=200, headers=(), *, content_length=None, local=False):
        self._status, self.local = <uint16_t>status, local
        self._headers = Headers(headers)
        self.kept.framing = FRAMING_LENGTH if content_length is not None else FRAMING_NONE
        self.kept.length = content_length or 0

    @property
    def status(self):
        return self._status

    @status.setter
    def status(self, int value):
        if self.frozen:
            raise RuntimeError("this response is on its way: write it in response_head")
        if not 200 <= value <= 599:
            raise ValueError(f"{value} is not a status to answer with, write 200 to 599")
        if self.kept.tunnel:
            raise ValueError("the upgrade was agreed on: answer with an Answer to refuse it")
        self.settle()
        self.reason = None
        self._status = <uint16_t>value
        self._headers.changed = True

    @property
    def headers(self):
        if self._headers is None:
            self.settle()
        return self._headers

    @property
    def content_length(self):
        return self.kept.length if self.kept.framing == FRAMING_LENGTH else None

    cdef bint changed(self):
        return self._headers is not None and self._headers.changed

    cdef void settle(self):
        cdef const HeadOut* out = self.out
        cdef list fields
        cdef int i
        if out == NULL or self._headers is not None:
            return
        fields = []
        for i in range(out.count):
            if out.fields[i].name_size:
                fields.append((_lower(out.fields[i].name, out.fields[i].name_size),
                               PyBytes_FromStringAndSize(out.fields[i].value, out.fields[i].value_size)))
        if out.reason != NULL and self._status == out.status:
            self.reason = PyBytes_FromStringAndSize(out.reason, out.reason_size)
        self._headers = _headers_of(fields, False, self.frozen)

    cdef void write(self, HeadOut* out):
        """The names and values are ours: they live as long as this object."""
        cdef bytes name, value
        out_clear(out)
        out.status = self._status
        if self.reason is not None:
            out.reason, out.reason_size = PyBytes_AS_STRING(self.reason), <uint32_t>PyBytes_GET_SIZE(self.reason)
        for name, value in self._headers.fields:
            out_field(out, PyBytes_AS_STRING(name), <uint32_t>PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value),
                      <uint32_t>PyBytes_GET_SIZE(value), <uint8_t>header_id(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)))
        out.framing = <uint8_t>self.kept.framing
        out.length, out.length_known_only = self.kept.length, self.kept.length_known_only
        if self.kept.tunnel:
            out.protocol, out.protocol_size = "websocket", 9
