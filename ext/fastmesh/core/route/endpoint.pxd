"""One address that requests can be sent to, and its share of the arena. Config may change around it: its state is found by key."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr_storage:
        uint16_t ss_family

cdef class Endpoint:
    cdef readonly str address
    cdef readonly int port
    cdef readonly uint32_t weight
    cdef readonly int workload        # index of the snapshot's workloads
    cdef readonly str locality
    cdef uint8_t priority             # its tier
    cdef bint mesh_tls                # a sidecar terminates mTLS there
    cdef bytes text                   # "10.0.0.1:80", as logs show it
    cdef sockaddr_storage where
    cdef uint32_t where_size
    cdef uint64_t* cell               # OutlierWord words, shared
    cdef uint64_t* health             # HealthWord words, shared; NULL: nobody wants them
    cdef uint64_t* trial              # TrialWord words, shared; NULL: it comes back by time alone
    cdef uint64_t* latency            # LatencyWord words and a histogram, shared; NULL: nobody asks how long it takes
    cdef uint64_t* load               # words of route/load_rule, shared; NULL: nobody wants them
    cdef uint64_t* rows               # row 0 of EndpointWord
    cdef uint64_t* row                # this worker's row
    cdef object pool                  # net.pool.Pool, kept across snapshots: of HTTP/1,
    cdef object pool_h2               # and of HTTP/2
    cdef object series                # proxy.account's table for this endpoint
    cdef uint64_t closed_after        # ms: the shortest idle time after which the application closed a connection; 0 = never seen

cdef Endpoint make_endpoint(dict plan)
cdef Endpoint make_address(str address, int port)         # one of which nothing else is known
