"""Texts that are put together while one message is written. They stay where they are until the next message begins."""
from libc.stddef cimport size_t

cdef struct Sheet:            # a piece of memory; texts follow it
    Sheet* older
    size_t room

cdef struct Scratch:
    Sheet* sheet              # the newest; NULL until something is written
    size_t used
    size_t begun              # where the text that is being written begins

cdef void scratch_reset(Scratch* s) noexcept nogil                # forget all texts; one sheet stays
cdef void scratch_begin(Scratch* s) noexcept nogil                # a new text
cdef int scratch_put(Scratch* s, const char* data, size_t size) noexcept nogil       # more of it; -1: no memory
cdef const char* scratch_end(Scratch* s, size_t* size) noexcept nogil
cdef void scratch_free(Scratch* s) noexcept nogil
