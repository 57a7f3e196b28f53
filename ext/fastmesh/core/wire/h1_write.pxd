"""Heads and chunks written in their one canonical form. Framing headers exist only here: nobody else writes them."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.wire.message cimport Head

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

cdef enum:
    OUT_FIELDS_MAX = 224

cdef struct OutField:
    const char* name
    const char* value
    uint32_t name_size        # 0 = taken out again
    uint32_t value_size
    uint8_t id                # message.HeaderId

cdef struct HeadOut:          # a head about to be sent, in the codec-neutral form; all pointers live until it is written
    # request
    const char* method
    const char* path
    const char* query
    const char* authority
    uint32_t method_size
    uint32_t path_size
    uint32_t query_size
    uint32_t authority_size
    bint has_query
    bint te_trailers
    uint8_t scheme            # HTTP/2: 2 = https, else http
    const char* protocol      # of an upgrade: what is asked for, or with FRAMING_TUNNEL what was agreed on
    uint32_t protocol_size    # 0 = no upgrade
    # response
    uint16_t status
    const char* reason        # NULL = the standard phrase
    uint32_t reason_size
    # both
    uint8_t framing           # message.Framing
    uint64_t length
    bint length_known_only    # HEAD and 304: say the length, send no body
    uint8_t connection        # Connection
    uint16_t count
    OutField fields[224]

cdef enum Connection:         # what the connection header says
    CONNECTION_UNSAID = 0
    CONNECTION_CLOSE = 1
    CONNECTION_KEEP_ALIVE = 2

cdef inline void out_clear(HeadOut* out) noexcept nogil:
    memset(out, 0, sizeof(HeadOut) - sizeof(OutField) * OUT_FIELDS_MAX)

cdef inline void out_field(HeadOut* out, const char* name, uint32_t name_size, const char* value, uint32_t value_size,
                           uint8_t id) noexcept nogil:
    cdef OutField* field
    if out.count < OUT_FIELDS_MAX:
        field = &out.fields[out.count]
        field.name, field.name_size = name, name_size
        field.value, field.value_size = value, value_size
        field.id = id
        out.count += 1

cdef inline void drop_field(HeadOut* out, const char* name, uint32_t size) noexcept nogil:
    cdef int i
    for i in range(out.count):
        if out.fields[i].name_size == size and strncasecmp(out.fields[i].name, name, size) == 0:
            out.fields[i].name_size = 0

cdef int write_request(OutBuf* to, const HeadOut* out) noexcept nogil        # 0, or -1: no memory
cdef int write_response(OutBuf* to, const HeadOut* out) noexcept nogil
cdef int write_chunk_size(char* at, size_t size) noexcept nogil              # "1f\r\n" at most 18 bytes; its length
cdef int write_last_chunk(OutBuf* to, const Head* trailers) noexcept nogil   # trailers may be NULL
cdef const char* reason_phrase(int status) noexcept nogil
cdef int write_number(char* at, uint64_t value) noexcept nogil               # decimal; its length
