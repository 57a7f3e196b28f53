# The fields of one block to one head (RFC 9113 8.1 to 8.5), in the form that h1_fields.pxi and h1_start.pxi fill.

# --- one field of the head ------------------------------------------------------------------------------------------

cdef inline void take_entry(Block* block, const uint8_t* text, const Entry* entry) noexcept nogil:
    if entry.meaning.kind == NO_PSEUDO or block.form == FORM_PLAIN:
        copy(block.text + block.used, text, entry.name_size + entry.value_size)
        take_field(block, block.used, entry.name_size, entry.value_size, &entry.meaning)
    else:
        copy(block.text + block.used, text + entry.name_size, entry.value_size)
        take_field(block, block.used, 0, entry.value_size, &entry.meaning)


# A field whose name and value lie at text + at, one behind the other.
cdef inline void take_field(Block* block, uint32_t at, uint32_t name_size, uint32_t value_size,
                            const Meaning* meaning) noexcept nogil:
    cdef Head* head = block.head
    cdef Field* field
    if (meaning.fault or meaning.kind) and block.form != FORM_PLAIN:
        if meaning.fault:
            malformed(block, FAULTS[meaning.fault])
        else:
            take_pseudo(block, at + name_size, value_size, meaning)
        return
    if block.count == block.fields_most:
        refuse(block, HPACK_TOO_LARGE, 431, b"too_many_fields")
        return
    if name_size + value_size > block.limits.line:
        refuse(block, HPACK_TOO_LARGE, 431, b"field_line_too_long")
        return
    block.count += 1
    field = &head.fields[head.field_count]
    field.name.off = <uint16_t> at
    field.name.len = <uint16_t> name_size
    field.value.off = <uint16_t> (at + name_size)
    field.value.len = <uint16_t> value_size
    field.id = meaning.id
    field.flags = meaning.flags
    if meaning.id == HDR_OTHER or meaning.id > HDR_HTTP2_SETTINGS or block.form == FORM_PLAIN:
        if meaning.flags and not take_lookalike(block, field):
            return
        if meaning.id == HDR_COOKIE and block.form == FORM_REQUEST:
            take_crumb(block, field)
            return
    elif not take_special(block, field):
        return
    head.field_count += 1
    block.used = at + name_size + value_size


cdef void take_pseudo(Block* block, uint32_t at, uint32_t size, const Meaning* meaning) noexcept nogil:
    cdef Head* head = block.head
    cdef Span* span
    cdef uint32_t bit = 1 << meaning.kind
    if not bit & block.pseudo_allowed:
        malformed(block, b"pseudo_header_in_trailers" if block.form == FORM_TRAILERS else b"wrong_pseudo_header")
        return
    if block.count:
        malformed(block, b"pseudo_header_after_field")         # RFC 9113 8.3
        return
    if block.saw & bit:
        malformed(block, b"duplicate_pseudo_header")
        return
    block.saw |= bit
    block.used = at + size
    if meaning.kind == PSEUDO_SCHEME:
        head.scheme = <uint8_t> meaning.first
        return
    if meaning.kind == PSEUDO_STATUS:
        head.status = meaning.first
        return
    if meaning.kind == PSEUDO_PATH:
        take_path(block, at, size, meaning.first)
        return
    if meaning.kind == PSEUDO_METHOD:
        head.method = <uint8_t> meaning.first
        span = &head.method_name
    elif meaning.kind == PSEUDO_PROTOCOL:
        span = &head.protocol
    else:
        head.host.off = <uint16_t> at
        head.host.len = meaning.first
        head.port = meaning.second
        span = &head.authority
    span.off = <uint16_t> at
    span.len = <uint16_t> size


cdef inline void take_path(Block* block, uint32_t at, uint32_t size, uint32_t query) noexcept nogil:
    cdef Head* head = block.head
    if size > block.limits.line:
        refuse(block, HPACK_TOO_LARGE, 414, b"path_too_long")
        return
    head.path.off = <uint16_t> at
    head.path.len = <uint16_t> size
    if query != NO_QUERY:
        head.path.len = <uint16_t> query
        head.has_query = True
        head.query.off = <uint16_t> (at + query + 1)
        head.query.len = <uint16_t> (size - query - 1)


