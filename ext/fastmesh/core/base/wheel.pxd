"""All timers of a worker: a hierarchical wheel of 1 ms ticks on one uvloop timer.

A Timer lives inside its owner and costs no allocation; starting and cancelling are a few pointer moves. The wheel holds a reference
to the owner of a running timer. Long idle times cost nothing until they fire: the loop is asked for the next slot that has timers.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef class Timed:
    """Something with timers. `kind` tells its timers apart."""
    cdef void on_timer(self, int kind) noexcept

cdef struct Timer:
    Timer* next
    Timer* prev
    uint64_t deadline         # ms of the monotonic clock
    void* owner               # a Timed, with a reference while the timer runs
    int kind

cdef class Wheel:
    cdef object loop
    cdef object handle        # the uvloop timer, or None
    cdef uint64_t armed       # deadline of `handle`; 0 = none
    cdef uint64_t now         # the tick up to which timers have fired
    cdef bint firing
    cdef readonly Py_ssize_t pending
    cdef Timer[256] level0    # list heads; 1 ms each
    cdef Timer[64] level1     # 256 ms
    cdef Timer[64] level2     # 16 s
    cdef Timer[64] level3     # 17 min
    cdef void start(self, Timer* timer, Timed owner, int kind, uint64_t delay_ms)
    cdef void cancel(self, Timer* timer) noexcept
    cdef void _place(self, Timer* timer, uint64_t earliest) noexcept
    cdef void _fire(self, uint64_t until)
    cdef void _cascade(self, Timer* head) noexcept
    cdef uint64_t _next(self) noexcept
    cdef bint _deals(self, uint64_t border) noexcept
    cdef void _arm(self)

cdef inline bint timer_running(Timer* timer) noexcept:
    return timer.next != NULL
