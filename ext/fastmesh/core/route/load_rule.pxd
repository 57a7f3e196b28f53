"""Weights that follow the load of endpoints, as they report it themselves (backendUtilization). As Envoy's client-side weighted round
robin: an endpoint weighs the requests that it serves in a second, divided by how busy it is with them; errors count as being busy.

An endpoint is trusted once it has reported for a while, and forgotten when it has not for long: then it weighs what the median of the
others does. https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.proto
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.wire.load_report cimport LoadReport
from fastmesh.core.wire.message cimport Head

cdef enum:                    # words of an endpoint, an ENTRY_LOAD
    LD_WEIGHT = 0
    LD_SINCE                  # ms: when it began to report; 0 = it does not
    LD_AT                     # ms: when it reported last
    LOAD_ROW = 4

cdef class LoadRule:
    cdef uint64_t update      # ms between two looks at the reports
    cdef uint64_t stabilization       # ms of reporting before a weight is trusted
    cdef uint64_t expiration  # ms without a report after which it is not
    cdef double penalty       # what errors add to utilization, as a part of their share
    cdef list wanted          # names of metrics; the largest counts
    cdef readonly str told    # for explain

cdef LoadRule make_load_rule(plan)           # None for None
cdef uint32_t weight_of(LoadRule rule, const LoadReport* report) noexcept        # 0 = it says too little
# What an answer's head or trailers say of the endpoint with these words.
cdef void learn_load(LoadRule rule, const Head* head, uint64_t* cell, uint64_t now)
cdef uint32_t trusted_weight(LoadRule rule, uint64_t* cell, uint64_t now) noexcept     # 0 = there is none
