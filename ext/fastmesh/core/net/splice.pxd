"""Moving a body from one socket to another inside the kernel: through a pipe, without a copy to this process."""

cdef enum:
    SPLICE_FROM = 131072      # bytes left from which on it pays
    SPLICE_STEP = 1048576     # at most at once; also the size asked for the pipe

cdef class Pipe:
    cdef int read_end
    cdef int write_end
    cdef size_t inside        # bytes on their way
    cdef ssize_t fill(self, int fd, size_t size) noexcept      # bytes taken in; 0 = end of file; -1 see errno
    cdef ssize_t empty(self, int fd) noexcept                  # bytes sent on; -1 see errno

cdef Pipe take_pipe()         # None when the system gives none
cdef void give_pipe(Pipe pipe)
