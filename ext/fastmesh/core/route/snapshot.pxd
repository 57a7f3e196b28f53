"""What runs: an immutable set of listeners, virtual hosts and clusters, built from a plan and swapped by one pointer."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.route.chain cimport Chain, ChainTable, PlaceTable
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.host_table cimport HostTable
from fastmesh.core.route.rule cimport VirtualHost

cdef enum Unknown:            # what a host that nobody configured gets
    UNKNOWN_404 = 0
    UNKNOWN_PASSTHROUGH = 1
    UNKNOWN_BLACKHOLE = 2

cdef class Listener:
    cdef readonly str name
    cdef bint gateway
    cdef bint inbound         # the side of the application: requests come from other proxies
    cdef bint by_host         # domains have no port (all but the mesh listener)
    cdef ChainTable chains    # None: plaintext HTTP for everybody
    cdef PlaceTable places    # chains for clients of which it is known where they wanted to go; None: that does not matter
    cdef bint proxy_protocol  # connections begin with a PROXY header
    cdef readonly int port    # of the configuration
    cdef HostTable hosts
    cdef HostTable https_redirect     # or None
    cdef uint8_t unknown      # Unknown
    cdef readonly list origins
    cdef readonly str address
    cdef bint has_any         # a `*` for every port
    cdef list filters         # of filter.Filter, for requests that no rule takes; None: there are none
    cdef VirtualHost find(self, const char* host, size_t size, uint32_t port, bint strict)

cdef class Snapshot:
    cdef readonly str version
    cdef readonly dict mesh
    cdef list workloads       # msgpack of the facts of each: there are as many as endpoints, and few are asked for
    cdef list _facts          # what those are
    cdef list _identities     # msgpack of principal -> numbers, for each slice of `workloads`, with the slice's first number
    cdef dict _by_principal   # principal -> numbers, and of those that were asked for the facts; None before the first question
    cdef readonly dict clusters       # name -> Late
    cdef list checked         # clusters with active health checks
    cdef readonly dict listeners      # name -> Listener
    cdef dict credentials     # name -> what `make_tls` made of it, until the contexts are made
    cdef list vhosts
    cdef list limits
    cdef list filters         # of filter.Filter
    cdef list mesh_limits     # asked for every request; None when there are none
    cdef list refusals        # of rule.Refusal, for requests that no rule takes; or None
    cdef bint retry_budgeted  # over all destinations:
    cdef double retry_share   # retries may be this share of requests under way,
    cdef uint64_t retry_least # or this many
    cdef int normalization    # path.Normalization
    cdef bytes server_name
    cdef bint http10
    cdef object source        # a view of workload facts for the source_* labels
    cdef object _items
    cdef object _make_tls     # see Snapshot
    cdef object _load_filter
    cdef VirtualHost _moves   # stands for the hosts that a listener moves to https
    cdef VirtualHost _stays   # and for those that it does not
    cdef dict _shared         # while it is built: see rule.make_rule
    cdef list _newborn        # clusters whose endpoints warm up
    # Endpoints that `before` (or nobody, when it is None) had not are born now; called once, when this one begins to run.
    cdef void greet(self, Snapshot before, Arena arena, int slot, uint64_t now)
    cdef Cluster _hashing     # whose tables are being built
    cdef bint built
    cdef bint _hashed(self, uint64_t until) except -1
    cdef Cluster cluster(self, str name)      # or None
    cdef dict workload(self, int index)
    cdef dict workload_of(self, str principal)      # or None
    cdef dict _in_common(self, list indexes)
    cdef _take(self, str kind, dict body)
    cdef Listener _listener(self, dict plan)
    cdef _take_chains(self, dict plan)
    cdef _take_domains(self, dict plan)
