"""See load_report.pxd. TEXT is read in place; the other forms make objects, and only where somebody asked for weights by load."""
from binascii import a2b_base64

import msgspec
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport isfinite
from libc.stdint cimport uint64_t
from libc.stdlib cimport strtod
from libc.string cimport memcmp, memcpy, memset
from fastmesh.core.wire.message cimport Field, Head

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

cdef enum:
    FIELD_SIZE = 21           # of endpoint-load-metrics
    BINARY_SIZE = 25          # and with -bin behind it
    NUMBER_MAX = 40           # digits and all
    NESTED = 2                # wire types of protobuf
    VARINT = 0
    DOUBLE = 1

# Fields of the message by their numbers; maps are those that end in a dot. 3 is `rps` of old, a whole number
cdef dict NUMBERED = {1: b"cpu_utilization", 2: b"mem_utilization", 4: b"request_cost.", 5: b"utilization.", 6: b"rps_fractional", 7: b"eps",
                      8: b"named_metrics.", 9: b"application_utilization"}
cdef frozenset PLAIN = frozenset(name for name in NUMBERED.values() if not name.endswith(b"."))
cdef frozenset MAPS = frozenset(name[:-1] for name in NUMBERED.values() if name.endswith(b"."))


cdef bint read_load_report(const Head* head, list wanted, LoadReport* report):
    cdef const Field* field
    cdef const char* value
    cdef int i
    memset(report, 0, sizeof(LoadReport))
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.name.len != FIELD_SIZE and field.name.len != BINARY_SIZE:
            continue                      # the likely case
        if strncasecmp(head.base + field.name.off, "endpoint-load-metrics-bin", field.name.len) != 0:
            continue
        value = head.base + field.value.off
        if field.name.len == BINARY_SIZE:
            return _read_binary(value, field.value.len, wanted, report)
        if field.value.len < 4:
            return False
        if memcmp(value, "TEXT", 4) == 0:
            return _read_text(value + 4, field.value.len - 4, wanted, report)
        if memcmp(value, "JSON", 4) == 0:
            return _read_json(value + 4, field.value.len - 4, wanted, report)
        if memcmp(value, "BIN ", 4) == 0:
            return _read_binary(value + 4, field.value.len - 4, wanted, report)
        return False
    return False


cdef bint _note(const char* name, size_t size, double value, list wanted, LoadReport* report):
    """False: nobody knows such a metric."""
    cdef bytes each
    if not isfinite(value):
        return False
    for each in wanted:
        if <size_t>PyBytes_GET_SIZE(each) == size and memcmp(PyBytes_AS_STRING(each), name, size) == 0 and value > report.named:
            report.named = value
    if size == 15 and memcmp(name, "cpu_utilization", 15) == 0:
        report.cpu = value
    elif size == 23 and memcmp(name, "application_utilization", 23) == 0:
        report.application = value
    elif size == 14 and memcmp(name, "rps_fractional", 14) == 0:
        report.rps = value
    elif size == 3 and memcmp(name, "eps", 3) == 0:
        report.eps = value
    elif size == 15 and memcmp(name, "mem_utilization", 15) == 0:
        return True
    else:
        return (size > 14 and memcmp(name, "named_metrics.", 14) == 0) or (size > 12 and memcmp(name, "utilization.", 12) == 0) or (
            size > 13 and memcmp(name, "request_cost.", 13) == 0)
    return True


cdef bint _read_text(const char* text, size_t size, list wanted, LoadReport* report):
    """`name=number` with commas between."""
    cdef const char* end = text + size
    cdef const char* comma
    cdef const char* equals
    cdef const char* last
    cdef char[41] number
    cdef char* stopped
    cdef double value
    while text < end:
        comma = text
        while comma < end and comma[0] != c',':
            comma += 1
        while text < comma and text[0] == c' ':
            text += 1
        equals = text
        while equals < comma and equals[0] != c'=':
            equals += 1
        last = comma
        while last > equals and last[-1] == c' ':
            last -= 1
        if equals >= last - 1 or last - equals - 1 > NUMBER_MAX:
            return False
        memcpy(number, equals + 1, last - equals - 1)
        number[last - equals - 1] = 0
        value = strtod(number, &stopped)
        if stopped != number + (last - equals - 1) or not _note(text, equals - text, value, wanted, report):
            return False
        text = comma + 1
    return True


cdef bint _read_json(const char* text, size_t size, list wanted, LoadReport* report):
    """Names as protobuf spells them in JSON, of either form."""
    try:
        told = msgspec.json.decode(PyBytes_FromStringAndSize(text, size).strip())
        return isinstance(told, dict) and _note_all({_snake(name): value for name, value in told.items()}, wanted, report)
    except (ValueError, TypeError):
        return False


cdef str _snake(str name):
    return "".join([f"_{each.lower()}" if each.isupper() else each for each in name])


cdef bint _note_all(dict told, list wanted, LoadReport* report):
    cdef bytes name
    for key, value in told.items():
        name = key.encode()
        if name == b"rps":
            continue
        if name in PLAIN:
            if isinstance(value, bool) or not _note(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), value, wanted, report):
                return False
            continue
        if name not in MAPS or not isinstance(value, dict):
            return False
        for inner, number in value.items():
            whole = name + b"." + inner.encode()
            if not _note(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole), number, wanted, report):
                return False
    return True


cdef bint _read_binary(const char* text, size_t size, list wanted, LoadReport* report):
    """Base64 of the message."""
    cdef bytes data
    cdef dict told = {}
    try:
        raw = PyBytes_FromStringAndSize(text, size).strip()
        data = a2b_base64(raw + b"=" * ((4 - len(raw) % 4) % 4), strict_mode=bool(raw))
        for number, value in _fields(data):
            name = NUMBERED.get(number)
            if name is None:
                continue
            if name.endswith(b"."):
                entry = dict(_fields(value))
                told.setdefault(name[:-1].decode(), {})[entry.get(1, b"").decode()] = entry.get(2, 0.0)
            else:
                told[name.decode()] = value
        return _note_all(told, wanted, report)
    except (ValueError, TypeError):
        return False


cdef list _fields(bytes data):
    """(number, value) of a protobuf message: doubles as numbers, what is nested as bytes; other types are passed over."""
    cdef size_t at = 0, size = len(data)
    cdef uint64_t key, length
    cdef double value
    cdef list found = []
    while at < size:
        key = _varint(data, &at)
        if key & 7 == DOUBLE and size - at >= 8:
            memcpy(&value, PyBytes_AS_STRING(data) + at, 8)
            found.append((key >> 3, value))
            at += 8
        elif key & 7 == NESTED:
            length = _varint(data, &at)
            if length > size - at:
                raise ValueError("cut")
            found.append((key >> 3, data[at:at + length]))
            at += length
        elif key & 7 == VARINT:
            _varint(data, &at)
        else:
            raise ValueError("no field of such a message")
    return found


cdef uint64_t _varint(bytes data, size_t* at) except? 0:
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef unsigned char byte = 128
    while byte & 128:
        if at[0] >= <size_t>len(data) or shift > 63:
            raise ValueError("cut")
        byte = <unsigned char>PyBytes_AS_STRING(data)[at[0]]
        at[0] += 1
        value |= <uint64_t>(byte & 127) << shift
        shift += 7
    return value
