"""See path_index.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp
from fastmesh.core.base.atomics cimport fm_hash
from fastmesh.core.route.match cimport MATCH_EXACT, MATCH_PREFIX, Clause, Matcher


cdef class PathIndex:
    def __dealloc__(self):
        free(self.slots)
        free(self.numbers)

    cdef void begin(self, const char* path, size_t size, Walk* walk) noexcept nogil:
        cdef const Slot* slot = self._probe(path, size, False)
        cdef int i
        walk.count = 0
        if self.always:
            walk.runs[0].at, walk.runs[0].end = self.numbers, self.numbers + self.always
            walk.count = 1
        if slot != NULL:
            _add(walk, self.numbers, slot)
        for i in range(self.size_count):
            if self.sizes[i] > size:
                return
            slot = self._probe(path, self.sizes[i], True)
            if slot != NULL:
                _add(walk, self.numbers, slot)

    cdef const Slot* _probe(self, const char* path, size_t size, bint prefix) noexcept nogil:
        cdef uint64_t hash = fm_hash(path, size, prefix)
        cdef size_t i = hash & (self.room - 1)
        while self.slots[i].count:
            if self.slots[i].hash == hash and self.slots[i].size == size and self.slots[i].prefix == prefix \
                    and memcmp(self.slots[i].path, path, size) == 0:
                return &self.slots[i]
            i = (i + 1) & (self.room - 1)
        return NULL


cdef inline void _add(Walk* walk, const uint32_t* numbers, const Slot* slot) noexcept nogil:
    walk.runs[walk.count].at = numbers + slot.first
    walk.runs[walk.count].end = numbers + slot.first + slot.count
    walk.count += 1


cdef Py_ssize_t next_rule(Walk* walk) noexcept nogil:
    cdef Py_ssize_t least = -1
    cdef int i
    for i in range(walk.count):
        if walk.runs[i].at < walk.runs[i].end and (least < 0 or walk.runs[i].at[0] < least):
            least = walk.runs[i].at[0]
    for i in range(walk.count):
        if walk.runs[i].at < walk.runs[i].end and walk.runs[i].at[0] == least:
            walk.runs[i].at += 1
    return least


cdef tuple _key(Clause clause):
    """(path, whether it is a prefix); None: the clause may fit any path."""
    cdef Matcher path = clause.path
    if path is None or path.ignore_case:
        return None
    if path.kind == MATCH_EXACT:
        return path.value, False
    if path.kind != MATCH_PREFIX:
        return None
    value = path.value[:-1] if path.segments and path.value.endswith(b"/") else path.value
    return (value, True) if value else None


cdef list _sizes(set found):
    """Those of the prefixes; of too many every so many, the shortest among them."""
    sizes = sorted(found)
    if len(sizes) <= SIZES_MAX:
        return sizes
    return sorted({sizes[i * len(sizes) // SIZES_MAX] for i in range(SIZES_MAX)})


cdef PathIndex make_path_index(list rules):
    cdef list keys = [{_key(clause) for clause in clauses} or {None} for clauses in rules]
    cdef list sizes = _sizes({len(key[0]) for each in keys for key in each if key is not None and key[1]})
    cdef dict under = {}
    cdef list always = []
    for number, each in enumerate(keys):
        if None in each:
            always.append(number)
            continue
        for path, prefix in sorted(each):
            if prefix:
                path = path[:max([size for size in sizes if size <= len(path)])]
            numbers = under.setdefault((path, prefix), [])
            if not numbers or numbers[-1] != number:
                numbers.append(number)
    return _filled(always, under, sizes) if under else None


cdef PathIndex _filled(list always, dict under, list sizes):
    cdef PathIndex index = PathIndex.__new__(PathIndex)
    cdef size_t i
    cdef uint32_t at = 0
    cdef bytes path
    index.room = 8
    while index.room < <size_t>len(under) * 2:
        index.room *= 2
    index.slots = <Slot*>calloc(index.room, sizeof(Slot))
    index.numbers = <uint32_t*>calloc(len(always) + sum(map(len, under.values())), sizeof(uint32_t))
    if index.slots == NULL or index.numbers == NULL:
        raise MemoryError
    for number in always:
        index.numbers[at] = number
        at += 1
    index.always = at
    index.kept = list(under)
    for (path, prefix), numbers in under.items():
        i = fm_hash(PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path), <bint>prefix) & (index.room - 1)
        while index.slots[i].count:
            i = (i + 1) & (index.room - 1)
        index.slots[i].hash = fm_hash(PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path), <bint>prefix)
        index.slots[i].path, index.slots[i].size = PyBytes_AS_STRING(path), <uint32_t>PyBytes_GET_SIZE(path)
        index.slots[i].prefix = prefix
        index.slots[i].first, index.slots[i].count = at, <uint32_t>len(numbers)
        for number in numbers:
            index.numbers[at] = number
            at += 1
    for size in sizes:
        index.sizes[index.size_count] = size
        index.size_count += 1
    return index
