"""The filters of one request: chosen when the step `filter` comes, they see its head and body and those of its answer.

Filters of a rule are in `rule.filters`, those of requests without a rule in `listener.filters`; those whose hosts and clauses fit are
taken. A request keeps its filters also when a reload replaces them. Request hooks run once, before attempts and mirrors; response hooks
see the one answer that goes to the client.
"""
from fastmesh.core.proxy.attempt cimport Attempting
from fastmesh.core.proxy.filter_message cimport Request
from fastmesh.core.proxy.filter_request cimport RequestLane
from fastmesh.core.proxy.filter_response cimport FilterStream, ResponseLane
from fastmesh.core.proxy.filter_seat cimport FilterSeat

cdef class FilterRun(FilterSeat):
    cdef Attempting x
    cdef Request request
    cdef RequestLane going
    cdef ResponseLane coming
    cdef FilterStream stream

cdef int begin_filters(Attempting x)      # a verdict
