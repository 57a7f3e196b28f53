# The bytes of one block to its fields (RFC 7541 3, 5, 6), within limits.

cdef enum Form:
    FORM_REQUEST = 0
    FORM_RESPONSE
    FORM_TRAILERS
    FORM_NOTHING
    FORM_PLAIN                # as it stands

cdef enum:
    HEAD_MAX = 65535          # offsets are 16 bits
    DIGITS_MAX = 19           # of content-length: 19 nines fit 64 bits
    HOST_SIZE = 4             # finish_authority writes "host" behind everything
    STRING_LONG = 0xffffffff  # a string that does not fit the buffer
    INTEGER_MOST = 1 << 28    # RFC 7541 5.1 asks for a limit; no size or index of ours comes near this one
    REQUEST_PSEUDO = 1 << PSEUDO_METHOD | 1 << PSEUDO_SCHEME | 1 << PSEUDO_AUTHORITY | 1 << PSEUDO_PATH | 1 << PSEUDO_PROTOCOL
    SAW_HOST = 1 << 8         # bits of Block.saw above those of the pseudo-headers
    SAW_LENGTH = 1 << 9

cdef struct Block:            # the one that is being decoded
    HpackDecoder* decoder
    const Limits* limits
    uint8_t* text
    Head* head
    uint32_t used             # of `text`, for good
    uint32_t decoded          # RFC 9113 6.5.2: names, values and 32 for each field
    uint32_t most
    uint32_t count            # ordinary fields, every crumb of a cookie counted
    uint32_t fields_most
    uint32_t saw              # 1 << PseudoKind, SAW_HOST, SAW_LENGTH
    uint32_t pseudo_allowed
    uint8_t form
    uint8_t verdict
    bint storing              # no longer once the verdict is not HPACK_OK
    uint16_t cookie           # 1 + place of the last cookie field
    uint16_t cookies          # cookie fields that could not be joined on the spot
    Span host                 # of a host field


cdef void decoder_start(HpackDecoder* decoder, uint32_t table_size) noexcept nogil:
    memset(decoder, 0, sizeof(HpackDecoder))
    decoder.allowed = table_size if table_size < HPACK_TABLE_MOST else HPACK_TABLE_MOST
    decoder.table.max = HPACK_TABLE if HPACK_TABLE < decoder.allowed else decoder.allowed
    if decoder.allowed < HPACK_TABLE:
        decoder.update_due = 1 + decoder.allowed


cdef void decoder_resize(HpackDecoder* decoder, uint32_t table_size) noexcept nogil:
    if table_size > HPACK_TABLE_MOST:
        table_size = HPACK_TABLE_MOST
    decoder.allowed = table_size
    if table_size < decoder.table.max and (decoder.update_due == 0 or decoder.update_due > 1 + table_size):
        decoder.update_due = 1 + table_size


cdef void decoder_free(HpackDecoder* decoder) noexcept nogil:
    table_free(&decoder.table)


cdef inline void block_start(Block* block, HpackDecoder* decoder, const Limits* limits, char* text, Head* head,
                             uint8_t form) noexcept nogil:
    block.decoder, block.limits, block.text, block.head, block.form = decoder, limits, <uint8_t*> text, head, form
    block.used = block.decoded = block.count = block.saw = 0
    block.most = limits.head if limits.head < HEAD_MAX else HEAD_MAX
    block.fields_most = limits.fields if limits.fields < FIELDS_MAX else FIELDS_MAX - 1      # one place is for `host`
    block.pseudo_allowed = REQUEST_PSEUDO if form == FORM_REQUEST else 1 << PSEUDO_STATUS if form == FORM_RESPONSE else 0
    block.verdict = HPACK_OK
    block.storing = form != FORM_NOTHING
    block.cookie = block.cookies = 0
    if head != NULL:
        memset(head, 0, <size_t> (<char*> &head.fields[0] - <char*> head))
        head.base = text
        head.minor = 2
        head.keep_alive = True
        head.error_status = 0
        head.error = NULL


# The head is refused; its text is needed no longer, and from here on the buffer is only for what goes into the table.
cdef int refuse(Block* block, int verdict, uint16_t status, const char* reason) noexcept nogil:
    if block.storing:
        block.storing = False
        block.verdict = verdict
        block.used = 0
        block.head.error_status = status if block.form != FORM_RESPONSE else 502
        block.head.error = reason
    return block.verdict


cdef inline int malformed(Block* block, const char* reason) noexcept nogil:
    return refuse(block, HPACK_MALFORMED, 400, reason)


# --- the wire form --------------------------------------------------------------------------------------------------

# The rest of an integer whose prefix was full (RFC 7541 5.1). The byte after it, or NULL.
cdef const uint8_t* read_rest(const uint8_t* at, const uint8_t* end, uint32_t* value) noexcept nogil:
    cdef uint32_t shift = 0
    while at < end and shift < 28:
        value[0] += <uint32_t> (at[0] & 127) << shift
        shift += 7
        at += 1
        if at[-1] < 128:
            return at if value[0] < INTEGER_MOST else NULL
    return NULL


# A string literal, decoded to `to`. *size = STRING_LONG when it does not fit. The byte after it, or NULL: not a string.
cdef inline const uint8_t* read_string(const uint8_t* at, const uint8_t* end, uint8_t* to, size_t room,
                                       uint32_t* size) noexcept nogil:
    cdef uint32_t length
    cdef bint coded
    cdef int64_t got
    if at == end:
        return NULL
    coded = at[0] & 128
    length = at[0] & 127
    at += 1
    if length == 127:
        at = read_rest(at, end, &length)
        if at == NULL:
            return NULL
    if length > end - at:
        return NULL
    if coded:
        got = huffman_decode(at, length, to, room)
        if got == HUFFMAN_BAD:
            return NULL
        size[0] = STRING_LONG if got == HUFFMAN_LONG else <uint32_t> got
    elif length > room:
        size[0] = STRING_LONG
    else:
        copy(to, at, length)
        size[0] = length
    return at + length


