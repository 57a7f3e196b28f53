"""One request and its response, from the first step to the account. Read `proceed` first: it is the order of everything."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastmesh.core.net.stream cimport ClientStream, ServerStream
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.snapshot cimport Listener
from fastmesh.core.wire.message cimport Head

cdef enum StoryStep:          # the same names in code, docs, explain and tests
    BEGIN = 0
    FIND_RULE
    AUTHENTICATE
    AUTHORIZE
    LIMIT
    FAULT
    CORS
    ANSWER
    REWRITE
    CHOOSE_CLUSTER
    ATTEMPT
    STORY_END

cdef enum Verdict:            # what a step answers
    GO_ON = 0
    WAIT                      # an event continues the story
    ANSWERED                  # the proxy answered itself
    FAILED                    # the failure was dealt with

cdef class Exchange(Transit):
    # the steps, in order
    cdef void proceed(self, int step)
    cdef int begin(self)
    cdef int find_rule(self)
    cdef int limit(self)
    cdef int fault(self)
    cdef int answer(self)
    cdef int rewrite(self)
    cdef int choose_cluster(self)
    cdef int attempt(self)
    # the attempt
    cdef int _send(self, bint fresh)
    cdef void _send_request(self)
    cdef void _leave_upstream(self)
    cdef void _count_in(self)
    cdef void _count_out(self)
    cdef int _failed(self, int failure)
    cdef int _give_up(self, int failure)
    cdef bint _may_retry(self, int failure, int status)
    cdef bint _wanted(self, uint32_t on, int failure, int status)
    cdef void _retry(self)
    cdef void _out_of_time(self)
    cdef void _report(self, int outcome, int status)
    # answers of the proxy itself
    cdef int _refuse(self, int status, uint32_t flag, const char* details, const char* body, size_t body_size)
    cdef int reply(self, int status, uint32_t flag, const char* details, const char* body, size_t body_size)
    cdef int _reply(self, int status, uint32_t flag, const char* details, bytes content_type, const char* body,
                    size_t body_size, list headers)
    cdef int _limited(self, Limit limit)
    cdef int _redirect(self)
    cdef int _https_redirect(self)
    # the request's path and rule, shared with explain
    cdef int normalize(self)
    cdef void look_up(self, uint32_t port, bint strict)
    cdef bint moves_to_https(self)
    cdef void rewrite_path(self)
    cdef Limit refusing_limit(self, bint take)
    cdef bytes location(self)
    # the end
    cdef void _finish(self)
    cdef void _recycle(self)
    cdef void keep_head(self)
    cdef void reset(self)

cdef void refuse_exchange(Exchange exchange, ServerStream client, int status, const char* why)
cdef Exchange take_exchange(Engine engine, Listener listener)
