"""Requests for a service whose DestinationRule says PASSTHROUGH: the client chooses the endpoint, nobody balances.

Where the client's connection was meant for another address than the proxy's (the kernel redirected it, a PROXY header says so), its
requests go to that address, as with Envoy's original-destination clusters. A client that speaks to the proxy itself may name an address
in Host, if it is one of the service's own: what is written into Host must not open the network behind the proxy. Otherwise there is
no endpoint: 503, UH."""
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

# Whether it is known: then `cluster` of the request has this one endpoint. Else `cluster` is the service's, for the account
cdef bint go_wanted(Transit t)
# The address that the request's Host names, "" when that is none of the service's own; and its port
cdef tuple named_address(Transit t)
# The endpoint of the cluster with this text; None: the client means somebody else
cdef Endpoint endpoint_at(Cluster cluster, bytes text)
# Whether an address that is none of the endpoints takes the mesh's TLS: a virtual one leads to one of them
cdef bint all_speak_mesh(Cluster cluster)
