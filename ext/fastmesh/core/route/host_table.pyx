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

    cdef int _fill(self, list domains, bint wildcard) except -1:
        cdef size_t room = 8
        cdef Place* table
        cdef Place* place
        cdef bytes name
        cdef VirtualHost vhost
        cdef size_t i
        while room < <size_t>len(domains) * 2:
            room *= 2
        table = <Place*>calloc(room, sizeof(Place))
        if table == NULL:
            raise MemoryError
        if wildcard:
            self.wildcard, self.wildcard_room = table, room
        else:
            self.exact, self.exact_room = table, room
        for name, port, vhost in domains:
            if _probe(table, room, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), port) != NULL:
                continue
            hash = fm_hash(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), port)
            i = hash & (room - 1)
            while table[i].vhost != NULL:
                i = (i + 1) & (room - 1)
            place = &table[i]
            place.hash = hash
            place.name = PyBytes_AS_STRING(name)
            place.size = PyBytes_GET_SIZE(name)
            place.port = port
            place.vhost = <void*>vhost
            self.kept.append((name, vhost))
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


cdef HostTable make_host_table(list domains):
    cdef HostTable table = HostTable.__new__(HostTable)
    table.kept = []
    exact = [(name.encode(), port, vhost) for name, port, vhost in domains if not name.startswith("*")]
    wildcard = [(name[1:].encode(), port, vhost) for name, port, vhost in domains if name.startswith("*")]
    table._fill(exact, False)
    table._fill(wildcard, True)
    table.suffix_sizes = sorted({len(name) for name, _, _ in wildcard}, reverse=True)
    return table
