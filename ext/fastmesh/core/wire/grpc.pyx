"""See grpc.pxd."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from fastmesh.core.wire.h1_write cimport write_number
from fastmesh.core.wire.headers cimport same_text


cdef bint is_grpc(const char* content_type, size_t size) noexcept nogil:
    if size < 16 or not same_text(<const uint8_t*>content_type, <const uint8_t*>b"application/grpc", 16):
        return False
    return size == 16 or content_type[16] == c'+' or content_type[16] == c';'


cdef int read_grpc_status(const char* text, size_t size) noexcept nogil:
    if size == 1 and c'0' <= text[0] <= c'9':
        return text[0] - c'0'
    if size == 2 and text[0] == c'1' and c'0' <= text[1] <= c'6':
        return 10 + text[1] - c'0'
    return GRPC_UNKNOWN


cdef int grpc_of_http(int status) noexcept nogil:
    if status == 429 or status == 502 or status == 503 or status == 504:
        return GRPC_UNAVAILABLE
    if status == 404:
        return GRPC_UNIMPLEMENTED
    if status == 403:
        return GRPC_PERMISSION_DENIED
    if status == 401:
        return GRPC_UNAUTHENTICATED
    if status == 400:
        return GRPC_INTERNAL
    return GRPC_UNKNOWN


cdef int http_of_grpc(int status) noexcept nogil:
    if status == GRPC_OK:
        return 200
    if status == GRPC_UNAVAILABLE:
        return 503
    if status == GRPC_DEADLINE_EXCEEDED:
        return 504
    if status == GRPC_CANCELLED:
        return 499
    if status == GRPC_INVALID_ARGUMENT or status == GRPC_FAILED_PRECONDITION or status == GRPC_OUT_OF_RANGE:
        return 400
    if status == GRPC_NOT_FOUND:
        return 404
    if status == GRPC_ALREADY_EXISTS or status == GRPC_ABORTED:
        return 409
    if status == GRPC_PERMISSION_DENIED:
        return 403
    if status == GRPC_UNAUTHENTICATED:
        return 401
    if status == GRPC_RESOURCE_EXHAUSTED:
        return 429
    if status == GRPC_UNIMPLEMENTED:
        return 501
    return 500


cdef int64_t read_grpc_timeout(const char* text, size_t size) noexcept nogil:
    """One to eight digits and a unit; the greatest is 11,400 years and fits."""
    cdef int64_t value = 0
    cdef size_t i
    cdef char unit
    if not 2 <= size <= GRPC_TIMEOUT_SIZE:
        return -1
    for i in range(size - 1):
        if not c'0' <= text[i] <= c'9':
            return -1
        value = value * 10 + text[i] - c'0'
    unit = text[size - 1]
    if value == 0:                        # "positive integer": as if nothing had been said (Envoy: the same)
        return -1
    if unit == c'm':
        return value
    if unit == c'S':
        return value * 1000
    if unit == c'u':
        return (value + 999) // 1000
    if unit == c'n':
        return (value + 999999) // 1000000
    if unit == c'M':
        return value * 60000
    return value * 3600000 if unit == c'H' else -1


cdef int write_grpc_timeout(char* at, uint64_t ms) noexcept nogil:
    """In the smallest unit of which eight digits are enough."""
    cdef char unit = c'm'
    cdef int size
    if ms > 99999999:
        ms //= 1000
        unit = c'S'
    if ms > 99999999:
        ms //= 60
        unit = c'M'
    if ms > 99999999:
        ms //= 60
        unit = c'H'
    size = write_number(at, ms if ms < 99999999 else 99999999)
    at[size] = unit
    return size + 1


cdef int write_grpc_message(char* at, const char* text, size_t size) noexcept nogil:
    cdef const char* digits = "0123456789ABCDEF"
    cdef uint8_t char
    cdef int end = 0
    cdef size_t i
    for i in range(size):
        char = <uint8_t>text[i]
        if 0x20 <= char <= 0x7e and char != c'%' and not (char == c' ' and (i == 0 or i == size - 1)):
            at[end] = <char>char
            end += 1
        else:                             # also a blank at an end: fields lose those
            at[end], at[end + 1], at[end + 2] = c'%', digits[char >> 4], digits[char & 15]
            end += 3
    return end


cdef void count_messages(GrpcFrames* frames, const char* data, size_t size) noexcept nogil:
    cdef size_t i = 0
    while i < size:
        if frames.left:
            if size - i <= frames.left:
                frames.left -= <uint32_t>(size - i)
                return
            i += frames.left
            frames.left = 0
        # the first byte says whether it is compressed, the next four how long it is
        if frames.prefix:
            frames.length = frames.length << 8 | <uint8_t>data[i]
        i += 1
        frames.prefix += 1
        if frames.prefix == 5:
            frames.messages += 1
            frames.left = frames.length
            frames.length = frames.prefix = 0
