"""See late.pxd."""
from msgspec.msgpack import decode
from fastmesh.core.route.cluster cimport CLUSTER_ORIGINAL_DST, CLUSTER_PASSTHROUGH, EXTRA_HASH, EXTRA_WORTH, Cluster, make_cluster

cdef int AT_ONCE = 200        # more endpoints than this are made with the snapshot: a request would wait for them


cdef class Late:
    cdef Cluster open(self):
        if self.cluster is None:
            self.cluster = make_cluster(decode(self.packed))
            self.cluster.tls = self.tls
            if not self.outside:
                self.packed = None
        return self.cluster


cdef Late make_late(bytes packed):
    """It is made once now and thrown away: what cannot be made must not be found out by a request."""
    cdef Late late = Late.__new__(Late)
    cdef Cluster cluster = make_cluster(decode(packed))
    late.packed = packed
    late.wanted = cluster.kind == CLUSTER_PASSTHROUGH
    late.outside = late.wanted or cluster.kind == CLUSTER_ORIGINAL_DST
    if late.outside:
        late.trusted = bool(cluster.host) and not cluster.host.startswith("*")
        late.port, late.answers = cluster.port, {}
        return late
    if cluster.extras & (EXTRA_HASH | EXTRA_WORTH) or cluster.health is not None or len(cluster.endpoints) > AT_ONCE:
        late.cluster, late.packed = cluster, None
    return late
