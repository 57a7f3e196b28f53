# A head to one block (RFC 7541 6).
#
# What a field costs here is mostly the look at the tables, so that is what is kept short: a hash over a few words of name and value
# leads to one place, which is right or not. What comes a second time on a connection goes into the table (a filter of hashes knows
# what came once), so values that never repeat push nothing out; a name that repeats goes in once, with whatever value it had then.

cdef enum Policy:
    POLICY_REPEATS = 0        # into the table when it comes again
    POLICY_NEVER = 1          # RFC 7541 7.1.3: nor may anybody behind us index it

cdef enum:
    NAME_MAX = 64             # a longer name is written as it is
    SECRET_COOKIE = 20        # shorter ones can be guessed byte by byte
    FIELD_ROOM = 24           # integers around a field, at most

cdef uint8_t[128] STATIC_PLACES           # by name_hash: index of the first entry with that name; open addressing
cdef uint32_t[62] STATIC_HASHES           # name_hash by index


cdef inline uint64_t fold_case(uint64_t word) noexcept nogil:
    cdef uint64_t low = word & <uint64_t> 0x7f7f7f7f7f7f7f7f
    cdef uint64_t upper = (low + <uint64_t> 0x3f3f3f3f3f3f3f3f) ^ (low + <uint64_t> 0x2525252525252525)     # >= 'A', > 'Z'
    return word | ((upper & ~word & <uint64_t> 0x8080808080808080) >> 2)


# Any bytes to `to`, ASCII letters in lower case. (Writes no byte behind size.)
cdef inline void lower_copy(uint8_t* to, const uint8_t* source, size_t size) noexcept nogil:
    cdef uint64_t word
    cdef size_t at = 0
    if size >= 8:
        while at + 8 < size:
            word = fold_case(load64(source + at))
            memcpy(to + at, &word, 8)
            at += 8
        word = fold_case(load64(source + size - 8))
        memcpy(to + size - 8, &word, 8)
        return
    for at in range(size):
        to[at] = source[at] + 32 if 65 <= source[at] <= 90 else source[at]


# Length, ends and middle: enough to find what repeats. Who makes others collide only makes this connection's blocks longer.
cdef inline uint64_t mix(const uint8_t* text, size_t size) noexcept nogil:
    cdef uint64_t word
    if size >= 8:
        word = load64(text) * <uint64_t> 0x9e3779b97f4a7c15
        word = (word ^ word >> 29 ^ load64(text + size - 8)) * <uint64_t> 0xbf58476d1ce4e5b9
        if size > 16:
            word = (word ^ word >> 31 ^ load64(text + (size >> 1) - 4)) * <uint64_t> 0x94d049bb133111eb
    elif size >= 4:
        word = (load32(text) | <uint64_t> load32(text + size - 4) << 32) * <uint64_t> 0x9e3779b97f4a7c15
    elif size:
        word = (text[0] | text[size >> 1] << 8 | text[size - 1] << 16) * <uint64_t> 0x9e3779b97f4a7c15
    else:
        word = 0
    return (word ^ word >> 32 ^ size) * <uint64_t> 0xd6e8feb86659fd93


cdef inline uint32_t hash_name(const uint8_t* name, size_t size) noexcept nogil:
    return <uint32_t> (mix(name, size) >> 32)


cdef void _place_static() noexcept:
    cdef int i
    cdef uint32_t place
    cdef const uint8_t* name
    for i in range(1, STATIC_COUNT + 1):
        name = <const uint8_t*> STATIC_TEXT + STATIC[i].at
        STATIC_HASHES[i] = hash_name(name, STATIC[i].name_size)
        if find_static(name, STATIC[i].name_size, STATIC_HASHES[i]):
            continue
        place = STATIC_HASHES[i] & 127
        while STATIC_PLACES[place]:
            place = (place + 1) & 127
        STATIC_PLACES[place] = i


# The index of the first static entry with this name, or 0.
cdef inline uint32_t find_static(const uint8_t* name, size_t size, uint32_t hash) noexcept nogil:
    cdef uint32_t place = hash & 127, index
    while STATIC_PLACES[place]:
        index = STATIC_PLACES[place]
        if STATIC_HASHES[index] == hash and STATIC[index].name_size == size \
                and memcmp(name, STATIC_TEXT + STATIC[index].at, size) == 0:
            return index
        place = (place + 1) & 127
    return 0


