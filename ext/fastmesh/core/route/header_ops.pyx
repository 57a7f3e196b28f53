"""See header_ops.pxd."""
import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free

# Framing belongs to the codec: nobody may set or remove it
cdef frozenset FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"host", b"keep-alive",
                                    b"upgrade", b"te", b"trailer"))

# What config/read/substitutions calls them
cdef dict WORDS = {
    "text": WORD_TEXT, "REQ": WORD_REQ, "RESP": WORD_RESP, "PROTOCOL": WORD_PROTOCOL,
    "DOWNSTREAM_REMOTE_ADDRESS": WORD_CLIENT, "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": WORD_CLIENT_ADDRESS,
    "DOWNSTREAM_REMOTE_PORT": WORD_CLIENT_PORT,
    "DOWNSTREAM_LOCAL_ADDRESS": WORD_LOCAL, "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": WORD_LOCAL_ADDRESS,
    "DOWNSTREAM_LOCAL_PORT": WORD_LOCAL_PORT,
    "START_TIME": WORD_START, "fraction": WORD_START_FRACTION, "seconds": WORD_START_SECONDS,
    "UPSTREAM_CLUSTER": WORD_CLUSTER, "UPSTREAM_HOST": WORD_ENDPOINT,
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": WORD_ENDPOINT_ADDRESS, "UPSTREAM_REMOTE_PORT": WORD_ENDPOINT_PORT,
    "ROUTE_NAME": WORD_ROUTE, "REQUESTED_SERVER_NAME": WORD_SNI, "RESPONSE_CODE": WORD_CODE,
    "RESPONSE_FLAGS": WORD_FLAGS, "RESPONSE_CODE_DETAILS": WORD_DETAILS, "DURATION": WORD_DURATION,
    "BYTES_RECEIVED": WORD_BYTES_RECEIVED,
    "DOWNSTREAM_TLS_VERSION": WORD_TLS_VERSION, "DOWNSTREAM_TLS_CIPHER": WORD_TLS_CIPHER,
    "DOWNSTREAM_PEER_URI_SAN": WORD_PEER_URI, "DOWNSTREAM_PEER_DNS_SAN": WORD_PEER_DNS,
    "DOWNSTREAM_PEER_SUBJECT": WORD_PEER_SUBJECT, "DOWNSTREAM_PEER_ISSUER": WORD_PEER_ISSUER,
    "DOWNSTREAM_PEER_SERIAL": WORD_PEER_SERIAL, "DOWNSTREAM_PEER_FINGERPRINT_256": WORD_PEER_HASH,
}


cdef class Made:
    def __dealloc__(self):
        free(self.segments)


cdef class HeaderOps:
    pass


cdef bytes _latin(str text):
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


cdef Made _make(str name, list parts, bint append):
    cdef Made made = Made.__new__(Made)
    cdef Segment* segment
    cdef bytes text, other
    made.name = _latin(name)
    made.append = append
    made.kept = []
    made.segments = <Segment*>calloc(len(parts) + 1, sizeof(Segment))
    if made.segments == NULL:
        raise MemoryError
    for part in parts:
        segment = &made.segments[made.count]
        text, other = _latin(part["text"]), _latin(part["other"])
        segment.word = WORDS.get(part["word"], WORD_NOTHING)
        segment.limit = part["limit"]
        if part["word"] == "HOSTNAME":
            segment.word, text = WORD_TEXT, _latin(socket.gethostname())
        elif part["word"] == "ENVIRONMENT":
            segment.word, text = WORD_TEXT, _safe(os.environb.get(text, b""))
        made.kept += [text, other]
        segment.text, segment.size = PyBytes_AS_STRING(text), <uint32_t>PyBytes_GET_SIZE(text)
        segment.other, segment.other_size = PyBytes_AS_STRING(other), <uint32_t>PyBytes_GET_SIZE(other)
        made.count += 1
    return made


cdef bytes _safe(bytes text):
    return bytes([c if c >= 32 and c != 127 else 32 for c in text])


cdef list make_ops(list plans):
    cdef HeaderOps ops
    levels = []
    for plan in plans:
        ops = HeaderOps.__new__(HeaderOps)
        ops.removed = [name for name in map(_latin, plan["remove"]) if name not in FRAMING]
        ops.assigned = [(_latin(name), _latin(value)) for name, value in plan["set"] if _latin(name) not in FRAMING]
        ops.appended = [(_latin(name), _latin(value)) for name, value in plan["add"] if _latin(name) not in FRAMING]
        made = [_make(name, parts, False) for name, parts in plan["set_made"] if _latin(name) not in FRAMING]
        made += [_make(name, parts, True) for name, parts in plan["add_made"] if _latin(name) not in FRAMING]
        ops.made = made or None
        if ops.removed or ops.assigned or ops.appended or made:
            levels.append(ops)
    return levels or None
