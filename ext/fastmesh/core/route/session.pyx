"""See session.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.route.cookie cimport cookie_value
from fastmesh.core.route.match cimport Request, header_value


cdef Session make_session(plan):
    cdef Session session
    if plan is None:
        return None
    session = Session.__new__(Session)
    session.name = plan["name"].encode()
    session.by_header = plan["kind"] == "header"
    session.made = plan["cookie"].encode()
    session.absolute, session.idle = plan["absolute"], plan["idle"]
    return session


cdef uint64_t identity(bytes cluster, bytes endpoint):
    cdef uint64_t seed = xxh64(PyBytes_AS_STRING(cluster), PyBytes_GET_SIZE(cluster), 0)
    return xxh64(PyBytes_AS_STRING(endpoint), PyBytes_GET_SIZE(endpoint), seed)


cdef class Session:
    cdef bint find(self, const Request* request, uint64_t now, Token* token):
        cdef Py_ssize_t size = -1
        cdef const char* text
        if self.by_header:
            text = header_value(request.head, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), &size, NULL, 0)
        else:
            text = cookie_value(request.head, PyBytes_AS_STRING(self.name), PyBytes_GET_SIZE(self.name), &size)
        if size < 0 or not _read(text, size, token):
            return False
        if self.absolute and now >= token.began + self.absolute:
            return False
        return not self.idle or now < token.used + self.idle

    cdef bytes write(self, const Token* token):
        value = b"%016x.%x.%x" % (token.endpoint, token.began, token.used)
        return value if self.by_header else b"%s=%s%s" % (self.name, value, self.made)


cdef bint _read(const char* text, Py_ssize_t size, Token* token) noexcept nogil:
    """Three hexadecimal numbers with dots between them, and nothing else."""
    cdef uint64_t[3] numbers
    cdef int number = 0, digits = 0
    cdef Py_ssize_t i
    cdef char c
    numbers[0] = numbers[1] = numbers[2] = 0
    if size > TOKEN_MAX:
        return False
    for i in range(size):
        c = text[i]
        if c == c'.' and digits and number < 2:
            number += 1
            digits = 0
            continue
        if c'0' <= c <= c'9':
            c -= c'0'
        elif c'a' <= c <= c'f':
            c -= c'a' - 10
        else:
            return False
        digits += 1
        if digits > 16:
            return False
        numbers[number] = numbers[number] << 4 | <uint64_t>c
    token.endpoint, token.began, token.used = numbers[0], numbers[1], numbers[2]
    return number == 2 and digits > 0