_place_static()


# What a name that most messages have means here, found by its HeaderId. Secrets are not among them: they go the long way.
cdef struct Known:
    const uint8_t* name
    uint32_t size             # 0 = not known
    uint32_t hash
    uint32_t index            # in the static table, or 0

cdef Known[64] KNOWN          # by message.HeaderId
_KNOWN_NAMES = (
    b"user-agent", b"content-type", b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
    b"x-forwarded-port", b"x-forwarded-client-cert", b"traceparent", b"tracestate", b"grpc-status", b"grpc-timeout", b"server",
    b"date", b"location", b"origin", b"retry-after",
)


cdef void _make_known() noexcept:
    cdef bytes name
    cdef Known* known
    for name in _KNOWN_NAMES:
        known = &KNOWN[header_id(<const uint8_t*> <const char*> name, len(name))]
        known.name, known.size = <const uint8_t*> <const char*> name, len(name)
        known.hash = hash_name(known.name, known.size)
        known.index = find_static(known.name, known.size, known.hash)


_make_known()


cdef void encoder_start(HpackEncoder* encoder, uint32_t own_max) noexcept nogil:
    memset(encoder, 0, sizeof(HpackEncoder))
    encoder.own_max = own_max if own_max < HPACK_TABLE_MOST else HPACK_TABLE_MOST
    encoder.table.max = encoder.said = encoder.low = HPACK_TABLE
    encoder_resize(encoder, HPACK_TABLE)


cdef void encoder_resize(HpackEncoder* encoder, uint32_t peer_max) noexcept nogil:
    encoder.peer_max = peer_max
    table_set_max(&encoder.table, peer_max if peer_max < encoder.own_max else encoder.own_max)
    if encoder.table.max < encoder.low:
        encoder.low = encoder.table.max
    encoder.update_due = encoder.table.max != encoder.said or encoder.low < encoder.said


cdef void encoder_free(HpackEncoder* encoder) noexcept nogil:
    table_free(&encoder.table)


# --- the wire form --------------------------------------------------------------------------------------------------

# An integer with a prefix of `bits` bits below `pattern` (RFC 7541 5.1).
cdef inline uint8_t* put_integer(uint8_t* at, uint8_t pattern, int bits, uint32_t value) noexcept nogil:
    cdef uint32_t most = (1 << bits) - 1
    if value < most:
        at[0] = <uint8_t> (pattern | value)
        return at + 1
    at[0] = <uint8_t> (pattern | most)
    value -= most
    at += 1
    while value > 127:
        at[0] = <uint8_t> (value | 128)
        value >>= 7
        at += 1
    at[0] = <uint8_t> value
    return at + 1


cdef inline uint8_t* put_plain(uint8_t* at, const uint8_t* text, uint32_t size) noexcept nogil:
    at = put_integer(at, 0, 7, size)
    copy(at, text, size)
    return at + size


# For what goes into a table, and so over the wire once: the shorter form. Elsewhere the code costs more than the bytes it saves.
cdef uint8_t* put_coded(uint8_t* at, const uint8_t* text, uint32_t size) noexcept nogil:
    cdef size_t coded = huffman_size(text, size)
    if coded >= size:
        return put_plain(at, text, size)
    at = put_integer(at, 128, 7, <uint32_t> coded)
    return huffman_encode(text, size, at)


cdef uint8_t* put_updates(HpackEncoder* encoder, uint8_t* at) noexcept nogil:
    if encoder.low < encoder.said and encoder.low < encoder.table.max:
        at = put_integer(at, 0x20, 5, encoder.low)
    at = put_integer(at, 0x20, 5, encoder.table.max)
    encoder.said = encoder.low = encoder.table.max
    encoder.update_due = False
    return at


# --- one field ------------------------------------------------------------------------------------------------------

