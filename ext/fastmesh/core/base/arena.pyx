"""See arena.pxd. The layout is: header, directory of entry offsets, entries at 64-byte borders."""
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_hash, fm_load
from fastmesh.core.base.counters cimport (
    CLUSTER_GAUGES, CLUSTER_ROW, ENDPOINT_GAUGES, ENDPOINT_ROW, OUTLIER_WORDS, PRESSURE_ROW, RETRY_GAUGES, RETRY_ROW, RULE_GUARD_ROW,
    WORKER_GAUGES, WORKER_ROW,
)

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t size)
    int PROT_READ, PROT_WRITE, MAP_SHARED
    void* MAP_FAILED

cdef uint64_t MAGIC = 0x33304853454d5446      # "FTMESH03": layout version in the last two digits

cdef struct Header:
    uint64_t magic
    uint64_t size
    uint64_t slots
    uint64_t directory        # number of directory places, a power of two
    uint64_t next             # offset of the first free byte
    uint64_t full             # entries that found no room
    uint64_t count            # entries made

cdef size_t HEADER_SIZE = 4096
cdef uint64_t[131200] _spill  # where the words go when the arena is full: room for the largest entry, never read


cdef class Arena:
    """The shared memory. `size` bytes are reserved, pages are used only once touched."""

    def __cinit__(self):
        self.base = NULL
        self.fd = -1

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.size)

    @staticmethod
    def create(size_t size=256 << 20, int slots=16):
        """A new arena of at most `size` bytes for worker slots 0..slots-1."""
        fd = os.memfd_create("fastmesh-arena", 0)
        os.ftruncate(fd, size)
        arena = Arena._map(fd, size)
        (<Arena>arena)._format(slots)
        return arena

    @staticmethod
    def attach(int fd):
        """The arena behind a descriptor that another process made; ValueError when its layout is of another version."""
        arena = Arena._map(fd, os.fstat(fd).st_size)
        (<Arena>arena)._check()
        return arena

    @staticmethod
    def _map(int fd, size_t size):
        cdef Arena arena = Arena.__new__(Arena)
        cdef void* base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if base == MAP_FAILED:
            raise OSError("the shared arena cannot be mapped")
        arena.base = <char*>base
        arena.size = size
        arena.fd = fd
        return arena

    def _format(self, int slots):
        cdef Header* header = <Header*>self.base
        cdef uint64_t directory = 1 << 17
        if self.size < HEADER_SIZE + directory * 8 + (1 << 20):
            directory = 1 << 12
        header.size = self.size
        header.slots = slots
        header.directory = directory
        header.next = (HEADER_SIZE + directory * 8 + 63) & ~<uint64_t>63
        header.magic = MAGIC
        self.slots = slots

    def _check(self):
        cdef Header* header = <Header*>self.base
        if header.magic != MAGIC or header.size != self.size:
            raise ValueError("the shared arena has another layout")
        self.slots = <int>header.slots

    cdef uint64_t* words(self, uint32_t kind, const char* key, size_t key_size, uint32_t count) noexcept nogil:
        cdef uint64_t hash = fm_hash(key, key_size, kind)
        cdef Entry* entry = self._find(hash, kind, key, key_size)
        cdef Header* header = <Header*>self.base
        cdef uint64_t* places = <uint64_t*>(self.base + HEADER_SIZE)
        cdef uint64_t mask = header.directory - 1
        cdef uint64_t i = hash & mask
        cdef uint64_t probe, offset, found
        if entry != NULL:
            return <uint64_t*>(<char*>entry + entry.words_at) if entry.words >= count else _spill
        offset = self._allocate(hash, kind, key, key_size, count)
        if offset == 0:
            fm_add(&header.full, 1)
            return _spill
        for probe in range(header.directory):
            found = fm_load(&places[i])
            if found == 0:
                if fm_cas(&places[i], 0, offset):
                    fm_add(&header.count, 1)
                    found = offset
                else:
                    found = fm_load(&places[i])
            entry = <Entry*>(self.base + found)
            if entry.hash == hash and entry.kind == kind and entry.key_size == key_size \
                    and memcmp(<char*>entry + sizeof(Entry), key, key_size) == 0:
                return <uint64_t*>(<char*>entry + entry.words_at)   # ours, or another worker was first
            i = (i + 1) & mask
        fm_add(&header.full, 1)
        return _spill

    cdef Entry* _find(self, uint64_t hash, uint32_t kind, const char* key, size_t key_size) noexcept nogil:
        cdef Header* header = <Header*>self.base
        cdef uint64_t* places = <uint64_t*>(self.base + HEADER_SIZE)
        cdef uint64_t mask = header.directory - 1
        cdef uint64_t i = hash & mask
        cdef uint64_t probe, found
        cdef Entry* entry
        for probe in range(header.directory):
            found = fm_load(&places[i])
            if found == 0:
                return NULL
            entry = <Entry*>(self.base + found)
            if entry.hash == hash and entry.kind == kind and entry.key_size == key_size \
                    and memcmp(<char*>entry + sizeof(Entry), key, key_size) == 0:
                return entry
            i = (i + 1) & mask
        return NULL

    cdef uint64_t _allocate(self, uint64_t hash, uint32_t kind, const char* key, size_t key_size,
                            uint32_t count) noexcept nogil:
        cdef Header* header = <Header*>self.base
        cdef uint64_t words_at = (sizeof(Entry) + key_size + 63) & ~<uint64_t>63
        cdef uint64_t need = (words_at + <uint64_t>count * 8 + 63) & ~<uint64_t>63
        cdef uint64_t offset
        cdef Entry* entry
        if fm_load(&header.next) + need > self.size:
            return 0
        offset = fm_add(&header.next, need)
        if offset + need > self.size:
            return 0
        entry = <Entry*>(self.base + offset)
        entry.hash = hash
        entry.kind = kind
        entry.key_size = <uint32_t>key_size
        entry.words = count
        entry.words_at = <uint32_t>words_at
        memcpy(<char*>entry + sizeof(Entry), key, key_size)
        return offset

    def entries(self):
        """(kind, key, words) of every entry, words as a read-only view of unsigned 64-bit numbers, in no special order."""
        cdef Header* header = <Header*>self.base
        cdef uint64_t* places = <uint64_t*>(self.base + HEADER_SIZE)
        cdef uint64_t i, found
        cdef Entry* entry
        result = []
        for i in range(header.directory):
            found = fm_load(&places[i])
            if found == 0:
                continue
            entry = <Entry*>(self.base + found)
            key = (<char*>entry + sizeof(Entry))[:entry.key_size]
            result.append((entry.kind, key, self._words_of(entry)))
        return result

    def find(self, int kind, bytes key):
        """The words of one entry, as `entries` has them; () when nobody has made it."""
        cdef const char* text = PyBytes_AS_STRING(key)
        cdef size_t size = PyBytes_GET_SIZE(key)
        cdef Entry* entry = self._find(fm_hash(text, size, kind), kind, text, size)
        return self._words_of(entry) if entry != NULL else ()

    cdef object _words_of(self, Entry* entry):
        cdef uint64_t* words = <uint64_t*>(<char*>entry + entry.words_at)
        cdef uint32_t i
        if entry.kind == ENTRY_BUCKET_SET or entry.kind == ENTRY_LEASES or entry.kind == ENTRY_LEASE_ASKS:
            return ()                     # many words that say nothing to a reader
        return tuple([words[i] for i in range(entry.words)])

    def release_slot(self, int slot):
        """Zero what a dead worker held: the gauges in its rows (the first GAUGES words of cluster and endpoint rows)."""
        cdef Header* header = <Header*>self.base
        cdef uint64_t* places = <uint64_t*>(self.base + HEADER_SIZE)
        cdef uint64_t i, found
        cdef Entry* entry
        cdef uint64_t* row
        cdef int word, width, gauges, first
        for i in range(header.directory):
            found = fm_load(&places[i])
            if found == 0:
                continue
            entry = <Entry*>(self.base + found)
            if entry.kind == ENTRY_CLUSTER:
                first, width, gauges = 0, CLUSTER_ROW, CLUSTER_GAUGES
            elif entry.kind == ENTRY_ENDPOINT:
                first, width, gauges = OUTLIER_WORDS, ENDPOINT_ROW, ENDPOINT_GAUGES
            elif entry.kind == ENTRY_WORKER:
                first, width, gauges = 0, WORKER_ROW, WORKER_GAUGES
            elif entry.kind == ENTRY_RETRIES:
                first, width, gauges = 0, RETRY_ROW, RETRY_GAUGES
            elif entry.kind == ENTRY_PRESSURE:
                first, width, gauges = 0, PRESSURE_ROW, PRESSURE_ROW
            elif entry.kind == ENTRY_RULE_GUARD:
                first, width, gauges = 0, RULE_GUARD_ROW, 1
            else:
                continue
            row = <uint64_t*>(<char*>entry + entry.words_at) + first + slot * width
            for word in range(gauges):
                row[word] = 0

    @property
    def usage(self):
        """(bytes used, bytes in all, entries, entries that found no room)."""
        cdef Header* header = <Header*>self.base
        return header.next, header.size, header.count, header.full
