"""The master's side of the leases: what workers ask for, what they have spent, and the tokens that they are given.

`window` stands for the end of one, in milliseconds of the monotonic clock: all words of one window carry the same number.
"""
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.guard.lease cimport Lease, LeaseAsks, LeaseTable

cdef class LeaseDesk:
    cdef Arena arena
    cdef LeaseAsks* ring
    cdef dict tables          # number -> how many leases it has
    cdef LeaseTable* _table(self, number)
    cdef Lease* _lease(self, number, Py_ssize_t index) except NULL