# How far back in the table the entry with this hash, name and value lies (1 = newest), or 0.
cdef inline uint32_t find_field(const HpackEncoder* encoder, uint32_t hash, const uint8_t* name, uint32_t name_size,
                                const uint8_t* value, uint32_t value_size) noexcept nogil:
    cdef const Table* table = &encoder.table
    cdef uint32_t back = <uint16_t> (table.inserted - encoder.places[hash & 127])
    cdef const Entry* entry
    if back == 0 or back > table.count:
        return 0
    entry = &table.entries[(table.inserted - back) & table.entries_mask]
    if entry.hash == hash and entry.name_size == name_size and entry.value_size == value_size \
            and same(<const uint8_t*> table.text + entry.at, name, name_size) \
            and same(<const uint8_t*> table.text + entry.at + name_size, value, value_size):
        return back
    return 0


cdef inline uint32_t find_name(const HpackEncoder* encoder, uint32_t hash, const uint8_t* name,
                               uint32_t size) noexcept nogil:
    cdef const Table* table = &encoder.table
    cdef uint32_t back = <uint16_t> (table.inserted - encoder.name_places[hash & (SEEN - 1)])
    cdef const Entry* entry
    if back == 0 or back > table.count:
        return 0
    entry = &table.entries[(table.inserted - back) & table.entries_mask]
    if entry.name_hash == hash and entry.name_size == size and same(<const uint8_t*> table.text + entry.at, name, size):
        return STATIC_COUNT + back
    return 0


# A field with a lower-case name. `index`: of its name in the static table, or 0. NULL: no memory.
cdef uint8_t* put_field(HpackEncoder* encoder, uint8_t* at, const uint8_t* name, uint32_t name_size, uint32_t name_hash,
                        uint32_t index, const uint8_t* value, uint32_t value_size, int policy) noexcept nogil:
    cdef uint32_t hash, back
    cdef bint keep
    if policy == POLICY_NEVER:
        at = put_integer(at, 0x10, 4, index)
        if index == 0:
            at = put_plain(at, name, name_size)
        return put_plain(at, value, value_size)
    hash = <uint32_t> ((name_hash ^ mix(value, value_size)) >> 16)
    back = find_field(encoder, hash, name, name_size, value, value_size)
    if back:
        return put_integer(at, 128, 7, STATIC_COUNT + back)
    if index == 0:
        index = find_name(encoder, name_hash, name, name_size)
    keep = encoder.seen[hash & (SEEN - 1)] == hash or (index == 0 and encoder.names_seen[name_hash & (SEEN - 1)] == name_hash)
    if keep and name_size + value_size + ENTRY_COST <= encoder.table.max >> 1:
        return put_kept(encoder, at, name, name_size, name_hash, index, value, value_size, hash)
    encoder.seen[hash & (SEEN - 1)] = hash
    if index:
        at = put_integer(at, 0, 4, index)
    else:
        encoder.names_seen[name_hash & (SEEN - 1)] = name_hash
        at[0] = 0
        at = put_plain(at + 1, name, name_size)
    return put_plain(at, value, value_size)


# The same, with a place in the table.
cdef uint8_t* put_kept(HpackEncoder* encoder, uint8_t* at, const uint8_t* name, uint32_t name_size, uint32_t name_hash,
                       uint32_t index, const uint8_t* value, uint32_t value_size, uint32_t hash) noexcept nogil:
    cdef bint failed = False
    cdef Entry* entry = insert(&encoder.table, name, name_size, value, value_size, &failed)
    if entry == NULL:
        return NULL
    entry.hash = hash
    entry.name_hash = name_hash
    encoder.places[hash & 127] = <uint16_t> (encoder.table.inserted - 1)
    encoder.name_places[name_hash & (SEEN - 1)] = <uint16_t> (encoder.table.inserted - 1)
    at = put_integer(at, 0x40, 6, index)
    if index == 0:
        at = put_coded(at, name, name_size)
    return put_coded(at, value, value_size)


