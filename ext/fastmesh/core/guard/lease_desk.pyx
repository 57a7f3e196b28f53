"""See lease_desk.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.guard.lease cimport (
    LEASE_DRY, LEASE_ROOM, LEASE_SETS, LEASE_SETTLED, LEASE_TOKENS, LEASE_WAYS, Lease, LeaseTable, lease_asks, lease_owed,
    lease_stamp, lease_table,
)

cdef enum:
    PLACES = 1024


cdef class LeaseDesk:
    def __init__(self, Arena arena):
        self.arena = arena
        self.ring = lease_asks(arena)
        self.tables = {}

    cdef LeaseTable* _table(self, number):
        return <LeaseTable*>(self.arena.base + <size_t>number * 64)

    cdef Lease* _lease(self, number, Py_ssize_t index) except NULL:
        if not 0 <= index < self.tables[number]:
            raise IndexError(index)
        return <Lease*>(self._table(number) + 1) + index

    def open(self, bytes key, bint keyed) -> int:
        """The number of a limit's leases; 0 when the arena is full. `key` is that of the limit in the workers."""
        cdef LeaseTable* table = lease_table(self.arena, key, keyed)
        number = table.number
        if number:
            self.tables[number] = LEASE_SETS * LEASE_WAYS if keyed else 1
        return number

    def set_lead(self, number, uint64_t lead):
        fm_store(&self._table(number).lead, lead)

    def set_slack(self, number, uint64_t slack):
        fm_store(&self._table(number).slack, slack)

    def set_gone(self, number, bint gone):
        fm_store(&self._table(number).gone, gone)

    def asks(self) -> list:
        """(number, index) of the leases that ask for tokens; each is told once until it was answered."""
        cdef uint64_t place, tail = fm_load(&self.ring.tail)
        cdef uint64_t head
        found = []
        fm_store(&self.ring.alive, now_ms())
        fm_store(&self.ring.bell, 0)          # before looking: who comes later rings again
        head = fm_load(&self.ring.head)
        while tail != head:
            place = fm_load(&self.ring.places[tail % PLACES])
            fm_store(&self.ring.places[tail % PLACES], 0)
            tail += 1
            number, index = place >> 32, (place & 0xffffffff) - 1
            if place and number in self.tables and index < self.tables[number]:
                found.append((number, index))
        fm_store(&self.ring.tail, tail)
        return found

    def look(self, number, Py_ssize_t index) -> tuple:
        """(tag, used at, window, tokens left, dry, window after, debt)."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word = fm_load(&lease.current)
        return (fm_load(&lease.tag), lease.used_at, word >> 24, word & LEASE_TOKENS, bool(word & LEASE_DRY),
                fm_load(&lease.after) >> 24, lease_owed(fm_load(&lease.debt), word))

    def seen(self, number, Py_ssize_t index) -> int:
        """Requests since the last time that this was asked."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t seen
        while True:
            seen = fm_load(&lease.seen)
            if fm_cas(&lease.seen, seen, 0):
                return seen

    def grant(self, number, Py_ssize_t index, uint64_t tag, uint64_t window, uint64_t tokens, uint64_t left, uint64_t low,
              uint64_t now) -> int:
        """Pay what is owed, lend the rest; Redis has `left` more. The requests beyond the limit that Redis can not pay; -1: the
        lease is another key's by now.
        """
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word, unpaid
        if fm_load(&lease.tag) != tag:
            return -1
        while True:              # the window first: from here on credit is of this one
            word = fm_load(&lease.current)
            if word >> 24 == window or fm_cas(&lease.current, word, window << 24):
                break
        tokens, unpaid = _pay(lease, window << 24, tokens, left)
        while True:
            word = fm_load(&lease.current)
            if word >> 24 != window:
                break            # it is over, and the next one has begun
            if fm_cas(&lease.current, word, window << 24 | (0 if left else LEASE_DRY)
                      | min((word & LEASE_TOKENS) + tokens, <uint64_t>LEASE_TOKENS)):
                break
        _set_low(lease, low)
        fm_store(&lease.asked_at, 0 if left else now)
        return unpaid

    def grant_ahead(self, number, Py_ssize_t index, uint64_t tag, uint64_t window, uint64_t tokens, uint64_t left,
                    uint64_t low) -> bool:
        """The tokens of the window behind the one that runs."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word = fm_load(&lease.after)
        cdef uint64_t stamp = lease_stamp(window << 24)
        if fm_load(&lease.tag) != tag or word >> 24 == window:
            return False
        fm_store(&lease.low, stamp << 48 | min(left, <uint64_t>LEASE_ROOM) << 24 | low)
        if not fm_cas(&lease.after, word, window << 24 | (0 if left else LEASE_DRY) | min(tokens, <uint64_t>LEASE_TOKENS)):
            return False
        fm_store(&lease.asked_at, 0)
        return True

    def take_back(self, number, Py_ssize_t index, uint64_t tag, uint64_t window) -> int:
        """The unspent tokens of a window, which nobody can spend from here on."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word = fm_load(&lease.current)
        if fm_load(&lease.tag) != tag or word >> 24 != window:
            return 0
        while not fm_cas(&lease.current, word, window << 24):
            word = fm_load(&lease.current)
            if word >> 24 != window:
                return 0
        _widen(lease, word, word & LEASE_TOKENS)
        fm_store(&lease.asked_at, 0)
        return word & LEASE_TOKENS

    def forgive(self, number, Py_ssize_t index):
        """Redis is gone: what was passed on credit is counted nowhere."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t debt
        while True:
            debt = fm_load(&lease.debt)
            if fm_cas(&lease.debt, debt, debt & ~<uint64_t>0xffffff):
                break
        fm_store(&lease.asked_at, 0)


cdef (uint64_t, uint64_t) _pay(Lease* lease, uint64_t window, uint64_t tokens, uint64_t left) noexcept nogil:
    """(tokens that are left of the grant, requests that are found unpaid now). What was owed when a window ran dry is paid by
    what others give back later in it.
    """
    cdef uint64_t debt, owed, paid, unpaid
    while True:
        debt = fm_load(&lease.debt)
        owed = lease_owed(debt, window)
        paid = min(owed, tokens)
        unpaid = owed - paid
        if fm_cas(&lease.debt, debt, lease_stamp(window) << 48 | min(left, <uint64_t>LEASE_ROOM) << 24
                  | (LEASE_SETTLED if unpaid and not left else 0) | unpaid):
            return tokens - paid, 0 if left or debt & LEASE_SETTLED else unpaid


cdef void _set_low(Lease* lease, uint64_t low) noexcept nogil:
    fm_store(&lease.low, (fm_load(&lease.low) & ~<uint64_t>0xffffff) | low)


cdef void _widen(Lease* lease, uint64_t word, uint64_t tokens) noexcept nogil:
    """Redis gets tokens back: there is so much more room for credit."""
    cdef uint64_t debt, stamp = lease_stamp(word)
    cdef uint64_t ahead = fm_load(&lease.low)
    if ahead >> 48 == stamp:
        fm_store(&lease.low, stamp << 48 | min((ahead >> 24 & LEASE_ROOM) + tokens, <uint64_t>LEASE_ROOM) << 24
                 | (ahead & LEASE_ROOM))
    while True:
        debt = fm_load(&lease.debt)
        if debt >> 48 != stamp or fm_cas(&lease.debt, debt, stamp << 48
                                         | min((debt >> 24 & LEASE_ROOM) + tokens, <uint64_t>LEASE_ROOM) << 24
                                         | (debt & LEASE_ROOM)):
            return
