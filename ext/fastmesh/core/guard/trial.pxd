"""Half-open: an ejected endpoint comes back through trials. When its time is over it gets a few requests at a time; `successes` good
ones in a row bring it back, a bad one ejects it again, for longer.

That it has to pass trials is a bit of OUT_EJECTED_UNTIL, below the verdict of checks: whoever picks an endpoint, counts those that are
out or shows them looks at one word, and finds it ejected until it has passed. `words`: TrialWord words. Time is an argument: ms.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from * nogil:
    """
    #define FM_ON_TRIAL ((uint64_t)1 << 61)
    """
    uint64_t ON_TRIAL "FM_ON_TRIAL"

cdef enum TrialVerdict:
    TRIAL_MORE = 0            # nothing is decided
    TRIAL_BACK                # it has passed
    TRIAL_FAILED              # it is to be ejected again

cdef enum:
    TRIALS_MAX = 8            # at a time

cdef struct TrialRule:
    uint32_t at_a_time        # at most TRIALS_MAX
    uint32_t successes

cdef bint trial_due(const uint64_t* cell, uint64_t now) noexcept nogil       # its time is over, and it has to pass trials
cdef uint64_t trial_time(const uint64_t* cell) noexcept nogil        # when it will be; 0: it has to pass none
cdef void trial_forget(uint64_t* cell) noexcept nogil        # nobody asks for trials any more
# A place among the trials under way, held in the name of `now`; NULL: all are taken. A trial that says nothing for a minute is given up
cdef uint64_t* trial_begin(uint64_t* words, const TrialRule* rule, uint64_t now) noexcept nogil
cdef void trial_end(uint64_t* place, uint64_t began) noexcept nogil
cdef int trial_told(uint64_t* cell, uint64_t* words, const TrialRule* rule, bint passed, uint64_t now) noexcept nogil
