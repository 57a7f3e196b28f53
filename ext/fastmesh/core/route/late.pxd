"""A cluster that no request has used yet: its plan as bytes, and the real one made of them when the first request comes.

Most services of a large mesh are never called by one proxy. What stands here is a tenth of what the cluster and its endpoints take."""
from fastmesh.core.route.cluster cimport Cluster

cdef class Late:
    cdef readonly Cluster cluster     # None: nobody has asked yet
    cdef bytes packed         # msgpack of the ClusterPlan
    cdef object tls           # what `make_tls` made of it
    cdef Cluster open(self)   # the cluster; made once

cdef Late make_late(bytes packed)     # ValueError when no cluster can be made of it
