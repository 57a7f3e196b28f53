"""See huffman.pxd.

The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and each length goes on where the
shorter one ended. So lengths say it all, and a long code is found by comparing with the last code of each length.

Decoding looks at 12 bits at a time. Letters and digits have 5 to 7, so that one look mostly gives two of them. What has more
than 12 bits (control characters, bytes above 0x7f, a few signs) goes by the slow way.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    static inline unsigned long long fastmesh_load_big(const void *at) {
        unsigned long long word;
        __builtin_memcpy(&word, at, 8);
        return __builtin_bswap64(word);
    }
    """
    uint64_t load_big "fastmesh_load_big" (const void* at) noexcept nogil

cdef enum:
    LOOK = 12                 # bits of one look
    EOS = 256
    SYMBOLS = 257
    LONGEST = 30

cdef struct Step:             # what the next 12 bits are
    uint8_t first
    uint8_t second
    uint8_t bits              # of all its symbols
    uint8_t shape             # how many symbols: 2, 1, or 0 for a longer code; the first one's bits above them (<< 2)

cdef Step[4096] STEPS
cdef uint8_t[257] BITS
cdef uint32_t[257] CODES
cdef uint16_t[257] BY_CODE    # symbols in the order of their codes
cdef uint32_t[31] LIMITS      # by length: behind its last code, 30 bits left-aligned
cdef uint32_t[31] FIRSTS      # by length: its first code, left-aligned
cdef uint16_t[31] PLACES      # by length: where its symbols begin in BY_CODE

_SYMBOLS = {                  # by length, RFC 7541 appendix B; EOS is the last one of 30 bits
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b"!\"()?",
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef",
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9",
    30: b"\n\r\x16",
}


cdef void _make_codes():
    cdef uint32_t code = 0
    cdef int place = 0, bits, symbol
    for bits in range(1, LONGEST + 1):
        code <<= 1
        FIRSTS[bits] = code << (LONGEST - bits)
        PLACES[bits] = place
        for symbol in [*_SYMBOLS.get(bits, b""), *([EOS] if bits == LONGEST else [])]:
            BITS[symbol] = bits
            CODES[symbol] = code
            BY_CODE[place] = symbol
            code += 1
            place += 1
        LIMITS[bits] = code << (LONGEST - bits) if bits < LONGEST else 1 << LONGEST


# The symbol that the 30 bits of `window` begin with, and its length.
cdef inline int _long_symbol(uint32_t window, int* bits) noexcept nogil:
    cdef int length = 5
    while window >= LIMITS[length]:
        length += 1
    bits[0] = length
    return BY_CODE[PLACES[length] + ((window - FIRSTS[length]) >> (LONGEST - length))]


cdef void _make_steps():
    cdef uint32_t window
    cdef int bits, more, symbol
    cdef Step* step
    for window in range(1 << LOOK):
        step = &STEPS[window]
        symbol = _long_symbol(window << (LONGEST - LOOK), &bits)
        if bits > LOOK:
            continue
        step.first = symbol
        step.bits = bits
        step.shape = bits << 2 | 1
        symbol = _long_symbol((window << bits & (1 << LOOK) - 1) << (LONGEST - LOOK), &more)
        if bits + more <= LOOK:
            step.second = symbol
            step.bits += more
            step.shape = bits << 2 | 2


_make_codes()
_make_steps()


cdef int64_t huffman_decode(const uint8_t* data, size_t size, uint8_t* to, size_t room) noexcept nogil:
    cdef const uint8_t* at = data
    cdef const uint8_t* end = data + size
    cdef uint8_t* out = to
    cdef uint8_t* out_end = to + room
    cdef uint64_t word = 0                # what comes next, left-aligned, zeroes behind
    cdef int have = 0, i, bits, symbol    # bits of `word` that are filled
    cdef const Step* step
    while end - at >= 8 and out_end - out >= 8:
        word |= load_big(at) >> have
        at += (63 - have) >> 3
        have |= 56
        for i in range(4):                # 48 of at least 56 bits
            step = &STEPS[word >> (64 - LOOK)]
            if step.shape == 0:
                break
            out[0] = step.first
            out[1] = step.second
            out += step.shape & 3
            word <<= step.bits
            have -= step.bits
        else:
            continue
        if end - at < 8:
            break                         # a long code near the end: the tail knows those too
        word |= load_big(at) >> have
        at += (63 - have) >> 3
        have |= 56
        symbol = _long_symbol(<uint32_t> (word >> 34), &bits)
        if symbol == EOS:
            return HUFFMAN_BAD
        out[0] = <uint8_t> symbol
        out += 1
        word <<= bits
        have -= bits
    word = word >> (64 - have) << (64 - have) if have else 0
    return _decode_tail(at, end, word, have, to, out, out_end)


# The last bytes, one symbol at a time, with nothing read behind the end.
cdef int64_t _decode_tail(const uint8_t* at, const uint8_t* end, uint64_t word, int have, uint8_t* to, uint8_t* out,
                          uint8_t* out_end) noexcept nogil:
    cdef uint64_t window
    cdef int bits, symbol
    cdef const Step* step
    while True:
        while have <= 56 and at < end:
            word |= <uint64_t> at[0] << (56 - have)
            have += 8
            at += 1
        window = word | (<uint64_t> -1 >> have if have < 64 else 0)      # ones behind: the beginning of EOS
        step = &STEPS[window >> (64 - LOOK)]
        symbol, bits = step.first, step.shape >> 2
        if bits == 0:
            symbol = _long_symbol(<uint32_t> (window >> 34), &bits)
        if bits > have:
            break
        if symbol == EOS:
            return HUFFMAN_BAD
        if out == out_end:
            return HUFFMAN_LONG
        out[0] = <uint8_t> symbol
        out += 1
        word <<= bits
        have -= bits
    # RFC 7541 5.2: fewer than 8 bits, all of them ones
    if have > 7 or window != <uint64_t> -1:
        return HUFFMAN_BAD
    return out - to


cdef size_t huffman_size(const uint8_t* data, size_t size) noexcept nogil:
    cdef size_t bits = 0, i
    for i in range(size):
        bits += BITS[data[i]]
    return (bits + 7) >> 3


cdef uint8_t* huffman_encode(const uint8_t* data, size_t size, uint8_t* to) noexcept nogil:
    cdef uint64_t word = 0                # right-aligned: `have` bits that are not yet written
    cdef int have = 0
    cdef size_t i
    for i in range(size):
        word = word << BITS[data[i]] | CODES[data[i]]
        have += BITS[data[i]]
        while have >= 8:
            have -= 8
            to[0] = <uint8_t> (word >> have)
            to += 1
    if have:
        to[0] = <uint8_t> (word << (8 - have) | 0xff >> have)
        to += 1
    return to
