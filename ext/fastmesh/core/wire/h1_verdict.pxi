# How a parse ends: a verdict with its reason, and the limits that turn "wait" into "refuse".

cdef enum:
    HEAD_MAX = 65535          # offsets are 16 bits
    LF = 10
    CR = 13
    SP = 32
    HTAB = 9


cdef inline int bad(Head* head, uint16_t status, const char* reason) noexcept nogil:
    head.error_status = status
    head.error = reason
    return H1_BAD


# Scalars only: the field table is as long as field_count says.
cdef inline void clear(Head* head, const char* data, bint is_request) noexcept nogil:
    memset(head, 0, <size_t> (<char*> &head.fields[0] - <char*> head))
    head.base = data
    head.is_request = is_request
    head.error_status = 0
    head.error = NULL


cdef inline uint32_t head_limit(const Limits* limits) noexcept nogil:
    return limits.head if limits.head < HEAD_MAX else HEAD_MAX


# at..end ran out inside the line that began at `line`. Refuses as soon as no ending could be within the limits, so that
# nobody keeps more than a limit in memory. (`+ 1`: the last byte may be the CR.)
cdef int unfinished(Head* head, const uint8_t* line, const uint8_t* end, const Limits* limits,
                    uint16_t status, const char* reason) noexcept nogil:
    if end - line > <int64_t> limits.line + 1:
        return bad(head, status, reason)
    if end - <const uint8_t*> head.base >= head_limit(limits):
        return bad(head, 431, b"head_too_large")
    return H1_MORE


cdef inline int unfinished_field(Head* head, const uint8_t* line, const uint8_t* end,
                                 const Limits* limits) noexcept nogil:
    return unfinished(head, line, end, limits, 431, b"field_line_too_long")


cdef inline Span span_of(const Head* head, const uint8_t* start, const uint8_t* end) noexcept nogil:
    cdef Span span
    span.off = <uint16_t> (start - <const uint8_t*> head.base)
    span.len = <uint16_t> (end - start)
    return span


cdef bint head_worth_parsing(const char* data, size_t seen, size_t size) noexcept nogil:
    cdef const uint8_t* fresh = <const uint8_t*> data + seen
    if seen < 32 or seen >> 10 != size >> 10:
        return True
    return find_control(fresh, <const uint8_t*> data + size) != <const uint8_t*> data + size
