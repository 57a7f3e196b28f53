"""HTTP/1 heads and chunked bodies (RFC 9112), parsed in place.

In reading order: how a parse ends, the field section and what its fields say, the two start lines, then chunked bodies.
A parser is one pass over the bytes with `at` moving towards `end`. It looks at no byte that it has not compared with
`end`, refuses at the byte that is wrong, and says H1_MORE only when more bytes could still make a message of it. """
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset
from fastmesh.core.wire.authority cimport split_authority
from fastmesh.core.wire.headers cimport (
    CHAR_CLASS, CHAR_HEX, CHAR_METHOD, CHAR_TARGET, CHAR_TOKEN, CHAR_UNDERSCORE, find_control, forbidden_in_trailers,
    header_id, load32, load64, lookalike_id, method_id, next_element, outlives_connection, same_text, token_is)
from fastmesh.core.wire.message cimport *

include "h1_verdict.pxi"
include "h1_fields.pxi"
include "h1_start.pxi"
include "h1_chunk.pxi"
