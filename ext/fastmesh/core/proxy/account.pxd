"""Istio's standard metrics, one cell per set of labels and worker. The likely request finds its cell in a small table of its
endpoint and adds to a few words; only a new set of labels is ever written out as text.

A cell is an ENTRY_SERIES of the arena. Its key is two bytes of worker slot, then the label values in the order of LABELS, each
ended by 0x1f. Its words: requests, then three histograms (duration in us, request bytes, response bytes) of BUCKETS counts (the last
is +Inf) and a sum, then gRPC messages of requests and of responses.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.proxy.transit cimport Transit

cdef enum:
    BUCKETS = 20              # 19 bounds and +Inf
    HISTOGRAM = 21            # words: the buckets and the sum
    SERIES_WORDS = 66         # 1 + 3 * HISTOGRAM + 2

cdef struct Cell:
    uint64_t key              # what tells sets of labels of one endpoint apart: see `_key`; 0 = free
    uint64_t* words

cdef class Series:            # the cells of one endpoint (or of a cluster or host that met none)
    cdef Cell* cells
    cdef uint32_t room        # a power of two
    cdef uint32_t used
    cdef uint64_t* _make(self, Transit t, uint64_t key)

cdef enum:                    # words of a cell of connections, an ENTRY_TCP_SERIES
    TCP_OPENED = 0
    TCP_CLOSED
    TCP_SENT                  # bytes to the client
    TCP_RECEIVED
    TCP_WORDS = 8

cdef void account(Transit t, uint64_t now)       # now: ns
cdef uint64_t* account_connection(Transit t)     # its cell; flags as they are now
cdef bytes flags_text(uint32_t flags)            # "UF,URX", or "-"
