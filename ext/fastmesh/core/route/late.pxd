"""A cluster that no request has used yet: its plan as bytes, and the real one made of them when the first request comes.

Most services of a large mesh are never called by one proxy. What stands here is a tenth of what the cluster and its endpoints take."""
from fastmesh.core.route.cluster cimport Cluster

cdef class Late:
    cdef readonly Cluster cluster     # None: nobody has asked yet
    cdef bytes packed         # msgpack of the ClusterPlan
    cdef object tls           # what `make_tls` made of it
    cdef bint outside         # it has no endpoints of its own: requests ask for their host, see proxy.outside;
    cdef bint wanted          # or it has some, and the client says which, see proxy.wanted
    cdef bint trusted         # somebody wrote down that one host
    cdef int port             # 0 = that of the request
    cdef dict answers         # host and port, or an address -> proxy.outside's Answer
    cdef Cluster open(self)   # the cluster; made once

cdef Late make_late(bytes packed)     # ValueError when no cluster can be made of it
