"""See duty.pxd. The word: the slot and one in the upper 16 bits, below it when the duty is free."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_cas, fm_load

cdef uint64_t TIME = (<uint64_t>1 << 48) - 1


cdef bint duty_take(uint64_t* word, int slot, uint64_t now) noexcept nogil:
    cdef uint64_t was = fm_load(word)
    if was >> 48 != <uint64_t>slot + 1 and was & TIME > now:
        return False
    return fm_cas(word, was, (<uint64_t>slot + 1) << 48 | (now + DUTY_SILENCE) & TIME)


cdef void duty_drop(uint64_t* word, int slot) noexcept nogil:
    cdef uint64_t was = fm_load(word)
    if was >> 48 == <uint64_t>slot + 1:
        fm_cas(word, was, 0)
