"""The step `guard`: whether a destination takes a request now, and what is learned from how it went. Only called for clusters with a
Resilience."""
from libc.stdint cimport uint16_t
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.route.endpoint cimport Endpoint

cdef int guard(Replying t)                   # GO_ON (the cluster may be another one then), or ANSWERED
cdef void guard_told(Replying t, Endpoint endpoint, bint good)       # one outcome of an attempt
cdef int guard_rule(Replying t)              # the same of its rule: limit and priorities, wherever it goes
cdef void rule_left(Replying t)              # and has ended
cdef void guard_failed(Replying t)           # the request goes on to another destination
cdef void guard_left(Replying t)             # the request has ended
