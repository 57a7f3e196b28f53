"""See filter.pxd."""
from cpython.object cimport PyObject
from fastmesh.core.proxy.attempt cimport Attempting
from fastmesh.core.proxy.filter_lane cimport LANE_CLOSED, LANE_OPEN, Lane
from fastmesh.core.proxy.filter_message cimport make_request
from fastmesh.core.proxy.filter_request cimport RequestLane
from fastmesh.core.proxy.filter_response cimport ResponseLane, make_stream
from fastmesh.core.proxy.filter_seat cimport FilterSeat
from fastmesh.core.proxy.find cimport GO_ON
from fastmesh.core.route.filter cimport Filter
from fastmesh.core.route.rule cimport STEP_REWRITE
from fastmesh.core.wire.message cimport Head


cdef int begin_filters(Attempting x):
    cdef FilterRun run
    cdef Filter filter
    cdef list chosen = []
    cdef bint going = False, coming = False
    for filter in x.rule.filters if x.rule is not None else x.listener.filters:
        if filter.wants(&x.request):
            chosen.append(filter)
            going = going or filter.request_head is not None or filter.request_whole is not None or filter.request_piece is not None
            coming = coming or filter.response_head is not None or filter.response_whole is not None or filter.response_piece is not None
    if not chosen:
        return GO_ON
    if going:
        x.matched = x.clause() if x.rule is not None else None
        if x.steps & STEP_REWRITE:
            x.rewrite_path()              # of the path that was matched, before hooks change that
            x.steps &= ~STEP_REWRITE
    run = FilterRun.__new__(FilterRun)
    run.x = x
    run.request = make_request(x)
    x.filters = run
    if coming:
        run.coming = ResponseLane.__new__(ResponseLane)
        _prepare(run.coming, run, chosen[::-1])
        run.coming.client = x.client
        run.stream = make_stream(run.coming)
        x.client = run.stream
    if not going:
        run.request.freeze()
        return GO_ON
    run.going = RequestLane.__new__(RequestLane)
    _prepare(run.going, run, chosen)
    if coming:
        run.going.other, run.coming.other = run.coming, run.going
    return run.going.begin()


cdef void _prepare(Lane lane, FilterRun run, list filters):
    lane.x, lane.request, lane.filters, lane.queue = run.x, run.request, filters, []


cdef class FilterRun(FilterSeat):
    cdef bint takes_piece(self, const char* data, size_t size):
        cdef FilterRun kept = self        # a hook that answers ends the exchange, and with it this object
        if self.going is None or not self.going.bodied or self.going.passing or self.going.stage == LANE_OPEN:
            return False
        self.going.push(data, size)
        return True

    cdef bint takes_end(self, const Head* trailers):
        cdef FilterRun kept = self
        if self.stream is not None:
            self.stream.request_done = self.stream.inner.request_done
        if self.going is None or not self.going.bodied or self.going.passing or self.going.stage == LANE_OPEN:
            return False
        self.going.keep_end(trailers)
        return True

    cdef bint is_full(self):
        return self.going is not None and self.going.is_full()

    cdef bint holds_end(self):
        if self.coming is None or self.coming.done or self.coming.stage == LANE_CLOSED or self.x.client is None:
            return False
        self.coming.finishing = True
        return True

    cdef void leave(self):
        cdef Attempting x = self.x
        cdef FilterRun kept = self
        if x.client is self.stream and self.stream is not None:
            x.client = self.stream.inner
        x.filters = None
        if self.going is not None:
            self.going.stop()
            self.going.other = None
        if self.coming is not None:
            self.coming.stop()
            self.coming.other = None
        if (<PyObject*>self.request).ob_refcnt > 1 + (self.going is not None) + (self.coming is not None):
            self.request.detach()         # the user keeps it
        else:
            self.request.transit = None