# A field of a message, its name in any case. Those that belong to a connection or are written elsewhere leave nothing.
cdef inline uint8_t* put_named(HpackEncoder* encoder, uint8_t* at, const uint8_t* name, uint32_t name_size,
                               const uint8_t* value, uint32_t value_size, uint8_t id) noexcept nogil:
    cdef const Known* known = &KNOWN[id & 63]
    cdef uint8_t[64] lowered
    cdef uint32_t hash, index
    cdef int policy = POLICY_REPEATS
    if known.size == name_size and token_is(name, <const char*> known.name, name_size):
        return put_field(encoder, at, known.name, name_size, known.hash, known.index, value, value_size, POLICY_REPEATS)
    if name_size > NAME_MAX:
        at[0] = 0
        at = put_integer(at + 1, 0, 7, name_size)
        lower_copy(at, name, name_size)
        return put_plain(at + name_size, value, value_size)
    lower_copy(lowered, name, name_size)
    if of_connection(lowered, name_size):
        return at
    hash = hash_name(lowered, name_size)
    index = find_static(lowered, name_size, hash)
    if index == STATIC_AUTHORIZATION or index == STATIC_PROXY_AUTHORIZATION or index == STATIC_SET_COOKIE \
            or (index == STATIC_COOKIE and value_size < SECRET_COOKIE):
        policy = POLICY_NEVER
    elif index == STATIC_ACCEPT_ENCODING and value_size == 13 and memcmp(value, b"gzip, deflate", 13) == 0:
        at[0] = 128 | STATIC_ACCEPT_ENCODING
        return at + 1
    return put_field(encoder, at, lowered, name_size, hash, index, value, value_size, policy)


# RFC 9113 8.2.2, and what HeadOut says by itself.
cdef inline bint of_connection(const uint8_t* name, uint32_t size) noexcept nogil:
    if size == 10:
        return token_is(name, b"connection", 10) or token_is(name, b"keep-alive", 10)
    if size == 17:
        return token_is(name, b"transfer-encoding", 17)
    if size == 14:
        return token_is(name, b"content-length", 14) or token_is(name, b"http2-settings", 14)
    if size == 16:
        return token_is(name, b"proxy-connection", 16)
    if size == 7:
        return token_is(name, b"upgrade", 7)
    if size == 4:
        return token_is(name, b"host", 4)
    return size == 2 and token_is(name, b"te", 2)


# A field whose name is the static entry `index`.
cdef inline uint8_t* put_static_name(HpackEncoder* encoder, uint8_t* at, uint32_t index, const char* value,
                                     uint32_t size) noexcept nogil:
    return put_field(encoder, at, <const uint8_t*> STATIC_TEXT + STATIC[index].at, STATIC[index].name_size,
                     STATIC_HASHES[index], index, <const uint8_t*> value, size, POLICY_REPEATS)


# --- the whole head -------------------------------------------------------------------------------------------------

cdef size_t room_for(const HeadOut* out) noexcept nogil:
    cdef size_t room = 256
    cdef uint32_t i
    for i in range(out.count):
        room += out.fields[i].name_size + out.fields[i].value_size + FIELD_ROOM
    return room


# Fields, length and te. NULL: no memory.
cdef uint8_t* put_fields(HpackEncoder* encoder, uint8_t* at, const HeadOut* out) noexcept nogil:
    cdef const OutField* field
    cdef char[20] digits
    cdef uint32_t i
    for i in range(out.count):
        field = &out.fields[i]
        if field.name_size == 0:
            continue
        at = put_named(encoder, at, <const uint8_t*> field.name, field.name_size, <const uint8_t*> field.value, field.value_size,
                       field.id)
        if at == NULL:
            return NULL
    if out.framing == FRAMING_LENGTH:
        at = put_static_name(encoder, at, STATIC_CONTENT_LENGTH, digits, write_number(digits, out.length))
    return at


