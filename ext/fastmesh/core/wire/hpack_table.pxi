# The static table (RFC 7541 appendix A) and dynamic tables (2.3.2, 4).

cdef enum:
    STATIC_COUNT = 61
    ENTRY_COST = 32           # RFC 7541 4.1

_STATIC_FIELDS = (
    ":authority", ":method GET", ":method POST", ":path /", ":path /index.html", ":scheme http", ":scheme https",
    ":status 200", ":status 204", ":status 206", ":status 304", ":status 400", ":status 404", ":status 500",
    "accept-charset", "accept-encoding gzip, deflate", "accept-language", "accept-ranges", "accept",
    "access-control-allow-origin", "age", "allow", "authorization", "cache-control", "content-disposition",
    "content-encoding", "content-language", "content-length", "content-location", "content-range", "content-type", "cookie",
    "date", "etag", "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate", "proxy-authorization",
    "range", "referer", "refresh", "retry-after", "server", "set-cookie", "strict-transport-security", "transfer-encoding",
    "user-agent", "vary", "via", "www-authenticate",
)

cdef enum StaticIndex:        # those that the encoder names
    STATIC_AUTHORITY = 1
    STATIC_METHOD = 2
    STATIC_GET = 2
    STATIC_POST = 3
    STATIC_PATH = 4
    STATIC_HTTP = 6
    STATIC_HTTPS = 7
    STATIC_STATUS = 8
    STATIC_ACCEPT_ENCODING = 16
    STATIC_AUTHORIZATION = 23
    STATIC_CONTENT_LENGTH = 28
    STATIC_COOKIE = 32
    STATIC_PROXY_AUTHORIZATION = 49
    STATIC_SET_COOKIE = 55

cdef Entry[62] STATIC         # [0] is not used
cdef char* STATIC_TEXT


cdef void _make_static():
    global STATIC_TEXT
    cdef bytes name, value, text = b""
    cdef int i
    for i, field in enumerate(_STATIC_FIELDS, 1):
        name, _, value = field.encode().partition(b" ")
        STATIC[i].at = len(text)
        STATIC[i].name_size = len(name)
        STATIC[i].value_size = len(value)
        text += name + value
    STATIC_TEXT = <char*> malloc(len(text))
    if STATIC_TEXT == NULL:
        raise MemoryError
    memcpy(STATIC_TEXT, <const char*> text, len(text))


_make_static()


# The entry of an index (RFC 7541 2.3.3) and its text, or NULL.
cdef inline const Entry* find_entry(const Table* table, uint32_t index, const uint8_t** text) noexcept nogil:
    cdef const Entry* entry
    cdef uint32_t back
    if index <= STATIC_COUNT:
        entry = &STATIC[index]
        text[0] = <const uint8_t*> STATIC_TEXT + entry.at
        return entry if index else NULL
    back = index - STATIC_COUNT           # 1 = the newest
    if back > table.count:
        return NULL
    entry = &table.entries[(table.inserted - back) & table.entries_mask]
    text[0] = <const uint8_t*> table.text + entry.at
    return entry


cdef inline void table_clear(Table* table) noexcept nogil:
    table.count = table.size = table.text_end = 0


cdef inline void evict(Table* table, uint32_t needed) noexcept nogil:
    """Drop the oldest until `needed` more fit; `needed` is at most max."""
    cdef const Entry* oldest
    while table.size + needed > table.max:
        oldest = &table.entries[(table.inserted - table.count) & table.entries_mask]
        table.size -= oldest.name_size + oldest.value_size + ENTRY_COST
        table.count -= 1
    if table.count == 0:
        table.text_end = 0


cdef void table_free(Table* table) noexcept nogil:
    free(table.text)
    table.text = NULL
    table.made_for = 0
    table_clear(table)


cdef inline void table_set_max(Table* table, uint32_t max) noexcept nogil:
    table.max = max
    evict(table, 0)


