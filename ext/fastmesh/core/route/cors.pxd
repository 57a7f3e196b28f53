"""The cross-origin policy of a rule: VirtualService corsPolicy, or the CORS filter of an HTTPRoute. Texts are as they are sent."""

cdef class Cors:
    cdef list origins         # of Matcher
    cdef bytes methods        # joined with commas; empty: nothing is said
    cdef bytes headers
    cdef bytes exposed
    cdef bytes max_age        # seconds
    cdef bint credentials
    cdef bint forward         # preflights of other origins go on to the application
    cdef bint echo            # a star is answered with what was asked for: with credentials it would mean nothing (Fetch 3.3.5)
    cdef bint allows(self, const char* origin, size_t size)

cdef Cors make_cors(plan)     # None for None
