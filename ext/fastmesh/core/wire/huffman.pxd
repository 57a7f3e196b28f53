"""The Huffman code of HPACK (RFC 7541 5.2 and appendix B). Its tables are made from the code lengths at import."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

cdef enum:
    HUFFMAN_BAD = -1          # EOS inside, more than 7 bits of padding, or padding that is not all ones
    HUFFMAN_LONG = -2         # does not fit `room`; the rest was not looked at

# Writes the decoded bytes to `to`, never more than `room`. How many, or one of the above.
cdef int64_t huffman_decode(const uint8_t* data, size_t size, uint8_t* to, size_t room) noexcept nogil

# Bytes that data[0:size] has as Huffman code, padding included.
cdef size_t huffman_size(const uint8_t* data, size_t size) noexcept nogil

# Writes the code of data[0:size] (huffman_size bytes) and answers its end.
cdef uint8_t* huffman_encode(const uint8_t* data, size_t size, uint8_t* to) noexcept nogil
