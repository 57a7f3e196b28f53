"""Header operations of one level, ready to be applied: remove, then set, then add. Names are lower case."""

cdef class HeaderOps:
    cdef list removed         # bytes
    cdef list assigned        # (name, value) as bytes: overwrite
    cdef list appended        # (name, value) as bytes: add beside what is there

# The levels of a plan in order; None when there is nothing to do, so that the likely case is one test.
cdef list make_ops(list plans)
