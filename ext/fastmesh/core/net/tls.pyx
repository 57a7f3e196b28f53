"""See tls.pxd."""


cdef class Tls:
    cdef void attach(self, int fd) noexcept:
        pass

    cdef int shake(self) noexcept:
        return SHAKE_FAILED

    cdef ssize_t read(self, char* buffer, size_t size) noexcept:
        return -1

    cdef ssize_t write(self, const char* data, size_t size) noexcept:
        return -1

    cdef bint has_more(self) noexcept:
        return False

    cdef bint quiet(self) noexcept:
        return False

    cdef void say_goodbye(self) noexcept:
        pass
