# What one field says by itself. Computed once for each table entry and each literal; a head then only collects it.

cdef enum PseudoKind:
    NO_PSEUDO = 0
    PSEUDO_METHOD
    PSEUDO_SCHEME
    PSEUDO_AUTHORITY
    PSEUDO_PATH
    PSEUDO_PROTOCOL           # RFC 8441
    PSEUDO_STATUS
    PSEUDO_UNKNOWN

cdef enum:
    LOOKALIKE = 64            # Meaning.flags: with '-' for '_' it would be one that we set or trust
    FRAMING_LOOKALIKE = 128
    NO_QUERY = 65535
    METHOD_SIZE_MAX = 32      # as in h1_start.pxi

cdef enum Fault:
    FAULT_NONE = 0
    FAULT_EMPTY_NAME
    FAULT_UPPER_CASE
    FAULT_NAME
    FAULT_PSEUDO
    FAULT_CONTROL
    FAULT_BLANK
    FAULT_METHOD
    FAULT_LOWER_METHOD
    FAULT_SCHEME
    FAULT_AUTHORITY
    FAULT_PATH
    FAULT_FRAGMENT
    FAULT_PROTOCOL
    FAULT_STATUS

ctypedef const char* Text
cdef Text[15] FAULTS
FAULTS[<int> FAULT_NONE] = b""
FAULTS[<int> FAULT_EMPTY_NAME] = b"empty_field_name"
FAULTS[<int> FAULT_UPPER_CASE] = b"upper_case_field_name"
FAULTS[<int> FAULT_NAME] = b"bad_field_name"
FAULTS[<int> FAULT_PSEUDO] = b"unknown_pseudo_header"
FAULTS[<int> FAULT_CONTROL] = b"control_in_value"
FAULTS[<int> FAULT_BLANK] = b"blank_around_value"
FAULTS[<int> FAULT_METHOD] = b"bad_method"
FAULTS[<int> FAULT_LOWER_METHOD] = b"lower_case_method"
FAULTS[<int> FAULT_SCHEME] = b"bad_scheme"
FAULTS[<int> FAULT_AUTHORITY] = b"bad_authority"
FAULTS[<int> FAULT_PATH] = b"bad_path"
FAULTS[<int> FAULT_FRAGMENT] = b"fragment_in_path"
FAULTS[<int> FAULT_PROTOCOL] = b"bad_protocol"
FAULTS[<int> FAULT_STATUS] = b"bad_status"

# By PseudoKind: whoever knows the kind needs no copy of the name.
cdef Text[7] PSEUDO_NAMES
cdef uint8_t[7] PSEUDO_SIZES
PSEUDO_NAMES[:] = [b"", b":method", b":scheme", b":authority", b":path", b":protocol", b":status"]
PSEUDO_SIZES[:] = [0, 7, 7, 10, 5, 9, 7]


cdef inline void judge_name(Meaning* meaning, const uint8_t* name, size_t size) noexcept nogil:
    cdef uint8_t all = 255, any = 0, upper = 0
    cdef size_t i
    memset(meaning, 0, sizeof(Meaning))
    for i in range(size):
        all &= CHAR_CLASS[name[i]]
        any |= CHAR_CLASS[name[i]]
        upper |= <uint8_t> (name[i] - 65) < 26
    if all & CHAR_TOKEN and not upper and size:
        meaning.id = <uint8_t> header_id(name, size)
        if any & CHAR_UNDERSCORE:
            judge_lookalike(meaning, name, size)
    else:
        judge_odd_name(meaning, name, size)


cdef void judge_lookalike(Meaning* meaning, const uint8_t* name, size_t size) noexcept nogil:
    cdef int id = lookalike_id(name, size)
    if id == HDR_CONTENT_LENGTH or id == HDR_TRANSFER_ENCODING:
        meaning.flags = FRAMING_LOOKALIKE
    elif id != HDR_OTHER:
        meaning.flags = LOOKALIKE


cdef void judge_odd_name(Meaning* meaning, const uint8_t* name, size_t size) noexcept nogil:
    cdef int kind
    cdef size_t i
    if size == 0:
        meaning.name_fault = FAULT_EMPTY_NAME
    elif name[0] == 58:
        meaning.kind = PSEUDO_UNKNOWN
        for kind in range(1, <int> PSEUDO_UNKNOWN):
            if size == PSEUDO_SIZES[kind] and memcmp(name, PSEUDO_NAMES[kind], size) == 0:
                meaning.kind = kind
        if meaning.kind == PSEUDO_UNKNOWN:
            meaning.name_fault = FAULT_PSEUDO
    else:
        meaning.name_fault = FAULT_UPPER_CASE
        for i in range(size):
            if not CHAR_CLASS[name[i]] & CHAR_TOKEN:
                meaning.name_fault = FAULT_NAME


