# The field section (RFC 9112 5), and what the fields that steer a message say.

cdef enum Saw:                # one bit for each thing that a head can say once
    SAW_HOST = 1
    SAW_LENGTH = 2
    SAW_CODING = 4
    SAW_CLOSE = 8             # Connection: close
    SAW_KEEP_ALIVE = 16       # Connection: keep-alive
    SAW_UPGRADE_OPTION = 32   # Connection: upgrade
    SAW_UPGRADE = 64          # an Upgrade field
    SAW_NO_UPGRADE = 128      # two Upgrade fields, or one that names h2c: never taken up
    SAW_NAMED = 256           # Connection names something else, a field perhaps

cdef enum:
    OPTIONS_MAX = 32          # Connection options in one head: each may be compared with every field
    DIGITS_MAX = 19           # of a Content-Length: 19 nines fit 64 bits; more are refused unread

cdef struct Facts:
    uint32_t saw
    uint32_t options          # of all Connection fields
    Span host


# Fields from `at` to the empty line. `facts` NULL: trailers, where nothing steers. Sets field_count and size.
cdef int parse_fields(Head* head, const uint8_t* at, const uint8_t* end, const Limits* limits,
                      Facts* facts) noexcept nogil:
    cdef const uint8_t* base = <const uint8_t*> head.base
    cdef const uint8_t* line
    cdef const uint8_t* name_end
    cdef const uint8_t* value
    cdef const uint8_t* value_end
    cdef Field* field
    cdef uint32_t count = 0, room = limits.fields if limits.fields < FIELDS_MAX else FIELDS_MAX
    cdef uint8_t kinds, kind
    cdef int id
    while True:
        line = at
        kinds = 0
        while at < end:
            kind = CHAR_CLASS[at[0]]
            if not kind & CHAR_TOKEN:
                break
            kinds |= kind
            at += 1
        if at == end:
            return unfinished_field(head, line, end, limits)
        if at[0] != 58 or at == line:
            if at[0] == CR and at == line:
                break
            return bad_name(head, line, at, end, count)
        if count == room:
            return bad(head, 431, b"too_many_fields")
        name_end = at
        at += 1
        while at < end and (at[0] == SP or at[0] == HTAB):
            at += 1
        value = at
        at = find_control(at, end)
        while at < end and at[0] == HTAB:
            at = find_control(at + 1, end)
        if at == end:
            return unfinished_field(head, line, end, limits)
        if at[0] != CR:
            return bad(head, 400, b"bare_lf" if at[0] == LF else b"control_in_value")
        if at + 1 == end:
            return unfinished_field(head, line, end, limits)
        if at[1] != LF:
            return bad(head, 400, b"bare_cr")
        value_end = at
        at += 2
        if value_end - line > limits.line:
            return bad(head, 431, b"field_line_too_long")
        if at - base >= head_limit(limits):           # the empty line has still to come
            return bad(head, 431, b"head_too_large")
        while value_end > value and (value_end[-1] == SP or value_end[-1] == HTAB):
            value_end -= 1
        field = &head.fields[count]
        count += 1
        id = header_id(line, name_end - line)
        field.name = span_of(head, line, name_end)
        field.value = span_of(head, value, value_end)
        field.id = <uint8_t> id
        field.flags = 0
        if kinds & CHAR_UNDERSCORE and note_lookalike(head, field, facts) == H1_BAD:
            return H1_BAD
        if HDR_OTHER < id <= HDR_HTTP2_SETTINGS and facts != NULL:
            head.field_count = <uint16_t> count
            if note_field(head, field, value, value_end, facts) == H1_BAD:
                return H1_BAD
    if at + 1 == end:
        return unfinished_field(head, line, end, limits)
    if at[1] != LF:
        return bad(head, 400, b"bare_cr")
    head.field_count = <uint16_t> count
    head.size = <uint32_t> (at + 2 - base)
    if head.size > head_limit(limits):
        return bad(head, 431, b"head_too_large")
    return H1_DONE


# Why line..at is no field name: at[0] is neither ':' nor a token character, or it is a ':' with nothing before it.
cdef int bad_name(Head* head, const uint8_t* line, const uint8_t* at, const uint8_t* end,
                  uint32_t before) noexcept nogil:
    cdef uint8_t char = at[0]
    if char == 58:
        return bad(head, 400, b"empty_field_name")
    if char == LF:
        return bad(head, 400, b"bare_lf")
    if char == CR:
        if at + 1 < end and at[1] != LF:
            return bad(head, 400, b"bare_cr")
        return bad(head, 400, b"field_without_colon")
    if char == SP or char == HTAB:
        if at > line:
            return bad(head, 400, b"space_in_field_name")     # RFC 9112 5.1
        return bad(head, 400, b"folded_field" if before else b"space_before_field")
    return bad(head, 400, b"bad_field_name")


