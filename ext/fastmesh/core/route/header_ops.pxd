"""Header operations of one level, ready to be applied: remove, then set, then add. Names are lower case.

Most values are literal. One with substitutions (`%REQ(x-user)%`) is kept as segments, which proxy/substitute puts
together for each message.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum Word:               # what a segment stands for: Envoy's command operators
    WORD_TEXT = 0             # literal
    WORD_REQ                  # a field of the request, else the other one
    WORD_RESP                 # of the response
    WORD_PROTOCOL
    WORD_CLIENT               # address:port of the client
    WORD_CLIENT_ADDRESS
    WORD_CLIENT_PORT
    WORD_LOCAL                # where the client connected to
    WORD_LOCAL_ADDRESS
    WORD_LOCAL_PORT
    WORD_START                # time when the request came, by strftime
    WORD_START_FRACTION       # digits after the second
    WORD_START_SECONDS        # since 1970
    WORD_CLUSTER
    WORD_ENDPOINT             # address:port
    WORD_ENDPOINT_ADDRESS
    WORD_ENDPOINT_PORT
    WORD_ROUTE
    WORD_SNI
    WORD_CODE
    WORD_FLAGS
    WORD_DETAILS
    WORD_DURATION
    WORD_BYTES_RECEIVED
    WORD_TLS_VERSION
    WORD_TLS_CIPHER
    WORD_PEER_URI
    WORD_PEER_DNS
    WORD_PEER_SUBJECT
    WORD_PEER_ISSUER
    WORD_PEER_SERIAL
    WORD_PEER_HASH
    WORD_NOTHING              # Envoy knows it and this proxy does not: an empty text

cdef struct Segment:
    const char* text          # the literal, the name of a field in lower case, or a strftime format
    const char* other         # the second name of `REQ(x?y)`
    uint32_t size
    uint32_t other_size
    uint32_t limit            # at most so many bytes; 0 = all
    uint8_t word              # Word

cdef struct Expanded:
    const char* value
    uint32_t size

cdef class Made:              # one header whose value is put together; an empty value changes nothing, as with Envoy
    cdef bytes name
    cdef bint append
    cdef Segment* segments
    cdef uint16_t count
    cdef list kept            # owns the texts
    cdef Expanded now         # for the message that is being written

cdef class HeaderOps:
    cdef list removed         # bytes
    cdef list assigned        # (name, value) as bytes: overwrite
    cdef list appended        # (name, value) as bytes: add beside what is there
    cdef list made            # of Made; None: all values are literal

# The levels of a plan in order; None when there is nothing to do, so that the likely case is one test.
cdef list make_ops(list plans)