# As in HTTP/1 (h1_fields.pxi, note_lookalike). True: the field is kept.
cdef bint take_lookalike(Block* block, Field* field) noexcept nogil:
    if field.flags & FRAMING_LOOKALIKE:
        if block.form == FORM_REQUEST:
            malformed(block, b"framing_lookalike")
            return False
        field.flags = FIELD_HOP
    else:
        field.flags = FIELD_HOP if block.form != FORM_RESPONSE else 0
    return True


# A field that steers the message. True: it is kept.
cdef bint take_special(Block* block, Field* field) noexcept nogil:
    cdef const uint8_t* value = block.text + field.value.off
    cdef int id = field.id
    if id == HDR_CONTENT_LENGTH:
        field.flags = FIELD_HOP
        return block.form == FORM_TRAILERS or take_length(block, value, field.value.len)
    if id == HDR_HOST:
        return take_host(block, field)
    if id == HDR_TE:                      # RFC 9113 8.2.2
        field.flags = FIELD_HOP
        if block.form != FORM_REQUEST or field.value.len != 8 or not same_text(value, <const uint8_t*> b"trailers", 8):
            malformed(block, b"te_other_than_trailers")
            return False
        block.head.te_trailers = True
        return True
    if id == HDR_EXPECT:
        if field.value.len == 12 and same_text(value, <const uint8_t*> b"100-continue", 12):
            block.head.expect_continue = True
        else:
            block.head.expect_other = True
        return True
    if id == HDR_TRAILER:
        return True
    if id == HDR_HTTP2_SETTINGS:
        field.flags = FIELD_HOP
        return True
    malformed(block, b"connection_field")
    return False


cdef bint take_length(Block* block, const uint8_t* at, uint32_t size) noexcept nogil:
    cdef const uint8_t* end = at + size
    cdef uint64_t length = 0
    if block.saw & SAW_LENGTH:
        malformed(block, b"duplicate_content_length")
        return False
    block.saw |= SAW_LENGTH
    while at < end and 48 <= at[0] <= 57:
        length = length * 10 + (at[0] - 48)
        at += 1
    if at < end or size == 0 or size > DIGITS_MAX:
        malformed(block, b"bad_content_length")
        return False
    block.head.length = length
    return True


# :authority wins; a host field beside it goes no further. Without :authority it says where the request goes (RFC 9113 8.3.1).
cdef bint take_host(Block* block, Field* field) noexcept nogil:
    if block.form == FORM_RESPONSE:       # means nothing there; passed on
        return True
    field.flags = FIELD_HOP
    if block.form == FORM_TRAILERS:
        return True
    if block.saw & SAW_HOST:
        malformed(block, b"duplicate_host")
        return False
    block.saw |= SAW_HOST
    block.host = field.value
    return not block.saw & 1 << PSEUDO_AUTHORITY


# RFC 9113 8.2.3: crumbs are joined with "; ". One behind the other, as they mostly come, on the spot; others when all is read.
cdef void take_crumb(Block* block, Field* field) noexcept nogil:
    cdef Field* before
    cdef uint8_t* at
    if block.cookie:
        before = &block.head.fields[block.cookie - 1]
        if <uint32_t> before.value.off + before.value.len == block.used:
            at = block.text + block.used
            at[0], at[1] = 59, 32
            memmove(at + 2, block.text + field.value.off, field.value.len)
            before.value.len += 2 + field.value.len
            block.used += 2 + field.value.len
            return
    block.head.field_count += 1
    block.cookie = block.head.field_count
    block.cookies += 1
    block.used = <uint32_t> field.value.off + field.value.len


