"""The slower questions about field names: asked only when a message has something unusual."""

cdef enum:
    NAME_MAX = 32             # longer than every name below


cdef inline uint8_t lower(uint8_t char) noexcept nogil:
    return char | 0x20 if 65 <= char <= 90 else char


cdef bint same_text(const uint8_t* one, const uint8_t* other, size_t size) noexcept nogil:
    cdef size_t at
    for at in range(size):
        if lower(one[at]) != lower(other[at]):
            return False
    return True


cdef int lookalike_id(const uint8_t* name, size_t size) noexcept nogil:
    cdef uint8_t repaired[NAME_MAX]
    cdef size_t at
    if size > NAME_MAX:                   # only the x-envoy- family is that long, and its prefix says it all
        size = NAME_MAX
    for at in range(size):
        repaired[at] = 45 if name[at] == 95 else name[at]
    return header_id(repaired, size)


cdef inline bint starts(const uint8_t* name, size_t size, const char* prefix, size_t length) noexcept nogil:
    return size >= length and same_text(name, <const uint8_t*> prefix, length)


cdef inline bint equals(const uint8_t* name, size_t size, const char* text, size_t length) noexcept nogil:
    return size == length and same_text(name, <const uint8_t*> text, length)


cdef bint outlives_connection(int id, const uint8_t* name, size_t size) noexcept nogil:
    if id == HDR_OTHER:
        return (starts(name, size, b"x-forwarded-", 12) or starts(name, size, b"content-", 8)
                or starts(name, size, b"x-b3-", 5) or equals(name, size, b"x-real-ip", 9)
                or equals(name, size, b"cache-control", 13))
    return not (id == HDR_CONNECTION or id == HDR_KEEP_ALIVE or id == HDR_PROXY_CONNECTION or id == HDR_TE
                or id == HDR_TRAILER or id == HDR_UPGRADE or id == HDR_HTTP2_SETTINGS)


cdef bint forbidden_in_trailers(int id, const uint8_t* name, size_t size) noexcept nogil:
    if id != HDR_OTHER:
        return id != HDR_GRPC_STATUS and id != HDR_SERVER
    return (starts(name, size, b"content-", 8) or starts(name, size, b"x-forwarded-", 12)
            or starts(name, size, b"proxy-", 6) or starts(name, size, b"if-", 3) or starts(name, size, b"x-b3-", 5)
            or starts(name, size, b"www-authenticate", 16) or equals(name, size, b"x-real-ip", 9)
            or equals(name, size, b"cache-control", 13) or equals(name, size, b"max-forwards", 12)
            or equals(name, size, b"pragma", 6) or equals(name, size, b"range", 5) or equals(name, size, b"age", 3)
            or equals(name, size, b"expires", 7) or equals(name, size, b"vary", 4) or equals(name, size, b"warning", 7)
            or equals(name, size, b"http2-settings", 14) or equals(name, size, b"accept", 6))


cdef inline bint is_blank(uint8_t char) noexcept nogil:
    return char == 32 or char == 9


cdef bint next_element(const uint8_t** at, const uint8_t* end, const uint8_t** element, size_t* size) noexcept nogil:
    cdef const uint8_t* start = at[0]
    cdef const uint8_t* stop
    while start < end and (is_blank(start[0]) or start[0] == 44):
        start += 1
    if start >= end:
        at[0] = end
        return False
    stop = start
    while stop < end and stop[0] != 44:
        stop += 1
    at[0] = stop
    while is_blank(stop[-1]):             # start[0] is no blank, so this ends
        stop -= 1
    element[0] = start
    size[0] = stop - start
    return True


cdef int method_id(const uint8_t* name, size_t size) noexcept nogil:
    if size == 3:
        if name[0] == 80 and name[1] == 85 and name[2] == 84:
            return METHOD_PUT
        if name[0] == 71 and name[1] == 69 and name[2] == 84:
            return METHOD_GET
    elif size == 4:
        if load32(name) == load32(<const char*> b"POST"):
            return METHOD_POST
        if load32(name) == load32(<const char*> b"HEAD"):
            return METHOD_HEAD
    elif size == 5:
        if load32(name) == load32(<const char*> b"PATC") and name[4] == 72:
            return METHOD_PATCH
        if load32(name) == load32(<const char*> b"TRAC") and name[4] == 69:
            return METHOD_TRACE
    elif size == 6:
        if load32(name) == load32(<const char*> b"DELE") and name[4] == 84 and name[5] == 69:
            return METHOD_DELETE
    elif size == 7:
        if load32(name) == load32(<const char*> b"OPTI") and load32(name + 3) == load32(<const char*> b"IONS"):
            return METHOD_OPTIONS
        if load32(name) == load32(<const char*> b"CONN") and load32(name + 3) == load32(<const char*> b"NECT"):
            return METHOD_CONNECT
    return METHOD_OTHER
