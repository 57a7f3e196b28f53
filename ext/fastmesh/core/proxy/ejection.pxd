"""What becomes of an endpoint by what it did: ejected for its errors or because it is slow, and brought back by trials.

Outlier detection is asked of every cluster that has it. The rest is only called for clusters whose Resilience has an `ejection`.
"""
from libc.stdint cimport uint64_t
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint

cdef void report(Cluster cluster, Endpoint endpoint, int outcome, int status)     # one outcome, for outlier detection
cdef void try_endpoint(Transit t)             # its endpoint becomes one that has to show that it is well, if there is such a one
cdef void attempt_told(Transit t, int outcome, int status)      # one outcome of an attempt: how long it took, and how a trial went
cdef void attempt_lost(Transit t)             # it was broken off because another one was faster
cdef void leave_trial(Transit t)              # it ended without a verdict
cdef void check_told(Cluster cluster, Endpoint endpoint, bint passed)     # an active check, where those are the trials
