"""A filter chain of a listener: what becomes of the connections that begin in one way. See config/plan.ChainPlan."""
from libc.stdint cimport uint8_t, uint32_t
from fastmesh.core.base.rng cimport Rng
from fastmesh.core.route.rule cimport Destination

cdef enum Transport:
    TRANSPORT_ANY = 0
    TRANSPORT_PLAINTEXT
    TRANSPORT_TLS

cdef class Chain:
    cdef readonly str name
    cdef uint8_t transport    # Transport
    cdef bint mesh_alpn       # only TLS whose ALPN offers begin with "istio"
    cdef bint tcp             # bytes are passed on to a destination, nobody reads requests
    cdef readonly object context      # TLS ends here: what `make_tls` of the snapshot made. None: plaintext, or passed on
    cdef bint mesh            # `context` asks for a mesh identity
    cdef bint any_name        # every server name, and none
    cdef set names            # exact server names, bytes
    cdef list suffixes        # b".example.com", the longest first
    cdef list destinations    # of a tcp chain
    cdef uint32_t weights
    # How well a server name (lower case, b"" = none) fits: 0 not at all, 1 by fitting all, more by suffix, most exactly
    cdef int fit(self, bytes name)
    cdef Destination choose(self, Rng* rng)

cdef Chain make_chain(dict plan, dict clusters, dict shared, object context)

# The chain for what a connection begins with, or None: it is closed
cdef Chain find_chain(list chains, bint tls, bint mesh_alpn, bytes name)
