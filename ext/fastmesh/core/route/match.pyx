"""See match.pxd. Semantics: Istio's HTTPMatchRequest and StringMatch; regexes are RE2 and match the whole value."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy
from fastmesh.core.wire.message cimport FIELDS_MAX, Field, Head, Span, span_ptr

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

cdef dict KINDS = {"exact": MATCH_EXACT, "prefix": MATCH_PREFIX, "suffix": MATCH_SUFFIX, "regex": MATCH_REGEX,
                   "present": MATCH_PRESENT}
cdef dict PSEUDO = {":method": 1, ":authority": 2, ":path": 3, ":scheme": 4}
cdef Clause ALWAYS = Clause.__new__(Clause)
ALWAYS.name = ""
ALWAYS.headers = []
ALWAYS.query = []


cdef class Matcher:
    cdef bint test(self, const char* data, size_t size):
        if self.kind == MATCH_EXACT:
            return size == self.size and self._same(data, self.size)
        if self.kind == MATCH_PREFIX:
            if self.segments:
                return self._test_segments(data, size)
            return size >= self.size and self._same(data, self.size)
        if self.kind == MATCH_PRESENT:
            return True
        if self.kind == MATCH_SUFFIX:
            return size >= self.size and self._same(data + size - self.size, self.size)
        return self.regex.fullmatch(PyBytes_FromStringAndSize(data, size)) is not None

    cdef bint _same(self, const char* data, size_t size):
        if self.ignore_case:
            return strncasecmp(data, self.text, size) == 0
        return memcmp(data, self.text, size) == 0

    cdef bint _test_segments(self, const char* data, size_t size):
        cdef size_t mine = self.size
        if mine > 0 and self.text[mine - 1] == c'/':
            mine -= 1                     # a trailing slash of the prefix means nothing
        if size < mine or not self._same(data, mine):
            return False
        return size == mine or data[mine] == c'/'


cdef Matcher make_matcher(plan, bint segments=False):
    if plan is None:
        return None
    cdef Matcher matcher = Matcher.__new__(Matcher)
    matcher.kind = KINDS[plan["kind"]]
    matcher.value = plan["value"].encode()
    matcher.text = PyBytes_AS_STRING(matcher.value)
    matcher.size = PyBytes_GET_SIZE(matcher.value)
    matcher.ignore_case = plan["ignore_case"]
    matcher.segments = segments
    if matcher.kind == MATCH_REGEX:
        import re2                        # only proxies with a regex pay for the library
        matcher.regex = re2.compile(("(?i)" if matcher.ignore_case else "").encode() + matcher.value)
    return matcher


cdef Named _make_named(dict plan, bint header):
    cdef Named named = Named.__new__(Named)
    named.name = plan["name"].encode()
    named.matcher = make_matcher(plan["match"])
    named.invert = plan["invert"]
    named.pseudo = PSEUDO.get(plan["name"], 0) if header else 0
    if plan["claim"]:
        named.pseudo, named.claim = 5, [name.encode() for name in plan["claim"]]
    return named


cdef Clause make_clause(dict plan):
    cdef Clause clause = Clause.__new__(Clause)
    clause.name = plan["name"]
    clause.path = make_matcher(plan["path"], plan["path_segments"])
    clause.scheme = make_matcher(plan["scheme"])
    clause.method = make_matcher(plan["method"])
    clause.authority = make_matcher(plan["authority"])
    clause.headers = [_make_named(named, True) for named in plan["headers"]]
    clause.query = [_make_named(named, False) for named in plan["query"]]
    clause.stat_prefix = plan["stat_prefix"].encode() or None
    return clause


cdef list make_clauses(list plans):
    return [make_clause(plan) for plan in plans]


cdef const char* header_value(const Head* head, const char* name, size_t name_size, Py_ssize_t* size, char* joined,
                              size_t room) noexcept:
    cdef const char* found = NULL
    cdef size_t used = 0
    cdef int i
    cdef const Field* field
    size[0] = -1
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.name.len != name_size or strncasecmp(head.base + field.name.off, name, name_size) != 0:
            continue
        if found == NULL:
            found = head.base + field.value.off
            used = field.value.len
            continue
        if found != joined:
            if used > room:
                break
            memcpy(joined, found, used)
            found = joined
        if used + 1 + field.value.len > room:
            break
        joined[used] = c','
        memcpy(joined + used + 1, head.base + field.value.off, field.value.len)
        used += 1 + field.value.len
    if found != NULL:
        size[0] = used
    return found


cdef bint find_parameter(const char* query, size_t size, bytes name, const char** value, size_t* value_size) noexcept:
    cdef const char* at = query
    cdef const char* end = query + size
    cdef const char* stop
    cdef const char* equals
    cdef size_t wanted = PyBytes_GET_SIZE(name)
    while at < end:
        stop = <const char*>memchr(at, c'&', end - at)
        if stop == NULL:
            stop = end
        equals = <const char*>memchr(at, c'=', stop - at)
        if equals == NULL:
            equals = stop
        if <size_t>(equals - at) == wanted and memcmp(at, PyBytes_AS_STRING(name), wanted) == 0:
            value[0] = equals + 1 if equals < stop else stop
            value_size[0] = stop - value[0]
            return True
        at = stop + 1
    return False


cdef class Clause:
    cdef bint test(self, const Request* request):
        cdef const Head* head = request.head
        if self.path is not None and not self.path.test(request.path, request.path_size):
            return False
        if self.method is not None and not self.method.test(span_ptr(head, head.method_name), head.method_name.len):
            return False
        if self.headers and not self._test_headers(request):
            return False
        if self.query and not self._test_query(request):
            return False
        if self.authority is not None and not self.authority.test(span_ptr(head, head.authority), head.authority.len):
            return False
        if self.scheme is not None:
            return self.scheme.test("https" if request.https else "http", 5 if request.https else 4)
        return True

    cdef bint _test_headers(self, const Request* request):
        cdef char[4096] joined
        cdef const char* value
        cdef Py_ssize_t size
        cdef Named named
        for named in self.headers:
            if named.pseudo == 5:         # no token was validated: there are no claims
                if not named.invert:
                    return False
                continue
            value = _pseudo(request, named.pseudo, &size) if named.pseudo else header_value(
                request.head, PyBytes_AS_STRING(named.name), PyBytes_GET_SIZE(named.name), &size, joined, sizeof(joined))
            if size < 0:
                if not named.invert:
                    return False
                # withoutHeaders: absent is what the presence form wants; with a value, absent counts as empty
                if named.matcher.kind != MATCH_PRESENT and named.matcher.test("", 0):
                    return False
            elif named.matcher.test(value, size) == named.invert:
                return False
        return True

    cdef bint _test_query(self, const Request* request):
        cdef const char* value = NULL
        cdef size_t size = 0
        cdef Named named
        for named in self.query:
            if not request.has_query or not find_parameter(request.query, request.query_size, named.name, &value, &size):
                if not named.invert:
                    return False
            elif named.matcher.test(value, size) == named.invert:
                return False
        return True


cdef const char* _pseudo(const Request* request, int which, Py_ssize_t* size):
    cdef const Head* head = request.head
    cdef Span span
    if which == 3:
        # :path carries the query
        size[0] = request.path_size + (1 + request.query_size if request.has_query else 0)
        return request.path
    if which == 4:
        size[0] = 5 if request.https else 4
        return "https" if request.https else "http"
    span = head.method_name if which == 1 else head.authority
    size[0] = span.len
    return span_ptr(head, span)


cdef Clause first_match(list clauses, const Request* request):
    cdef Clause clause
    if not clauses:
        return ALWAYS
    for clause in clauses:
        if clause.test(request):
            return clause
    return None
