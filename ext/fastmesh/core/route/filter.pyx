"""See filter.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp
from fastmesh.core.route.match cimport Request, first_match, make_clauses
from fastmesh.core.route.rule cimport Rule, STEP_FILTER, VirtualHost
from fastmesh.core.wire.message cimport span_ptr

HOOKS = ("request_head", "request_body", "request_chunk", "response_head", "response_body", "response_chunk")


cdef class Filter:
    cdef bint wants(self, const Request* request):
        if self.hosts is not None and not _names(self.hosts, request):
            return False
        return first_match(self.clauses, request) is not None

    @property
    def failure_mode(self):
        return "open" if self.passes else "closed"


cdef bint _names(list hosts, const Request* request):
    cdef size_t size = request.head.host.len, own, i
    cdef const char* host = span_ptr(request.head, request.head.host)
    cdef char[256] name
    cdef const char* text
    cdef char c
    cdef bytes wanted
    if size > sizeof(name):
        return False
    for i in range(size):
        c = host[i]
        name[i] = <char>(c + 32) if c'A' <= c <= c'Z' else c
    for wanted in hosts:
        text, own = PyBytes_AS_STRING(wanted), PyBytes_GET_SIZE(wanted)
        if own == 0:
            return True
        if own == size and text[0] != c'.' and memcmp(name, text, size) == 0:
            return True
        if text[0] == c'.' and size > own and memcmp(name + size - own, text, own) == 0:
            return True
    return False


cdef Filter make_filter(dict plan, load):
    cdef Filter made = Filter.__new__(Filter)
    made.name = plan["name"]
    made.function = plan["function"]
    made.passes = plan["passes"]
    made.timeout = plan["timeout"]
    made.body_limit = plan["body_limit"]
    made.hosts = [host.encode() for host in plan["hosts"]] or None
    made.clauses = make_clauses(plan["matches"])
    name = made.name.replace("/", ".").encode()
    made.raised = b"filter_error{%s}" % name
    made.late = b"filter_timeout{%s}" % name
    made.too_large = b"filter_body_too_large{%s}" % name
    made.answered = b"filter_answer{%s}" % name
    made.oversized_head = b"filter_head_too_large{%s}" % name
    if load is not None:
        user = load(plan)
        hooks = [getattr(user, hook, None) for hook in HOOKS]
        (made.request_head, made.request_whole, made.request_piece,
         made.response_head, made.response_whole, made.response_piece) = hooks
    return made


cdef attach_filters(VirtualHost host, dict plan, list filters):
    cdef Rule rule
    for rule, item in zip(host.rules, plan["rules"]):
        if item["filters"]:
            rule.filters = [filters[index] for index in item["filters"]]
            rule.steps |= STEP_FILTER
