"""See trial.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport OUT_EJECTED_UNTIL, TR_PASSED, TR_PLACES

cdef enum:
    PATIENCE = 60000          # ms


cdef bint trial_due(const uint64_t* cell, uint64_t now) noexcept nogil:
    cdef uint64_t word = fm_load(&cell[OUT_EJECTED_UNTIL])
    return word & ON_TRIAL != 0 and word & ~ON_TRIAL <= now      # a verdict of checks stands above the time


cdef uint64_t trial_time(const uint64_t* cell) noexcept nogil:
    cdef uint64_t word = fm_load(&cell[OUT_EJECTED_UNTIL])
    return word & (ON_TRIAL - 1) if word & ON_TRIAL else 0


cdef void trial_forget(uint64_t* cell) noexcept nogil:
    cdef uint64_t word = fm_load(&cell[OUT_EJECTED_UNTIL])
    while word & ON_TRIAL and not fm_cas(&cell[OUT_EJECTED_UNTIL], word, word & ~ON_TRIAL):
        word = fm_load(&cell[OUT_EJECTED_UNTIL])


cdef uint64_t* trial_begin(uint64_t* words, const TrialRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t since
    cdef uint32_t i
    for i in range(rule.at_a_time):
        since = fm_load(&words[TR_PLACES + i])
        if (since == 0 or since + PATIENCE < now) and fm_cas(&words[TR_PLACES + i], since, now):
            return &words[TR_PLACES + i]
    return NULL


cdef void trial_end(uint64_t* place, uint64_t began) noexcept nogil:
    fm_cas(place, began, 0)               # else it was given up, and is another one's


cdef int trial_told(uint64_t* cell, uint64_t* words, const TrialRule* rule, bint passed, uint64_t now) noexcept nogil:
    cdef uint64_t word = fm_load(&cell[OUT_EJECTED_UNTIL])
    if not trial_due(cell, now):
        return TRIAL_MORE                 # another one decided meanwhile
    if not passed:
        fm_store(&words[TR_PASSED], 0)
        return TRIAL_FAILED
    if fm_add(&words[TR_PASSED], 1) + 1 < rule.successes:
        return TRIAL_MORE
    if not fm_cas(&cell[OUT_EJECTED_UNTIL], word, word & ~ON_TRIAL):
        return TRIAL_MORE
    fm_store(&words[TR_PASSED], 0)
    return TRIAL_BACK
