"""A filter of a rule: Python code of the user, and what holds for it. What its hooks do with a request is in proxy/filter_lane."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.route.match cimport Request
from fastmesh.core.route.rule cimport VirtualHost

cdef class Filter:
    cdef readonly str name            # namespace/name
    cdef readonly str function        # module:function
    cdef bint passes          # failureMode open: a request goes on without it when it fails
    cdef readonly uint32_t timeout    # ms, of one call of a hook
    cdef readonly uint64_t body_limit # bytes of a body that is given to a hook as a whole
    cdef list hosts           # bytes, lower case: a name, `.suffix`, or empty for all; None: all
    cdef list clauses         # of match.Clause; empty: all
    # its hooks; None: it has none of that name. Of `whole` and `piece` it has one at most
    cdef object request_head
    cdef object request_whole
    cdef object request_piece
    cdef object response_head
    cdef object response_whole
    cdef object response_piece
    # response_code_details, so that nothing is made when it fails
    cdef bytes raised
    cdef bytes late
    cdef bytes too_large
    cdef bytes answered
    cdef bytes oversized_head
    cdef uint64_t told_at     # ns: its last line in the log
    cdef bint wants(self, const Request* request)     # this request is one of its

cdef Filter make_filter(dict plan, load)     # `load(plan)` answers the user's object; None (explain): there are no hooks
cdef attach_filters(VirtualHost host, dict plan, list filters)     # the rules of `plan` name their filters by number
