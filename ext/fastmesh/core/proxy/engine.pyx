"""See engine.pxd."""
from email.utils import formatdate

from libc.stdint cimport uint64_t
from fastmesh.core.base.clock cimport wall_us
from fastmesh.core.net.pool cimport Pool
from fastmesh.core.net.pool_h1 cimport make_pool_h1
from fastmesh.core.net.stream cimport StreamUser
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint


cdef class AccessLog:
    cdef void write(self, StreamUser exchange):
        pass


cdef class Engine(Reactor):
    cdef Pool pool_of(self, Cluster cluster, Endpoint endpoint):
        """The connections to an endpoint: they outlive the snapshot that asked for them first."""
        cdef Pool pool
        cdef bytes key
        if endpoint.pool is not None:
            return <Pool>endpoint.pool
        key = cluster.name + b"\0" + endpoint.text
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = make_pool_h1(self, cluster, endpoint)
        else:
            endpoint.closed_after = pool.endpoint.closed_after
            pool.cluster = cluster
            pool.endpoint = endpoint
            pool.retired = False
        endpoint.pool = pool
        return pool

    cdef bytes http_date(self):
        cdef uint64_t second = wall_us() // 1000000
        if second != self.date_at:
            self.date_at = second
            self.date = formatdate(second, usegmt=True).encode()
        return self.date
