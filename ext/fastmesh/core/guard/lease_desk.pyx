"""See lease_desk.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.clock cimport now_ms
from fastmesh.core.guard.lease cimport (
    LEASE_DRY, LEASE_SETS, LEASE_TOKENS, LEASE_WAYS, Lease, LeaseTable, lease_asks, lease_table,
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
                fm_load(&lease.after) >> 24, fm_load(&lease.debt))

    def seen(self, number, Py_ssize_t index) -> int:
        """Requests since the last time that this was asked."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t seen
        while True:
            seen = fm_load(&lease.seen)
            if fm_cas(&lease.seen, seen, 0):
                return seen

    def grant(self, number, Py_ssize_t index, uint64_t tag, uint64_t window, uint64_t tokens, uint64_t debt, bint dry,
              uint64_t low, uint64_t now) -> bool:
        """Add tokens, and take `debt` off what is owed (they were counted apart). False: the lease is another key's by now."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word, left
        if fm_load(&lease.tag) != tag:
            return False
        while True:
            word = fm_load(&lease.current)
            left = (word & LEASE_TOKENS) + tokens if word >> 24 == window else tokens
            if fm_cas(&lease.current, word, window << 24 | (LEASE_DRY if dry else 0) | min(left, <uint64_t>LEASE_TOKENS)):
                break
        fm_add(&lease.debt, <uint64_t>0 - debt)
        lease.low = low
        fm_store(&lease.asked_at, now if dry else 0)
        return True

    def grant_ahead(self, number, Py_ssize_t index, uint64_t tag, uint64_t window, uint64_t tokens, bint dry, uint64_t low) -> bool:
        """The tokens of the window behind the one that runs."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word = fm_load(&lease.after)
        if fm_load(&lease.tag) != tag or word >> 24 == window:
            return False
        if not fm_cas(&lease.after, word, window << 24 | (LEASE_DRY if dry else 0) | min(tokens, <uint64_t>LEASE_TOKENS)):
            return False
        lease.low = low
        fm_store(&lease.asked_at, 0)
        return True

    def take_back(self, number, Py_ssize_t index, uint64_t tag, uint64_t window) -> int:
        """The unspent tokens of a window, which nobody can spend from here on."""
        cdef Lease* lease = self._lease(number, index)
        cdef uint64_t word = fm_load(&lease.current)
        if fm_load(&lease.tag) != tag or word >> 24 != window:
            return 0
        while not fm_cas(&lease.current, word, word & ~<uint64_t>LEASE_TOKENS):
            word = fm_load(&lease.current)
            if word >> 24 != window:
                return 0
        fm_store(&lease.asked_at, 0)
        return word & LEASE_TOKENS

    def forgive(self, number, Py_ssize_t index):
        """Redis is gone: what was passed on credit is counted nowhere."""
        cdef Lease* lease = self._lease(number, index)
        fm_store(&lease.debt, 0)
        fm_store(&lease.asked_at, 0)
