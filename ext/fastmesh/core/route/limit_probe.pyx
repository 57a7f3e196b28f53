"""A limit as Python sees it: for benchmarks only. One request is asked about many times."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.base.clock cimport now_ms, now_ns
from fastmesh.core.guard.lease_desk cimport LeaseDesk
from fastmesh.core.route.limit cimport Limit, make_limit, state_key
from fastmesh.core.route.match cimport Request
from fastmesh.core.wire.h1_parse cimport H1_DONE, parse_request
from fastmesh.core.wire.message cimport Head, Limits, span_ptr


def _nobody():
    pass


cdef class Limited:
    """A limit and a request; a global one is given a lease that does not end."""
    cdef Limit limit
    cdef Arena arena
    cdef Head head
    cdef Request request
    cdef bytes text

    def __init__(self, dict plan, bytes text):
        cdef Limits limits
        limits.line, limits.head, limits.fields, limits.body, limits.chunk_extension = 16384, 61440, 100, 0, 4096
        self.text = text
        if parse_request(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &limits, &self.head) != H1_DONE:
            raise ValueError("not a request")
        self.request.head = &self.head
        self.request.path, self.request.path_size = span_ptr(&self.head, self.head.path), self.head.path.len
        self.arena = Arena.create(32 << 20, 2)
        self.limit = make_limit(plan)
        self.limit.attach(self.arena, 0, _nobody)
        if self.limit.is_global:
            self._lend()

    cdef void _lend(self):
        cdef uint64_t now = now_ms()
        desk = LeaseDesk(self.arena)
        key = state_key(self.limit.name, self.limit.rule.requests, self.limit.rule.period, self.limit.rule.burst)
        number = desk.open(key, False)
        self.limit.admit(&self.request, b"", b"", now_ns())
        for _ in range(100):
            desk.grant(number, 0, 1, now + 3600000, 8000000, 0, False, 0, now)

    def admit(self, uint64_t count):
        """How many of `count` requests pass, each with a clock reading of its own."""
        cdef uint64_t passed = 0, i
        for i in range(count):
            passed += self.limit.admit(&self.request, b"127.0.0.1", b"", now_ns())
        return passed
