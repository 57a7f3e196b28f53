"""The table of an HTTP/2 connection's streams as Python sees it: for tests only."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from fastmesh.core.net.h2.stream cimport H2Stream, StreamTable, table_find, table_free, table_put, table_remove, table_start


cdef class Streams:
    cdef StreamTable table

    def __cinit__(self):
        table_start(&self.table)

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.table.mask + 1):
            free(self.table.slots[i])
            self.table.slots[i] = NULL
        table_free(&self.table)

    def put(self, uint32_t id):
        cdef H2Stream* stream = <H2Stream*>calloc(1, sizeof(H2Stream))
        if stream == NULL:
            raise MemoryError
        stream.id = id
        table_put(&self.table, stream)

    def remove(self, uint32_t id):
        cdef H2Stream* stream = table_find(&self.table, id)
        table_remove(&self.table, id)
        free(stream)

    def has(self, uint32_t id):
        return table_find(&self.table, id) != NULL

    @property
    def count(self):
        return self.table.count

    @property
    def astray(self):
        """(what the table says, what is so): streams that do not stand in their own place."""
        cdef uint32_t i, found = 0
        for i in range(self.table.mask + 1):
            found += self.table.slots[i] != NULL and (self.table.slots[i].id >> 1) & self.table.mask != i
        return self.table.astray, found