# Memory for a table of `max`. Text never wraps inside an entry: with room for twice the size there is always one free piece that
# is long enough (at most one gap, shorter than an entry, lies before the border).
cdef int make_room(Table* table) noexcept nogil:
    cdef Table made = table[0]
    cdef uint32_t slots = 16, number
    cdef const Entry* old
    while slots * ENTRY_COST < table.max:
        slots *= 2
    made.text_room = (2 * table.max + 7) & ~<uint32_t> 7
    made.text = <char*> malloc(made.text_room + slots * sizeof(Entry))
    if made.text == NULL:
        return -1
    made.entries = <Entry*> (made.text + made.text_room)
    made.entries_mask = slots - 1
    made.made_for = table.max
    table_clear(&made)
    for number in range(table.inserted - table.count, table.inserted):
        old = &table.entries[number & table.entries_mask]
        made.entries[number & made.entries_mask] = old[0]
        made.entries[number & made.entries_mask].at = made.text_end
        memcpy(made.text + made.text_end, table.text + old.at, old.name_size + old.value_size)
        made.text_end += old.name_size + old.value_size
    made.count, made.size = table.count, table.size
    free(table.text)
    table[0] = made
    return 0


# A new entry; the bytes must not be the table's own. NULL: it is too large and the table now empty (4.4), or no memory (*failed).
cdef Entry* insert(Table* table, const uint8_t* name, uint32_t name_size, const uint8_t* value, uint32_t value_size,
                   bint* failed) noexcept nogil:
    cdef uint32_t size = name_size + value_size
    cdef Entry* entry
    if size + ENTRY_COST > table.max:
        table_clear(table)
        return NULL
    if table.made_for < table.max and make_room(table) < 0:
        failed[0] = True
        return NULL
    evict(table, size + ENTRY_COST)
    if table.text_end + size > table.text_room:
        table.text_end = 0
    entry = &table.entries[table.inserted & table.entries_mask]
    entry.at = table.text_end
    entry.name_size = <uint16_t> name_size
    entry.value_size = <uint16_t> value_size
    copy(<uint8_t*> table.text + entry.at, name, name_size)
    copy(<uint8_t*> table.text + entry.at + name_size, value, value_size)
    table.text_end += size
    table.inserted += 1
    table.count += 1
    table.size += size + ENTRY_COST
    return entry


# Equal bytes. Short texts, which most are, without a call: words that overlap.
cdef inline bint same(const uint8_t* one, const uint8_t* other, size_t size) noexcept nogil:
    if size > 32:
        return memcmp(one, other, size) == 0
    if size > 16:
        return (load64(one) == load64(other) and load64(one + 8) == load64(other + 8)
                and load64(one + size - 16) == load64(other + size - 16) and load64(one + size - 8) == load64(other + size - 8))
    if size >= 8:
        return load64(one) == load64(other) and load64(one + size - 8) == load64(other + size - 8)
    if size >= 4:
        return load32(one) == load32(other) and load32(one + size - 4) == load32(other + size - 4)
    return size == 0 or (one[0] == other[0] and one[size >> 1] == other[size >> 1] and one[size - 1] == other[size - 1])


# Short texts, which most are, without a call: two moves that overlap.
cdef inline void copy(uint8_t* to, const uint8_t* source, size_t size) noexcept nogil:
    cdef uint64_t a, b, c, d
    cdef uint32_t e, f
    if size > 32:
        memcpy(to, source, size)
    elif size > 16:
        a, b, c, d = load64(source), load64(source + 8), load64(source + size - 16), load64(source + size - 8)
        memcpy(to, &a, 8)
        memcpy(to + 8, &b, 8)
        memcpy(to + size - 16, &c, 8)
        memcpy(to + size - 8, &d, 8)
    elif size >= 8:
        a, b = load64(source), load64(source + size - 8)
        memcpy(to, &a, 8)
        memcpy(to + size - 8, &b, 8)
    elif size >= 4:
        e, f = load32(source), load32(source + size - 4)
        memcpy(to, &e, 4)
        memcpy(to + size - 4, &f, 4)
    elif size:
        to[0] = source[0]
        to[size >> 1] = source[size >> 1]
        to[size - 1] = source[size - 1]