cdef void join_cookies(Block* block) noexcept nogil:
    cdef Head* head = block.head
    cdef Field* field
    cdef Field* first = NULL
    cdef uint32_t start = block.used, needed = 0, kept = 0, i
    for i in range(head.field_count):
        if head.fields[i].id == HDR_COOKIE:
            needed += head.fields[i].value.len + 2
    if start + needed + HOST_SIZE > HEAD_MAX:
        refuse(block, HPACK_TOO_LARGE, 431, b"head_too_large")
        return
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id == HDR_COOKIE:
            if first != NULL:
                block.text[block.used], block.text[block.used + 1] = 59, 32
                block.used += 2
            memcpy(block.text + block.used, block.text + field.value.off, field.value.len)
            block.used += field.value.len
            if first != NULL:
                continue
            first = &head.fields[kept]
        head.fields[kept] = field[0]
        kept += 1
    first.value.off = <uint16_t> start
    first.value.len = <uint16_t> (block.used - start)
    head.field_count = <uint16_t> kept


# --- the whole head -------------------------------------------------------------------------------------------------

cdef int decode_request(HpackDecoder* decoder, const char* data, size_t size, bint end_stream, const Limits* limits,
                        char* text, Head* head) noexcept nogil:
    cdef Block block
    cdef int verdict
    block_start(&block, decoder, limits, text, head, FORM_REQUEST)
    head.is_request = True
    verdict = read_block(&block, data, size)
    if verdict == HPACK_OK and block.cookies > 1:
        join_cookies(&block)
        verdict = block.verdict
    if verdict == HPACK_OK:
        verdict = finish_target(&block)
    if verdict == HPACK_OK:
        verdict = finish_body(&block, end_stream)
    head.size = block.used
    return verdict


# RFC 9113 8.3.1, 8.5; RFC 8441 4.
cdef int finish_target(Block* block) noexcept nogil:
    cdef Head* head = block.head
    cdef uint32_t saw = block.saw & REQUEST_PSEUDO
    cdef const uint8_t* path
    if saw & ~<uint32_t> (1 << PSEUDO_AUTHORITY) != 1 << PSEUDO_METHOD | 1 << PSEUDO_SCHEME | 1 << PSEUDO_PATH \
            or head.method == METHOD_CONNECT:
        if not saw & 1 << PSEUDO_METHOD:
            return malformed(block, b"missing_method")
        if head.method == METHOD_CONNECT and not saw & 1 << PSEUDO_PROTOCOL:
            return finish_connect(block)
        if saw & 1 << PSEUDO_PROTOCOL and head.method != METHOD_CONNECT:
            return malformed(block, b"protocol_without_connect")
        if not saw & 1 << PSEUDO_SCHEME:
            return malformed(block, b"missing_scheme")
        if not saw & 1 << PSEUDO_PATH:
            return malformed(block, b"missing_path")
        head.upgrade = saw & 1 << PSEUDO_PROTOCOL != 0
    path = block.text + head.path.off
    if path[0] == 42:
        if head.method != METHOD_OPTIONS:
            return malformed(block, b"asterisk_without_options")
        head.target = TARGET_ASTERISK
    return finish_authority(block)


cdef int finish_connect(Block* block) noexcept nogil:
    if block.saw & REQUEST_PSEUDO != 1 << PSEUDO_METHOD | 1 << PSEUDO_AUTHORITY:
        return malformed(block, b"bad_connect")
    block.head.target = TARGET_AUTHORITY
    if block.head.port == 0:
        return malformed(block, b"bad_authority")
    return finish_authority(block)


# The authority from host where :authority is missing, or a `host` field from :authority, as HTTP/1 has one.
cdef int finish_authority(Block* block) noexcept nogil:
    cdef Head* head = block.head
    cdef Field* field
    if block.saw & 1 << PSEUDO_AUTHORITY:
        field = &head.fields[head.field_count]
        head.field_count += 1
        field.name.off = <uint16_t> block.used
        field.name.len = HOST_SIZE
        field.value = head.authority
        field.id = HDR_HOST
        field.flags = FIELD_HOP
        memcpy(block.text + block.used, b"host", HOST_SIZE)
        block.used += HOST_SIZE
        return HPACK_OK
    if not block.saw & SAW_HOST:
        return malformed(block, b"missing_authority")
    if not split_authority(block.text + block.host.off, block.host.len, &head.host.len, &head.port):
        return malformed(block, b"bad_host")
    head.authority = block.host
    head.host.off = block.host.off
    return HPACK_OK


