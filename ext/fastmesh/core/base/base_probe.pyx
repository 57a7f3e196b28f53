"""Timers, the arena and chance as Python sees them: for tests only. The wheel turns by a clock that the test moves."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena, sum_rows
from fastmesh.core.base.atomics cimport fm_add, fm_bump, fm_hash
from fastmesh.core.base.rng cimport Rng, rng_below, rng_next, rng_seed
from fastmesh.core.base.wheel cimport Timed, Timer, Wheel, timer_running


class _Handle:
    def cancel(self):
        pass


class _Loop:
    """Never calls: the test asks the wheel when it wants to be called, and calls it then."""

    def call_later(self, delay, callback):
        return _Handle()


cdef class Bell(Timed):
    """A timer of a Clock: `rung` is the tick of each time that it fired."""
    cdef Timer timer
    cdef Clock clock
    cdef public object on_ring
    cdef readonly list rung

    def __init__(self, Clock clock, on_ring=None):
        self.clock = clock
        self.on_ring = on_ring
        self.rung = []

    def start(self, uint64_t delay):
        """Start as Wheel.start does, but by the test's clock."""
        cdef Wheel wheel = self.clock.wheel
        cdef uint64_t stood = wheel.now
        cdef bint none = wheel.pending == 0 or (wheel.pending == 1 and timer_running(&self.timer))
        wheel.start(&self.timer, self, 0, 0)
        wheel.now = self.clock.now if none and not wheel.firing else stood
        self.timer.prev.next = self.timer.next
        self.timer.next.prev = self.timer.prev
        self.timer.deadline = self.clock.now + delay + 1
        wheel._place(&self.timer, wheel.now + 1)
        if not wheel.firing:
            wheel._arm()

    def cancel(self):
        self.clock.wheel.cancel(&self.timer)

    @property
    def running(self):
        return timer_running(&self.timer)

    @property
    def deadline(self):
        return self.timer.deadline

    cdef void on_timer(self, int kind) noexcept:
        self.rung.append(self.clock.now)
        if self.on_ring is not None:
            self.on_ring(self)


cdef class Clock:
    """A wheel and the time that it lives in."""
    cdef Wheel wheel
    cdef readonly uint64_t now
    cdef readonly uint64_t calls      # how often the loop had to call

    def __init__(self, uint64_t now):
        self.wheel = Wheel(_Loop())
        self.wheel.now = self.now = now

    @property
    def pending(self):
        return self.wheel.pending

    @property
    def asks_for(self):
        """The tick at which the wheel wants to be called; 0 = none."""
        return self.wheel.armed

    def advance(self, uint64_t until, uint64_t late=0):
        """Move on to `until`; the loop calls the wheel `late` ms after it asked to be called."""
        while self.wheel.armed and self.wheel.armed + late <= until:
            self.now = max(self.now, self.wheel.armed + late)
            self.calls += 1
            self.wheel.armed = 0
            self.wheel._fire(self.now)
            self.wheel._arm()
        self.now = until


cdef class Words:
    """The words of an arena's entry."""
    cdef Arena arena
    cdef uint64_t* words
    cdef readonly uint32_t count

    def __init__(self, Arena arena not None, uint32_t kind, bytes key not None, uint32_t count):
        self.arena = arena
        self.count = count
        self.words = arena.words(kind, <const char*>key, len(key), count)

    def __getitem__(self, uint32_t i):
        return self.words[self._inside(i)]

    def __setitem__(self, uint32_t i, uint64_t value):
        self.words[self._inside(i)] = value

    def _inside(self, uint32_t i):
        if i >= self.count:
            raise IndexError(i)
        return i

    def add(self, uint32_t i, uint64_t times):
        """Add 1 `times` times, as one of many writers."""
        cdef uint64_t* word = &self.words[self._inside(i)]
        cdef uint64_t n
        with nogil:
            for n in range(times):
                fm_add(word, 1)

    def bump(self, uint32_t i, uint64_t times):
        """Add 1 `times` times, as the only writer."""
        cdef uint64_t* word = &self.words[self._inside(i)]
        cdef uint64_t n
        with nogil:
            for n in range(times):
                fm_bump(word, 1)

    def sum_rows(self, uint32_t first, int width, int slots):
        self._inside(first + width * (slots - 1))
        return sum_rows(self.words + first, width, slots)


cdef class Chance:
    """xoshiro256++, from a seed or from its four words of state."""
    cdef Rng rng

    def __init__(self, seed=None, state=None):
        if state is not None:
            self.rng.s0, self.rng.s1, self.rng.s2, self.rng.s3 = state
        else:
            rng_seed(&self.rng, seed)

    @property
    def state(self):
        return self.rng.s0, self.rng.s1, self.rng.s2, self.rng.s3

    def next(self):
        return rng_next(&self.rng)

    def below(self, uint32_t bound):
        return rng_below(&self.rng, bound)


def hash(bytes data not None, uint64_t seed=0):
    return fm_hash(<const char*>data, len(data), seed)
