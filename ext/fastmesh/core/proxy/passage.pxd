"""A connection of a tcp filter chain: bytes to a destination by weight, TLS passed on as it is or ended here. Where the exchange has a
request this has a connection; it is counted and logged as one, under the same words where they mean the same."""
from libc.stdint cimport uint64_t
from fastmesh.core.net.tunnel cimport TunnelClient, TunnelEndpoint, TunnelOwner
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.route.snapshot cimport Listener

cdef class Passage(TunnelOwner):
    cdef Engine engine
    cdef Transit facts        # for the account and the log
    cdef TunnelClient client
    cdef TunnelEndpoint coming        # on its way up
    cdef bytes first          # what the client said before that
    cdef uint64_t* words      # of its metrics
    cdef bint counted         # in the cluster's connections
    cdef bint over
    cdef void _connect(self)
    cdef Endpoint _wanted(self, Cluster cluster)
    cdef void _told(self, int outcome, int status)
    cdef void _fail(self, unsigned int flag)
    cdef void _finish(self)

# What a connection becomes that took such a chain
cdef TunnelClient make_passage(Engine engine, Listener listener)