# `meaning` has what judge_name found.
cdef inline void judge_value(Meaning* meaning, const uint8_t* value, size_t size) noexcept nogil:
    if meaning.name_fault:
        meaning.fault = meaning.name_fault
    elif meaning.kind == NO_PSEUDO:
        meaning.fault = judge_text(value, size)
    elif meaning.kind == PSEUDO_PATH:
        judge_path(meaning, value, size)
    else:
        judge_pseudo(meaning, value, size)


# RFC 9113 8.2.1, and all control characters but HTAB, as in HTTP/1: this may be sent on in its lines.
cdef inline int judge_text(const uint8_t* value, size_t size) noexcept nogil:
    cdef const uint8_t* end = value + size
    cdef const uint8_t* at
    if size == 0:
        return FAULT_NONE
    at = find_control(value, end)
    while at < end and at[0] == 9:
        at = find_control(at + 1, end)
    if at < end:
        return FAULT_CONTROL
    if value[0] == 32 or value[0] == 9 or end[-1] == 32 or end[-1] == 9:
        return FAULT_BLANK
    return FAULT_NONE


# RFC 9113 8.3.1: `/path?query`, or `*` (for OPTIONS; the whole head is needed to see that).
cdef inline void judge_path(Meaning* meaning, const uint8_t* value, size_t size) noexcept nogil:
    cdef size_t at = 0
    meaning.fault = FAULT_NONE
    meaning.first = NO_QUERY
    while at < size and CHAR_CLASS[value[at]] & CHAR_TARGET:
        at += 1
    if at < size and value[at] == 63:
        meaning.first = <uint16_t> at
        while at < size and (CHAR_CLASS[value[at]] & CHAR_TARGET or value[at] == 63):
            at += 1
    if at < size:
        meaning.fault = FAULT_FRAGMENT if value[at] == 35 else FAULT_PATH
    elif size == 0 or (value[0] != 47 and (value[0] != 42 or size > 1)):
        meaning.fault = FAULT_PATH


cdef void judge_pseudo(Meaning* meaning, const uint8_t* value, size_t size) noexcept nogil:
    cdef size_t at = 0
    meaning.fault = FAULT_NONE
    if meaning.kind == PSEUDO_AUTHORITY:
        if not split_authority(value, size, &meaning.first, &meaning.second):
            meaning.fault = FAULT_AUTHORITY
    elif meaning.kind == PSEUDO_METHOD:
        judge_method(meaning, value, size)
    elif meaning.kind == PSEUDO_SCHEME:   # what we cannot say in one canonical form is not sent on
        if size == 4 and token_is(value, b"http", 4):
            meaning.first = 1
        elif size == 5 and token_is(value, b"https", 5):
            meaning.first = 2
        else:
            meaning.fault = FAULT_SCHEME
    elif meaning.kind == PSEUDO_STATUS:
        if size == 3 and 49 <= value[0] <= 57 and 48 <= value[1] <= 57 and 48 <= value[2] <= 57:
            meaning.first = (value[0] - 48) * 100 + (value[1] - 48) * 10 + (value[2] - 48)
        else:
            meaning.fault = FAULT_STATUS
    else:
        while at < size and CHAR_CLASS[value[at]] & CHAR_TOKEN:
            at += 1
        if at < size or size == 0:
            meaning.fault = FAULT_PROTOCOL


cdef void judge_method(Meaning* meaning, const uint8_t* value, size_t size) noexcept nogil:
    cdef size_t at = 0
    while at < size and CHAR_CLASS[value[at]] & CHAR_METHOD:
        at += 1
    if at < size:                         # `get` is not GET; back ends that fold it would undo a rule
        meaning.fault = FAULT_LOWER_METHOD if 97 <= value[at] <= 122 else FAULT_METHOD
    elif size == 0 or size > METHOD_SIZE_MAX:
        meaning.fault = FAULT_METHOD
    else:
        meaning.first = <uint16_t> method_id(value, size)


cdef void _judge_static() noexcept:
    cdef int i
    cdef const uint8_t* name
    for i in range(1, STATIC_COUNT + 1):
        name = <const uint8_t*> STATIC_TEXT + STATIC[i].at
        judge_name(&STATIC[i].meaning, name, STATIC[i].name_size)
        judge_value(&STATIC[i].meaning, name + STATIC[i].name_size, STATIC[i].value_size)


_judge_static()
