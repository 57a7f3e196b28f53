"""See splice.pxd. Pipes are kept for reuse: making one costs more than a small body."""
from fastmesh.core.net.readiness cimport c_close

cdef extern from "<fcntl.h>" nogil:
    ssize_t c_splice "splice"(int fd_in, void* offset_in, int fd_out, void* offset_out, size_t size, unsigned int flags)
    int c_fcntl "fcntl"(int fd, int command, int value)
    unsigned int SPLICE_F_MOVE, SPLICE_F_NONBLOCK
    int F_SETPIPE_SZ, O_NONBLOCK, O_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int pipe2(int* ends, int flags)

cdef enum:
    KEPT = 16

cdef list _spare = []


cdef class Pipe:
    def __cinit__(self):
        self.read_end = self.write_end = -1

    def __dealloc__(self):
        if self.read_end >= 0:
            c_close(self.read_end)
            c_close(self.write_end)

    cdef ssize_t fill(self, int fd, size_t size) noexcept:
        cdef ssize_t moved = c_splice(fd, NULL, self.write_end, NULL, size if size < SPLICE_STEP else SPLICE_STEP,
                                      SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if moved > 0:
            self.inside += moved
        return moved

    cdef ssize_t empty(self, int fd) noexcept:
        cdef ssize_t moved = c_splice(self.read_end, NULL, fd, NULL, self.inside, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if moved > 0:
            self.inside -= moved
        return moved


cdef Pipe take_pipe():
    cdef int[2] ends
    cdef Pipe pipe
    if _spare:
        return _spare.pop()
    if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
        return None
    pipe = Pipe.__new__(Pipe)
    pipe.read_end, pipe.write_end = ends[0], ends[1]
    c_fcntl(pipe.write_end, F_SETPIPE_SZ, SPLICE_STEP)     # smaller when the system's limit says so
    return pipe


cdef void give_pipe(Pipe pipe):
    if pipe.inside == 0 and len(_spare) < KEPT:
        _spare.append(pipe)
