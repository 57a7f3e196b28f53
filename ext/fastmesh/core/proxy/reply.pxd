"""Answers that the proxy makes itself, and the end of every exchange: account, always and exactly once."""
from libc.stdint cimport uint32_t
from fastmesh.core.proxy.find cimport Finding
from fastmesh.core.proxy.rescue cimport Rescue
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.rule cimport Destination, Fallback, Refusal
from fastmesh.core.wire.h1_write cimport HeadOut

cdef class Replying(Finding):
    # each answers ANSWERED
    cdef int _refuse(self, int status, uint32_t flag, const char* details, const char* body, size_t body_size)
    cdef int reply(self, int status, uint32_t flag, const char* details, const char* body, size_t body_size)
    cdef int _reply(self, int status, uint32_t flag, const char* details, bytes content_type, const char* body,
                    size_t body_size, list headers)
    cdef void _grpc_fields(self, HeadOut* out, char* message, const char* body, size_t body_size)
    cdef Refusal _refusal(self, uint32_t flag)
    cdef void _dress(self, HeadOut* out, Refusal refusal, const char** body, size_t* body_size)
    cdef int _give_up(self, int failure)
    cdef Fallback fallback_for(self, uint32_t flag)       # where a request goes that failed like this; None: that is its end
    cdef int fall_back(self, Fallback fallback, const Rescue* row)
    cdef void go_to(self, Destination destination)        # see exchange
    cdef int _limited(self, Limit limit)
    cdef int _redirect(self)
    cdef int _https_redirect(self)
    cdef void _finish(self)
    cdef void leave_copies(self)
    cdef void leave_rival(self)
    cdef void leave_guard(self)
    cdef void leave_rule(self)
    cdef void filtered(self)
    cdef void _recycle(self)
    cdef void keep_head(self)
    cdef void reset(self)