# RFC 9112 leaves `Transfer_Encoding` alone, a CGI-like back end does not. In a request the framing ones are refused,
# names of other fields that we set or trust are dropped (nginx drops all underscores); a response only loses the
# framing ones.
cdef int note_lookalike(Head* head, Field* field, const Facts* facts) noexcept nogil:
    cdef int id = lookalike_id(<const uint8_t*> span_ptr(head, field.name), field.name.len)
    if id == HDR_CONTENT_LENGTH or id == HDR_TRANSFER_ENCODING:
        if head.is_request:
            return bad(head, 400, b"framing_lookalike")
        field.flags |= FIELD_HOP
    elif id != HDR_OTHER and (head.is_request or facts == NULL):
        field.flags |= FIELD_HOP
    return H1_DONE


cdef int note_field(Head* head, Field* field, const uint8_t* value, const uint8_t* end, Facts* facts) noexcept nogil:
    cdef int id = field.id
    if id == HDR_HOST:
        return note_host(head, field, facts)
    if id == HDR_CONNECTION:
        field.flags |= FIELD_HOP
        note_connection(value, end, facts)
        if facts.options > OPTIONS_MAX:
            return bad(head, 400, b"too_many_connection_options")
    elif id == HDR_CONTENT_LENGTH:
        field.flags |= FIELD_HOP
        return note_length(head, value, end, facts)
    elif id == HDR_TRANSFER_ENCODING:
        field.flags |= FIELD_HOP
        return note_coding(head, value, end, facts)
    elif id == HDR_TE:
        field.flags |= FIELD_HOP
        note_te(head, value, end)
    elif id == HDR_UPGRADE:
        field.flags |= FIELD_HOP
        note_upgrade(head, value, end, facts)
    elif id == HDR_EXPECT:
        note_expect(head, field, value, end)
    elif id != HDR_TRAILER:               # keep-alive, proxy-connection, http2-settings
        field.flags |= FIELD_HOP
    return H1_DONE


cdef int note_host(Head* head, Field* field, Facts* facts) noexcept nogil:
    if not head.is_request:               # means nothing in a response; passed on
        return H1_DONE
    field.flags |= FIELD_HOP
    if facts.saw & SAW_HOST:
        return bad(head, 400, b"duplicate_host")
    facts.saw |= SAW_HOST
    facts.host = field.value
    return H1_DONE


# RFC 9112 6.3: digits, once. Lists and repeats of one value may be collapsed; we refuse them.
cdef int note_length(Head* head, const uint8_t* at, const uint8_t* end, Facts* facts) noexcept nogil:
    cdef uint64_t length = 0
    if facts.saw & SAW_LENGTH:
        return bad(head, 400, b"duplicate_content_length")
    if at == end or end - at > DIGITS_MAX:
        return bad(head, 400, b"bad_content_length")
    while at < end:
        if at[0] < 48 or at[0] > 57:
            return bad(head, 400, b"bad_content_length")
        length = length * 10 + (at[0] - 48)
        at += 1
    facts.saw |= SAW_LENGTH
    head.length = length
    return H1_DONE


# RFC 9112 6.1: `chunked`, alone and once, is what we can send on. Another coding that ends in chunked is one that we do
# not implement (501); one whose end cannot be found is faulty (400).
cdef int note_coding(Head* head, const uint8_t* value, const uint8_t* end, Facts* facts) noexcept nogil:
    if facts.saw & SAW_CODING:
        return bad(head, 400, b"duplicate_transfer_encoding")
    facts.saw |= SAW_CODING
    if end - value == 7 and same_text(value, <const uint8_t*> b"chunked", 7):
        return H1_DONE
    return refuse_coding(head, value, end)


