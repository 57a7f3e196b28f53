"""See cors.pxd."""
from fastmesh.core.route.match cimport Matcher, make_matcher


cdef class Cors:
    cdef bint allows(self, const char* origin, size_t size):
        cdef Matcher matcher
        for matcher in self.origins:
            if matcher.test(origin, size):
                return True
        return False


cdef Cors make_cors(plan):
    if plan is None:
        return None
    cdef Cors cors = Cors.__new__(Cors)
    cors.origins = [make_matcher(each) for each in plan["origins"]]
    cors.methods = plan["methods"].encode()
    cors.headers = plan["headers"].encode()
    cors.exposed = plan["exposed"].encode()
    cors.max_age = plan["max_age"].encode()
    cors.credentials = plan["credentials"]
    cors.forward = plan["forward"]
    cors.echo = plan["echo"]
    return cors
