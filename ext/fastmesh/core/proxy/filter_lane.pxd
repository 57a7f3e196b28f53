"""One direction of a request on its way through hooks: first the head, then the body, as a whole or piece by piece.

A hook is called with a try around it and its time is taken. What it returns may be awaitable: then it becomes a task of the worker's
loop, a timer runs, and what arrives meanwhile waits in `queue`. One hook of a lane runs at a time; the two lanes of a request do not
wait for each other. A hook that fails (raises, returns nonsense, is late, gets too large a body) is left out for the rest of the request,
or the request is refused: as its filter says.
"""
from libc.stdint cimport uint8_t, uint64_t
from fastmesh.core.base.wheel cimport Timed, Timer
from fastmesh.core.proxy.attempt cimport Attempting
from fastmesh.core.proxy.filter_message cimport Answer, Request
from fastmesh.core.proxy.transit cimport KeptTrailers
from fastmesh.core.route.filter cimport Filter
from fastmesh.core.wire.message cimport Head

cdef enum Stage:
    LANE_HEAD = 0             # hooks see the head
    LANE_GATHER               # a hook wants the whole body: it is collected
    LANE_WHOLE                # hooks see the whole body
    LANE_STREAM               # hooks see pieces
    LANE_OPEN                 # nothing is left to see: bytes pass
    LANE_CLOSED               # answered or given up: bytes are dropped

cdef class Lane(Timed):
    cdef Attempting x         # whose request it is
    cdef Request request
    cdef Lane other           # None: no hook of the other direction
    cdef list filters         # in the order of this lane; None in the place of one that is left out
    cdef int at               # whose turn it is
    cdef int first            # whose hooks for the body come first
    cdef uint8_t stage        # Stage
    cdef bint running         # inside `go`
    cdef list queue           # bytes that wait for a hook
    cdef uint64_t queued
    cdef bint ended           # all has come
    cdef KeptTrailers trailers
    cdef bytes piece          # under way through the hooks
    cdef bint last            # it is the last one
    cdef object task          # of the hook that is awaited
    cdef Timer timer
    cdef void go(self)        # as far as it gets now
    cdef bint take(self)
    cdef void call(self, Filter filter)
    cdef void settle(self, Filter filter, result)
    cdef void wait_for(self, Filter filter, awaitable)
    cdef void resume(self)
    cdef void push(self, const char* data, size_t size)
    cdef void keep_end(self, const Head* trailers)
    cdef void look_too_large(self)
    cdef void fail(self, Filter filter, error)
    cdef void leave_out(self, Filter filter)
    cdef void stop(self)      # the request ends
    cdef bint wants_whole(self)       # a hook that is still to come wants the body
    cdef bint wants_pieces(self)
    cdef str hook_name(self)
    # what the two directions do in their own way
    cdef object whole_hook(self, Filter filter)
    cdef object piece_hook(self, Filter filter)
    cdef object head_hook(self, Filter filter)
    cdef object invoke(self, Filter filter)           # calls the hook of this stage; None when there is none
    cdef void head_done(self)
    cdef void emit(self, bytes piece, bint last)
    cdef void answer(self, Filter filter, Answer answer)
    cdef void refuse(self, Filter filter, int status, bytes details)
    cdef void flush(self)     # after a hook was awaited: nobody else sends what it let pass
