"""Numbers of the rules whose matches have a `statPrefix`: Envoy's `vhost.HOST.route.PREFIX.*`."""
from fastmesh.core.proxy.transit cimport Transit

cdef void count_route(Transit t)          # a request of a rule with STEP_COUNT has ended
