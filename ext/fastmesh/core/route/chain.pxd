"""A filter chain of a listener: what becomes of the connections that begin in one way. See config/plan.ChainPlan."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
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
    cdef bint ends_tls        # TLS ends here
    cdef bint mesh            # and asks for a mesh identity
    cdef readonly object context      # what `make_tls` of the snapshot made for it
    cdef uint64_t table       # number of the ChainTable that it is in
    cdef bytes terms          # digest of how TLS ends here; b"": it does not
    cdef bytes demands        # digest of what a client has to prove with its certificate; b"": nothing
    cdef bint shared          # its connections may be used for hosts of other such chains with equal terms
    cdef bint any_name        # every server name, and none
    cdef readonly list names  # exact server names, bytes
    cdef list suffixes        # b".example.com"
    cdef list destinations    # of a tcp chain
    cdef uint32_t weights
    cdef Destination choose(self, Rng* rng)
    cdef int64_t idle(self)   # ms without a byte, as its first destination says; -1 = the proxy's default, 0 = for ever

cdef Chain make_chain(dict plan, dict clusters, dict shared, object context)

cdef class ChainTable:        # of a listener
    cdef readonly list chains
    cdef dict exact           # server name -> [Chain]
    cdef dict suffixes        # b".example.com" -> [Chain]
    cdef list any_name        # those that fit last
    cdef bint listens         # the first bytes of a connection choose; False: every connection takes `plain` at once
    cdef uint64_t number      # of this table: a connection whose chain has another one came under an earlier configuration
    cdef bint by_name         # names tell its TLS chains apart: a request may come through the wrong one
    cdef int tls_chains       # those that are for TLS
    cdef Chain plain          # for plaintext; None: it is closed
    cdef Chain otherwise      # for TLS that fits no other one; None: the same
    cdef void add(self, Chain chain)
    # The chain for TLS with this server name (lower case, b"" = none), or None: the connection is closed. An exact name goes before a
    # suffix, the longest suffix first, no names last; among equal ones that which asks for mesh ALPN, then the first.
    cdef Chain find(self, bytes name, bint mesh_alpn)
    # A connection that came through `taken`, for server name `sni`, asks no less of its client than a new one would. None: plaintext
    cdef bint stands(self, Chain taken, bytes sni)
    # A request for `host` (lower case) on that connection, which stands, has to come through another one
    cdef bint astray(self, Chain taken, bytes sni, bytes host)

cdef ChainTable make_chain_table()

cdef class PlaceTable:        # chains of a listener by where clients wanted to go, as the configuration knows it by addresses
    cdef dict ports           # port (0 = every other) -> [(bits that are not compared, {what is left of an address: ChainTable})]
    cdef list tables
    cdef void add(self, int port, str block, Chain chain)          # `block`: "" = every address, or one in CIDR notation
    # The chains for this address (16 bytes); a port of its own goes before every other one, then the longest prefix. None: there are none
    cdef ChainTable find(self, bytes address, int port)

cdef PlaceTable make_place_table()
