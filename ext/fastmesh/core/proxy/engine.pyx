"""See engine.pxd."""
from email.utils import formatdate

from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport wall_us
from fastmesh.core.base.scratch cimport scratch_free
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.h1.pool cimport make_pool_h1
from fastmesh.core.net.h2.pool cimport make_pool_h2
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint


cdef class AccessLog:
    cdef void write(self, StreamUser exchange):
        pass


cdef class Engine(Reactor):
    def __dealloc__(self):
        scratch_free(&self.made)

    cdef Pool pool_of(self, Cluster cluster, Endpoint endpoint, bint http2):
        """The connections to an endpoint: they outlive the snapshot that asked for them first."""
        if http2:
            if endpoint.pool_h2 is None:
                endpoint.pool_h2 = self._find_pool(cluster, endpoint, True)
            return <Pool>endpoint.pool_h2
        if endpoint.pool is None:
            endpoint.pool = self._find_pool(cluster, endpoint, False)
        return <Pool>endpoint.pool

    cdef Pool _find_pool(self, Cluster cluster, Endpoint endpoint, bint http2):
        cdef bytes key = cluster.name + b"\0" + endpoint.text + (b"\0h2" if http2 else b"")
        cdef Pool pool = self.pools.get(key)
        if pool is None:
            pool = make_pool_h2(self, cluster, endpoint) if http2 else make_pool_h1(self, cluster, endpoint)
            self.pools[key] = pool
        else:
            endpoint.closed_after = pool.endpoint.closed_after
            pool.cluster = cluster
            pool.endpoint = endpoint
            pool.retired = False
        return pool

    def own_ports(self):
        """The ports that the proxy listens on."""
        return set()

    cdef bytes http_date(self):
        cdef uint64_t second = wall_us() // 1000000
        if second != self.date_at:
            self.date_at = second
            self.date = formatdate(second, usegmt=True).encode()
        return self.date
