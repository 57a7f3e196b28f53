"""`host[:port]` of a Host field, an absolute target, CONNECT or :authority. One reading for all of them."""
from libc.stdint cimport uint8_t, uint16_t

# Host is text[0:*host_size] (one trailing dot left out, brackets of IPv6 kept); *port 0 when there is none. False when
# the text is empty, has userinfo, a comma, a path, an escape, a byte that no host has, an empty or impossible port, or
# is over 255 bytes.
cdef bint split_authority(const uint8_t* text, size_t size, uint16_t* host_size, uint16_t* port) noexcept nogil
