"""Load reports as Python sees them: for tests only."""
from libc.string cimport memset
from fastmesh.core.wire.h1_parse cimport H1_DONE, parse_response
from fastmesh.core.wire.load_report cimport LoadReport, read_load_report
from fastmesh.core.wire.message cimport Head, Limits


def read(bytes name, bytes value, list wanted):
    """The report in one field of an answer; None: there is none that can be read."""
    cdef LoadReport report
    cdef Limits limits
    cdef Head head
    cdef bytes raw = b"HTTP/1.1 200 OK\r\n%s: %s\r\n\r\n" % (name, value)
    memset(&limits, 0, sizeof(limits))
    limits.line, limits.head, limits.fields = 16384, 61440, 100
    if parse_response(raw, len(raw), &limits, False, &head) != H1_DONE:
        raise ValueError("no head of an answer")
    return dict(report) if read_load_report(&head, wanted, &report) else None
