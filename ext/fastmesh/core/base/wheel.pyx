"""See wheel.pxd. Slots of level 0 fire; slots of the higher levels are dealt out again when time reaches them."""
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport now_ms


cdef class Timed:
    cdef void on_timer(self, int kind) noexcept:
        pass


cdef inline void _init(Timer* head) noexcept:
    head.next = head
    head.prev = head


cdef inline bint _empty(Timer* head) noexcept:
    return head.next == head


cdef inline void _append(Timer* head, Timer* timer) noexcept:
    timer.prev = head.prev
    timer.next = head
    head.prev.next = timer
    head.prev = timer


cdef inline void _unlink(Timer* timer) noexcept:
    timer.prev.next = timer.next
    timer.next.prev = timer.prev
    timer.next = NULL
    timer.prev = NULL


cdef class Wheel:
    def __cinit__(self, loop):
        cdef int i
        self.loop = loop
        for i in range(256):
            _init(&self.level0[i])
        for i in range(64):
            _init(&self.level1[i])
            _init(&self.level2[i])
            _init(&self.level3[i])
        self.now = now_ms()

    cdef void start(self, Timer* timer, Timed owner, int kind, uint64_t delay_ms):
        """(Re)start a timer that fires once, `delay_ms` from now, never early."""
        if timer.next != NULL:
            _unlink(timer)
            self.pending -= 1
        else:
            Py_INCREF(owner)
        if self.pending == 0 and not self.firing:
            self.now = now_ms()
        timer.owner = <void*>owner
        timer.kind = kind
        timer.deadline = now_ms() + delay_ms + 1
        self.pending += 1
        self._place(timer, self.now + 1)
        if not self.firing and (self.armed == 0 or timer.deadline < self.armed):
            self._arm()

    cdef void cancel(self, Timer* timer) noexcept:
        if timer.next != NULL:
            _unlink(timer)
            self.pending -= 1
            Py_DECREF(<Timed>timer.owner)

    cdef void _place(self, Timer* timer, uint64_t earliest) noexcept:
        cdef uint64_t deadline = timer.deadline
        if deadline < earliest:
            deadline = earliest
        # The lowest level whose slots reach that far: never a slot that was dealt out already in this round
        if deadline - self.now < 256:
            _append(&self.level0[deadline & 255], timer)
        elif (deadline >> 8) - (self.now >> 8) < 64:
            _append(&self.level1[(deadline >> 8) & 63], timer)
        elif (deadline >> 14) - (self.now >> 14) < 64:
            _append(&self.level2[(deadline >> 14) & 63], timer)
        elif (deadline >> 20) - (self.now >> 20) < 64:
            _append(&self.level3[(deadline >> 20) & 63], timer)
        else:
            _append(&self.level3[((self.now >> 20) + 63) & 63], timer)

    cdef void _cascade(self, Timer* head) noexcept:
        cdef Timer* timer
        cdef Timer moved
        if _empty(head):
            return
        moved = head[0]
        moved.next.prev = &moved
        moved.prev.next = &moved
        _init(head)
        while moved.next != &moved:
            timer = moved.next
            _unlink(timer)
            self._place(timer, self.now)      # this very tick is served next

    cdef void _fire(self, uint64_t until):
        cdef Timer* head
        cdef Timer* timer
        cdef Timed owner
        self.firing = True
        while self.now < until:
            if self.pending == 0:
                self.now = until
                break
            self.now += 1
            if self.now & 255 == 0:
                if (self.now >> 8) & 63 == 0:
                    if (self.now >> 14) & 63 == 0:
                        self._cascade(&self.level3[(self.now >> 20) & 63])
                    self._cascade(&self.level2[(self.now >> 14) & 63])
                self._cascade(&self.level1[(self.now >> 8) & 63])
            head = &self.level0[self.now & 255]
            while head.next != head:
                timer = head.next
                _unlink(timer)
                if timer.deadline > self.now:      # belongs to a later round
                    self._place(timer, self.now + 1)
                    continue
                self.pending -= 1
                owner = <Timed>timer.owner
                Py_DECREF(owner)          # ours is in `owner` now
                owner.on_timer(timer.kind)
        self.firing = False

    cdef uint64_t _next(self) noexcept:
        """The next tick at which something must be done; 0 when there is nothing."""
        cdef uint64_t tick, i
        if self.pending == 0:
            return 0
        for i in range(1, 257):
            tick = self.now + i
            if not _empty(&self.level0[tick & 255]) or (tick & 255 == 0 and self._deals(tick)):
                return tick
        tick = (self.now + 256) & ~<uint64_t>255     # level 0 is empty: from border to border
        for i in range(64):
            tick += 256
            if self._deals(tick):
                break
        return tick

    cdef bint _deals(self, uint64_t border) noexcept:
        """Whether timers of a higher level are dealt out at this border of level 1."""
        return (border >> 8) & 63 == 0 or not _empty(&self.level1[(border >> 8) & 63])

    cdef void _arm(self):
        cdef uint64_t tick = self._next()
        cdef uint64_t now
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        self.armed = tick
        if tick == 0:
            return
        now = now_ms()
        self.handle = self.loop.call_later((tick - now) / 1000.0 if tick > now else 0.0, self._run)

    def _run(self):
        self.handle = None
        self.armed = 0
        self._fire(now_ms())
        self._arm()
