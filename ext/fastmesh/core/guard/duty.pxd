"""Work that one worker does for all: active health checks. Who has the duty says so in the arena every now and then; when it falls
silent, or gives it up, whoever looks next takes it. Time is an argument: ms of the monotonic clock.

One worker and not each: an endpoint would be asked as often as there are workers, and each would come to a verdict of its own.
A worker and not the master: connections to endpoints, with their TLS and both versions of HTTP, are what workers have.
"""
from libc.stdint cimport uint64_t

cdef enum:
    DUTY_WORDS = 8
    DUTY_LOOK = 500           # ms: how often a worker looks, and says that it is there
    DUTY_SILENCE = 2000       # ms without a word, and the duty is free

cdef bint duty_take(uint64_t* word, int slot, uint64_t now) noexcept nogil    # True: it is ours until now + DUTY_SILENCE
cdef void duty_drop(uint64_t* word, int slot) noexcept nogil
