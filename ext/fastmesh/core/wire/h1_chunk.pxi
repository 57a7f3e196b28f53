# Chunked bodies (RFC 9112 7.1), one state a byte outside the data. Strict where decoders have been led apart: bare CR
# or LF, blanks around the size, a ';' without a name, data that is not followed by CRLF.

cdef enum ChunkState:
    AT_SIZE = 0               # the first digit of a size
    IN_SIZE
    AT_EXTENSION              # behind ';'
    IN_NAME
    AT_VALUE                  # behind '='
    IN_VALUE
    IN_QUOTES
    IN_ESCAPE                 # behind '\' in quotes
    AFTER_QUOTES
    AT_SIZE_LF
    IN_DATA
    AT_DATA_CR
    AT_DATA_LF
    AT_TRAILER                # the start of a trailer line
    IN_TRAILER
    AT_TRAILER_LF
    AT_LAST_LF
    COMPLETE
    BROKEN

cdef enum:
    SIZE_DIGITS_MAX = 16      # leading zeros included: nobody pads for ever
    TRAILER_ROOM = 256


cdef void chunk_start(ChunkDecoder* decoder) noexcept nogil:
    memset(decoder, 0, sizeof(ChunkDecoder))


cdef void chunk_free(ChunkDecoder* decoder) noexcept nogil:
    free(decoder.trailer)
    decoder.trailer = NULL
    decoder.trailer_size = 0
    decoder.trailer_room = 0


cdef inline int broken(ChunkDecoder* decoder, uint16_t status, const char* reason) noexcept nogil:
    decoder.state = BROKEN
    decoder.error_status = status
    decoder.error = reason
    return CHUNK_BAD


cdef int chunk_next(ChunkDecoder* decoder, const char* data, size_t size, const Limits* limits,
                    size_t* used, const char** piece, size_t* piece_size) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> data
    cdef const uint8_t* end = at + size
    cdef uint64_t take
    cdef int step = CHUNK_MORE
    piece[0] = NULL
    piece_size[0] = 0
    while at < end and step == CHUNK_MORE:
        if decoder.state == IN_DATA:
            take = <uint64_t> (end - at)
            if take > decoder.left:
                take = decoder.left
            piece[0] = <const char*> at
            piece_size[0] = <size_t> take
            at += take
            decoder.total += take
            decoder.left -= take
            if decoder.left == 0:
                decoder.state = AT_DATA_CR
            step = CHUNK_DATA
        elif decoder.state >= AT_TRAILER:
            step = trailer_step(decoder, &at, end, limits)
        elif decoder.state >= AT_EXTENSION and decoder.state <= AFTER_QUOTES:
            step = extension_step(decoder, at[0], limits)
            at += 1
        else:
            step = frame_step(decoder, at[0], limits)
            at += 1
    if step == CHUNK_MORE and decoder.state >= COMPLETE:        # called again after the end
        step = CHUNK_END if decoder.state == COMPLETE else CHUNK_BAD
    used[0] = <size_t> (at - <const uint8_t*> data)
    return step


# One byte of "size CRLF" or of the CRLF behind the data.
cdef int frame_step(ChunkDecoder* decoder, uint8_t char, const Limits* limits) noexcept nogil:
    if decoder.state == AT_SIZE or decoder.state == IN_SIZE:
        if CHAR_CLASS[char] & CHAR_HEX:
            decoder.digits += 1
            if decoder.digits > SIZE_DIGITS_MAX or decoder.left >> 56:
                return broken(decoder, 400, b"chunk_size_overflow")
            decoder.left = decoder.left << 4 | <uint64_t> (char - 48 if char <= 57 else (char | 0x20) - 87)
            decoder.state = IN_SIZE
        elif decoder.state == AT_SIZE:
            return broken(decoder, 400, b"bad_chunk_size")
        elif char == CR:
            decoder.state = AT_SIZE_LF
        elif char == 59:
            decoder.state = AT_EXTENSION
        else:
            return broken(decoder, 400, b"bare_lf_in_chunk" if char == LF else b"bad_chunk_size")
    elif decoder.state == AT_SIZE_LF:
        if char != LF:
            return broken(decoder, 400, b"bare_cr_in_chunk")
        return begin_data(decoder, limits)
    elif decoder.state == AT_DATA_CR:
        if char != CR:
            return broken(decoder, 400, b"chunk_data_without_crlf")
        decoder.state = AT_DATA_LF
    else:
        if char != LF:
            return broken(decoder, 400, b"chunk_data_without_crlf")
        decoder.state = AT_SIZE
        decoder.digits = 0
    return CHUNK_MORE


cdef int begin_data(ChunkDecoder* decoder, const Limits* limits) noexcept nogil:
    if decoder.left == 0:
        decoder.state = AT_TRAILER
        return CHUNK_MORE
    if decoder.total + decoder.left < decoder.total:
        return broken(decoder, 400, b"chunk_size_overflow")
    if limits.body and decoder.total + decoder.left > limits.body:
        return broken(decoder, 413, b"body_too_large")
    decoder.state = IN_DATA
    return CHUNK_MORE


