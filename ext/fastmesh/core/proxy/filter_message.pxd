"""What the hooks of filters see: Request, Response, Headers, Answer. `fastmesh.filters` shows them to users.

Nothing is copied before a hook asks for it. What a hook writes is checked at once, so that no head can be made that would be read as two
messages; fields that say where a message ends belong to the codecs, and hooks neither see nor write them.
"""
from libc.stdint cimport uint16_t, uint64_t
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef class Answer:            # what a hook returns to answer itself
    cdef readonly uint16_t status
    cdef readonly bytes body
    cdef list fields          # (name, value) as bytes
    cdef bytes content_type   # None: it stands in `fields`

cdef class Headers:
    cdef list fields          # (name in lower case, value) as bytes
    cdef bint changed
    cdef bint frozen          # the head is on its way
    cdef bint of_request
    cdef _writing(self)
    cdef bytes _find(self, bytes wanted)

cdef class Request:
    cdef Transit transit      # None: it has ended, or was made by a test
    cdef Headers _headers     # None until somebody asks
    cdef dict _state
    cdef dict _facts          # what is known of a request that has ended
    cdef bytes new_method     # what hooks wrote; None: nothing
    cdef bytes new_path
    cdef bytes new_query
    cdef bytes new_authority
    cdef bint frozen
    cdef _writing(self)
    cdef list _fields(self)
    cdef bint changed(self)
    cdef bytes head_bytes(self, Head* head)   # the head with all changes; fills `head`, whose base they are. None: too large
    cdef void freeze(self)
    cdef void detach(self)    # the exchange ends: somebody still holds this object

cdef struct HeadScalars:
    uint64_t length
    uint16_t framing
    bint length_known_only
    bint tunnel

cdef class Response:
    cdef const HeadOut* out   # while the codec-neutral head is there; NULL: everything is in the fields below
    cdef Headers _headers
    cdef uint16_t _status
    cdef readonly bint local  # an answer of the proxy, not of an endpoint
    cdef bytes reason         # None: the standard phrase
    cdef HeadScalars kept
    cdef bint frozen
    cdef bint changed(self)
    cdef void settle(self)    # copy what `out` points to
    cdef void write(self, HeadOut* out)

cdef Request make_request(Transit transit)
cdef Response make_response(const HeadOut* out, bint local)
cdef Response response_of(Answer answer)
