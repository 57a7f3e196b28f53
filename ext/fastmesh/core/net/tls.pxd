"""One TLS session on a descriptor that somebody else owns: OpenSSL 3, called in C. It reads and writes like recv and send.

This is all that readiness knows of TLS; contexts, certificates and what a peer proved stand beside it.
"""

cdef enum Shake:              # what a step of the handshake answers
    SHAKE_DONE = 0
    SHAKE_READ                # wants to read
    SHAKE_WRITE               # wants to write
    SHAKE_FAILED              # `error` says why

cdef class Tls:
    cdef const char* error    # static text: why the handshake or the session failed
    cdef void attach(self, int fd) noexcept
    cdef int shake(self) noexcept
    # As recv and send: bytes, 0 = the peer closed (read), -1 with errno (EAGAIN: nothing now)
    cdef ssize_t read(self, char* buffer, size_t size) noexcept
    cdef ssize_t write(self, const char* data, size_t size) noexcept
    cdef bint has_more(self) noexcept         # bytes were taken from the kernel and not read yet
    cdef bint quiet(self) noexcept            # alive, and nothing to read: tickets and key updates are taken in
    cdef void say_goodbye(self) noexcept      # close_notify, before the descriptor is closed