# RFC 7541 4.2, 6.3: changes of the table size, at the beginning of a block. More than two say nothing that two cannot.
cdef const uint8_t* read_updates(HpackDecoder* decoder, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef uint32_t size, updates = 0
    while at < end and at[0] & 0xe0 == 0x20:
        size = at[0] & 31
        at += 1
        updates += 1
        if size == 31:
            at = read_rest(at, end, &size)
        if at == NULL or size > decoder.allowed or updates > 2:
            return NULL
        if decoder.update_due and size < decoder.update_due:
            decoder.update_due = 0
        table_set_max(&decoder.table, size)
    return at if decoder.update_due == 0 else NULL


# Every field of the block. HPACK_OK and the like; `block.verdict` once the head is refused.
cdef int read_block(Block* block, const char* data, size_t size) noexcept nogil:
    cdef const uint8_t* end = <const uint8_t*> data + size
    cdef const uint8_t* at = read_updates(block.decoder, <const uint8_t*> data, end)
    cdef const uint8_t* text
    cdef const Entry* entry
    cdef uint32_t index
    if at == NULL:
        return HPACK_ERROR
    while at < end:
        if at[0] & 128:
            index = at[0] & 127
            at += 1
            if index == 127:
                at = read_rest(at, end, &index)
                if at == NULL:
                    return HPACK_ERROR
            entry = find_entry(&block.decoder.table, index, &text)
            if entry == NULL:
                return HPACK_ERROR
            if not count_field(block, entry.name_size + entry.value_size):
                return HPACK_FLOOD
            if block.storing:
                take_entry(block, text, entry)
        else:
            at = read_literal(block, at, end)
            if at == NULL:
                return HPACK_ERROR
            if block.decoded > 4 * block.most:
                return HPACK_FLOOD
    return block.verdict


# A literal field, with or without a place in the table (RFC 7541 6.2). The byte after it, or NULL.
cdef const uint8_t* read_literal(Block* block, const uint8_t* start, const uint8_t* end) noexcept nogil:
    cdef Table* table = &block.decoder.table
    cdef uint8_t* name = block.text + block.used
    cdef uint8_t* value
    cdef uint8_t* name_text = name
    cdef const uint8_t* at = start + 1
    cdef const uint8_t* known
    cdef const Entry* entry
    cdef Entry* made
    cdef Meaning meaning
    cdef bint indexed = start[0] & 64, failed = False
    cdef uint32_t index = start[0] & (63 if indexed else 15), name_size, value_size, stored
    if start[0] & 0xe0 == 0x20:           # a table size update that is not at the beginning
        return NULL
    if index:
        if index == (63 if indexed else 15):
            at = read_rest(at, end, &index)
            if at == NULL:
                return NULL
        entry = find_entry(table, index, &known)
        if entry == NULL:
            return NULL
        stored = name_size = entry.name_size
        meaning = entry.meaning
        meaning.first = meaning.second = 0
        if NO_PSEUDO < meaning.kind < PSEUDO_UNKNOWN and block.form != FORM_PLAIN:
            name_text = <uint8_t*> PSEUDO_NAMES[meaning.kind]
            stored = 0
        elif block.used + name_size > HEAD_MAX:
            stored = name_size = STRING_LONG
        else:
            copy(name, known, name_size)
    else:
        at = read_string(at, end, name, HEAD_MAX - block.used, &name_size)
        if at == NULL:
            return NULL
        stored = name_size
        if name_size != STRING_LONG:
            judge_name(&meaning, name, name_size)
    if name_size == STRING_LONG:
        at = read_string(at, end, block.text, HEAD_MAX, &value_size)
        return long_field(block, start, at, end, indexed)
    value = name + stored
    at = read_string(at, end, value, HEAD_MAX - block.used - stored, &value_size)
    if at == NULL:
        return NULL
    if value_size == STRING_LONG:
        return long_field(block, start, at, end, indexed)
    judge_value(&meaning, value, value_size)
    if indexed:
        made = insert(table, name_text, name_size, value, value_size, &failed)
        if made != NULL:
            made.meaning = meaning
        elif failed:
            return NULL
    if count_field(block, name_size + value_size) and block.storing:
        take_field(block, block.used, stored, value_size, &meaning)
    return at


# A field that did not fit behind what is stored already: it is too large, and read again with the whole buffer for the table's sake.
# One that does not fit that either is larger than any table.
cdef const uint8_t* long_field(Block* block, const uint8_t* start, const uint8_t* at, const uint8_t* end,
                               bint indexed) noexcept nogil:
    cdef bint again = block.used > 0
    if at == NULL:
        return NULL
    if block.storing:
        refuse(block, HPACK_TOO_LARGE, 431, b"head_too_large")
    if again:
        return read_literal(block, start, end)
    block.decoded += HEAD_MAX
    if indexed:
        table_clear(&block.decoder.table)
    return at


# Limits. False: more than anybody wants to hear.
cdef inline bint count_field(Block* block, uint32_t size) noexcept nogil:
    block.decoded += size + ENTRY_COST
    if block.decoded > block.most:
        if block.decoded > 4 * block.most:
            return False
        if block.storing:
            refuse(block, HPACK_TOO_LARGE, 431, b"head_too_large")
    return True