# How the body of a request ends (RFC 9113 8.1.1).
cdef int finish_body(Block* block, bint end_stream) noexcept nogil:
    cdef Head* head = block.head
    if block.saw & SAW_LENGTH:
        if end_stream and head.length:
            return malformed(block, b"content_length_without_body")
        head.framing = FRAMING_LENGTH
        if block.limits.body and head.length > block.limits.body:
            return refuse(block, HPACK_TOO_LARGE, 413, b"body_too_large")
    elif not end_stream:
        head.framing = FRAMING_STREAM
    if head.method == METHOD_TRACE and (head.framing == FRAMING_STREAM or head.length):
        return malformed(block, b"body_in_trace")               # RFC 9110 9.3.8
    return HPACK_OK


cdef int decode_response(HpackDecoder* decoder, const char* data, size_t size, bint end_stream, bint to_head,
                         const Limits* limits, char* text, Head* head) noexcept nogil:
    cdef Block block
    cdef int verdict
    block_start(&block, decoder, limits, text, head, FORM_RESPONSE)
    verdict = read_block(&block, data, size)
    if verdict == HPACK_OK:
        verdict = finish_response(&block, end_stream, to_head)
    head.size = block.used
    return verdict


cdef int finish_response(Block* block, bint end_stream, bint to_head) noexcept nogil:
    cdef Head* head = block.head
    if not block.saw & 1 << PSEUDO_STATUS:
        return malformed(block, b"missing_status")
    if head.status < 200:
        if end_stream:                    # RFC 9113 8.1
            return malformed(block, b"stream_ends_with_interim")
        if head.status == 101:            # RFC 9113 8.6
            return malformed(block, b"switching_protocols")
    if head.status < 200 or head.status == 204:
        head.length = 0
        return HPACK_OK
    if to_head or head.status == 304:     # `length` is what GET would have got
        return HPACK_OK
    if block.saw & SAW_LENGTH:
        if end_stream and head.length:
            return malformed(block, b"content_length_without_body")
        head.framing = FRAMING_LENGTH
    elif end_stream:
        head.framing = FRAMING_LENGTH     # nothing, and HTTP/1 has to be told so
    else:
        head.framing = FRAMING_STREAM
    return HPACK_OK


cdef int decode_trailers(HpackDecoder* decoder, const char* data, size_t size, const Limits* limits, char* text,
                         Head* trailers) noexcept nogil:
    cdef Block block
    cdef Field* field
    cdef int verdict
    cdef uint32_t i
    block_start(&block, decoder, limits, text, trailers, FORM_TRAILERS)
    verdict = read_block(&block, data, size)
    trailers.size = block.used
    if verdict == HPACK_OK:
        for i in range(trailers.field_count):
            field = &trailers.fields[i]
            if forbidden_in_trailers(field.id, block.text + field.name.off, field.name.len):
                field.flags |= FIELD_HOP
    return verdict


cdef int decode_nothing(HpackDecoder* decoder, const char* data, size_t size, const Limits* limits, char* text) noexcept nogil:
    cdef Block block
    block_start(&block, decoder, limits, text, NULL, FORM_NOTHING)
    return read_block(&block, data, size)


cdef int decode_plain(HpackDecoder* decoder, const char* data, size_t size, const Limits* limits, char* text,
                      Head* head) noexcept nogil:
    cdef Block block
    cdef int verdict
    block_start(&block, decoder, limits, text, head, FORM_PLAIN)
    verdict = read_block(&block, data, size)
    head.size = block.used
    return verdict
