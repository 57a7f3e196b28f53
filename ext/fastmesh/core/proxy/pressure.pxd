"""Requests that are refused because the proxy itself has too much to do: Envoy's overload manager, flag OM. How much that is the
process measures (server/pressure); the answer here is only asked for while something is refused."""
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.route.resilience cimport PriorityClass

cdef bint is_shed(Replying t)     # its rule is known
# By the Resilience of its rule, else by that of the first destination: the others may be subsets of the same. None: it has none
cdef PriorityClass class_of(Replying t)
cdef int shed(Replying t)         # ANSWERED