# One byte of `;name`, `;name=token` or `;name="quoted"` (RFC 9112 7.1.1, without the blanks that it calls bad). Read to
# find the end of the line, then dropped. Their sum is limited: a byte of data may not carry kilobytes of them.
cdef int extension_step(ChunkDecoder* decoder, uint8_t char, const Limits* limits) noexcept nogil:
    cdef int state = decoder.state
    decoder.extension += 1
    if decoder.extension > limits.chunk_extension:
        return broken(decoder, 400, b"chunk_extensions_too_large")
    if state == IN_QUOTES or state == IN_ESCAPE:
        if (char < SP and char != HTAB) or char == 0x7f:
            return broken(decoder, 400, b"bad_chunk_extension")
        if state == IN_ESCAPE or (char != 34 and char != 92):
            decoder.state = IN_QUOTES
        else:
            decoder.state = AFTER_QUOTES if char == 34 else IN_ESCAPE
    elif state != AFTER_QUOTES and CHAR_CLASS[char] & CHAR_TOKEN:
        decoder.state = IN_NAME if state <= IN_NAME else IN_VALUE
    elif state == AT_VALUE and char == 34:
        decoder.state = IN_QUOTES
    elif state == AT_EXTENSION or state == AT_VALUE:            # a name or value has to follow
        return broken(decoder, 400, b"bad_chunk_extension")
    elif char == CR:
        decoder.state = AT_SIZE_LF
    elif char == 59:
        decoder.state = AT_EXTENSION
    elif char == 61 and state == IN_NAME:
        decoder.state = AT_VALUE
    else:
        return broken(decoder, 400, b"bare_lf_in_chunk" if char == LF else b"bad_chunk_extension")
    return CHUNK_MORE


# The trailer section, gathered up to its empty line and then read like a head's fields.
cdef int trailer_step(ChunkDecoder* decoder, const uint8_t** cursor, const uint8_t* end,
                      const Limits* limits) noexcept nogil:
    cdef const uint8_t* start = cursor[0]
    cdef const uint8_t* at = start
    cdef uint8_t char = at[0]
    if decoder.state == AT_TRAILER:
        decoder.state = AT_LAST_LF if char == CR else IN_TRAILER
        if char == CR:
            at += 1
    elif decoder.state == IN_TRAILER:
        at = find_control(at, end)
        while at < end and at[0] == HTAB:
            at = find_control(at + 1, end)
        if at < end:
            if at[0] != CR:
                return broken(decoder, 400, b"bare_lf" if at[0] == LF else b"control_in_trailer")
            at += 1
            decoder.state = AT_TRAILER_LF
    elif decoder.state == AT_TRAILER_LF or decoder.state == AT_LAST_LF:
        if char != LF:
            return broken(decoder, 400, b"bare_cr")
        at += 1
        decoder.state = AT_TRAILER if decoder.state == AT_TRAILER_LF else COMPLETE
    else:
        return CHUNK_END if decoder.state == COMPLETE else CHUNK_BAD
    cursor[0] = at
    if at > start and not (decoder.trailer_size == 0 and decoder.state >= AT_LAST_LF):    # no copy of a lone last CRLF
        if not keep_trailer(decoder, start, at, limits):
            return CHUNK_BAD
    return end_trailers(decoder, limits) if decoder.state == COMPLETE else CHUNK_MORE


cdef bint keep_trailer(ChunkDecoder* decoder, const uint8_t* start, const uint8_t* at,
                       const Limits* limits) noexcept nogil:
    cdef uint64_t needed = decoder.trailer_size + <uint64_t> (at - start)
    cdef uint32_t room = decoder.trailer_room
    cdef char* trailer
    cdef uint32_t most = limits.head if limits.head < HEAD_MAX else HEAD_MAX
    if needed > most:
        broken(decoder, 431, b"trailers_too_large")
        return False
    if needed > room:
        room = TRAILER_ROOM if room == 0 else room
        while room < needed:
            room *= 2
        trailer = <char*> realloc(decoder.trailer, room)
        if trailer == NULL:
            broken(decoder, 431, b"no_memory_for_trailers")
            return False
        decoder.trailer = trailer
        decoder.trailer_room = room
    memcpy(decoder.trailer + decoder.trailer_size, start, at - start)
    decoder.trailer_size = <uint32_t> needed
    return True


# A body is complete only when its trailers could be read; the result is thrown away, chunk_trailers reads them again.
cdef int end_trailers(ChunkDecoder* decoder, const Limits* limits) noexcept nogil:
    cdef Head trailers
    if decoder.trailer_size and chunk_trailers(decoder, limits, &trailers) != H1_DONE:
        return broken(decoder, trailers.error_status, trailers.error)
    return CHUNK_END


cdef int chunk_trailers(ChunkDecoder* decoder, const Limits* limits, Head* trailers) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> decoder.trailer
    cdef Field* field
    cdef uint32_t i
    clear(trailers, decoder.trailer, False)
    if decoder.trailer_size == 0:
        return H1_DONE
    if parse_fields(trailers, at, at + decoder.trailer_size, limits, NULL) != H1_DONE:
        return H1_BAD
    for i in range(trailers.field_count):
        field = &trailers.fields[i]
        if forbidden_in_trailers(field.id, <const uint8_t*> span_ptr(trailers, field.name), field.name.len):
            field.flags |= FIELD_HOP
    return H1_DONE