cdef int refuse_coding(Head* head, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* coding
    cdef size_t size, i
    cdef bint chunked = False, any = False
    if at == end or at[0] == 44 or end[-1] == 44:
        return bad(head, 400, b"bad_transfer_encoding")
    while next_element(&at, end, &coding, &size):
        any = True
        if chunked:                       # it was not the last one
            return bad(head, 400, b"bad_transfer_encoding")
        chunked = size == 7 and same_text(coding, <const uint8_t*> b"chunked", 7)
        for i in range(size):
            if not CHAR_CLASS[coding[i]] & CHAR_TOKEN:
                return bad(head, 400, b"bad_transfer_encoding")
    if not any:
        return bad(head, 400, b"bad_transfer_encoding")
    return bad(head, 501, b"unsupported_transfer_encoding")


cdef void note_connection(const uint8_t* at, const uint8_t* end, Facts* facts) noexcept nogil:
    cdef const uint8_t* option
    cdef size_t size
    if end - at == 10 and same_text(at, <const uint8_t*> b"keep-alive", 10):     # the likely value
        facts.saw |= SAW_KEEP_ALIVE
        return
    while next_element(&at, end, &option, &size):
        facts.options += 1
        if size == 10 and same_text(option, <const uint8_t*> b"keep-alive", 10):
            facts.saw |= SAW_KEEP_ALIVE
        elif size == 5 and same_text(option, <const uint8_t*> b"close", 5):
            facts.saw |= SAW_CLOSE
        elif size == 7 and same_text(option, <const uint8_t*> b"upgrade", 7):
            facts.saw |= SAW_UPGRADE_OPTION
        else:
            facts.saw |= SAW_NAMED


cdef void note_te(Head* head, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* coding
    cdef size_t size
    while next_element(&at, end, &coding, &size):
        if size == 8 and same_text(coding, <const uint8_t*> b"trailers", 8):
            head.te_trailers = True


# `Upgrade: h2c` is never passed on (a switch that the rules behind this proxy would not see), nor is a choice with it.
cdef void note_upgrade(Head* head, const uint8_t* at, const uint8_t* end, Facts* facts) noexcept nogil:
    cdef const uint8_t* protocol
    cdef size_t size
    if facts.saw & SAW_UPGRADE:
        facts.saw |= SAW_NO_UPGRADE
    while next_element(&at, end, &protocol, &size):
        if not facts.saw & SAW_UPGRADE or (size == 9 and same_text(protocol, <const uint8_t*> b"websocket", 9)):
            head.protocol = span_of(head, protocol, protocol + size)
        facts.saw |= SAW_UPGRADE
        if size == 3 and same_text(protocol, <const uint8_t*> b"h2c", 3):
            facts.saw |= SAW_NO_UPGRADE


cdef void note_expect(Head* head, Field* field, const uint8_t* value, const uint8_t* end) noexcept nogil:
    if head.minor == 0:                   # RFC 9110 10.1.1: ignored, and not made into an HTTP/1.1 one
        field.flags |= FIELD_HOP
    elif end - value == 12 and same_text(value, <const uint8_t*> b"100-continue", 12):
        head.expect_continue = True
    else:
        head.expect_other = True


# What both kinds of message conclude from Connection and Upgrade (RFC 9110 7.6.1, 7.8; RFC 9112 9.3).
cdef inline void finish_connection(Head* head, Facts* facts) noexcept nogil:
    if facts.saw & SAW_NAMED:
        strip_named(head)
    if head.minor == 0:
        head.keep_alive = (facts.saw & (SAW_KEEP_ALIVE | SAW_CLOSE)) == SAW_KEEP_ALIVE
        return
    head.keep_alive = not facts.saw & SAW_CLOSE
    head.upgrade = (facts.saw & (SAW_UPGRADE | SAW_UPGRADE_OPTION | SAW_NO_UPGRADE)
                    == (SAW_UPGRADE | SAW_UPGRADE_OPTION))


# Flags every field that a Connection field names, but for those that outlive a connection.
cdef void strip_named(Head* head) noexcept nogil:
    cdef const uint8_t* at
    cdef const uint8_t* end
    cdef const uint8_t* option
    cdef size_t size
    cdef uint32_t i, j
    cdef Field* field
    for i in range(head.field_count):
        if head.fields[i].id != HDR_CONNECTION:
            continue
        at = <const uint8_t*> span_ptr(head, head.fields[i].value)
        end = at + head.fields[i].value.len
        while next_element(&at, end, &option, &size):
            for j in range(head.field_count):
                field = &head.fields[j]
                if (field.name.len == size and same_text(<const uint8_t*> span_ptr(head, field.name), option, size)
                        and not outlives_connection(field.id, option, size)):
                    field.flags |= FIELD_HOP