cdef int encode_request(HpackEncoder* encoder, OutBuf* to, const HeadOut* out) noexcept nogil:
    cdef size_t room = room_for(out) + out.method_size + out.authority_size + 2 * (out.path_size + out.query_size + 1) \
        + out.protocol_size
    cdef uint8_t* start = <uint8_t*> out_reserve(to, room)
    cdef uint8_t* at = start
    if start == NULL:
        return -1
    if encoder.update_due:
        at = put_updates(encoder, at)
    if out.method_size == 3 and memcmp(out.method, b"GET", 3) == 0:
        at[0] = 128 | STATIC_GET
        at += 1
    elif out.method_size == 4 and memcmp(out.method, b"POST", 4) == 0:
        at[0] = 128 | STATIC_POST
        at += 1
    else:
        at = put_static_name(encoder, at, STATIC_METHOD, out.method, out.method_size)
    if at != NULL and out.path_size:      # CONNECT has none
        at[0] = 128 | (STATIC_HTTPS if out.scheme == 2 else STATIC_HTTP)
        at = put_path(encoder, at + 1, out, start + room - out.path_size - out.query_size - 1)
    if at != NULL:
        at = put_static_name(encoder, at, STATIC_AUTHORITY, out.authority, out.authority_size)
    if at != NULL and out.protocol != NULL:
        at = put_field(encoder, at, <const uint8_t*> b":protocol", 9, hash_name(<const uint8_t*> b":protocol", 9), 0,
                       <const uint8_t*> out.protocol, out.protocol_size, POLICY_REPEATS)
    if at != NULL:
        at = put_fields(encoder, at, out)
    if at != NULL and out.te_trailers:
        at = put_field(encoder, at, <const uint8_t*> b"te", 2, hash_name(<const uint8_t*> b"te", 2), 0,
                       <const uint8_t*> b"trailers", 8, POLICY_REPEATS)
    if at == NULL:
        return -1
    to.end += at - start
    return 0


# :path of path and query. They mostly lie side by side, as they came; else they are put together in `scratch`.
cdef uint8_t* put_path(HpackEncoder* encoder, uint8_t* at, const HeadOut* out, uint8_t* scratch) noexcept nogil:
    cdef const char* path = out.path
    cdef uint32_t size = out.path_size
    if out.has_query:
        size += 1 + out.query_size
        if out.query != out.path + out.path_size + 1 or out.path[out.path_size] != 63:
            memcpy(scratch, out.path, out.path_size)
            scratch[out.path_size] = 63
            memcpy(scratch + out.path_size + 1, out.query, out.query_size)
            path = <const char*> scratch
    elif size == 1 and path[0] == 47:
        at[0] = 128 | STATIC_PATH
        return at + 1
    return put_static_name(encoder, at, STATIC_PATH, path, size)


cdef int encode_response(HpackEncoder* encoder, OutBuf* to, const HeadOut* out) noexcept nogil:
    cdef uint8_t* start = <uint8_t*> out_reserve(to, room_for(out))
    cdef uint8_t* at = start
    if start == NULL:
        return -1
    if encoder.update_due:
        at = put_updates(encoder, at)
    at = put_status(encoder, at, out.status)
    if at != NULL:
        at = put_fields(encoder, at, out)
    if at == NULL:
        return -1
    to.end += at - start
    return 0


cdef uint8_t* put_status(HpackEncoder* encoder, uint8_t* at, uint32_t status) noexcept nogil:
    cdef char[4] digits
    cdef uint32_t index = 0
    if status == 200: index = 8
    elif status == 204: index = 9
    elif status == 206: index = 10
    elif status == 304: index = 11
    elif status == 400: index = 12
    elif status == 404: index = 13
    elif status == 500: index = 14
    if index:
        at[0] = <uint8_t> (128 | index)
        return at + 1
    digits[0], digits[1], digits[2] = 48 + status // 100, 48 + status // 10 % 10, 48 + status % 10
    return put_static_name(encoder, at, STATIC_STATUS, digits, 3)


cdef int encode_trailers(HpackEncoder* encoder, OutBuf* to, const Head* trailers) noexcept nogil:
    cdef size_t room = 64
    cdef const Field* field
    cdef uint8_t* start
    cdef uint8_t* at
    cdef uint32_t i
    for i in range(trailers.field_count):
        room += trailers.fields[i].name.len + trailers.fields[i].value.len + FIELD_ROOM
    start = at = <uint8_t*> out_reserve(to, room)
    if start == NULL:
        return -1
    if encoder.update_due:
        at = put_updates(encoder, at)
    for i in range(trailers.field_count):
        field = &trailers.fields[i]
        if field.flags & FIELD_HOP:
            continue
        at = put_named(encoder, at, <const uint8_t*> span_ptr(trailers, field.name), field.name.len,
                       <const uint8_t*> span_ptr(trailers, field.value), field.value.len, field.id)
        if at == NULL:
            return -1
    to.end += at - start
    return 0
