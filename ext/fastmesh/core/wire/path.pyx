"""Path normalisation as Envoy does it for Istio: once, never twice.

Order: `%2F` and `%5C` are decoded (DECODE_AND_MERGE_SLASHES only); `\` becomes `/`, escapes of unreserved characters
are decoded and dot segments are removed (RFC 3986 5.2.4, 6.2.2); then runs of slashes become one. Slashes are merged
last because an empty segment is a segment: `/a//../b` is `/a/b`, not `/b`. `%00` is refused in every mode. """
from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from fastmesh.core.wire.headers cimport CHAR_CLASS, CHAR_PLAIN, CHAR_HEX, CHAR_UNRESERVED

cdef enum Escape:
    ESCAPE_KEEP = -1          # stays as written
    ESCAPE_BAD = -2           # no two hex digits: stays as written, too
    ESCAPE_REFUSE = -3


cdef bint path_needs_work(const char* path, size_t size, int mode) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> path
    cdef const uint8_t* end = at + size
    cdef uint8_t char
    cdef int escape
    if size == 0 or at[0] != 47:          # "*", or CONNECT's empty path
        return False
    while at < end:
        char = at[0]
        at += 1
        if CHAR_CLASS[char] & CHAR_PLAIN:
            continue
        if char == 47:
            if mode != PATH_NONE and at < end:
                if at[0] == 46 and is_dot_segment(at, end):
                    return True
                if at[0] == 47 and mode >= PATH_MERGE_SLASHES:
                    return True
        elif char == 37:
            escape = read_escape(at - 1, end, mode)
            if escape != ESCAPE_KEEP and escape != ESCAPE_BAD:
                return True
        elif char == 35 or (char == 92 and mode != PATH_NONE):
            return True
    return False


# at[0] is the first byte of a segment, a dot. Escaped dots have been seen as escapes.
cdef bint is_dot_segment(const uint8_t* at, const uint8_t* end) noexcept nogil:
    at += 1
    if at < end and at[0] == 46:
        at += 1
    return at == end or at[0] == 47 or at[0] == 92 or at[0] == 35


cdef inline int hex_value(uint8_t char) noexcept nogil:
    return char - 48 if char <= 57 else (char | 0x20) - 87


# What the escape at at[0] == '%' stands for in this mode: a byte or an Escape.
cdef int read_escape(const uint8_t* at, const uint8_t* end, int mode) noexcept nogil:
    cdef int value
    if end - at < 3 or not CHAR_CLASS[at[1]] & CHAR_HEX or not CHAR_CLASS[at[2]] & CHAR_HEX:
        return ESCAPE_REFUSE if mode == PATH_STRICT else ESCAPE_BAD
    value = hex_value(at[1]) << 4 | hex_value(at[2])
    if value == 0:
        return ESCAPE_REFUSE
    if mode == PATH_NONE:
        return ESCAPE_KEEP
    if CHAR_CLASS[value] & CHAR_UNRESERVED:
        return value
    if value == 47 or value == 92:
        if mode == PATH_STRICT:
            return ESCAPE_REFUSE
        if mode == PATH_DECODE_AND_MERGE_SLASHES:
            return 47
    return ESCAPE_KEEP


cdef int normalize_path(const char* path, size_t size, int mode, char* out) noexcept nogil:
    cdef int written
    if size == 0 or path[0] != 47:
        memcpy(out, path, size)
        return <int> size
    written = resolve(<const uint8_t*> path, <const uint8_t*> path + size, mode, <uint8_t*> out)
    if written > 0 and mode >= PATH_MERGE_SLASHES:
        written = merge_slashes(<uint8_t*> out, written)
    return written


cdef enum Segment:
    SEGMENT_KEPT = 0
    SEGMENT_DROPPED = 1       # it was "." or "..": `out` ends with the slash before it, or before its parent
    SEGMENT_ABOVE_ROOT = 2


# Escapes, backslashes and dot segments in one pass. Every step writes at most what it read, so `size` bytes of room
# suffice.
cdef int resolve(const uint8_t* at, const uint8_t* end, int mode, uint8_t* out) noexcept nogil:
    cdef int written = 1, segment = 1, loose = -1, value, closed
    # out[segment:written] is the open segment, out[loose] a '%' in it that begins no escape
    out[0] = 47
    at += 1
    while at < end and at[0] != 35:                                 # a fragment never goes upstream
        value = at[0]
        if value == 37:
            value = read_escape(at, end, mode)
            if value == ESCAPE_REFUSE:
                return -1
            if value == ESCAPE_BAD:
                loose = written
            if value < 0:
                value = 37
            else:
                at += 2
        elif value == 92 and mode != PATH_NONE:
            value = 47
        at += 1
        if value == 47 and mode != PATH_NONE:
            loose = -1
            closed = close_segment(out, &segment, &written)
            if closed == SEGMENT_ABOVE_ROOT and mode == PATH_STRICT:
                return -1
            if closed != SEGMENT_KEPT:
                continue
            segment = written + 1
        out[written] = <uint8_t> value
        written += 1
        if mode != PATH_NONE and loose >= 0 and loose == written - 3:
            written = defuse_escape(out, written)
    if mode != PATH_NONE and close_segment(out, &segment, &written) == SEGMENT_ABOVE_ROOT and mode == PATH_STRICT:
        return -1
    return written


# Decoding must not make an escape that was not there: `%%361dmin` would become `%61dmin`, which a back end reads as
# `admin`. Its first '%' becomes `%25` (as in Chromium's canonicaliser, which Envoy uses); the decoded escape left the
# room for it.
cdef inline int defuse_escape(uint8_t* out, int written) noexcept nogil:
    if not CHAR_CLASS[out[written - 1]] & CHAR_HEX or not CHAR_CLASS[out[written - 2]] & CHAR_HEX:
        return written
    out[written + 1] = out[written - 1]
    out[written] = out[written - 2]
    out[written - 1] = 53
    out[written - 2] = 50
    return written + 2


cdef int close_segment(uint8_t* out, int* segment, int* written) noexcept nogil:
    cdef int start = segment[0], size = written[0] - start
    if size > 2 or size == 0 or out[start] != 46 or out[written[0] - 1] != 46:
        return SEGMENT_KEPT
    if size == 2:
        if start == 1:
            written[0] = 1
            return SEGMENT_ABOVE_ROOT
        start -= 1                                          # the parent's slash, then its first byte
        while out[start - 1] != 47:
            start -= 1
        segment[0] = start
    written[0] = start
    return SEGMENT_DROPPED


cdef int merge_slashes(uint8_t* out, int size) noexcept nogil:
    cdef int at, written = 1
    for at in range(1, size):
        if out[at] != 47 or out[written - 1] != 47:
            out[written] = out[at]
            written += 1
    return written
