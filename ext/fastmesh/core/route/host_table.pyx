"""See host_table.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp
from fastmesh.core.base.atomics cimport fm_hash
from fastmesh.core.route.rule cimport VirtualHost


cdef class HostTable:
    def __dealloc__(self):
        free(self.exact)
        free(self.wildcard)

    cdef VirtualHost find(self, const char* name, size_t size, uint32_t port):
        cdef Place* place = _probe(self.exact, self.exact_room, name, size, port)
        cdef size_t suffix
        if place != NULL:
            return <VirtualHost>place.vhost
        if self.suffix_sizes:
            for suffix in self.suffix_sizes:
                if suffix < size or suffix == 0:
                    place = _probe(self.wildcard, self.wildcard_room, name + size - suffix, suffix, port)
                    if place != NULL:
                        return <VirtualHost>place.vhost
        return None

    cdef int add(self, str domain, uint32_t port, VirtualHost vhost) except -1:
        cdef bint wildcard = domain.startswith("*")
        cdef bytes name = (domain[1:] if wildcard else domain).encode()
        cdef Place* table = self.wildcard if wildcard else self.exact
        cdef size_t room = self.wildcard_room if wildcard else self.exact_room
        cdef size_t size = PyBytes_GET_SIZE(name)
        cdef uint64_t hash = fm_hash(PyBytes_AS_STRING(name), size, port)
        cdef size_t i = hash & (room - 1)
        if _probe(table, room, PyBytes_AS_STRING(name), size, port) != NULL:
            return 0
        if <size_t>len(self.kept) * 2 >= room:
            raise ValueError("more names than the table was made for")
        while table[i].vhost != NULL:
            i = (i + 1) & (room - 1)
        table[i].hash = hash
        table[i].name = PyBytes_AS_STRING(name)
        table[i].size = <uint32_t>size
        table[i].port = port
        table[i].vhost = <void*>vhost
        self.kept.append((name, vhost))
        if wildcard and size not in self.suffix_sizes:
            self.suffix_sizes = sorted([*self.suffix_sizes, size], reverse=True)
        return 0


cdef Place* _probe(Place* table, size_t room, const char* name, size_t size, uint32_t port) noexcept nogil:
    cdef uint64_t hash = fm_hash(name, size, port)
    cdef size_t i = hash & (room - 1)
    while table[i].vhost != NULL:
        if table[i].hash == hash and table[i].size == size and table[i].port == port \
                and memcmp(table[i].name, name, size) == 0:
            return &table[i]
        i = (i + 1) & (room - 1)
    return NULL


cdef HostTable make_host_table(size_t room):
    cdef HostTable table = HostTable.__new__(HostTable)
    cdef size_t places = 8
    while places < room * 2 + 2:
        places *= 2
    table.kept = []
    table.suffix_sizes = []
    table.exact_room = table.wildcard_room = places
    table.exact = <Place*>calloc(places, sizeof(Place))        # pages that are never touched cost nothing
    table.wildcard = <Place*>calloc(places, sizeof(Place))
    if table.exact == NULL or table.wildcard == NULL:
        raise MemoryError
    return table
